import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase, type TickOptions } from '../harness.ts';

const sale = (over: object = {}) => ({
  name: 'Weekend Special',
  type: 'hotspot',
  enable_schedule: true,
  scheduled_activation_time: '2026-03-01T10:00:00Z',
  validity: '2 hours',
  ...over,
});

// Events stay for the whole of a test, however far it goes.
const KEEP_EVENTS = { SCHEDULER_RETENTION: '36500' };
const tick = (db: TestDatabase, at: string, { env = {} }: TickOptions = {}) =>
  db.tick(at, { only: ['packages'], env: { ...KEEP_EVENTS, ...env } });
const theRow = (db: TestDatabase) => db.one('select * from packages');
const kinds = async (db: TestDatabase) => (await db.events()).map((event) => event.transition);
const iso = (at: Date | null) => at?.toISOString().replace('.000Z', 'Z');

/** Ticks at each time and tells what the status was afterwards. */
async function statuses(db: TestDatabase, times: string[], options: TickOptions = {}) {
  const seen: string[] = [];
  for (const time of times) {
    await tick(db, time, options);
    seen.push((await theRow(db)).status);
  }
  return seen;
}

async function windowAfter(db: TestDatabase, time: string, options: TickOptions = {}) {
  await tick(db, time, options);
  const row = await theRow(db);
  return [iso(row.scheduled_activation_time), iso(row.scheduled_deactivation_time)];
}

test('a package whose sale window has begun is switched on, and told about', async () => {
  await using db = await database();
  const { id } = await db.insert('packages', sale());
  const result = await tick(db, '2026-03-01T10:00:30Z');
  const row = await theRow(db);
  assert.equal(row.status, 'active');
  assert.equal(row.is_active, true);
  assert.equal(iso(row.activated_at), '2026-03-01T10:00:30Z');
  assert.equal(iso(row.updated_at), '2026-03-01T10:00:30Z');
  assert.equal(row.deactivated_at, null);
  assert.deepEqual(result.jobs[0]!.changed, { activate: 1 });
  const event = await db.one('select * from scheduler.events');
  assert.equal(event.type, 'package.status.changed');
  assert.equal(event.job, 'packages');
  assert.equal(event.transition, 'activate');
  assert.equal(iso(event.due_at), '2026-03-01T10:00:00Z');
  assert.equal(iso(event.occurred_at), '2026-03-01T10:00:30Z');
  assert.deepEqual(event.channels, ['private-packages', 'private-admin-notifications']);
  assert.equal(event.entity_id, String(id));
  assert.deepEqual(event.data, {
    package_id: Number(id),
    package_name: 'Weekend Special',
    package_type: 'hotspot',
    old_status: 'inactive',
    new_status: 'active',
    is_active: true,
    scheduled_activation_time: '2026-03-01T10:00:00Z',
    timestamp: '2026-03-01T10:00:30Z',
    message: "Package 'Weekend Special' status changed from inactive to active",
  });
});

test('a package whose sale window is over is switched off, and told about', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:30Z');
  await tick(db, '2026-03-01T12:01:00Z');
  const row = await theRow(db);
  assert.equal(row.status, 'inactive');
  assert.equal(row.is_active, false);
  assert.equal(iso(row.deactivated_at), '2026-03-01T12:01:00Z');
  assert.equal(iso(row.updated_at), '2026-03-01T12:01:00Z');
  assert.equal(iso(row.activated_at), '2026-03-01T10:00:30Z');
  const event = (await db.events()).at(-1)!;
  assert.equal(event.type, 'package.status.changed');
  assert.equal(iso(event.due_at), '2026-03-01T12:00:00Z');
  assert.deepEqual(
    [event.data.old_status, event.data.new_status, event.data.is_active, event.data.message],
    ['active', 'inactive', false, "Package 'Weekend Special' status changed from active to inactive"],
  );
});

test('a listener hears of each change on both channels, with the id of the event', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  const heard: { channel: string; payload: string }[] = [];
  const { default: pg } = await import('pg');
  const listener = new pg.Client({ connectionString: db.url });
  await listener.connect();
  listener.on('notification', ({ channel, payload }) => heard.push({ channel, payload: payload! }));
  await listener.query('listen "private-packages"; listen "private-admin-notifications"');
  await tick(db, '2026-03-01T10:00:30Z');
  await listener.query('select 1');
  await listener.end();
  const event = await db.one('select * from scheduler.events');
  assert.deepEqual(heard.map(({ channel }) => channel).sort(), ['private-admin-notifications', 'private-packages']);
  for (const { payload } of heard) {
    assert.deepEqual(JSON.parse(payload), { id: Number(event.id), event: 'package.status.changed', data: event.data });
  }
});

test('a window is half-open: on at its start, off at its end, to the microsecond', async () => {
  await using db = await database();
  await db.insert('packages', sale({ scheduled_activation_time: '2026-03-01T10:00:00.000001Z' }));
  assert.deepEqual(
    await statuses(db, [
      '2026-03-01T10:00:00.000000Z',
      '2026-03-01T10:00:00.000001Z',
      '2026-03-01T12:00:00.000000Z',
      '2026-03-01T12:00:00.000001Z',
    ]),
    ['inactive', 'active', 'active', 'inactive'],
  );
});

test('a late tick does not lengthen a sale: its end counts from the scheduled start', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  assert.deepEqual(await statuses(db, ['2026-03-01T11:50:00Z', '2026-03-01T11:59:59Z', '2026-03-01T12:00:00Z']), [
    'active',
    'active',
    'inactive',
  ]);
});

test('a given stop ends the window, whatever the validity says', async () => {
  await using db = await database();
  await db.insert('packages', sale({ scheduled_deactivation_time: '2026-03-01T10:30:00Z', validity: 'banana' }));
  assert.deepEqual(await statuses(db, ['2026-03-01T10:29:59Z', '2026-03-01T10:30:00Z']), ['active', 'inactive']);
});

test('a window without stop and validity never ends', async () => {
  await using db = await database();
  await db.insert('packages', sale({ validity: null }));
  assert.deepEqual(await statuses(db, ['2026-03-01T10:00:00Z', '2126-03-01T10:00:00Z']), ['active', 'active']);
});

test('without enable_schedule, or without a start, nothing happens', async () => {
  await using db = await database();
  await db.insert('packages', sale({ enable_schedule: false }));
  await db.insert('packages', sale({ enable_schedule: false, status: 'active' }));
  await db.insert('packages', sale({ scheduled_activation_time: null, validity: null }));
  await db.insert('packages', sale({ scheduled_activation_time: null, validity: 'banana' }));
  const before = await db.query('select * from packages order by id');
  for (const at of ['2026-03-01T10:00:30Z', '2026-03-01T12:00:30Z', '2027-03-01T12:00:30Z']) await tick(db, at);
  assert.deepEqual(await db.query('select * from packages order by id'), before);
  assert.deepEqual(await db.events(), []);
});

test('a stop without a start takes a package off sale', async () => {
  await using db = await database();
  const stop = { scheduled_activation_time: null, validity: null, scheduled_deactivation_time: '2026-03-01T10:00:00Z' };
  await db.insert('packages', sale({ ...stop, status: 'active', is_active: true }));
  assert.deepEqual(await statuses(db, ['2026-03-01T09:59:59Z', '2026-03-01T10:00:00Z']), ['active', 'inactive']);
});

test('a window that passed without a tick is missed: closed, told about, never on sale', async () => {
  await using db = await database();
  const { id, updated_at } = await db.insert('packages', sale());
  const result = await tick(db, '2026-03-01T12:00:00Z');
  const row = await theRow(db);
  assert.equal(row.status, 'inactive');
  assert.equal(row.activated_at, null);
  assert.equal(iso(row.deactivated_at), '2026-03-01T12:00:00Z');
  assert.deepEqual(row.updated_at, updated_at);
  assert.deepEqual(result.jobs[0]!.changed, { miss: 1 });
  const event = await db.one('select * from scheduler.events');
  assert.equal(event.type, 'package.schedule.missed');
  assert.equal(event.data.package_id, Number(id));
  assert.equal(event.data.sale_end, '2026-03-01T12:00:00Z');
  await tick(db, '2026-03-01T12:01:00Z');
  await tick(db, '2026-03-02T12:01:00Z');
  assert.deepEqual(await kinds(db), ['miss']);
});

test('a stop before the start is an empty window: missed at its start, once', async () => {
  await using db = await database();
  await db.insert('packages', sale({ scheduled_deactivation_time: '2026-03-01T09:00:00Z' }));
  await tick(db, '2026-03-01T09:30:00Z');
  assert.deepEqual(await kinds(db), []);
  for (const at of ['2026-03-01T10:00:00Z', '2026-03-01T10:01:00Z']) await tick(db, at);
  assert.deepEqual(await kinds(db), ['miss']);
  assert.equal((await theRow(db)).status, 'inactive');
});

test('exactly one on and one off, over ticks of every kind', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  const start = Date.parse('2026-03-01T09:58:00Z');
  const minutes = [...Array(8).keys(), 60, ...[...Array(8).keys()].map((n) => 118 + n), 600, 1440, 44640, 525600];
  for (const minute of minutes) await tick(db, new Date(start + minute * 60_000).toISOString());
  assert.deepEqual(await kinds(db), ['activate', 'deactivate']);
});

for (const [repeats, next] of [
  ['daily', ['2026-03-02T10:00:00Z', '2026-03-02T12:00:00Z']],
  ['weekly', ['2026-03-08T10:00:00Z', '2026-03-08T12:00:00Z']],
  ['monthly', ['2026-04-01T10:00:00Z', '2026-04-01T12:00:00Z']],
  ['Daily', ['2026-03-02T10:00:00Z', '2026-03-02T12:00:00Z']],
] as const) {
  test(`after a sale that repeats ${repeats}, the window moves on and opens again`, async () => {
    await using db = await database();
    if (repeats === 'Daily') await db.query('alter table packages drop constraint packages_repeats_check');
    await db.insert('packages', sale({ repeats, scheduled_deactivation_time: '2026-03-01T12:00:00Z' }));
    await tick(db, '2026-03-01T10:00:00Z');
    assert.deepEqual(await windowAfter(db, '2026-03-01T12:00:00Z'), next);
    assert.deepEqual(await statuses(db, ['2026-03-01T12:01:00Z', next[0], next[1]]), [
      'inactive',
      'active',
      'inactive',
    ]);
    const event = (await db.events())[2]!;
    assert.equal(event.type, 'package.schedule.repeated');
    assert.equal(event.data.scheduled_activation_time, next[0]);
  });
}

test('a repeated window that ends by validity keeps its length', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'daily' }));
  await tick(db, '2026-03-01T10:00:00Z');
  assert.deepEqual(await windowAfter(db, '2026-03-01T12:00:00Z'), ['2026-03-02T10:00:00Z', undefined]);
  assert.deepEqual(await statuses(db, ['2026-03-02T10:00:00Z', '2026-03-02T11:59:00Z', '2026-03-02T12:00:00Z']), [
    'active',
    'active',
    'inactive',
  ]);
});

test('after a miss a window repeats too', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'weekly' }));
  assert.deepEqual(await windowAfter(db, '2026-03-03T00:00:00Z'), ['2026-03-08T10:00:00Z', undefined]);
  assert.deepEqual(await kinds(db), ['miss', 'repeat']);
});

test('a monthly sale on the 31st falls on the last day of shorter months, and comes back to the 31st', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'monthly', scheduled_activation_time: '2026-01-31T10:00:00Z' }));
  const starts: (string | undefined)[] = [];
  for (const day of ['01-31', '02-28', '03-31', '04-30', '05-31', '06-30']) {
    await tick(db, `2026-${day}T10:00:00Z`);
    starts.push((await windowAfter(db, `2026-${day}T12:00:00Z`))[0]);
  }
  assert.deepEqual(
    starts,
    ['02-28', '03-31', '04-30', '05-31', '06-30', '07-31'].map((day) => `2026-${day}T10:00:00Z`),
  );
  assert.equal((await kinds(db)).filter((kind) => kind === 'activate').length, 6);
});

test('a monthly sale on the 30th finds the 29th of February in a leap year', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'monthly', scheduled_activation_time: '2028-01-30T10:00:00Z' }));
  await tick(db, '2028-01-30T10:00:00Z');
  assert.equal((await windowAfter(db, '2028-01-30T12:00:00Z'))[0], '2028-02-29T10:00:00Z');
  await tick(db, '2028-02-29T10:00:00Z');
  assert.equal((await windowAfter(db, '2028-02-29T12:00:00Z'))[0], '2028-03-30T10:00:00Z');
});

for (const [first, second] of [
  ['2026-04-30', '2026-05-30'],
  ['2026-02-28', '2026-03-28'],
  ['2028-02-29', '2028-03-29'],
]) {
  test(`a monthly sale begun on the last day of a short month, ${first}, keeps that day: ${second}`, async () => {
    await using db = await database();
    await db.insert('packages', sale({ repeats: 'monthly', scheduled_activation_time: `${first}T10:00:00Z` }));
    assert.equal((await windowAfter(db, `${first}T12:00:00Z`))[0], `${second}T10:00:00Z`);
  });
}

test('a monthly sale moved by hand to another day repeats on that day', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'monthly', scheduled_activation_time: '2026-01-31T10:00:00Z' }));
  await tick(db, '2026-01-31T10:00:00Z');
  await tick(db, '2026-01-31T12:00:00Z');
  await db.query(`update packages set scheduled_activation_time = '2026-02-15T10:00:00Z'`);
  await tick(db, '2026-02-15T10:00:00Z');
  assert.equal((await windowAfter(db, '2026-02-15T12:00:00Z'))[0], '2026-03-15T10:00:00Z');
});

for (const [what, repeats, at, next] of [
  ['days', 'daily', '2026-03-09T13:00:00Z', '2026-03-10T10:00:00Z'],
  ['months, daily', 'daily', '2026-08-09T09:00:00Z', '2026-08-09T10:00:00Z'],
  ['months, weekly', 'weekly', '2026-08-09T13:00:00Z', '2026-08-16T10:00:00Z'],
  ['years, monthly', 'monthly', '2031-02-28T13:00:00Z', '2031-03-01T10:00:00Z'],
  ['99 years', 'monthly', '2125-02-28T13:00:00Z', '2125-03-01T10:00:00Z'],
] as const) {
  test(`after ${what} without a tick, the window moves to the first occurrence that is not over`, async () => {
    await using db = await database();
    await db.insert('packages', sale({ repeats }));
    await tick(db, '2026-03-01T10:00:00Z');
    assert.equal((await windowAfter(db, at))[0], next);
    assert.deepEqual(await kinds(db), ['activate', 'deactivate', 'repeat']);
  });
}

test('when the next window is open already, the same tick opens it', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'daily' }));
  await tick(db, '2026-03-01T10:00:00Z');
  await tick(db, '2026-03-05T11:00:00Z');
  const row = await theRow(db);
  assert.equal(row.status, 'active');
  assert.equal(iso(row.scheduled_activation_time), '2026-03-05T10:00:00Z');
  assert.deepEqual(await kinds(db), ['activate', 'deactivate', 'repeat', 'activate']);
  assert.deepEqual(await statuses(db, ['2026-03-05T11:01:00Z', '2026-03-05T12:00:00Z']), ['active', 'inactive']);
});

test('both ends of a repeated window keep their wall-clock time in SCHEDULER_TIMEZONE over a DST change', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  const saturday = {
    scheduled_activation_time: '2026-03-28T10:00:00+01:00',
    scheduled_deactivation_time: '2026-03-28T20:00:00+01:00',
  };
  await db.insert('packages', sale({ repeats: 'daily', ...saturday }));
  await tick(db, '2026-03-28T10:00:00Z', { env });
  assert.deepEqual(await windowAfter(db, '2026-03-28T20:00:00Z', { env }), [
    '2026-03-29T08:00:00Z',
    '2026-03-29T18:00:00Z',
  ]);
});

test('an occurrence that a DST change skips begins at the first instant after the gap, and the next one at its hour again', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  const night = { scheduled_activation_time: '2026-03-28T02:30:00+01:00' };
  await db.insert('packages', sale({ repeats: 'daily', validity: '1 hour', ...night }));
  await tick(db, '2026-03-28T01:30:00Z', { env });
  assert.equal((await windowAfter(db, '2026-03-28T03:00:00Z', { env }))[0], '2026-03-29T01:00:00Z');
  assert.equal((await windowAfter(db, '2026-03-29T02:00:00Z', { env }))[0], '2026-03-30T00:30:00Z');
  const { repeat_start, repeat_stop } = await theRow(db);
  assert.deepEqual([repeat_start, repeat_stop], [null, null]);
});

test('an end that a DST change skips is at its hour again the next time, and so is a start that somebody moves', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  const night = {
    scheduled_activation_time: '2026-03-28T01:00:00+01:00',
    scheduled_deactivation_time: '2026-03-28T02:30:00+01:00',
  };
  await db.insert('packages', sale({ repeats: 'daily', ...night }));
  assert.deepEqual(await windowAfter(db, '2026-03-28T12:00:00Z', { env }), [
    '2026-03-29T00:00:00Z',
    '2026-03-29T01:00:00Z',
  ]);
  await db.query(`update packages set scheduled_activation_time = '2026-03-29T01:30:00+01:00'`);
  assert.deepEqual(await windowAfter(db, '2026-03-29T12:00:00Z', { env }), [
    '2026-03-29T23:30:00Z',
    '2026-03-30T00:30:00Z',
  ]);
  await db.query(`update packages set repeats = null`);
  await tick(db, '2026-04-01T12:00:00Z', { env });
  assert.equal((await theRow(db)).repeat_stop, null);
});

test('a start that somebody moves to the hour after the gap is meant so', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  await db.insert('packages', sale({ repeats: 'daily', scheduled_activation_time: '2026-03-28T02:30:00+01:00' }));
  await tick(db, '2026-03-28T12:00:00Z', { env });
  await db.query(`update packages set scheduled_activation_time = '2026-03-29T04:00:00+02:00'`);
  assert.equal((await windowAfter(db, '2026-03-29T12:00:00Z', { env }))[0], '2026-03-30T02:00:00Z');
});

test('a sale that a DST change leaves no time for does not take place that day, and is not missed', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  const night = {
    scheduled_activation_time: '2026-03-28T02:10:00+01:00',
    scheduled_deactivation_time: '2026-03-28T02:50:00+01:00',
  };
  await db.insert('packages', sale({ repeats: 'daily', ...night }));
  await tick(db, '2026-03-28T01:10:00Z', { env });
  assert.deepEqual(await windowAfter(db, '2026-03-28T01:50:00Z', { env }), [
    '2026-03-30T00:10:00Z',
    '2026-03-30T00:50:00Z',
  ]);
});

test('a sale between the two times that a clock shows 02:30 lasts as long the next day', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  const night = {
    scheduled_activation_time: '2026-10-25T02:30:00+02:00',
    scheduled_deactivation_time: '2026-10-25T02:30:00+01:00',
  };
  await db.insert('packages', sale({ repeats: 'daily', ...night }));
  assert.deepEqual(await windowAfter(db, '2026-10-25T12:00:00Z', { env }), [
    '2026-10-26T01:30:00Z',
    '2026-10-26T02:30:00Z',
  ]);
});

test('who switches a package off inside its window wins, until the schedule is edited', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set status = 'inactive', is_active = false`);
  assert.deepEqual(
    await statuses(db, [
      '2026-03-01T10:01:00Z',
      '2026-03-01T11:59:00Z',
      '2026-03-01T12:00:00Z',
      '2026-03-02T12:00:00Z',
    ]),
    ['inactive', 'inactive', 'inactive', 'inactive'],
  );
  assert.deepEqual(await kinds(db), ['activate']);
  await db.query(`update packages set scheduled_activation_time = '2026-03-03T10:00:00Z'`);
  assert.deepEqual(await statuses(db, ['2026-03-03T09:59:00Z', '2026-03-03T10:00:00Z', '2026-03-03T12:00:00Z']), [
    'inactive',
    'active',
    'inactive',
  ]);
});

test('a repeated sale switched off by hand does not come back by itself', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'daily' }));
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set status = 'inactive'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:00:00Z', '2026-03-02T10:00:00Z', '2026-03-03T10:30:00Z']), [
    'inactive',
    'inactive',
    'inactive',
  ]);
});

test('who switches a package on before its window and off inside it wins as well', async () => {
  await using db = await database();
  await db.insert('packages', sale({ status: 'active', is_active: true }));
  assert.deepEqual(await statuses(db, ['2026-03-01T09:59:00Z', '2026-03-01T10:00:00Z']), ['active', 'active']);
  await db.query(`update packages set status = 'inactive'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T10:02:00Z', '2026-03-01T11:59:00Z']), ['inactive', 'inactive']);
  assert.deepEqual(await db.events(), []);
});

test('a package that was on already when its window began ends with it', async () => {
  await using db = await database();
  await db.insert('packages', sale({ status: 'active', is_active: true }));
  assert.deepEqual(await statuses(db, ['2026-03-01T10:00:00Z', '2026-03-01T12:00:00Z']), ['active', 'inactive']);
  assert.deepEqual(await kinds(db), ['deactivate']);
});

for (const [what, times] of [
  ['after it was on', ['2026-03-01T10:00:00Z', '2026-03-01T12:00:00Z']],
  ['after it was missed', ['2026-03-01T12:00:00Z']],
] as const) {
  test(`who switches a package on after its window, ${what}, wins`, async () => {
    await using db = await database();
    await db.insert('packages', sale());
    for (const at of times) await tick(db, at);
    const before = (await db.events()).length;
    await db.query(`update packages set status = 'active', is_active = true`);
    assert.deepEqual(await statuses(db, ['2026-03-01T12:01:00Z', '2026-03-09T12:01:00Z']), ['active', 'active']);
    assert.equal((await db.events()).length, before);
  });
}

test('who switches a package off inside its window and on after it wins both times', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set status = 'inactive'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T11:00:00Z', '2026-03-01T12:00:00Z']), ['inactive', 'inactive']);
  await db.query(`update packages set status = 'active'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:01:00Z', '2026-03-02T12:01:00Z']), ['active', 'active']);
});

test('who switches a package on after its window, noting the time as applications do, wins without a tick in between', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set status = 'active', activated_at = '2026-03-01T12:00:20Z'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:01:00Z', '2026-03-02T12:01:00Z']), ['active', 'active']);
});

test('who switches a package off and on again inside its window gets its normal end', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set status = 'inactive'`);
  await tick(db, '2026-03-01T10:30:00Z');
  await db.query(`update packages set status = 'active'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T11:00:00Z', '2026-03-01T12:00:00Z']), ['active', 'inactive']);
});

test('an end moved later during the sale, and one moved earlier, is what counts', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set validity = '3 hours'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:00:00Z']), ['active']);
  await db.query(`update packages set validity = '150 minutes'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:29:00Z', '2026-03-01T12:30:00Z']), ['active', 'inactive']);
});

test('a missed window that is edited to one still open begins anew', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T13:00:00Z');
  await db.query(`update packages set validity = '6 hours'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T13:01:00Z', '2026-03-01T16:00:00Z']), ['active', 'inactive']);
});

test('a validity is a count and a unit: singular or plural, any case, spaces around', async () => {
  await using db = await database();
  const seconds = {
    '2 minutes': 120,
    '1 hour': 3600,
    '24 hours': 86400,
    '7 days': 604800,
    '1 week': 604800,
    '1 month': 2592000,
    '3 MONTHS': 7776000,
    '  5 Day\t': 432000,
    '1 minutes': 60,
    '002  weeks': 1209600,
  };
  for (const validity of Object.keys(seconds)) await db.insert('packages', sale({ name: validity, validity }));
  await tick(db, '2026-03-01T10:00:00Z');
  const active = async () =>
    (await db.query(`select name from packages where status = 'active' order by id`)).map(({ name }) => name);
  for (const time of [...new Set(Object.values(seconds))].sort((a, b) => a - b)) {
    const lasting = (end: number) => Object.entries(seconds).flatMap(([name, length]) => (length > end ? [name] : []));
    const end = Date.parse('2026-03-01T10:00:00Z') + time * 1000;
    await tick(db, new Date(end - 1).toISOString());
    assert.deepEqual(await active(), lasting(time - 1));
    await tick(db, new Date(end).toISOString());
    assert.deepEqual(await active(), lasting(time));
  }
});

const UNREADABLE = [
  '',
  ' ',
  '0 hours',
  '-1 day',
  'banana',
  '1.5 days',
  '1,5 days',
  '99999999999999999999 days',
  '999999999999 months',
  '9999999999 hours',
  '2',
  'hours',
  '2 hours 3 minutes',
  '2 hourss',
  '2 years',
  '1e3 hours',
  '٢ hours',
  '2\u00a0hours',
  '⏰ 2 hours',
  "2 hours'); drop table packages; --",
  `2 hours${' '.repeat(10_000)}x`,
  '9'.repeat(10_240),
];

test('the usual spelling of a validity, which is read by a shorter way, means what any other one does', async () => {
  await using db = await database();
  const counts = ['', '0', '0000', '7', '07', '365', '9999', '10000', '999999999999', '1.5', '-1', '１'];
  const units = [
    'minute',
    'minutes',
    'hour',
    'hours',
    'day',
    'days',
    'week',
    'weeks',
    'month',
    'months',
    'Days',
    'year',
    '',
  ];
  const found = await db.query(
    `select count(*)::integer as tried, count(seconds)::integer as readable, count(*) filter (where seconds is distinct from scheduler.spelled_seconds(v))::integer as different
     from unnest($1::text[]) as n, unnest($2::text[]) as unit, unnest(array['', ' ', '  ', E'\\t']) as space, unnest(array['', ' ', 's', ' x']) as rest,
       lateral (select n || space || unit || rest as v) as spelled, lateral (select scheduler.validity_seconds(v) as seconds) as read`,
    [counts, units],
  );
  const { tried, readable, different } = found[0]!;
  assert.equal(tried, counts.length * units.length * 16);
  assert.ok(readable > 300, `${readable} can be read`);
  assert.equal(different, 0);
});

test('a validity that is not a count and a unit is that row’s failure, naming the value; the others are done', async () => {
  await using db = await database();
  for (const [n, validity] of UNREADABLE.entries()) {
    await db.insert('packages', sale({ id: 1000 + n, validity }));
    await db.insert('packages', sale({ id: 2000 + n }));
  }
  const result = await tick(db, '2026-03-01T10:00:00Z');
  assert.equal(result.exitCode, 1);
  assert.equal(result.jobs[0]!.failed, UNREADABLE.length);
  assert.deepEqual(result.jobs[0]!.changed, { activate: UNREADABLE.length });
  assert.deepEqual(await db.query(`select id from packages where (id < 2000) <> (status = 'inactive')`), []);
  const failures = await db.query('select * from scheduler.failures order by entity_id');
  for (const [n, validity] of UNREADABLE.entries()) {
    assert.equal(failures[n]!.entity_id, String(1000 + n));
    const { quoted } = await db.one('select quote_literal(left($1, 80)) as quoted', [validity]);
    assert.ok(failures[n]!.error.includes(quoted), failures[n]!.error);
    assert.ok(failures[n]!.error.length < 300);
  }
});

test('a validity that becomes unreadable during the sale is a failure, not a sale for ever', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set validity = 'banana'`);
  const result = await tick(db, '2026-03-01T10:01:00Z');
  assert.equal(result.jobs[0]!.failed, 1);
  assert.match((await db.one('select * from scheduler.failures')).error, /'banana'/);
  await db.query(`update packages set validity = '1 hour'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T10:59:00Z', '2026-03-01T11:00:00Z']), ['active', 'inactive']);
  assert.deepEqual(await db.query('select * from scheduler.failures'), []);
});

test('repeats that is none of daily, weekly, monthly is that row’s failure, naming the value', async () => {
  await using db = await database();
  await db.query('alter table packages drop constraint packages_repeats_check');
  await db.insert('packages', sale({ repeats: 'yearly' }));
  await db.insert('packages', sale({ repeats: '' }));
  const result = await tick(db, '2026-03-01T10:00:00Z');
  assert.match(result.jobs[0]!.failures[0]!.error, /^repeats 'yearly'/);
  assert.deepEqual(result.jobs[0]!.changed, { activate: 1 });
});

test('sales at the ends of time neither fail nor hang', async () => {
  await using db = await database();
  for (const scheduled_activation_time of ['-infinity', 'infinity', '4713-01-01 BC', '294276-12-31', '290000-01-01']) {
    for (const scheduled_deactivation_time of [null, '-infinity', 'infinity', '4713-01-01 BC', '294276-12-31']) {
      for (const repeats of [null, 'daily', 'monthly']) {
        for (const status of ['inactive', 'active']) {
          for (const validity of [null, '1 day', '12000 months']) {
            await db.insert(
              'packages',
              sale({ scheduled_activation_time, scheduled_deactivation_time, repeats, status, validity }),
            );
          }
        }
      }
    }
  }
  for (const at of ['2026-03-01T10:00:00Z', '2026-03-01T10:01:00Z', '2026-03-02T10:01:00Z']) {
    const result = await tick(db, at);
    assert.equal(result.exitCode, 0, JSON.stringify(result));
  }
});

test('what it does is told in the log', async () => {
  await using db = await database();
  const { id } = await db.insert('packages', sale());
  const bad = await db.insert('packages', sale({ validity: 'banana' }));
  const env = { SCHEDULER_LOG_LEVEL: 'info' };
  const lines = async (at: string) => {
    const { err } = await db.cli(['packages', '--at', at], { env });
    return err
      .trim()
      .split('\n')
      .map((line) => {
        const { time, ...rest } = JSON.parse(line);
        assert.match(time, /^\d{4}-.*Z$/);
        return rest;
      });
  };
  const which = { package_id: Number(id), package_name: 'Weekend Special' };
  const [started, found, activated, failed, completed, ...rest] = await lines('2026-03-01T10:00:00Z');
  assert.deepEqual(started, { level: 'info', msg: 'ProcessScheduledPackages job started' });
  assert.deepEqual(found, { level: 'info', msg: 'Found packages to activate', count: 2 });
  assert.deepEqual(activated, {
    level: 'info',
    msg: 'Package activated',
    ...which,
    scheduled_time: '2026-03-01T10:00:00Z',
  });
  assert.equal(failed.level, 'error');
  assert.equal(failed.msg, 'Failed to activate package');
  assert.equal(failed.package_id, bad.id);
  assert.match(failed.error, /banana/);
  assert.deepEqual(completed, { level: 'info', msg: 'ProcessScheduledPackages job completed successfully' });
  assert.deepEqual(rest, []);
  const later = await lines('2026-03-01T12:00:00Z');
  assert.deepEqual(later[1], {
    level: 'info',
    msg: 'Package deactivated',
    ...which,
    reason: 'Scheduled validity expired',
  });
});

test('a missed window is a warning', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  const { err, code } = await db.cli(['tick', '--at', '2026-03-01T13:00:00Z']);
  const line = JSON.parse(err);
  assert.equal(line.level, 'warn');
  assert.equal(line.msg, 'Package missed its whole sale window');
  assert.equal(code, 0);
});

test('above a hundred rows a batch one line gives the count, and each row is told at debug', async () => {
  await using db = await database();
  for (let n = 0; n < 101; n++) await db.insert('packages', sale());
  const { err } = await db.cli(['tick', '--at', '2026-03-01T10:00:00Z'], { env: { SCHEDULER_LOG_LEVEL: 'info' } });
  assert.ok(!err.includes('Package activated'), err);
  assert.equal(err.match(/packages: activate changed 101 rows/g)?.length, 1);
  await db.query("update packages set activated_at = null, status = 'inactive'");
  const debug = await db.cli(['tick', '--debug', '--at', '2026-03-01T10:00:00Z']);
  assert.equal(debug.err.match(/"level":"debug".*"Package activated"/g)?.length, 101);
});
