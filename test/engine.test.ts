import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { readSettings } from '../src/config.ts';
import { Database } from '../src/db.ts';
import { dropFailures, listFailures, retryFailures } from '../src/failures.ts';
import type { Job } from '../src/job.ts';
import { job as packages } from '../src/jobs/packages.ts';
import { Log } from '../src/log.ts';
import { Stop } from '../src/stop.ts';
import { database, LAUNCHER, type TestDatabase, type TickOptions } from './harness.ts';

const START = '2026-03-01T10:00:00Z';
const later = (minutes: number) => new Date(Date.parse(START) + minutes * 60_000).toISOString();

/** So many packages due at START, named "good 1", "good 2", ... */
const due = (db: TestDatabase, rows: number, over = '') =>
  db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, validity)
    select 'good ' || n, true, timestamptz '${START}' ${over}, '2 hours' from generate_series(1, ${rows}) as n`);

const tick = (db: TestDatabase, at = START, options: TickOptions = {}) =>
  db.tick(at, { only: ['packages'], ...options });
const count = async (db: TestDatabase, from: string) => Number((await db.one(`select count(*) as n from ${from}`)).n);
const active = (db: TestDatabase) => count(db, `packages where status = 'active'`);
const failures = (db: TestDatabase) => db.query('select * from scheduler.failures order by entity_id::bigint');

async function withOwn<T>(db: TestDatabase, work: (own: Database) => Promise<T>): Promise<T> {
  const own = new Database(readSettings({}, {}, { databaseUrl: db.programUrl }), new Log('silent'));
  try {
    return await work(own);
  } finally {
    await own.close();
  }
}

/** Each row had its transition exactly once, and its event. */
async function eachOnce(db: TestDatabase, transition: string, rows: number) {
  const [seen] = await db.query(
    `select count(*)::integer as events, count(distinct entity_id)::integer as entities from scheduler.events where transition = $1`,
    [transition],
  );
  assert.deepEqual(seen, { events: rows, entities: rows });
}

// ---- Rows that wait

test('a row that needs what somebody else holds fails alone, and is done when it is free', async () => {
  await using db = await database();
  await due(db, 10);
  await db.query(`create table stock (name text primary key, sold integer not null default 0);
    insert into stock select name from packages;
    create function sell() returns trigger language plpgsql as $$
      begin update stock set sold = sold + 1 where name = new.name; return new; end $$;
    create trigger sell before update on packages for each row execute function sell()`);
  const holder = new pg.Client({ connectionString: db.url });
  await holder.connect();
  await holder.query(`begin; update stock set sold = 100 where name = 'good 4'`);
  const result = await tick(db);
  assert.deepEqual(result.jobs[0]!.changed, { activate: 9 });
  assert.deepEqual(
    (await failures(db)).map(({ entity_id, error }) => [entity_id, error]),
    [['4', 'canceling statement due to lock timeout']],
  );
  await holder.query('rollback');
  await holder.end();
  assert.deepEqual((await tick(db, later(5))).jobs[0]!.changed, { activate: 1 });
  await eachOnce(db, 'activate', 10);
});

// ---- Batches

test('due rows are changed batch after batch, oldest first, until none is left', async () => {
  await using db = await database();
  await due(db, 10, `- interval '1 hour' + n * interval '1 minute'`);
  const result = await tick(db, START, { batchSize: 3 });
  assert.deepEqual(result.jobs[0]!.changed, { activate: 10 });
  assert.equal(result.jobs[0]!.lateSeconds, 59 * 60);
  const order = (await db.events()).map(({ entity_id }) => Number(entity_id));
  assert.deepEqual(order, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  const batches = await db.one('select count(distinct xmin::text)::integer as n from scheduler.events');
  assert.equal(batches.n, 4);
});

test('rows due at the same instant are told apart by their id, at any batch size', async () => {
  for (const batchSize of [1, 4, 10, 11]) {
    await using db = await database();
    await due(db, 10);
    await tick(db, START, { batchSize });
    await eachOnce(db, 'activate', 10);
  }
});

test('a row that somebody holds is left to the next tick, and waited for by nobody', async () => {
  await using db = await database();
  await due(db, 3);
  const other = new pg.Client({ connectionString: db.url });
  await other.connect();
  await other.query('begin; select from packages where id = 2 for update');
  assert.deepEqual((await tick(db)).jobs[0]!.changed, { activate: 2 });
  await other.query('rollback');
  await other.end();
  assert.deepEqual((await tick(db, later(1))).jobs[0]!.changed, { activate: 1 });
});

// ---- Rows that fail

const RAISE = `create function refuse() returns trigger language plpgsql as $$
  begin
    if new.name like 'bad%' and new.status = 'active' then raise exception 'the till says no to %', new.name; end if;
    return new;
  end $$;`;

const CAUSES: Record<string, { sql: string; reason: RegExp }> = {
  'a check constraint': {
    sql: `alter table packages add constraint no_bad check (name not like 'bad%' or status = 'inactive')`,
    reason: /no_bad/,
  },
  'a trigger that raises': {
    sql: `${RAISE} create trigger refuse before update on packages for each row execute function refuse()`,
    reason: /^the till says no to bad 1$/,
  },
  'a constraint trigger at commit': {
    sql: `${RAISE} create constraint trigger refuse after update on packages deferrable initially deferred for each row execute function refuse()`,
    reason: /^the till says no to bad 1$/,
  },
  'a foreign key': {
    sql: `create table allowed (id bigint, status text, primary key (id, status));
      insert into allowed select id, 'inactive' from packages;
      insert into allowed select id, 'active' from packages where name like 'good%';
      alter table packages add constraint allowed foreign key (id, status) references allowed`,
    reason: /violates foreign key constraint "allowed"/,
  },
  'a deferred foreign key': {
    sql: `create table allowed (id bigint, status text, primary key (id, status));
      insert into allowed select id, 'inactive' from packages;
      insert into allowed select id, 'active' from packages where name like 'good%';
      alter table packages add constraint allowed foreign key (id, status) references allowed deferrable initially deferred`,
    reason: /violates foreign key constraint "allowed"/,
  },
  'a row that has what it would take': {
    sql: `insert into packages (name, status) values ('bad, taken', 'active');
      create unique index one_bad on packages ((case when name like 'bad%' then 'bad' else id::text end)) where status = 'active'`,
    reason: /duplicate key value violates unique constraint "one_bad"/,
  },
  'a check in a database that counts nothing': {
    sql: `alter table packages add constraint no_bad check (name not like 'bad%' or status = 'inactive');
      do $$ begin execute format('alter database %I set track_counts = off', current_database()); end $$`,
    reason: /no_bad/,
  },
  'a check on a table whose trigger writes to it, too': {
    sql: `insert into packages (name) values ('total');
      alter table packages add constraint no_bad check (name not like 'bad%' or status = 'inactive');
      create function total() returns trigger language plpgsql as $$
        begin update packages set price = price + 1 where name = 'total'; return new; end $$;
      create trigger total before update on packages for each row when (new.name <> 'total') execute function total()`,
    reason: /no_bad/,
  },
  'an index of the application': {
    sql: `create unique index one_bad_active on packages ((case when name like 'bad%' then 1 / (case status when 'active' then 0 else 1 end) end), id)`,
    reason: /division by zero/,
  },
  'a trigger that suppresses the update': {
    sql: `create function suppress() returns trigger language plpgsql as $$
        begin return case when new.name like 'bad%' then null else new end; end $$;
      create trigger suppress before update on packages for each row execute function suppress()`,
    reason: /suppressed the update/,
  },
};

for (const [cause, { sql, reason }] of Object.entries(CAUSES)) {
  test(`a row refused by ${cause} is recorded with its reason; the others of its batch are done in the same tick`, async () => {
    await using db = await database();
    await due(db, 40);
    await db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, validity)
      values ('bad 1', true, '${START}', '2 hours')`);
    await due(db, 19);
    await db.query(sql);
    const dry = await tick(db, START, { dryRun: true });
    const result = await tick(db);
    assert.deepEqual(result.jobs[0]!.changed, { activate: 59 });
    assert.equal(result.jobs[0]!.failed, 1);
    assert.equal(result.exitCode, 1);
    await eachOnce(db, 'activate', 59);
    const [row, ...more] = await failures(db);
    assert.deepEqual(more, []);
    assert.equal(row!.entity_id, '41');
    assert.equal(row!.transition, 'activate');
    assert.match(row!.error, reason);
    assert.deepEqual(
      [dry.jobs[0]!.changed, dry.jobs[0]!.failures],
      [result.jobs[0]!.changed, result.jobs[0]!.failures],
    );
  });
}

test('many bad rows among good ones, over several batches: every good one is done, every bad one recorded once', async () => {
  await using db = await database();
  await due(db, 100);
  await db.query(`update packages set name = 'bad ' || id where id % 7 = 0`);
  await db.query(CAUSES['a check constraint']!.sql);
  const result = await tick(db, START, { batchSize: 30 });
  assert.deepEqual(result.jobs[0]!.changed, { activate: 86 });
  assert.equal(result.jobs[0]!.failed, 14);
  assert.equal((await failures(db)).length, 14);
  assert.equal(await active(db), 86);
});

test('a failing row is retried after 5 minutes, again after 30, then quarantined until an operator releases it', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`update packages set validity = 'banana'`);
  const failed = async (minutes: number) => (await tick(db, later(minutes))).jobs[0]!.failed;
  assert.equal(await failed(0), 1);
  assert.equal(await failed(0), 0);
  assert.equal(await failed(4), 0);
  assert.equal(await failed(5), 1);
  assert.equal(await failed(34), 0);
  assert.equal(await failed(35), 1);
  const [row] = await failures(db);
  assert.equal(row!.attempts, 3);
  assert.equal(row!.quarantined_at.toISOString(), later(35));
  for (const minutes of [36, 600, 1_000_000]) assert.equal(await failed(minutes), 0);
  await withOwn(db, async (own) => {
    assert.deepEqual(await retryFailures(own, { job: 'packages', id: '1' }), [{ job: 'packages', entity_id: '1' }]);
  });
  await db.query(`update packages set validity = null`);
  assert.deepEqual((await tick(db, later(40))).jobs[0]!.changed, { activate: 1 });
  assert.deepEqual(await failures(db), []);
});

test('a released row that fails again starts over with its attempts', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`update packages set validity = 'banana'`);
  for (const minutes of [0, 5, 35]) await tick(db, later(minutes));
  await withOwn(db, async (own) => {
    assert.equal((await listFailures(own, {}))[0]!.next_attempt_at, null);
    await retryFailures(own, {});
  });
  await tick(db, later(36));
  const [row] = await failures(db);
  assert.deepEqual([row!.attempts, row!.quarantined_at], [1, null]);
  assert.equal(row!.next_attempt_at.toISOString(), later(41));
});

test('a dropped failure is forgotten, and its row tried like any other', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`update packages set validity = 'banana'`);
  await tick(db);
  await withOwn(db, (own) => dropFailures(own, { job: 'packages', id: '1' }));
  assert.equal((await tick(db)).jobs[0]!.failed, 1);
});

test('success clears a failure', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`update packages set validity = 'banana'`);
  await tick(db);
  await db.query(`update packages set validity = '2 hours'`);
  await tick(db, later(5));
  assert.deepEqual(await failures(db), []);
  assert.equal(await active(db), 1);
});

// ---- Dry runs and times

/** Every row of every table. */
async function everything(db: TestDatabase) {
  const tables = await db.query(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('public', 'scheduler') order by 1`,
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
  await db.query('select pg_advisory_lock(8314034311083879525)');
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

// ---- Exactly once

const WITHOUT_LOCK = { SCHEDULER_TEST_WITHOUT_LOCK: 'true' };

test('twenty runners at once without the lock do each transition of each row once', async () => {
  await using db = await database();
  await due(db, 300);
  await db.query(`update packages set repeats = 'daily'`);
  const crowd = (at: string) =>
    Promise.all(Array.from({ length: 20 }, () => tick(db, at, { env: WITHOUT_LOCK, batchSize: 7 })));
  await crowd(START);
  await eachOnce(db, 'activate', 300);
  const results = await crowd(later(120));
  await eachOnce(db, 'deactivate', 300);
  await eachOnce(db, 'repeat', 300);
  assert.equal(
    await count(db, `packages where scheduled_activation_time = '${later(1440)}' and status = 'inactive'`),
    300,
  );
  assert.ok(results.every(({ exitCode }) => exitCode === 0));
});

test('twelve processes without the lock do each transition of each row once', async () => {
  await using db = await database();
  await due(db, 200);
  const args = ['tick', '--at', START, '--batch-size', '7'];
  const codes = await Promise.all(Array.from({ length: 12 }, () => db.cli(args, { env: WITHOUT_LOCK })));
  assert.deepEqual(
    codes.map(({ code, err }) => [code, err]),
    Array.from({ length: 12 }, () => [0, '']),
  );
  await eachOnce(db, 'activate', 200);
});

test('twenty runners at once with the lock: one does the work, the others say so', async () => {
  await using db = await database();
  await due(db, 100);
  const results = await Promise.all(Array.from({ length: 20 }, () => tick(db, START, { batchSize: 5 })));
  assert.ok(results.some(({ locked }) => locked));
  await eachOnce(db, 'activate', 100);
});

test('when somebody else holds the lock, the run says so in one line and ends well', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query('select pg_advisory_lock(8314034311083879525)');
  const { code, out, err } = await db.cli(['tick']);
  assert.equal(code, 0);
  assert.equal(out, '');
  assert.match(JSON.parse(err).msg, /Another run holds the lock/);
  assert.equal(await active(db), 0);
  await db.query('select pg_advisory_unlock_all()');
  await tick(db);
  assert.equal(await active(db), 1);
});

// ---- Slots

const everyFive: Job = { ...packages, everyMinutes: 5 };
const fiveMinutely = (db: TestDatabase, at: string, options: TickOptions = {}) =>
  db.tick(at, { jobs: [everyFive], ...options });

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
  const slot = Date.parse(START) / 300_000;
  await db.query(
    `insert into scheduler.runs (job, slot, at, host, version) values ('packages', ${slot}, '${START}', 'gone', '0')`,
  );
  assert.deepEqual((await fiveMinutely(db, later(1))).jobs[0]!.changed, { activate: 1 });
  const run = await db.one('select * from scheduler.runs');
  assert.ok(run.finished_at);
});

test('a slot with work left goes on in the next tick', async () => {
  await using db = await database();
  await due(db, 3);
  const stop = new Stop();
  stop.request('signal');
  const stopped = await fiveMinutely(db, START, { stop });
  assert.equal(stopped.exitCode, 75);
  assert.deepEqual((await fiveMinutely(db, later(1))).jobs[0]!.changed, { activate: 3 });
});

test('ticks in the same minute add up to one record', async () => {
  await using db = await database();
  await due(db, 1);
  await tick(db);
  await due(db, 2);
  await tick(db, later(0.5));
  const run = await db.one('select * from scheduler.runs');
  assert.deepEqual(run.changed, { activate: 3 });
});

// ---- Stops, faults

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

async function startTick(db: TestDatabase, args: string[]) {
  const child = spawn(LAUNCHER, ['tick', '--at', START, ...args], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', DATABASE_URL: db.programUrl },
  });
  const ended = new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)));
  while ((await active(db)) === 0) await sleep(20);
  return { child, ended };
}

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

test('a second signal stops at once and rolls the batch back', async () => {
  await using db = await database();
  await due(db, 3);
  await db.query(
    `update packages set scheduled_activation_time = scheduled_activation_time - interval '1 minute' where id = 1`,
  );
  await db.query(`create function slow() returns trigger language plpgsql as $$
      begin if old.id > 1 then perform pg_sleep(30); end if; return new; end $$;
    create trigger slow before update on packages for each row execute function slow()`);
  const { child, ended } = await startTick(db, ['--batch-size', '1']);
  child.kill('SIGTERM');
  await sleep(100);
  child.kill('SIGTERM');
  const at = Date.now();
  assert.equal(await ended, 75);
  assert.ok(Date.now() - at < 1000);
  assert.equal(await active(db), 1);
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

test('a connection lost during the run is opened again, and nothing is done twice', async () => {
  await using db = await database();
  await due(db, 20);
  await db.query(SLOW(0.02));
  const running = tick(db, START, { batchSize: 2 });
  while ((await active(db)) < 4) await sleep(10);
  await db.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'scheduler'`,
  );
  const result = await running;
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
  await due(db, 20);
  await db.query(SLOW(0.02));
  const running = tick(db, START, { batchSize: 2 });
  while ((await active(db)) < 4) await sleep(10);
  await db.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'scheduler lock'`,
  );
  const result = await running;
  assert.deepEqual(result.jobs[0]!.changed, { activate: 20 });
  assert.equal(result.exitCode, 0);
  await eachOnce(db, 'activate', 20);
});

// ---- Jobs stand alone

const both = { only: ['packages', 'special-packages'] };
const alsoSpecial = (db: TestDatabase) =>
  db.query(
    `insert into special_packages (name, scheduled, auto_activate, schedule_date) values ('s', true, true, '2026-03-01')`,
  );

for (const [what, sql] of [
  ['vanished', 'drop table packages'],
  ['lost a column', 'alter table packages drop column activated_at'],
] as const) {
  test(`a job whose table has ${what} is not installed, and the other one runs`, async () => {
    await using db = await database();
    await alsoSpecial(db);
    await db.query(sql);
    const result = await db.tick(START, both);
    assert.equal(result.exitCode, 0);
    assert.match(result.skipped[0]!.why, /^not installed: packages(\.activated_at)? missing$/);
    assert.deepEqual(result.jobs[0]!.changed, { activate: 1 });
  });
}

for (const [what, sql] of [
  [
    'has another type of column',
    'alter table packages alter is_active drop default, alter is_active type integer using 0',
  ],
  [
    'has a status that knows no "inactive"',
    `drop index packages_to_activate, packages_to_miss, packages_to_deactivate, packages_to_settle, packages_to_keep;
    alter table packages drop constraint packages_status_check; alter table packages alter status drop default;
    create type other as enum ('on', 'off'); alter table packages alter status type other using 'off'`,
  ],
] as const) {
  test(`a job whose table ${what} says so, and the other one runs`, async () => {
    await using db = await database();
    await due(db, 1);
    await alsoSpecial(db);
    await db.query(sql);
    const result = await db.tick(START, both);
    assert.notEqual(result.exitCode, 0);
    assert.ok(result.jobs[0]!.error, JSON.stringify(result));
    assert.deepEqual(result.jobs[1]!.changed, { activate: 1 });
  });
}

test('a job whose table somebody keeps locked is interrupted, and the other one runs', async () => {
  await using db = await database();
  await due(db, 1);
  await alsoSpecial(db);
  const application = new pg.Client({ connectionString: db.url });
  await application.connect();
  try {
    await application.query('begin; lock table packages in access exclusive mode');
    const result = await db.tick(START, both);
    assert.equal(result.exitCode, 75);
    assert.match(result.jobs[0]!.error!, /^packages was interrupted by the database: .*lock timeout/);
    assert.deepEqual(result.jobs[1]!.changed, { activate: 1 });
  } finally {
    await application.end();
  }
});

test('a job that lost a right says which, and the other one runs', async () => {
  await using db = await database();
  await due(db, 1);
  await alsoSpecial(db);
  const role = `r_${db.name}`;
  await db.query(`create role ${role} login; grant usage on schema public, scheduler to ${role};
    grant all on all tables in schema scheduler, public to ${role}; grant all on all sequences in schema scheduler to ${role};
    revoke all on packages from ${role}`);
  try {
    const { code, err } = await db.cli([
      'tick',
      '--at',
      START,
      '--database-url',
      db.url.replace('postgres@', `${role}@`),
    ]);
    assert.equal(code, 78, err);
    assert.match(err, /permission denied for table packages/);
    assert.equal(await count(db, 'special_packages where is_active'), 1);
  } finally {
    await db.query(`drop owned by ${role}; drop role ${role}`);
  }
});

// ---- History

test('retention forgets old history, and changes nothing that later ticks do', async () => {
  await using db = await database();
  await due(db, 2);
  await tick(db);
  const env = { SCHEDULER_RETENTION: '1 day' };
  await db.query(`update scheduler.events set occurred_at = occurred_at - interval '1 year'`);
  await db.query(`update scheduler.runs set started_at = started_at - interval '1 year'`);
  await db.query(`insert into scheduler.events (type, job, transition, entity_id, occurred_at, channels, data)
    select 't', 'packages', 'x', n::text, '2025-01-01', '{}', '{}' from generate_series(1, 12000) as n`);
  await tick(db, later(1), { env });
  assert.deepEqual(await db.events(), []);
  assert.equal(await count(db, 'scheduler.runs'), 1);
  assert.equal(await active(db), 2);
  await tick(db, later(120), { env });
  await eachOnce(db, 'deactivate', 2);
});

// ---- Notifications

async function listening(db: TestDatabase, channel: string) {
  const client = new pg.Client({ connectionString: db.url });
  await client.connect();
  const heard: string[] = [];
  client.on('notification', ({ payload }) => heard.push(payload!));
  await client.query(`listen "${channel}"`);
  return {
    heard,
    end: async () => {
      await client.query('select 1');
      await client.end();
    },
  };
}

for (const [what, name] of [
  ['long', 'x'.repeat(9000)],
  ['of many bytes', '€'.repeat(3000)],
] as const) {
  test(`a payload too ${what} for PostgreSQL carries the id instead of the data, which the event has`, async () => {
    await using db = await database();
    await due(db, 2);
    await db.query('update packages set name = $1 where id = 1', [name]);
    const listener = await listening(db, 'private-packages');
    await tick(db);
    await listener.end();
    const [first, second] = await db.events();
    assert.deepEqual(JSON.parse(listener.heard[0]!), { id: Number(first!.id), event: first!.type, truncated: true });
    assert.equal(first!.data.package_name, name);
    assert.deepEqual(JSON.parse(listener.heard[1]!).data, second!.data);
  });
}

test('a payload of 7,999 bytes is sent whole', async () => {
  await using db = await database();
  for (const extra of [0, 1]) {
    await due(db, 1);
    const listener = await listening(db, 'private-packages');
    await db.query(`update packages set name = repeat('x', 100) where status = 'inactive'`);
    const dry = await tick(db, START, { dryRun: true });
    assert.deepEqual(dry.jobs[0]!.changed, { activate: 1 });
    await listener.end();
    await db.query(`delete from packages`);
    await due(db, 1);
    const probe = await listening(db, 'private-packages');
    await tick(db);
    await probe.end();
    const length = Buffer.byteLength(probe.heard[0]!);
    const [, name] = /"package_name": ?"([^"]*)"/.exec(probe.heard[0]!)!;
    await db.query('delete from packages');
    await db.query(
      `insert into packages (name, enable_schedule, scheduled_activation_time, validity) values (repeat('x', $1::integer), true, '${START}', '2 hours')`,
      // The name is in the payload twice: in the data and in its message.
      [name!.length + Math.floor((7999 - length) / 2) + extra],
    );
    const final = await listening(db, 'private-packages');
    await tick(db);
    await final.end();
    assert.equal('truncated' in JSON.parse(final.heard[0]!), extra === 1, final.heard[0]!.slice(-200));
    await db.query('delete from packages');
  }
});

test('a channel name beyond 63 bytes is cut as LISTEN cuts it', async () => {
  await using db = await database();
  await due(db, 1);
  const channel = `private-${'café-'.repeat(20)}`;
  const rules = packages.rules.map((rule) => ({
    ...rule,
    change: rule.change.replaceAll('private-packages', channel),
  }));
  const listener = await listening(db, channel);
  const result = await db.tick(START, { jobs: [{ ...packages, rules }] });
  await listener.end();
  assert.equal(result.exitCode, 0, JSON.stringify(result));
  assert.equal(listener.heard.length, 1);
  assert.deepEqual((await db.events())[0]!.channels[0], channel);
});
