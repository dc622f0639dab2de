import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../support/harness.ts';
import { iso, kinds, sale, statuses, theRow, tick } from '../support/one-sale.ts';

/** The past is remembered by value: each edit of start or end acts once more, and nothing else does. */

const edit = (db: TestDatabase, set: string) => db.query(`update packages set ${set}`);

/** A sale from 10:00 to 12:00 that was opened and closed in time. */
async function closed(over: object = {}): Promise<TestDatabase> {
  const db = await database();
  await db.insert('packages', sale(over));
  assert.deepEqual(await statuses(db, ['2026-03-01T10:00:00Z', '2026-03-01T12:00:00Z']), ['active', 'inactive']);
  return db;
}

test('an end set to before a late activation is still acted on', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  assert.deepEqual(await statuses(db, ['2026-03-01T10:30:00Z']), ['active']);
  await edit(db, `scheduled_deactivation_time = '2026-03-01T10:15:00Z'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T10:31:00Z', '2026-03-01T10:32:00Z']), ['inactive', 'inactive']);
  assert.deepEqual(await kinds(db), ['activate', 'deactivate']);
});

const ZONELESS = `alter table packages alter scheduled_activation_time type timestamp, alter scheduled_deactivation_time type timestamp`;
const CREATE = `create table packages (id bigint primary key, name text, enable_schedule boolean, status text not null default 'inactive',
  is_active boolean, scheduled_activation_time timestamptz, scheduled_deactivation_time timestamptz, validity text)`;
/** PostgreSQL does not alter a column under an index that reads it as an instant. */
const DROP_INDEXES = `do $$ declare name text; begin
  for name in select indexrelid::regclass::text from pg_index where indrelid = 'packages'::regclass and not indisprimary
  loop execute 'drop index ' || name; end loop; end $$`;

for (const [when, empty, before] of [
  ['before', true, CREATE],
  ['after', false, DROP_INDEXES],
] as const) {
  test(`a column that loses its zone ${when} it is adopted: one on and one off in the hour that a clock repeats`, async () => {
    await using db = await database({ empty });
    await db.query(`${before}; ${ZONELESS}`);
    const env = { SCHEDULER_DB_TIMEZONE: 'Europe/Berlin' };
    await db.migrate(env);
    await db.insert('packages', {
      ...{ id: 1, name: 'Night', enable_schedule: true, validity: '1 hour', is_active: false },
      scheduled_activation_time: '2026-10-25 01:30',
    });
    // 00:30 UTC is the first 02:30 in Berlin, and 01:30 UTC the second.
    const seen: unknown[] = [];
    for (const at of ['24T23:29', '24T23:30', '24T23:31', '25T00:29', '25T00:30', '25T00:31', '25T01:30', '25T12:00']) {
      const { jobs } = await tick(db, `2026-10-${at}:00Z`, { env });
      seen.push([at, (await theRow(db)).status, jobs[0]!.changed]);
    }
    assert.deepEqual(seen, [
      ['24T23:29', 'inactive', {}],
      ['24T23:30', 'active', { activate: 1 }],
      ['24T23:31', 'active', {}],
      ['25T00:29', 'active', {}],
      ['25T00:30', 'inactive', { deactivate: 1 }],
      ['25T00:31', 'inactive', {}],
      ['25T01:30', 'inactive', {}],
      ['25T12:00', 'inactive', {}],
    ]);
    assert.deepEqual(await kinds(db), ['activate', 'deactivate']);
  });
}

test('a daily sale of two days stays on sale without a gap, for ever, and tells only of its repetitions', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'daily', validity: '2 days' }));
  const start = Date.parse('2026-03-01T10:00:00Z');
  const hours = [...Array.from({ length: 20 }, (_, n) => n * 6), 24 * 5, 24 * 5 + 1, 24 * 40 + 5, 24 * 400];
  const seen = await statuses(
    db,
    hours.map((hour) => new Date(start + hour * 3_600_000).toISOString()),
  );
  assert.deepEqual(new Set(seen), new Set(['active']));
  const told = await kinds(db);
  assert.equal(told[0], 'activate');
  assert.deepEqual(new Set(told.slice(1)), new Set(['repeat']));
  // On days 2, 3, 4 and 5, and after each outage.
  assert.equal(told.length, 1 + 6);
  const { scheduled_activation_time } = await theRow(db);
  assert.equal(iso(scheduled_activation_time), new Date(start + 399 * 86_400_000).toISOString().replace('.000Z', 'Z'));
});

test('a daily sale as long as its period is on sale without a gap too', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'daily', validity: '24 hours' }));
  const times = ['2026-03-01T10:00:00Z', '2026-03-02T09:59:59Z', '2026-03-02T10:00:00Z', '2026-03-07T10:00:00Z'];
  assert.deepEqual(await statuses(db, times), ['active', 'active', 'active', 'active']);
  assert.deepEqual(await kinds(db), ['activate', 'repeat', 'repeat']);
});

test('a tick that is late for a daily sale of 24 hours finds it off in the hour that the clock repeats', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  const autumn = { scheduled_activation_time: '2026-10-20T10:00:00+02:00' };
  await db.insert('packages', sale({ repeats: 'daily', validity: '24 hours', ...autumn }));
  // The window of the 24th ends at 08:00 UTC, and that of the 25th begins at 09:00 UTC.
  assert.deepEqual(
    await statuses(db, ['2026-10-20T08:00:00Z', '2026-10-25T08:30:00Z', '2026-10-25T09:00:00Z'], { env }),
    ['active', 'inactive', 'active'],
  );
});

test('a start moved earlier after a closing, to a window that is open, opens it once', async () => {
  await using db = await closed({ validity: null, scheduled_deactivation_time: '2026-03-01T12:00:00Z' });
  await edit(
    db,
    `scheduled_activation_time = '2026-03-01T09:00:00Z', scheduled_deactivation_time = null, validity = '5 hours'`,
  );
  const times = ['12:30', '12:31', '13:59', '14:00', '14:01'].map((time) => `2026-03-01T${time}:00Z`);
  assert.deepEqual(await statuses(db, times), ['active', 'active', 'active', 'inactive', 'inactive']);
  assert.deepEqual(await kinds(db), ['activate', 'deactivate', 'activate', 'deactivate']);
});

test('a start moved earlier after a closing, with the end as it was, changes nothing', async () => {
  await using db = await closed({ validity: null, scheduled_deactivation_time: '2026-03-01T12:00:00Z' });
  await edit(db, `scheduled_activation_time = '2026-03-01T09:00:00Z'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:30:00Z', '2026-03-02T12:30:00Z']), ['inactive', 'inactive']);
  assert.deepEqual(await kinds(db), ['activate', 'deactivate']);
});

test('a start moved earlier after a closing, and the end with it, is a window that was missed, once', async () => {
  await using db = await closed();
  await edit(db, `scheduled_activation_time = '2026-03-01T09:00:00Z'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:30:00Z', '2026-03-02T12:30:00Z']), ['inactive', 'inactive']);
  assert.deepEqual(await kinds(db), ['activate', 'deactivate', 'miss']);
});

test('an end extended after a closing opens the sale again exactly once', async () => {
  await using db = await closed();
  await edit(db, `validity = '4 hours'`);
  const times = ['12:30', '12:31', '13:59', '14:00', '14:01', '15:00'].map((time) => `2026-03-01T${time}:00Z`);
  assert.deepEqual(await statuses(db, times), ['active', 'active', 'active', 'inactive', 'inactive', 'inactive']);
  assert.deepEqual(await kinds(db), ['activate', 'deactivate', 'activate', 'deactivate']);
});

test('an end extended after a closing, and taken back, closes the sale again', async () => {
  await using db = await closed();
  await edit(db, `validity = '4 hours'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:30:00Z']), ['active']);
  await edit(db, `validity = '2 hours'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:31:00Z', '2026-03-01T14:00:00Z']), ['inactive', 'inactive']);
  assert.deepEqual(await kinds(db), ['activate', 'deactivate', 'activate', 'deactivate']);
});

for (const [what, set] of [
  ['its start is moved earlier', `scheduled_activation_time = '2026-03-01T09:59:00Z'`],
  ['its start is moved later', `scheduled_activation_time = '2026-03-01T10:01:00Z'`],
  ['its end is moved later', `validity = '3 hours'`],
  ['its end is moved earlier', `scheduled_deactivation_time = '2026-03-01T11:30:00Z'`],
] as const) {
  test(`a package switched off by hand inside its window stays off until ${what}`, async () => {
    await using db = await database();
    await db.insert('packages', sale());
    await tick(db, '2026-03-01T10:05:00Z');
    await edit(db, `status = 'inactive', is_active = false`);
    assert.deepEqual(await statuses(db, ['2026-03-01T10:30:00Z', '2026-03-01T11:00:00Z']), ['inactive', 'inactive']);
    await edit(db, set);
    const times = ['2026-03-01T11:01:00Z', '2026-03-01T11:29:00Z', '2026-03-01T13:00:00Z', '2026-03-01T13:01:00Z'];
    assert.deepEqual(await statuses(db, times), ['active', 'active', 'inactive', 'inactive']);
    assert.deepEqual(await kinds(db), ['activate', 'activate', 'deactivate']);
  });
}

test('a package switched off by hand stays off when other columns are edited', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:05:00Z');
  await edit(db, `status = 'inactive', is_active = false`);
  for (const set of [
    `name = 'Other', updated_at = '2026-03-01T10:20:00Z'`,
    `activated_at = null, deactivated_at = null`,
    `repeats = 'daily'`,
    `validity = '120 minutes'`,
    `validity = null, scheduled_deactivation_time = '2026-03-01T12:00:00Z'`,
    `enable_schedule = false`,
    `enable_schedule = true`,
  ]) {
    await edit(db, set);
    assert.deepEqual(await statuses(db, ['2026-03-01T11:00:00Z']), ['inactive'], set);
  }
  assert.deepEqual(await statuses(db, ['2026-03-01T12:00:00Z', '2026-03-02T10:00:00Z']), ['inactive', 'inactive']);
  assert.deepEqual(await kinds(db), ['activate']);
});

test('a package switched on by hand after its window is closed once its end is moved', async () => {
  await using db = await closed();
  await edit(db, `status = 'active', is_active = true`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:30:00Z']), ['active']);
  await edit(db, `validity = '150 minutes'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:31:00Z']), ['inactive']);
  await edit(db, `status = 'active', is_active = true, validity = '100 minutes'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:32:00Z']), ['inactive'], 'to an earlier time, too');
  assert.deepEqual(await kinds(db), ['activate', 'deactivate', 'deactivate', 'deactivate']);
});

test('a stop without a start that passed while the package was off leaves a later hand alone', async () => {
  await using db = await database();
  const stop = { scheduled_activation_time: null, validity: null, scheduled_deactivation_time: '2026-03-01T10:00:00Z' };
  await db.insert('packages', sale(stop));
  await tick(db, '2026-03-01T10:00:00Z');
  await edit(db, `status = 'active', is_active = true`);
  assert.deepEqual(await statuses(db, ['2026-03-01T10:01:00Z', '2026-03-02T10:01:00Z']), ['active', 'active']);
});

test('a monthly sale that a hand moves from the 31st to the last day of a short month repeats on that day', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'monthly', scheduled_activation_time: '2026-01-31T10:00:00Z' }));
  for (const at of ['2026-01-31T12:00:00Z', '2026-02-28T12:00:00Z']) await tick(db, at);
  assert.equal(iso((await theRow(db)).scheduled_activation_time), '2026-03-31T10:00:00Z');
  await edit(db, `scheduled_activation_time = '2026-04-30T10:00:00Z'`);
  await tick(db, '2026-04-30T12:00:00Z');
  assert.equal(iso((await theRow(db)).scheduled_activation_time), '2026-05-30T10:00:00Z');
});
