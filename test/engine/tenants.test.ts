import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../support/harness.ts';

/** Many tenants: the same tables in a schema each. */

const NAMES = ['ts_a', 'ts_b', 'ts_c'];

/** Schemas with the tables of some jobs, as an application makes them. */
async function withTenants(db: TestDatabase, names = NAMES, tables = ['packages', 'vouchers']): Promise<void> {
  for (const name of names) {
    await db.query(`create schema ${name}`);
    for (const table of tables) await db.query(`create table ${name}.${table} (like public.${table} including all)`);
  }
}

const onSale = (db: TestDatabase, tenant: string, id = 77) =>
  db.query(
    `insert into ${tenant}.packages (id, name, enable_schedule, scheduled_activation_time, validity) values ($1, $2, true, now() - interval '1 minute', '30 days')`,
    [id, `of ${tenant}`],
  );

const tick = async (db: TestDatabase, args: string[] = []) => {
  const { code, out, err } = await db.cli(['tick', '--tenants', 'ts_*', '--json', ...args]);
  return { code, err, result: JSON.parse(out) };
};

test('a tick does the same row of every tenant once, and idle ones leave one row', async () => {
  await using db = await database();
  await withTenants(db);
  await onSale(db, 'ts_a');
  await onSale(db, 'ts_c');
  const first = await tick(db);
  assert.deepEqual([first.code, first.err], [0, '']);
  assert.equal(first.result.idle, 1);
  assert.deepEqual(first.result.tenants.map((each: { tenant: string }) => each.tenant).sort(), ['ts_a', 'ts_c']);
  const events = await db.query('select tenant, entity_id, transition from scheduler.events order by tenant');
  assert.deepEqual(events, [
    { tenant: 'ts_a', entity_id: '77', transition: 'activate' },
    { tenant: 'ts_c', entity_id: '77', transition: 'activate' },
  ]);
  const idle = () =>
    db.query(`select tenant, apart, idle from scheduler.runs where job is null order by tenant nulls last, id`);
  assert.deepEqual(
    (await idle()).map(({ tenant, apart }) => [tenant, apart?.sort()]),
    [
      ['ts_a', undefined],
      ['ts_c', undefined],
      [null, ['ts_a', 'ts_c']],
    ],
  );
  await tick(db);
  assert.equal((await idle()).length, 4);
});
