import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bind } from '../../src/db/bind.ts';
import { claim } from '../../src/engine/statements.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import {
  compiledFor,
  DUE,
  fill,
  JOBS,
  KINDS,
  looksAheadInVain,
  readsNothing,
  readsOnlyItsIndex,
  values,
} from '../support/plans.ts';
import { proxy } from '../support/proxy.ts';

/** Finding what is due must cost what is due, not what the table holds: each rule reads its own index and no other row. */

const ROWS = 20_000;

for (const [name, kind] of Object.entries(KINDS)) {
  test(`in ${name}, each rule reads the rows that are due and no other`, async () => {
    await using db = await fill(kind, ROWS, true);
    for (const job of JOBS) {
      const installed = await compiledFor(db, job, kind);
      for (const rule of installed.rules.filter(({ name }) => name !== 'go on')) {
        // A window that passed without a tick is in reach of "activate" too, until "miss" has dealt with it.
        const most = rule.name === 'activate' ? 2 * DUE : DUE;
        assert.equal(await readsOnlyItsIndex(db, kind, installed, rule, most), DUE);
      }
    }
  });

  test(`in ${name}, the next batch of a rule starts where the last one ended`, async () => {
    await using db = await fill(kind, ROWS, true);
    for (const job of JOBS) {
      const installed = await compiledFor(db, job, kind);
      for (const rule of installed.rules.filter(({ name }) => name !== 'go on')) {
        const bound = bind(claim(rule), { ...values(job, kind.dbZone), limit: 4 });
        const [last] = (await db.query(bound.text, bound.values)).slice(-1);
        const cursor = { from: last!.due_at.toISOString(), after: last!.id };
        const most = rule.name === 'activate' ? 2 * DUE : DUE;
        assert.equal(await readsOnlyItsIndex(db, kind, installed, rule, most - 4, {}, cursor), DUE - 4);
      }
    }
  });

  test(`in ${name}, an idle tick reads no row of any table`, async () => {
    await using db = await fill(kind, ROWS, false);
    for (const job of JOBS) await readsNothing(db, kind, job);
  });

  test(`in ${name}, looking whether anything comes due within two seconds reads no row of any table`, async () => {
    await using db = await fill(kind, ROWS, false);
    for (const job of JOBS) await looksAheadInVain(db, kind, job);
  });
}

const roundTrips = async (db: TestDatabase, command: string) => {
  using way = await proxy(db.tcpUrl);
  const { code, err } = await db.cli([command], { env: { DATABASE_URL: way.url } });
  assert.equal(code, 0, err);
  return way.roundTrips();
};

// To log in with a password.
const LOG_IN = 3;

test('an idle tick of all jobs sends four statements', async () => {
  await using db = await database();
  assert.equal((await roundTrips(db, 'tick')) - LOG_IN, 4);
  const { jobs } = await db.one('select cardinality(idle) as jobs from scheduler.runs');
  assert.ok(jobs > 5, 'it looked at all jobs');
});

test('a tick with one due row sends eight statements, however many jobs and rules there are', async () => {
  await using db = await database();
  await db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, validity)
    values ('P', true, now() - interval '1 hour', '1 day')`);
  assert.equal((await roundTrips(db, 'tick')) - 2 * LOG_IN, 8);
  assert.equal((await db.events()).length, 1);
  assert.deepEqual(await db.query('select job, cardinality(idle) > 5 as idle from scheduler.runs order by job'), [
    { job: 'packages', idle: null },
    { job: null, idle: true },
  ]);
});
