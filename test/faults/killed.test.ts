import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadJobs } from '../../src/jobs/index.ts';
import { type CliOptions, database, type Finished, LAUNCHER, type TestDatabase } from '../support/harness.ts';
import { at, NOW } from '../support/hotspot-rows.ts';
import { killer } from '../support/killer.ts';
import * as ownStory from '../support/own-story.ts';
import { FIRST, STRIDE } from '../support/share.ts';
import {
  assertSame,
  fill,
  fillOutside,
  nextIds,
  type Outside,
  outside,
  remember,
  snapshot,
  untilGone,
} from '../support/world.ts';

/**
 * A runner is killed at every step of its way: just when a statement (a commit, say) has left, and when the server has
 * answered it. A later tick then leaves exactly what an undisturbed run would have left.
 */

const LATER = [0, 4, 20].map(at);

// Each job alone dies at every step; all in one tick at some: an odd number, so that both kinds of step are among them.
const SOME = 11;

async function world(db: TestDatabase, outside: Outside) {
  await fill(db, outside.nas);
  await fillOutside(db);
  return remember(db);
}

interface Story {
  times: string[];
  db: TestDatabase;
  outside: Outside;
  args: string[];
  only?: string[];
}

const run = ({ db, outside, args }: Story, more: CliOptions = {}): Promise<Finished> =>
  db.cli([...args, '--at', NOW, '--batch-size', '2', '--connections', '1'], {
    ...more,
    env: { ...outside.env, ...more.env },
  });

/** Answers false if the run ended before that step. */
async function runAndKill(story: Story, step: number, expectedCode: number | null): Promise<boolean> {
  let runner: ChildProcess | undefined;
  using way = await killer(story.db.programUrl, step, () => runner!.kill('SIGKILL'));
  const { code, err } = await run(story, {
    env: { DATABASE_URL: way.url },
    started: (child) => {
      runner = child;
    },
  });
  assert.equal(code, way.killed() ? null : expectedCode, err);
  return way.killed();
}

/** The router reports, in good time for the next tick, the end of each session that it was asked to end. */
const STOPS = `update radacct a set acctstoptime = '${NOW}', acctterminatecause = 'Admin-Reset'
  where acctstoptime is null and exists (
    select from session_disconnections d where d.radacct_id = a.radacctid and d.status = 'disconnected'
  )`;

/** The ticks of the next minutes; what was under way when a runner died is tried again 3 minutes later. */
async function ticks({ db, outside, only, times }: Story): Promise<void> {
  for (const time of times) {
    if (time !== times[0]) await db.query(STOPS);
    const result = await db.tick(time, { env: outside.env, batchSize: 2, ...(only && { only }) });
    assert.equal(result.locked, false);
    assert.deepEqual(
      result.jobs.filter((job) => job.error),
      [],
    );
  }
}

async function killAtEveryStep(story: Story, restore: () => Promise<void>, each = STRIDE) {
  const { db, outside } = story;
  await restore();
  const first = await run(story);
  assert.ok(first.code === 0 || first.code === 1, first.err);
  await ticks(story);
  const expected = await snapshot(db);

  let slowest = 0;
  let step = FIRST;
  for (; ; step += each) {
    await restore();
    const asked = outside.gateway.asked.length;
    if (!(await runAndKill(story, step, first.code))) break;
    slowest = Math.max(slowest, await untilGone(db));
    await nextIds(db);
    await ticks(story);
    assertSame(await snapshot(db), expected, `killed at step ${step}`);
    assertTried(outside.gateway.asked.slice(asked).map(({ body }) => JSON.parse(body)));
  }
  return { steps: step - 1, slowest: Math.round(slowest), expected };
}

/** An SMS under way when the runner died may leave again, but with the same reference, for the gateway to know it by. */
function assertTried(sent: { to: string; reference: string }[]) {
  const tries = new Map<string, number>();
  for (const { to, reference } of sent) tries.set(`${to} ${reference}`, (tries.get(`${to} ${reference}`) ?? 0) + 1);
  assert.ok(Math.max(0, ...tries.values()) <= 2, 'killed once, so tried twice at most');
  assert.equal(new Set(sent.map(({ to }) => to)).size, tries.size, 'the same reference each time');
}

describe('a runner killed at every step, and a tick later', { concurrency: 3 }, async () => {
  for (const job of await loadJobs()) {
    test(`${job.name}: all is as if nobody had been killed`, async (t) => {
      await using db = await database();
      await using there = await outside();
      const restore = await world(db, there);
      const before = await snapshot(db);
      const times = Object.values(job.rules).some((rule) => rule.outside) ? LATER : [NOW];
      const story = { db, outside: there, args: [job.name], only: [job.name], times };
      const { steps, slowest, expected } = await killAtEveryStep(story, restore);
      assert.ok(steps >= 24, `${steps} steps`);
      assert.notDeepEqual(expected, before, 'there was something to do');
      t.diagnostic(`${steps} steps; lock and rows were free after ${slowest} ms at most`);
    });
  }

  test('jobs of your own: all is as if nobody had been killed', async (t) => {
    await using db = await database();
    await using there = await outside();
    await ownStory.begun(db);
    await ownStory.fill(db, 2);
    const restore = await remember(db);
    const { steps, slowest, expected } = await killAtEveryStep(
      { db, outside: there, args: ['tick'], only: ownStory.OWN_JOBS, times: [NOW] },
      restore,
    );
    assert.ok(steps >= 40, `${steps} steps`);
    assert.equal(expected['public.bills']!.length, ownStory.expected(2).rents.bill);
    t.diagnostic(`${steps} steps; lock and rows were free after ${slowest} ms at most`);
  });

  test('the whole tick: all is as if nobody had been killed', async (t) => {
    await using db = await database();
    await using there = await outside();
    const restore = await world(db, there);
    const { steps, slowest } = await killAtEveryStep(
      { db, outside: there, args: ['tick'], times: LATER },
      restore,
      SOME,
    );
    t.diagnostic(`every ${SOME}th of ${steps} steps; lock and rows were free after ${slowest} ms at most`);
  });

  test('asked to end at any moment, it ends within two seconds, with 75 where work is left and nothing half done', async (t) => {
    await using db = await database();
    await using there = await outside();
    const restore = await world(db, there);
    const story = { db, outside: there, args: ['tick'], times: LATER };
    await restore();
    await run(story);
    await ticks(story);
    const expected = await snapshot(db);

    const codes = new Map<number | null, number>();
    for (let delay = 100; delay <= 1000; delay += 30) {
      await restore();
      const child = spawn(LAUNCHER, ['tick', '--at', NOW, '--batch-size', '2', '--connections', '1'], {
        cwd: '/',
        env: { PATH: '/usr/bin:/bin', DATABASE_URL: db.url, ...there.env },
        stdio: 'ignore',
      });
      const ended = once(child, 'exit');
      await sleep(delay);
      const asked = performance.now();
      child.kill('SIGTERM');
      const [code] = await ended;
      assert.ok(performance.now() - asked < 2000, `after ${delay} ms`);
      // Before it has begun there is nothing to end in order: the signal itself ends it.
      assert.ok([null, 0, 1, 75].includes(code), `${code} after ${delay} ms`);
      codes.set(code, (codes.get(code) ?? 0) + 1);
      await untilGone(db);
      await nextIds(db);
      if (code === 0 || code === 1) {
        const { jobs } = await db.tick(NOW, { env: there.env });
        const more = jobs.filter(({ changed, failed }) => failed > 0 || Object.keys(changed).length > 0);
        assert.deepEqual(more, [], 'whoever says that it is done has left nothing');
      }
      await ticks(story);
      assertSame(await snapshot(db), expected, `asked after ${delay} ms`);
    }
    t.diagnostic([...codes].map(([code, times]) => `${times} times ${code ?? 'before it began'}`).join(', '));
    assert.ok(codes.has(75));
  });

  test('asked to end while a statement lasts, it rolls that back and ends within two seconds with 75', async () => {
    await using db = await database();
    await db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, validity)
      values ('p', true, '${NOW}', '2 hours')`);
    await db.query(`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return new; end $$;
      create trigger slow before update on packages for each row execute function slow()`);
    const child = spawn(LAUNCHER, ['tick', '--at', NOW], {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin', DATABASE_URL: db.url },
      stdio: 'ignore',
    });
    const ended = once(child, 'exit');
    while (
      (await db.query(`select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`))
        .length === 0
    )
      await sleep(20);
    const asked = performance.now();
    child.kill('SIGTERM');
    assert.deepEqual(await ended, [75, null]);
    assert.ok(performance.now() - asked < 2000);
    await untilGone(db);
    assert.equal((await db.one('select status from packages')).status, 'inactive');
    assert.deepEqual(await db.events(), []);
  });
});
