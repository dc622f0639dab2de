import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase, type TickOptions } from '../support/harness.ts';

const special = (over: object = {}) => ({
  name: 'Bridal Day',
  scheduled: true,
  schedule_date: '2026-03-01',
  schedule_time: '10:00',
  auto_activate: true,
  auto_deactivate: true,
  valid_until: '2026-03-05',
  ...over,
});

const tick = (db: TestDatabase, at: string, { env = {} }: TickOptions = {}) =>
  db.tick(at, { only: ['special-packages'], env: { SCHEDULER_RETENTION: '36500', ...env } });
const theRow = (db: TestDatabase) => db.one('select * from special_packages');
const kinds = async (db: TestDatabase) => (await db.events()).map((event) => event.transition);
const iso = (at: Date | null) => at?.toISOString().replace('.000Z', 'Z');

async function states(db: TestDatabase, times: string[], options: TickOptions = {}) {
  const seen: boolean[] = [];
  for (const time of times) {
    await tick(db, time, options);
    seen.push((await theRow(db)).is_active);
  }
  return seen;
}

test('a special package is switched on when its local date and time have come, and told about', async () => {
  await using db = await database();
  const { id } = await db.insert('special_packages', special());
  assert.deepEqual(await states(db, ['2026-03-01T09:59:59.999999Z', '2026-03-01T10:00:00Z']), [false, true]);
  const row = await theRow(db);
  assert.equal(row.scheduled, false);
  assert.equal(iso(row.updated_at), '2026-03-01T10:00:00Z');
  const event = await db.one('select * from scheduler.events');
  assert.equal(event.type, 'special_package.status.changed');
  assert.equal(event.job, 'special-packages');
  assert.equal(iso(event.due_at), '2026-03-01T10:00:00Z');
  assert.deepEqual(event.channels, ['private-packages', 'private-admin-notifications']);
  assert.deepEqual(event.data, {
    package_id: Number(id),
    package_name: 'Bridal Day',
    package_type: 'special',
    old_status: 'inactive',
    new_status: 'active',
    is_active: true,
    scheduled_activation_time: '2026-03-01T10:00:00Z',
    timestamp: '2026-03-01T10:00:00Z',
    message: "Package 'Bridal Day' status changed from inactive to active",
  });
});

test('valid_until is the last valid day, inclusive: it is switched off at the next local midnight', async () => {
  await using db = await database();
  await db.insert('special_packages', special());
  assert.deepEqual(await states(db, ['2026-03-01T10:00:00Z', '2026-03-05T23:59:59.999999Z', '2026-03-06T00:00:00Z']), [
    true,
    true,
    false,
  ]);
  const event = (await db.events()).at(-1)!;
  assert.equal(event.type, 'special_package.status.changed');
  assert.equal(iso(event.due_at), '2026-03-06T00:00:00Z');
  assert.deepEqual([event.data.old_status, event.data.new_status, event.data.is_active], ['active', 'inactive', false]);
  assert.equal(iso((await theRow(db)).updated_at), '2026-03-06T00:00:00Z');
});

test('date and time are one instant: yesterday 23:00 has come at noon', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ schedule_date: '2026-02-28', schedule_time: '23:00' }));
  assert.deepEqual(await states(db, ['2026-03-01T12:00:00Z']), [true]);
});

test('tomorrow 01:00 has not come at noon', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ schedule_date: '2026-03-02', schedule_time: '01:00' }));
  assert.deepEqual(await states(db, ['2026-03-01T12:00:00Z']), [false]);
});

test('without a time the day begins at 00:00', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ schedule_time: null }));
  assert.deepEqual(await states(db, ['2026-02-28T23:59:59Z', '2026-03-01T00:00:00Z']), [false, true]);
});

test('the time is read in SCHEDULER_TIMEZONE, and in the row’s own timezone where it has one', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ id: 1 }));
  await db.insert('special_packages', special({ id: 2, timezone: '' }));
  await db.insert('special_packages', special({ id: 3, timezone: 'America/New_York' }));
  const env = { SCHEDULER_TIMEZONE: 'Africa/Nairobi', SCHEDULER_DB_TIMEZONE: 'Asia/Tokyo' };
  await db.migrate(env);
  const active = async () =>
    (await db.query('select id from special_packages where is_active order by id')).map(({ id }) => Number(id));
  const seen: number[][] = [];
  for (const at of [
    '2026-03-01T06:59:59Z', // 09:59:59 in Nairobi
    '2026-03-01T07:00:00Z',
    '2026-03-01T14:59:59Z',
    '2026-03-01T15:00:00Z', // 10:00 in New York
    '2026-03-05T20:59:59Z',
    '2026-03-05T21:00:00Z', // midnight in Nairobi
    '2026-03-06T04:59:59Z',
    '2026-03-06T05:00:00Z', // midnight in New York
  ]) {
    await tick(db, at, { env });
    seen.push(await active());
  }
  assert.deepEqual(seen, [[], [1, 2], [1, 2], [1, 2, 3], [1, 2, 3], [3], [3], []]);
});

test('the settings may change without a new migration, at the price of an index', async () => {
  await using db = await database();
  await db.insert('special_packages', special());
  const env = { SCHEDULER_TIMEZONE: 'Africa/Nairobi', SCHEDULER_DB_TIMEZONE: 'America/New_York' };
  assert.deepEqual(await states(db, ['2026-03-01T06:59:59Z', '2026-03-01T07:00:00Z'], { env }), [false, true]);
});

test('a time that a DST change skips is the first instant after the gap; a repeated one is the first of the two', async () => {
  await using db = await database();
  const berlin = { timezone: 'Europe/Berlin', valid_until: null };
  await db.insert('special_packages', special({ ...berlin, schedule_date: '2026-03-29', schedule_time: '02:30' }));
  assert.deepEqual(await states(db, ['2026-03-29T00:59:59Z', '2026-03-29T01:00:00Z']), [false, true]);
  await db.query(`update special_packages set is_active = false, scheduled = true, schedule_date = '2026-10-25'`);
  assert.deepEqual(await states(db, ['2026-10-25T00:29:59Z', '2026-10-25T00:30:00Z']), [false, true]);
});

for (const column of ['scheduled', 'auto_activate', 'schedule_date']) {
  test(`without ${column} it is not switched on`, async () => {
    await using db = await database();
    await db.insert('special_packages', special({ [column]: column === 'schedule_date' ? null : false }));
    assert.deepEqual(await states(db, ['2026-03-01T10:00:00Z', '2026-03-09T10:00:00Z']), [false, false]);
    assert.deepEqual(await kinds(db), []);
  });
}

test('without auto_deactivate, or without a last day, it stays on', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ auto_deactivate: false }));
  await db.insert('special_packages', special({ valid_until: null }));
  for (const at of ['2026-03-01T10:00:00Z', '2026-03-06T00:00:00Z', '2099-03-06T00:00:00Z']) await tick(db, at);
  assert.deepEqual(await kinds(db), ['activate', 'activate']);
  assert.deepEqual(await db.query('select * from special_packages where not is_active'), []);
});

test('one that is on without ever having been scheduled is switched off after its last day as well', async () => {
  await using db = await database();
  const plain = { scheduled: false, auto_activate: false, schedule_date: null, is_active: true };
  await db.insert('special_packages', special(plain));
  assert.deepEqual(await states(db, ['2026-03-05T23:59:00Z', '2026-03-06T00:00:00Z']), [true, false]);
});

test('when its last day is already over it is missed: never on, told once', async () => {
  await using db = await database();
  const { updated_at } = await db.insert('special_packages', special());
  assert.deepEqual(await states(db, ['2026-03-06T00:00:00Z', '2026-03-06T00:01:00Z', '2026-03-07T00:00:00Z']), [
    false,
    false,
    false,
  ]);
  const row = await theRow(db);
  assert.equal(row.scheduled, false);
  assert.deepEqual(row.updated_at, updated_at);
  const event = await db.one('select * from scheduler.events');
  assert.equal(event.type, 'special_package.schedule.missed');
  assert.deepEqual(event.channels, ['private-packages', 'private-admin-notifications']);
  assert.equal(event.data.package_name, 'Bridal Day');
  assert.equal(event.data.valid_until, '2026-03-05');
});

test('on its last day it is still switched on', async () => {
  await using db = await database();
  await db.insert('special_packages', special());
  assert.deepEqual(await states(db, ['2026-03-05T23:59:59Z', '2026-03-06T00:00:00Z']), [true, false]);
});

test('a last day before the first one is missed at the start, once', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ valid_until: '2026-02-20' }));
  await tick(db, '2026-02-25T10:00:00Z');
  assert.deepEqual(await kinds(db), []);
  for (const at of ['2026-03-01T10:00:00Z', '2026-03-01T10:01:00Z']) await tick(db, at);
  assert.deepEqual(await kinds(db), ['miss']);
});

test('no event when is_active does not really change', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ is_active: true }));
  await tick(db, '2026-03-01T10:00:00Z');
  assert.equal((await theRow(db)).scheduled, false);
  assert.deepEqual(await db.events(), []);
});

test('an is_active that was never set is a change', async () => {
  await using db = await database();
  await db.query('alter table special_packages alter is_active drop not null');
  await db.insert('special_packages', special({ is_active: null }));
  await tick(db, '2026-03-01T10:00:00Z');
  assert.deepEqual(await kinds(db), ['activate']);
});

test('a hand that switches it off after it was switched on wins, until it is scheduled again', async () => {
  await using db = await database();
  await db.insert('special_packages', special());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query('update special_packages set is_active = false');
  assert.deepEqual(await states(db, ['2026-03-01T10:01:00Z', '2026-03-06T00:00:00Z']), [false, false]);
  await db.query(
    `update special_packages set scheduled = true, schedule_date = '2026-03-10', valid_until = '2026-03-10'`,
  );
  assert.deepEqual(await states(db, ['2026-03-10T10:00:00Z', '2026-03-11T00:00:00Z']), [true, false]);
});

for (const [what, over, times] of [
  ['after it was on', {}, ['2026-03-01T10:00:00Z', '2026-03-06T00:00:00Z']],
  ['after it was missed', {}, ['2026-03-06T00:00:00Z']],
  ['though it was never to switch on by itself', { auto_activate: false }, ['2026-03-06T00:00:00Z']],
  ['though it was never scheduled', { scheduled: false }, ['2026-03-06T00:00:00Z']],
] as const) {
  test(`a hand that switches it on after its last day, ${what}, wins until valid_until is edited`, async () => {
    await using db = await database();
    await db.insert('special_packages', special(over));
    for (const at of times) await tick(db, at);
    await db.query('update special_packages set is_active = true');
    assert.deepEqual(await states(db, ['2026-03-06T00:01:00Z', '2026-04-06T00:01:00Z']), [true, true]);
    await db.query(`update special_packages set valid_until = '2026-04-10'`);
    assert.deepEqual(await states(db, ['2026-04-10T23:59:00Z', '2026-04-11T00:00:00Z']), [true, false]);
  });
}

test('a zone that nobody knows is that row’s failure, naming it; the others are done', async () => {
  await using db = await database();
  const zones = [
    'Mars/Olympus',
    'UTC+3',
    '+03:00',
    'EAT-3',
    'x'.repeat(10_000),
    "'; drop table special_packages; --",
    '🕰',
  ];
  for (const [n, timezone] of zones.entries()) {
    await db.insert('special_packages', special({ id: 100 + n, timezone }));
    await db.insert('special_packages', special({ id: 200 + n, timezone: 'Africa/Nairobi' }));
    await db.insert('special_packages', special({ id: 300 + n, timezone, valid_until: null }));
  }
  const result = await tick(db, '2026-03-01T10:00:00Z');
  assert.equal(result.jobs[0]!.failed, 2 * zones.length);
  assert.equal(result.jobs[0]!.changed.activate, zones.length);
  for (const [n, zone] of zones.entries()) {
    const { error } = await db.one('select error from scheduler.failures where entity_id = $1', [String(100 + n)]);
    assert.ok(error.includes(`'${zone.slice(0, 80)}'`), error);
    assert.ok(error.length < 300);
  }
});

test('the zones of the IANA database are known, Etc/GMT-3 too', async () => {
  await using db = await database();
  const names = [
    'Etc/GMT-3',
    'EST5EDT',
    'UTC',
    'GMT0',
    'America/Port-au-Prince',
    'NZ-CHAT',
    'America/Argentina/Buenos_Aires',
  ];
  for (const timezone of names) await db.insert('special_packages', special({ timezone }));
  const result = await tick(db, '2026-03-02T10:00:00Z');
  assert.deepEqual(result.jobs[0]!.changed, { activate: names.length });
});

test('a last day that was set for a zone nobody knows does not switch it off before its time', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ scheduled: false, is_active: true, timezone: 'Mars/Olympus' }));
  const result = await tick(db, '2026-03-01T10:00:00Z');
  assert.equal(result.jobs[0]!.failed, 1);
  assert.equal((await theRow(db)).is_active, true);
  await db.query(`update special_packages set timezone = 'UTC'`);
  assert.deepEqual(await states(db, ['2026-03-05T23:59:00Z', '2026-03-06T00:00:00Z']), [true, false]);
});

test('days at the ends of time neither fail nor hang', async () => {
  await using db = await database();
  const days = [
    '-infinity',
    'infinity',
    '4713-01-01 BC',
    '4714-11-24 BC',
    '294276-12-31',
    '5874897-12-31',
    '2026-03-01',
  ];
  for (const schedule_date of [null, ...days]) {
    for (const valid_until of [null, ...days]) {
      for (const is_active of [true, false]) {
        for (const schedule_time of [null, '24:00', '23:59:59.999999']) {
          await db.insert('special_packages', special({ schedule_date, valid_until, is_active, schedule_time }));
        }
      }
    }
  }
  for (const at of ['2026-03-01T10:00:00Z', '2026-03-01T10:01:00Z', '2026-03-02T10:01:00Z', '2026-03-03T10:01:00Z']) {
    const result = await tick(db, at);
    assert.equal(result.exitCode, 0, JSON.stringify(result));
  }
  const last = await tick(db, '2026-03-03T10:02:00Z');
  assert.deepEqual(last.jobs[0]!.changed, {});
});

test('after a month without a tick it is in the state that ticks every minute would have left', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ id: 1, valid_until: null }));
  await db.insert('special_packages', special({ id: 2, is_active: true, scheduled: false }));
  await tick(db, '2026-04-09T10:00:00Z');
  const rows = await db.query('select id, is_active, scheduled from special_packages order by id');
  assert.deepEqual(
    rows.map((row) => [Number(row.id), row.is_active, row.scheduled]),
    [
      [1, true, false],
      [2, false, false],
    ],
  );
});

test('the log tells each change', async () => {
  await using db = await database();
  await db.insert('special_packages', special());
  await db.insert('special_packages', special({ timezone: 'Mars/Olympus', valid_until: null }));
  const { err } = await db.cli(['special-packages', '--at', '2026-03-01T10:00:00Z'], {
    env: { SCHEDULER_LOG_LEVEL: 'info' },
  });
  const lines = err
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map(({ level, msg }) => [level, msg]),
    [
      ['info', 'ProcessSpecialPackages job started'],
      ['info', 'Found special packages to activate'],
      ['info', 'Special package activated'],
      ['error', 'Failed to activate special package'],
      ['warn', 'ProcessSpecialPackages job ended: 1 row failed'],
    ],
  );
  assert.equal(lines[2].package_name, 'Bridal Day');
  assert.match(lines[3].error, /Mars\/Olympus/);
});
