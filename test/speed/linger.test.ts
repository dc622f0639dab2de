import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { DUE_ROWS } from '../support/due-rows.ts';
import { cli, database, type TestDatabase } from '../support/harness.ts';
import { goingOnSale, lateness, listenTo, startLingering } from '../support/lingering.ts';
import { proxy } from '../support/proxy.ts';
import { until } from '../support/until.ts';

/** A tick that stays for a while: how exact it is, what it heeds, and that it is in nobody's way. */

const changed = (db: TestDatabase) =>
  db.query(`select entity_id from scheduler.events where transition = 'activate' order by id`);

/** Until the first tick of a run is done: from then on it lingers. */
async function untilItLingers(db: TestDatabase): Promise<void> {
  const done = `select from scheduler.runs where 'vouchers' = any(idle) and finished_at is not null`;
  await until('it lingers', async () => (await db.query(done)).length > 0, 60_000);
}

interface Passed {
  jobs: { job: string; changed: Record<string, number>; failed: number; lateSeconds: number }[];
}

/** What --json prints: a line for each pass. */
const passes = (out: string): Passed[] =>
  out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
const activated = (out: string) =>
  passes(out)
    .flatMap(({ jobs }) => jobs)
    .reduce((all, { job, changed }) => all + (job === 'packages' ? (changed.activate ?? 0) : 0), 0);

/** Each change takes so long. */
const slow = (seconds: number) =>
  `create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(${seconds}); return new; end $$;
  create trigger slow before update on packages for each row execute function slow()`;

const backends = (db: TestDatabase) =>
  db.query(
    `select pid, state from pg_stat_activity where datname = current_database() and application_name like 'scheduler%'`,
  );

describe('tick --linger', { concurrency: 2 }, () => {
  test('does what comes due meanwhile when it does, and ends after the seconds given', async () => {
    await using db = await database();
    await using listener = await listenTo(db);
    const due = await goingOnSale(
      db,
      Array.from({ length: 13 }, (_, n) => 1.5 + n * 0.23),
    );
    const run = startLingering(db, 5);
    const { code, err, seconds } = await run.ended;
    assert.deepEqual([code, err], [0, '']);
    assert.ok(seconds >= 5 && seconds < 6.5, `${seconds} s`);
    const late = lateness(due, listener.heard);
    assert.ok(late[0]! >= 0, `never early: ${late}`);
    assert.ok(late[6]! < 350 && late.at(-1)! < 1000, `${late} ms late`);
  });

  test('notices within two seconds a row that is inserted or edited meanwhile', async () => {
    await using db = await database();
    await using listener = await listenTo(db);
    const [edited] = await goingOnSale(db, [3600]);
    const run = startLingering(db, 6);
    await untilItLingers(db);
    await sleep(1300);
    const began = Date.now();
    const [inserted] = await goingOnSale(db, [-1]);
    await db.query('update packages set scheduled_activation_time = now() where id = $1', [edited!.id]);
    const { code } = await run.ended;
    assert.equal(code, 0);
    for (const at of lateness(
      [inserted!, edited!].map(({ id }) => ({ id, due: began })),
      listener.heard,
    ))
      assert.ok(at < 2000, `${at} ms`);
  });

  test('does not hold the lock or a transaction while it sleeps: other runs do their work', async () => {
    await using db = await database();
    const run = startLingering(db, 5);
    await untilItLingers(db);
    let seen = 0;
    for (let look = 0; look < 40; look++) {
      const states = (await backends(db)).map(({ state }) => state);
      if (states.length > 0 && states.every((state) => state === 'idle')) seen++;
      await sleep(10);
    }
    assert.ok(seen > 30, `asleep ${seen} of 40 times`);
    // This job waits for its slot, so no pass of the lingering tick can be at it just then.
    await db.query(`insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctstoptime)
      values ('1', '1', 'somebody', '10.0.0.1', now(), now())`);
    const other = await db.cli(['accounting', '--json']);
    assert.deepEqual([JSON.parse(other.out).locked, other.code], [false, 0]);
    assert.equal((await db.query('select from scheduler.accounted')).length, 1);
    assert.equal((await run.ended).code, 0);
  });

  test('two that overlap hand over without a gap, and do everything once', async () => {
    await using db = await database();
    await using listener = await listenTo(db);
    const due = await goingOnSale(
      db,
      Array.from({ length: 50 }, (_, n) => 1.5 + n * 0.1),
    );
    const first = startLingering(db, 4, ['--json']);
    await sleep(2500);
    const second = startLingering(db, 5, ['--json']);
    const ends = [await first.ended, await second.ended];
    for (const { code, err } of ends) assert.deepEqual([code, err], [0, '']);
    const late = lateness(due, listener.heard);
    assert.ok(late.at(-1)! < 1500, `${late} ms late`);
    // Both had their part, and told of their own.
    const told = ends.map(({ out }) => activated(out));
    assert.ok(
      told.every((count) => count > 0),
      String(told),
    );
    assert.equal(told[0]! + told[1]!, 50);
  });

  test('one that finds the lock taken takes over when it is free', async () => {
    await using db = await database();
    await db.query(`begin; select pg_advisory_xact_lock(hashtextextended('public', 8314034311083879525))`);
    const due = await goingOnSale(db, [-1]).catch(() => []);
    const run = startLingering(db, 5);
    await sleep(2000);
    await db.query('commit');
    const { code, err } = await run.ended;
    assert.deepEqual([code, err, due.length], [0, '', 1]);
    assert.equal((await changed(db)).length, 1);
  });

  test('one that finds the lock taken for a moment does what came due in that moment after it', async () => {
    await using db = await database();
    await using listener = await listenTo(db);
    const due = await goingOnSale(db, [2, 3.5, 5]);
    const run = startLingering(db, 7);
    for (const { due: at } of due) {
      await sleep(at - 100 - Date.now());
      await db.query(`begin; select pg_advisory_xact_lock(hashtextextended('public', 8314034311083879525))`);
      await sleep(at + 100 - Date.now());
      await db.query('commit');
    }
    const { code, err } = await run.ended;
    assert.deepEqual([code, err], [0, '']);
    const late = lateness(due, listener.heard);
    assert.ok(late[1]! < 750 && late[2]! >= 100, `${late} ms late`);
  });

  test('SIGTERM ends it within two seconds, with 0 when nothing is left', async () => {
    await using db = await database();
    await goingOnSale(db, [-1]);
    const run = startLingering(db, 60);
    await untilItLingers(db);
    await sleep(500);
    const began = performance.now();
    run.kill('SIGTERM');
    const { code, err } = await run.ended;
    assert.deepEqual([code, err], [0, '']);
    assert.ok(performance.now() - began < 2000);
    assert.equal((await changed(db)).length, 1);
  });

  test('SIGTERM during one of its passes ends it with 75, and the rest stays', async () => {
    await using db = await database();
    await db.query(slow(0.05));
    const run = startLingering(db, 60, ['--batch-size', '2']);
    await untilItLingers(db);
    await goingOnSale(
      db,
      Array.from({ length: 100 }, () => 0.1),
    );
    await until('the first change', async () => (await changed(db)).length > 0, 60_000);
    const began = performance.now();
    run.kill('SIGTERM');
    const { code, err } = await run.ended;
    assert.equal(code, 75);
    assert.match(err, /Stopped by the signal with work left/);
    assert.ok(performance.now() - began < 2000);
    const done = (await changed(db)).length;
    assert.ok(done > 0 && done < 100, String(done));
  });

  test('a pass that reaches its --timeout is gone on with, by every job that had to wait', async () => {
    await using db = await database();
    await db.query(slow(0.2));
    await goingOnSale(
      db,
      Array.from({ length: 60 }, () => -1),
    );
    const run = startLingering(db, 100, ['--batch-size', '2', '--timeout', '2']);
    await until('all changes', async () => (await changed(db)).length === 60, 60_000);
    const latest = 'select distinct on (job) * from scheduler.runs order by job, id desc';
    const left = `select job from (${latest}) as run where work_left or finished_at is null`;
    await until('no work left', async () => (await db.query(left)).length === 0, 60_000);
    run.kill('SIGTERM');
    const { code, err } = await run.ended;
    assert.deepEqual([code, err], [0, '']);
    assert.equal((await changed(db)).length, 60);
    assert.ok((await db.query('select from scheduler.runs where work_left')).length > 0, 'no pass reached its timeout');
  });

  test('heeds a stop while it lingers', async () => {
    await using db = await database();
    const run = startLingering(db, 5);
    await untilItLingers(db);
    await goingOnSale(db, [2.5]);
    await db.cli(['stop', 'packages', '--reason', 'stock-taking']);
    const { code, err } = await run.ended;
    assert.deepEqual([code, err], [0, '']);
    assert.deepEqual(await changed(db), []);
  });

  test('a database that goes away and comes back is found again, and what came due is done', async () => {
    await using db = await database();
    using way = await proxy(db.tcpUrl);
    const run = startLingering(db, 7, [], { DATABASE_URL: way.url });
    await untilItLingers(db);
    const due = await goingOnSale(db, [1]);
    way.cut();
    await sleep(2500);
    assert.deepEqual(await changed(db), []);
    way.mend();
    const { code, err } = await run.ended;
    assert.equal(code, 0);
    assert.equal(err.match(/tries again every second/g)?.length, 1, err);
    assert.deepEqual(await changed(db), [{ entity_id: due[0]!.id }]);
  });

  test('a database that stays away ends it with 69, and what was done before is told', async () => {
    await using db = await database();
    using way = await proxy(db.tcpUrl);
    await goingOnSale(db, [-1]);
    const run = startLingering(db, 9, ['--json'], { DATABASE_URL: way.url });
    await untilItLingers(db);
    await sleep(500);
    way.cut();
    const { code, out, err } = await run.ended;
    assert.equal(code, 69, err);
    assert.equal(activated(out), 1);
  });

  test('a connection whose other end vanished does not keep it beyond its time', async () => {
    await using db = await database();
    using way = await proxy(db.tcpUrl);
    const run = startLingering(db, 6, [], { DATABASE_URL: way.url });
    await untilItLingers(db);
    way.freeze();
    const { code, seconds } = await run.ended;
    assert.equal(code, 69);
    assert.ok(seconds < 9, `${seconds} s`);
  });

  test('nobody there from the beginning: it ends with 69', async () => {
    const began = performance.now();
    const { code, err } = await cli(['tick', '--linger', '2'], {
      env: { DATABASE_URL: 'postgresql://u:secret@127.0.0.1:1/d' },
    });
    assert.equal(code, 69);
    assert.match(err, /cannot be reached/);
    assert.doesNotMatch(err, /secret/);
    assert.ok(performance.now() - began < 8000);
  });

  test('each pass that did something is reported, and is a run in the history', async () => {
    await using db = await database();
    await goingOnSale(db, [-60, 1.5, 2.2]);
    await db.query(`insert into packages (name, enable_schedule, status, scheduled_activation_time, validity)
      values ('bad', true, 'inactive', clock_timestamp() + interval '3 seconds', 'soon')`);
    const { code, out } = await startLingering(db, 6, ['--json']).ended;
    assert.equal(code, 1);
    const reported = passes(out).flatMap(({ jobs }) => jobs.filter(({ job }) => job === 'packages'));
    const busy = reported.filter(({ changed, failed }) => changed.activate || failed > 0);
    assert.ok(busy.length > 1);
    assert.equal(activated(out), 3);
    assert.equal(
      busy.reduce((all, { failed }) => all + failed, 0),
      1,
    );
    assert.ok(busy[0]!.lateSeconds >= 60);
    const runs = await db.query(`select changed, failed from scheduler.runs where job = 'packages' order by id`);
    assert.deepEqual(
      runs.map(({ changed, failed }) => [changed.activate ?? 0, failed]),
      busy.map(({ changed, failed }) => [changed.activate ?? 0, failed]),
    );
  });

  test('a job with a longer cadence waits for its next slot', async () => {
    await using db = await database();
    // Not across the beginning of a slot.
    const slotMs = 300_000;
    if (Date.now() % slotMs > slotMs - 10_000) await sleep(slotMs - (Date.now() % slotMs));
    const run = startLingering(db, 4);
    await untilItLingers(db);
    await db.query(DUE_ROWS.accounting!.sync!.make);
    assert.equal((await run.ended).code, 0);
    assert.deepEqual(await db.query('select * from scheduler.accounted'), []);
    await db.cli(['accounting']);
    assert.equal((await db.query('select * from scheduler.accounted')).length, 1);
  });

  test('a job stopped by an error is left to the next tick, and the others go on', async () => {
    await using db = await database();
    const run = startLingering(db, 10);
    await untilItLingers(db);
    await db.query('drop index vouchers_to_expire; alter table vouchers alter column expires_at type text');
    const due = await goingOnSale(db, [1, 2]);
    const { code, err } = await run.ended;
    assert.equal(code, 78, err);
    const lines = err.trimEnd().split('\n');
    assert.ok(lines.every((line) => line.includes('vouchers')));
    // Where a minute began meanwhile, its tick has met the error, too.
    const stopped = await db.query('select slot from scheduler.runs where error is not null');
    assert.equal(new Set(stopped.map(({ slot }) => slot)).size, lines.length, err);
    assert.equal((await changed(db)).length, due.length);
  });

  test('a table that somebody keeps locked meanwhile holds back its own job alone', async () => {
    await using db = await database();
    const application = new pg.Client({ connectionString: db.url });
    await application.connect();
    try {
      const run = startLingering(db, 10);
      await untilItLingers(db);
      await application.query('begin; lock table special_packages in access exclusive mode');
      await goingOnSale(db, [0.5]);
      const { code, err } = await run.ended;
      assert.equal(code, 75);
      assert.match(err, /special-packages was interrupted by the database: .*lock timeout/);
      assert.equal((await changed(db)).length, 1);
    } finally {
      await application.end();
    }
  });

  test('figures for Prometheus count each change once, and the run as one tick', async () => {
    await using db = await database();
    const folder = mkdtempSync(join(tmpdir(), 'sch-linger-'));
    try {
      const file = join(folder, 'scheduler.prom');
      await goingOnSale(db, [-1, 2, 2.5]);
      const run = startLingering(db, 5, ['--metrics-file', file]);
      await sleep(3800);
      const midway = readFileSync(file, 'utf8');
      assert.match(midway, /^scheduler_transitions_total\{job_name="packages",transition="activate"\} 3$/m);
      assert.doesNotMatch(midway, /scheduler_ticks_total\{/);
      assert.equal((await run.ended).code, 0);
      const text = readFileSync(file, 'utf8');
      assert.match(text, /^scheduler_transitions_total\{job_name="packages",transition="activate"\} 3$/m);
      assert.match(text, /^scheduler_ticks_total\{exit_code="0"\} 1$/m);
      assert.match(text, /^scheduler_tick_duration_seconds 5\.\d+$/m);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('cannot be a dry run or at another time, and lasts an hour at most', async () => {
    await using db = await database();
    for (const [args, sentence] of [
      [['--dry-run'], /^scheduler tick: option '--linger <seconds>' cannot be used with option '--dry-run'/],
      [['--at', '2026-03-01'], /^scheduler tick: option '--linger <seconds>' cannot be used with option '--at <time>'/],
    ] as const) {
      const { code, err } = await db.cli(['tick', '--linger', '5', ...args]);
      assert.equal(code, 2);
      assert.match(err, sentence);
    }
    for (const seconds of ['0', '3601', '1.5', 'long']) {
      const { code, err } = await db.cli(['tick', '--linger', seconds]);
      assert.equal(code, 2);
      assert.match(err, /Valid: from 1 s to 1 h/);
    }
  });
});
