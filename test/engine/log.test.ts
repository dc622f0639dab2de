import assert from 'node:assert/strict';
import { test } from 'node:test';
import { due, RAISE, START } from '../support/due-packages.ts';
import { database, type TestDatabase } from '../support/harness.ts';

/** The last lines of a job tell how it ended, and a dry run says what would happen. */

const messages = async (db: TestDatabase, args: string[] = []): Promise<string[]> => {
  const { err } = await db.cli(['packages', '--at', START, ...args], { env: { SCHEDULER_LOG_LEVEL: 'info' } });
  return err
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).msg);
};

test('a job says that it completed, unless rows failed', async () => {
  await using db = await database();
  await due(db, 2);
  assert.equal((await messages(db)).at(-1), 'ProcessScheduledPackages job completed successfully');
  await db.query(`${RAISE} create trigger refuse before update on packages for each row execute function refuse();
    insert into packages (name, enable_schedule, scheduled_activation_time, validity) values ('bad', true, '${START}', '1 hour')`);
  assert.equal((await messages(db)).at(-1), 'ProcessScheduledPackages job ended: 1 row failed');
});

test('a job that had to stop says so', async () => {
  await using db = await database();
  await due(db, 60);
  await db.query(`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.1); return new; end $$;
    create trigger slow before update on packages for each row execute function slow()`);
  const said = await messages(db, ['--timeout', '2', '--batch-size', '2']);
  assert.ok(said.includes('packages stopped with work left'), said.join('\n'));
  assert.ok(!said.some((message) => message.includes('completed')), said.join('\n'));
});

test('a dry run says of each change that it would happen', async () => {
  await using db = await database();
  await due(db, 1);
  assert.deepEqual(await messages(db, ['--dry-run']), [
    'ProcessScheduledPackages job started',
    'Found packages to activate',
    'Would happen: Package activated',
    'Would happen: ProcessScheduledPackages job completed successfully',
  ]);
  const { out } = await db.cli(['packages', '--at', START, '--dry-run']);
  assert.match(out, /^Dry run: a run would do this now\. Nothing was changed\.\n/);
});

test('one line gives the count and a reason, if more than a hundred rows of a batch fail', async () => {
  await using db = await database();
  await due(db, 150);
  await db.query(`update packages set validity = 'banana'`);
  const { err } = await db.cli(['packages', '--at', START]);
  const [line, ended, ...more] = err
    .trimEnd()
    .split('\n')
    .map((each) => JSON.parse(each));
  assert.deepEqual([line.level, line.msg, more], ['error', 'packages: 150 rows failed to activate', []]);
  assert.match(line.error, /banana/);
  assert.equal(ended.msg, 'ProcessScheduledPackages job ended: 150 rows failed');
  assert.equal((await db.query('select from scheduler.failures')).length, 150);
});
