import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { active, due, eachOnce, later, START, startTick, tick, withOwn } from '../support/due-packages.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { until } from '../support/until.ts';

/** A run that must end early, or whose connection breaks. */

const SLOW = (seconds: number) => `create function slow() returns trigger language plpgsql as $$
    begin perform pg_sleep(${seconds}); return new; end $$;
  create trigger slow before update on packages for each row execute function slow()`;

test('when the deadline passes, the batch at hand is finished and the rest stays', async () => {
  await using db = await database();
  await due(db, 200);
  await db.query(SLOW(0.05));
  const result = await tick(db, START, { batchSize: 2, timeoutSeconds: 2 });
  assert.equal(result.exitCode, 75);
  assert.equal(result.stopped, 'deadline');
  const done = await active(db);
  assert.ok(done >= 2 && done < 200 && done % 2 === 0, String(done));
  assert.equal((await db.one('select work_left from scheduler.runs')).work_left, true);
  await db.query('drop trigger slow on packages');
  await tick(db, later(1));
  await eachOnce(db, 'activate', 200);
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} ends the run after the batch at hand, and the rest stays`, async () => {
    await using db = await database();
    await due(db, 40);
    await db.query(SLOW(0.05));
    const { child, ended } = await startTick(db, ['--batch-size', '2']);
    child.kill(signal);
    assert.equal(await ended, 75);
    const done = await active(db);
    assert.ok(done < 40 && done % 2 === 0, String(done));
    await db.query('drop trigger slow on packages');
    await tick(db, later(1));
    await eachOnce(db, 'activate', 40);
  });
}

test('a deadline that passes during the last batch leaves no work', async () => {
  await using db = await database();
  await due(db, 10);
  await db.query(SLOW(0.3));
  const result = await tick(db, START, { batchSize: 10, timeoutSeconds: 2 });
  assert.deepEqual([result.exitCode, result.stopped], [0, undefined]);
  assert.equal(await active(db), 10);
  assert.equal((await db.one('select work_left from scheduler.runs')).work_left, false);
});

test('a deadline that passes during the batch of one rule leaves the work of the next', async () => {
  await using db = await database();
  await due(db, 10);
  await db.query(`insert into packages (name, status, enable_schedule, scheduled_activation_time, validity, opened_start, opened_end)
    select 'over', 'active', true, begins, '1 hour', begins, begins + interval '1 hour'
    from generate_series(1, 10), (select timestamptz '${START}' - interval '3 hours' as begins) as b`);
  await db.query(SLOW(0.3));
  const result = await tick(db, START, { batchSize: 10, timeoutSeconds: 2 });
  assert.deepEqual([result.exitCode, result.stopped], [75, 'deadline']);
  assert.equal(Object.values(result.jobs[0]!.changed).length, 1, 'one rule had its turn');
  assert.equal((await db.one('select work_left from scheduler.runs')).work_left, true);
});

test('a runner killed outright leaves nothing locked: within two seconds another one does the rest', async () => {
  await using db = await database();
  await due(db, 40);
  await db.query(SLOW(0.05));
  const { child, ended } = await startTick(db, ['--batch-size', '10']);
  child.kill('SIGKILL');
  await ended;
  await db.query('alter table packages disable trigger slow').catch(() => {});
  await sleep(2000);
  const result = await tick(db, later(1));
  assert.equal(result.locked, false);
  await eachOnce(db, 'activate', 40);
});

/** A tick of 20 rows whose connection of this name is ended in the middle of it. */
async function tickThatLoses(db: TestDatabase, name: string) {
  await due(db, 20);
  await db.query(SLOW(0.02));
  const running = tick(db, START, { batchSize: 2 });
  await until('four rows', async () => (await active(db)) >= 4, 60_000);
  await db.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = $1`,
    [name],
  );
  return running;
}

test('a connection lost during the run is opened again, and nothing is done twice', async () => {
  await using db = await database();
  const result = await tickThatLoses(db, 'scheduler');
  assert.equal(result.exitCode, 0);
  await eachOnce(db, 'activate', 20);
  const run = await db.one('select * from scheduler.runs');
  assert.deepEqual(run.changed, { activate: 20 });
});

test('a connection that breaks while something is sent is opened again', async () => {
  await using db = await database();
  let attempts = 0;
  const rows = await withOwn(db, (own) =>
    own.transaction(async (tx) => {
      attempts++;
      const answer = tx.query('select 1 as n');
      const broken = Object.assign(new Error('write EPIPE'), { code: 'EPIPE', errno: -32, syscall: 'write' });
      if (attempts === 1) (await own.client()).connection.stream.destroy(broken);
      return answer;
    }),
  );
  assert.deepEqual([rows, attempts], [[{ n: 1 }], 2]);
});

test('when the holder of the lock loses its connection, the work is done all the same', async () => {
  await using db = await database();
  const result = await tickThatLoses(db, 'scheduler lock');
  assert.deepEqual(result.jobs[0]!.changed, { activate: 20 });
  assert.equal(result.exitCode, 0);
  await eachOnce(db, 'activate', 20);
});
