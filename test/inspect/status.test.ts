import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CliOptions, database, type TestDatabase } from '../support/harness.ts';

const due = { name: 'Weekend Special', enable_schedule: true, scheduled_activation_time: '2026-03-01T10:00:00Z' };
const bad = { ...due, validity: 'banana' };

async function json(db: TestDatabase, args: string[], options?: CliOptions) {
  const { code, out, err } = await db.cli([...args, '--json'], options);
  assert.equal(code, 0, err);
  assert.equal(out.trim().split('\n').length, 1, 'one JSON document');
  return JSON.parse(out);
}

const jobOf = (status: { jobs: { job: string }[] }, name: string) =>
  // biome-ignore lint/suspicious/noExplicitAny: a test reads the JSON as its user does
  status.jobs.find((each) => each.job === name) as any;

const age = (db: TestDatabase, interval: string) =>
  db.query(
    `update scheduler.runs set started_at = started_at - $1::interval, finished_at = finished_at - $1::interval`,
    [interval],
  );

// ── status

test('status tells whether the scheduler runs, how often, and when next', async () => {
  await using db = await database();
  await db.cli(['tick']);
  const before = Date.now();
  const status = await json(db, ['status']);
  assert.equal(status.message, 'Scheduler is running');
  assert.equal(status.scheduler.isRunning, true);
  assert.equal(status.scheduler.intervalMinutes, 1);
  assert.match(status.scheduler.nextCheck, /^\d{4}-\d\d-\d\dT\d\d:\d\d:00Z$/);
  const wait = Date.parse(status.scheduler.nextCheck) - before;
  assert.ok(wait > -2000 && wait <= 60_000, `in ${wait} ms`);
});

test('without any tick it is not running, and says so; runs by hand do not count', async () => {
  await using db = await database();
  const never = await json(db, ['status']);
  assert.deepEqual(never.scheduler, { isRunning: false, intervalMinutes: 1, nextCheck: null });
  assert.match(
    never.message,
    /^Scheduler is not running: no tick has ever come; check that cron or the timer calls "scheduler tick"$/,
  );
  await db.insert('packages', due);
  await db.cli(['packages']);
  const byHand = await json(db, ['status']);
  assert.equal(byHand.message, never.message);
  assert.equal(jobOf(byHand, 'packages').state, 'no tick');
  assert.match(jobOf(byHand, 'packages').lastRun.by, /@/);
});

test('after three intervals without a tick it is not running, and says since when', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await age(db, '2 minutes 30 seconds');
  assert.equal((await json(db, ['status'])).scheduler.isRunning, true);
  await age(db, '40 seconds');
  const status = await json(db, ['status']);
  const { at } = await db.one('select scheduler.iso(max(started_at)) as at from scheduler.runs');
  assert.deepEqual(status.scheduler, { isRunning: false, intervalMinutes: 1, nextCheck: null });
  // The rows of one tick were written within a millisecond.
  assert.match(status.message, /^Scheduler is not running: no tick has come since \S+Z; check that cron/);
  assert.ok(status.message.includes(at.slice(0, 19)), status.message);
});

// ── status --check

async function check(db: TestDatabase, env: Record<string, string> = {}) {
  const { code, out } = await db.cli(['status', '--check', '--json'], { env });
  const { attention } = JSON.parse(out) as { attention: string[] };
  assert.equal(code, attention.length > 0 ? 1 : 0);
  return attention;
}

test('--check ends with 1 when no tick comes, and says so', async () => {
  await using db = await database();
  assert.equal((await db.cli(['status'])).code, 0);
  const never = await db.cli(['status', '--check']);
  assert.equal(never.code, 1);
  assert.match(
    never.out,
    /\nYou have to look:\nScheduler is not running: no tick has ever come; check that cron .*\.\n$/,
  );
  await db.cli(['tick']);
  assert.deepEqual(await check(db), []);
  await age(db, '4 minutes');
  assert.match((await check(db)).join(), /no tick has come since/);
});

test('--check leaves a fresh pause alone, and asks about one that is older than a day', async () => {
  await using db = await database();
  await db.cli(['stop', '--reason', 'moving the database']);
  assert.deepEqual(await check(db), []);
  await db.query(`update scheduler.controls set at = at - interval '23 hours'`);
  assert.deepEqual(await check(db), []);
  await db.query(`update scheduler.controls set at = at - interval '2 hours'`);
  const [only, ...others] = await check(db);
  assert.match(only!, /stopped by \S+ at \S+: moving the database, which is more than a day ago\.$/);
  assert.deepEqual(others, []);
});

test('--check asks for a person when rows are in quarantine, not while they are tried again', async () => {
  await using db = await database();
  await db.insert('packages', bad);
  await db.cli(['tick']);
  assert.deepEqual(await check(db), []);
  await db.query(`update scheduler.failures set quarantined_at = now(), next_attempt_at = 'infinity'`);
  assert.deepEqual(await check(db), ['packages has 1 row in quarantine: see "scheduler failures".']);
  assert.equal((await db.cli(['status'])).code, 0);
});

test('--check bears a hundred rows that fail, and asks for a person when there are more', async () => {
  await using db = await database();
  await db.cli(['tick']);
  const fail = (from: number, to: number) =>
    db.query(`insert into scheduler.failures (job, rule, entity_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
      select 'packages', 'activate', n, 1, 'x', now(), now(), now() from generate_series(${from}, ${to}) as n`);
  await fail(1, 100);
  assert.deepEqual(await check(db), []);
  await fail(101, 101);
  assert.deepEqual(await check(db), ['packages has 101 rows that fail: see "scheduler failures".']);
});

test('--check asks for a person when a job was stopped by an error', async () => {
  await using db = await database();
  await db.insert('packages', due);
  await db.query(
    'alter table packages alter column is_active drop default, alter column is_active type integer using 0',
  );
  await db.cli(['tick']);
  assert.match((await check(db)).join(), /packages was stopped by an error: The tables of packages do not fit/);
});

test('--check asks for a person when a job is no longer installed, until somebody stops it', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.query('alter table vouchers drop column code');
  assert.deepEqual(await check(db), ['vouchers is no longer installed: vouchers.code missing.']);
  await db.cli(['stop', 'vouchers', '--reason', 'we sell none']);
  assert.deepEqual(await check(db), []);
});

test('--check asks for a person when rows have been due for more than ten minutes', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.insert('packages', { ...due, scheduled_activation_time: new Date(Date.now() - 9 * 60_000) });
  assert.deepEqual(await check(db), []);
  await db.insert('packages', { ...due, scheduled_activation_time: new Date(Date.now() - 12 * 60_000) });
  assert.match((await check(db)).join(), /^packages has 2 rows due, the oldest for 12 min( \d+ s)?\.$/);
  await db.cli(['tick']);
  assert.deepEqual(await check(db), []);
});

test('status tells what is due of each job, and since when', async () => {
  await using db = await database();
  const nothing = jobOf(await json(db, ['status']), 'packages').backlog;
  assert.deepEqual(nothing, { rows: 0, more: false, since: null, seconds: null });
  await db.insert('packages', due);
  await db.insert('packages', { ...due, scheduled_activation_time: '2026-03-01T11:00:00Z' });
  await db.insert('packages', { ...due, scheduled_activation_time: new Date(Date.now() + 3_600_000) });
  const { rows, since } = jobOf(await json(db, ['status']), 'packages').backlog;
  assert.deepEqual([rows, since], [2, '2026-03-01T10:00:00Z']);
  assert.match((await db.cli(['status'])).out, /^packages +no tick .*2 rows due for/m);
});

test('status counts a thousand due rows of a rule, and says so where there are more', async () => {
  await using db = await database();
  const backlog = async () => {
    const { rows, more } = jobOf(await json(db, ['status']), 'packages').backlog;
    const { out } = await db.cli(['status']);
    return [rows, more, /^packages +no tick .*?(\d+ rows(?: or more)?) due for/m.exec(out)![1]];
  };
  await db.query(`insert into packages (name, enable_schedule, scheduled_activation_time)
    select 'p', true, '2026-03-01' from generate_series(1, 1000)`);
  assert.deepEqual(await backlog(), [1000, false, '1000 rows']);
  await db.insert('packages', due);
  assert.deepEqual(await backlog(), [1000, true, '1000 rows or more']);
  await db.cli(['stop', 'special-packages']);
  assert.match((await db.cli(['doctor'])).out, /^warning +backlog .*packages: 1000 rows or more due/m);
});

test('each job tells of its last run: when, what it did, how late; and of the rows that fail', async () => {
  await using db = await database();
  await db.insert('packages', { ...due, scheduled_activation_time: new Date(Date.now() - 65_000) });
  for (const id of [8, 9, 10]) await db.insert('packages', { ...bad, id });
  await db.cli(['tick']);
  await db.query(
    `update scheduler.failures set quarantined_at = now(), next_attempt_at = 'infinity' where entity_id = '9'`,
  );
  const packages = jobOf(await json(db, ['status']), 'packages');
  assert.equal(packages.state, 'running');
  assert.equal(packages.why, null);
  assert.deepEqual(packages.lastRun.changed, { activate: 1 });
  assert.equal(packages.lastRun.failed, 3);
  assert.ok(packages.lastRun.lateSeconds >= 65 && packages.lastRun.lateSeconds < 95, packages.lastRun.lateSeconds);
  assert.deepEqual([packages.failing, packages.quarantined], [2, 1]);

  const { out } = await db.cli(['status']);
  assert.match(out, /^Scheduler is running; the next tick is due at \d{4}-\d\d-\d\d \d\d:\d\d:00Z\.\n/);
  assert.match(
    out,
    /^packages +quarantine +\d+ s ago +activate 1 +1 min \d+ s .*Z +1 row in quarantine; 2 rows failing/m,
  );
  assert.match(out, /"scheduler failures"/);
});

test('a job whose tables are not there says what is missing', async () => {
  await using db = await database({ empty: true });
  await db.query('create table packages (id integer, parcel text)');
  await db.migrate();
  await db.cli(['tick']);
  const status = await json(db, ['status']);
  assert.equal(jobOf(status, 'packages').state, 'not installed');
  assert.match(jobOf(status, 'packages').why, /packages\.enable_schedule, .*missing$/);
  assert.equal(status.scheduler.isRunning, true);
  const { out } = await db.cli(['status']);
  assert.match(
    out,
    /^2 built-in jobs are not installed: packages, payments\. "scheduler doctor" says what is missing\.$/m,
  );
  assert.doesNotMatch(out, /^(packages|payments) /m);
});

test('a job that the environment switches off says which variable does', async () => {
  await using db = await database();
  const env = { ENABLE_SUBSCRIPTION_SCHEDULER: 'false' };
  await db.cli(['tick'], { env });
  const status = await json(db, ['status'], { env });
  assert.equal(jobOf(status, 'subscriptions').state, 'switched off');
  assert.equal(jobOf(status, 'subscriptions').why, 'by ENABLE_SUBSCRIPTION_SCHEDULER');
  assert.equal(status.message, 'Scheduler is running');
});

// ── start, stop

test('stop pauses everything, with who, when and why; start ends that; all of it stays on record', async () => {
  await using db = await database();
  await db.cli(['tick']);
  const stopped = await json(db, ['stop', '--reason', 'moving the database']);
  assert.deepEqual(stopped, {
    message: 'Scheduler stopped',
    scheduler: { isRunning: false, intervalMinutes: 1, nextCheck: null },
  });
  const status = await json(db, ['status']);
  assert.deepEqual(status.scheduler, stopped.scheduler);
  assert.match(status.message, /^Scheduler was stopped by \w+@\S+ at \d{4}-.*Z: moving the database$/);
  assert.equal(jobOf(status, 'packages').state, 'paused');
  assert.equal(jobOf(status, 'packages').paused.reason, 'moving the database');

  await db.insert('packages', due);
  assert.equal((await db.cli(['tick'])).code, 0);
  assert.equal((await db.one('select status from packages')).status, 'inactive');

  const started = await json(db, ['start']);
  assert.equal(started.message, 'Scheduler started');
  assert.equal(started.scheduler.isRunning, true);
  assert.ok(started.scheduler.nextCheck);
  await db.cli(['tick']);
  assert.equal((await db.one('select status from packages')).status, 'active');

  const controls = await db.query('select job, action, by, reason from scheduler.controls order by id');
  assert.deepEqual(
    controls.map(({ job, action, reason }) => [job, action, reason]),
    [
      [null, 'stop', 'moving the database'],
      [null, 'start', null],
    ],
  );
  for (const { by } of controls) assert.match(by, /^\w+@\S+$/);
});

test('status and next of one job that is stopped do not say that the scheduler is', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.cli(['stop', 'packages', '--reason', 'price error']);
  const status = await db.cli(['status', 'packages']);
  assert.match(status.out, /^Scheduler is running; .*\n\n.*\npackages +paused .*price error/);
  assert.doesNotMatch((await db.cli(['next', 'packages'])).out, /Scheduler was stopped/);
});

test('one job is stopped and started without the others, and the JSON is about that job', async () => {
  await using db = await database();
  await db.cli(['tick']);
  const stopped = await json(db, ['stop', 'packages', '--reason', 'price error']);
  assert.deepEqual(stopped, {
    message: 'packages stopped',
    scheduler: { isRunning: false, intervalMinutes: 1, nextCheck: null },
  });
  const status = await json(db, ['status']);
  assert.equal(status.message, 'Scheduler is running');
  assert.equal(jobOf(status, 'packages').state, 'paused');
  assert.equal(jobOf(status, 'special-packages').state, 'running');
  assert.match((await db.cli(['status'])).out, /^packages +paused .* by \w+@\S+: price error$/m);
  const started = await json(db, ['start', 'packages']);
  assert.equal(started.message, 'packages started');
  assert.equal(started.scheduler.isRunning, true);
});

test('the subscription scheduler is spoken of as its admins know it', async () => {
  await using db = await database();
  const { everyMinutes } = (await import('../../src/jobs/subscriptions.ts')).job;
  const started = await json(db, ['start', 'subscriptions']);
  assert.equal(started.message, 'Subscription scheduler started');
  assert.equal(started.scheduler.intervalMinutes, everyMinutes);
  const stopped = await json(db, ['stop', 'subscriptions', '--reason', 'refunds first']);
  assert.deepEqual(stopped, {
    message: 'Subscription scheduler stopped',
    scheduler: { isRunning: false, intervalMinutes: everyMinutes, nextCheck: null },
  });
});

test('a start that no tick follows does not count for longer than three intervals', async () => {
  await using db = await database();
  await db.cli(['stop', '--reason', 'x']);
  assert.equal((await json(db, ['start'])).scheduler.isRunning, true);
  await db.query(`update scheduler.controls set at = at - interval '4 minutes'`);
  const status = await json(db, ['status']);
  assert.equal(status.scheduler.isRunning, false);
  assert.match(status.message, /no tick has ever come/);
});

test('the latest word counts: a job started after all were stopped runs', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.cli(['stop', '--reason', 'x']);
  await db.cli(['start', 'packages']);
  const status = await json(db, ['status']);
  assert.equal(jobOf(status, 'packages').state, 'running');
  assert.equal(jobOf(status, 'special-packages').state, 'paused');
  assert.equal(status.scheduler.isRunning, true);
});

test('in words, stop says how to start again', async () => {
  await using db = await database();
  assert.equal(
    (await db.cli(['stop', 'packages', '--reason', 'x'])).out,
    'packages stopped.\nStart it again with "scheduler start packages".\n',
  );
  assert.equal((await db.cli(['start', 'packages'])).out, 'packages started.\n');
  assert.equal(
    (await db.cli(['stop', '--reason', 'x'])).out,
    'Scheduler stopped.\nStart it again with "scheduler start".\n',
  );
});

test('status has a line for each job: what is wrong with it, or when it last did something', async () => {
  await using db = await database();
  await db.insert('packages', due);
  await db.insert('special_packages', { name: 's', scheduled: true, auto_activate: true, schedule_date: '2020-01-01' });
  assert.equal((await db.cli(['tick'])).code, 0);
  await db.insert('packages', { ...due, validity: 'banana' });
  assert.equal((await db.cli(['tick'])).code, 1);
  await db.cli(['stop', 'vouchers', '--reason', 'the shop moves']);
  const { out } = await db.cli(['status']);
  assert.match(out, /^11 jobs: 9 ok, 1 failing, 1 paused\.$/m);
  assert.match(out, /^packages +failing +\d+ s ago +activate 1 .* 1 row failing/m);
  assert.match(out, /^vouchers +paused .* by \S+@\S+: the shop moves$/m);
  assert.match(out, /^deductions +ok +\S+ \S+Z$/m);
  const one = (await db.cli(['status', 'vouchers'])).out;
  assert.match(one, /^vouchers +paused .*: the shop moves$/m);
  assert.doesNotMatch(one, /packages/);
  assert.match((await db.cli(['status', 'voucher'])).err, /"voucher" is not a job/);
});
