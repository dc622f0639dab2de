import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bind } from '../../src/db/client.ts';
import { claim } from '../../src/engine/statement.ts';
import { job as vouchers } from '../../src/jobs/hotspot/vouchers.ts';
import { job as packages } from '../../src/jobs/packages.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { DUE, fill, JOBS, KINDS, looksAheadInVain, readsNothing, readsOnlyItsIndex, values } from '../support/plans.ts';
import { proxy } from '../support/proxy.ts';

/** Finding what is due must cost what is due, not what the table holds: each rule reads its own index and no other row. */

const ROWS = 20_000;

for (const [name, kind] of Object.entries(KINDS)) {
  test(`in ${name}, each rule reads the rows that are due and no other`, async () => {
    await using db = await fill(kind, ROWS, true);
    for (const job of JOBS) {
      for (const rule of job.rules) {
        // What began and ended without a tick is in reach of "activate" too, until "miss" has dealt with it.
        const most = rule.name === 'activate' ? 2 * DUE : DUE;
        assert.equal(await readsOnlyItsIndex(db, kind, job, rule, most), DUE);
      }
    }
  });

  test(`in ${name}, the next batch of a rule starts where the last one ended`, async () => {
    await using db = await fill(kind, ROWS, true);
    for (const job of JOBS) {
      for (const rule of job.rules) {
        const bound = bind(claim(rule, kind.idType), { ...values(job, kind.dbZone), limit: 4 });
        const [last] = (await db.query(bound.text, bound.values)).slice(-1);
        const cursor = { from: last!.due_at.toISOString(), after: last!.id };
        const most = rule.name === 'activate' ? 2 * DUE : DUE;
        assert.equal(await readsOnlyItsIndex(db, kind, job, rule, most - 4, {}, cursor), DUE - 4);
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

// It begins, asks and ends.
const TRANSACTION = 3;

const roundTrips = async (db: TestDatabase, command: string) => {
  using way = await proxy(db.tcpUrl);
  const { code, err } = await db.cli([command], { env: { DATABASE_URL: way.url } });
  assert.equal(code, 0, err);
  return way.roundTrips();
};

test('an idle tick of all jobs goes to the database and back seven times, three of them to log in with a password', async () => {
  await using db = await database();
  assert.equal(await roundTrips(db, 'tick'), 7);
  const { jobs } = await db.one(`select count(*)::integer as jobs from scheduler.runs where finished_at is not null`);
  assert.ok(jobs > 5, 'it looked at all jobs');
});

test('where one rule of a job has work, its others cost one question, however many they are', async () => {
  await using db = await database();
  const voucher = "insert into vouchers (code, status, expires_at) values ('V', 'unused', now() - interval '1 hour')";
  const sale = `insert into packages (name, enable_schedule, scheduled_activation_time, validity)
    values ('P', true, now() - interval '1 hour', '1 day')`;
  await db.query(`${voucher}; ${sale}`);
  assert.equal(vouchers.rules.length, 1);
  assert.ok(packages.rules.length > 4);
  const onlyOne = await roundTrips(db, 'vouchers');
  assert.equal(await roundTrips(db, 'packages'), onlyOne + TRANSACTION);
  assert.equal((await db.events()).length, 1);
});
