import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { active, CAUSES, due, eachOnce, later, START, tick } from '../support/due-packages.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { SCHEMA } from '../support/schema.ts';

/** Runs that keep nothing, and runs at another time. */

/** Every row of every table. */
async function everything(db: TestDatabase) {
  const tables = await db.query(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('${SCHEMA}', 'scheduler') order by 1`,
  );
  const content: Record<string, unknown> = {};
  for (const { name } of tables) content[name] = await db.query(`select t::text, xmin::text from ${name} t order by 1`);
  return content;
}

test('a dry run leaves no trace, and reports what a run then does', async () => {
  await using db = await database();
  await due(db, 7);
  await db.query(`update packages set name = 'bad 1' where id = 3`);
  await db.query(`update packages set validity = 'banana' where id = 4`);
  await db.query(`update packages set status = 'active', activated_at = '2026-02-01', scheduled_activation_time = '2026-02-01',
    repeats = 'daily' where id = 5`);
  await db.query(CAUSES['a check constraint']!.sql);
  await db.query(
    `insert into special_packages (name, scheduled, auto_activate, schedule_date) values ('s', true, true, '2026-03-01')`,
  );
  const before = await everything(db);
  const listener = new pg.Client({ connectionString: db.url });
  await listener.connect();
  let heard = 0;
  listener.on('notification', () => heard++);
  await listener.query('listen "private-packages"');
  const dry = await db.tick(START, { dryRun: true, batchSize: 2 });
  await listener.query('select 1');
  await listener.end();
  assert.equal(heard, 0);
  assert.deepEqual(await everything(db), before);
  const real = await db.tick(START, { batchSize: 2 });
  const told = (result: typeof real) =>
    result.jobs.map(({ job, changed, failed, failures, lateSeconds }) => ({
      job,
      changed,
      failed,
      failures,
      lateSeconds,
    }));
  assert.deepEqual(told(dry), told(real));
  assert.equal(dry.exitCode, real.exitCode);
});

test('a dry run neither takes the lock nor waits for it', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`select pg_advisory_lock(hashtextextended('${SCHEMA}', 8314034311083879525))`);
  assert.deepEqual((await tick(db, START, { dryRun: true })).jobs[0]!.changed, { activate: 1 });
});

test('--at is the run’s now; a future one is for dry runs only', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`update packages set scheduled_activation_time = '2099-01-01T00:00:00Z'`);
  const refused = await db.cli(['tick', '--at', '2099-01-01T00:00:00Z']);
  assert.equal(refused.code, 2);
  assert.match(refused.err, /future/);
  const dry = await db.cli(['tick', '--dry-run', '--json', '--at', '2099-01-01T00:00:00Z']);
  assert.equal(dry.code, 0);
  assert.deepEqual(JSON.parse(dry.out).jobs[0].changed, { activate: 1 });
  assert.equal(await active(db), 0);
});

test('a clock that goes backwards harms nothing', async () => {
  await using db = await database();
  await due(db, 1);
  await tick(db, later(1));
  const before = await db.query('select * from packages');
  await tick(db, later(-1));
  await tick(db, later(0));
  assert.deepEqual(await db.query('select * from packages'), before);
  await eachOnce(db, 'activate', 1);
});
