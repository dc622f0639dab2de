import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stop } from '../../src/base/stop.ts';
import type { Job } from '../../src/job/define.ts';
import { job as packages } from '../../src/jobs/hotspot/packages.ts';
import { due, later, START, tick } from '../support/due-packages.ts';
import { database, type TestDatabase, type TickOptions } from '../support/harness.ts';

/** Jobs that run less often than the tick, and ticks that run more often. */

const everyFive: Job = { ...packages, everyMinutes: 5 };
const fiveMinutely = (db: TestDatabase, at: string, options: TickOptions = {}) =>
  db.tick(at, { jobs: { builtIn: [everyFive], names: 'all' }, ...options });

test('a job with a cadence of five minutes runs once a slot, however cron jitters', async () => {
  await using db = await database();
  const done: (number | undefined)[] = [];
  for (const at of ['10:00:02', '10:01:00', '10:04:59.9', '10:05:00.1', '10:09:59', '10:10:00']) {
    await due(db, 1, `- interval '1 hour'`);
    const result = await fiveMinutely(db, `2026-03-01T${at}Z`);
    done.push(result.jobs[0]?.changed.activate);
  }
  assert.deepEqual(done, [1, undefined, undefined, 3, undefined, 2]);
});

test('a dry run of a tick leaves out what the tick would', async () => {
  await using db = await database();
  await fiveMinutely(db, START);
  await due(db, 1);
  for (const dryRun of [true, false]) {
    const { jobs, skipped } = await fiveMinutely(db, later(1), { dryRun });
    assert.deepEqual([jobs, skipped.map(({ why }) => why)], [[], ['already done in this slot of 5 minutes']]);
  }
  const byHand = await fiveMinutely(db, later(1), { dryRun: true, by: 'somebody' });
  assert.deepEqual(byHand.jobs[0]!.changed, { activate: 1 });
});

test('asked for by name, a job runs whatever its slot', async () => {
  await using db = await database();
  await fiveMinutely(db, START);
  await due(db, 1);
  const result = await fiveMinutely(db, later(1), { by: 'somebody' });
  assert.deepEqual(result.jobs[0]!.changed, { activate: 1 });
});

test('the slot of a run that crashed is taken over by the next tick', async () => {
  await using db = await database();
  await due(db, 1);
  const slot = Date.parse(START) / 60_000;
  await db.query(
    `insert into scheduler.runs (job, slot, at, host, version) values ('packages', ${slot}, '${START}', 'gone', '0')`,
  );
  assert.deepEqual((await fiveMinutely(db, later(1))).jobs[0]!.changed, { activate: 1 });
  const [crashed, taken] = await db.query('select * from scheduler.runs order by id');
  assert.deepEqual([crashed!.finished_at, taken!.changed], [null, { activate: 1 }]);
  assert.ok(taken!.finished_at);
});

test('a slot with work left goes on in the next tick', async () => {
  await using db = await database();
  await due(db, 3);
  const stop = new Stop();
  stop.request('signal');
  const stopped = await fiveMinutely(db, START, { stop });
  assert.equal(stopped.exitCode, 75);
  assert.deepEqual((await fiveMinutely(db, later(1))).jobs[0]!.changed, { activate: 3 });
  // One that was stopped after a batch has a record.
  await due(db, 1);
  assert.equal((await fiveMinutely(db, later(2))).skipped.length, 1);
  await db.query('update scheduler.runs set work_left = true');
  assert.deepEqual((await fiveMinutely(db, later(3))).jobs[0]!.changed, { activate: 1 });
});

test('ticks in the same minute leave a record each', async () => {
  await using db = await database();
  await due(db, 1);
  await tick(db);
  await due(db, 2);
  await tick(db, later(0.5));
  const runs = await db.query('select changed from scheduler.runs order by id');
  assert.deepEqual(runs, [{ changed: { activate: 1 } }, { changed: { activate: 2 } }]);
});

test('no run ends before it begins, also one that found nothing due', async () => {
  await using db = await database();
  for (let n = 0; n < 5; n++) await db.tick();
  assert.deepEqual(await db.query('select id from scheduler.runs where finished_at < started_at'), []);
});
