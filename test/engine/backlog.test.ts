import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { due, START, tick } from '../support/due-packages.ts';
import { database, LAUNCHER, type TestDatabase } from '../support/harness.ts';
import { SCHEMA } from '../support/schema.ts';
import { until } from '../support/until.ts';

/** A backlog: more due rows than one batch holds. Two connections share it, and no one can tell by the rows. */

const BACKLOG = 5000;

const backlog = (db: TestDatabase, rows = BACKLOG) => due(db, rows, `- n * interval '1 ms'`);

/** Every row was put on sale, with one event, and none failed. */
async function allDone(db: TestDatabase, rows = BACKLOG) {
  assert.deepEqual(
    await db.one(`select
      (select count(*)::integer from packages where status = 'active') as active,
      (select count(*)::integer from scheduler.events) as events,
      (select count(distinct entity_id)::integer from scheduler.events) as told,
      (select count(*)::integer from scheduler.failures) as failures`),
    { active: rows, events: rows, told: rows, failures: 0 },
  );
}

/** How many transactions were under way when another one changed rows: 0 where there was only ever one. */
const WATCHED = `
  create table seen (transaction bigint, beside bigint);
  create function watch() returns trigger language plpgsql as $$
    begin
      perform pg_sleep(0.2);
      insert into seen select txid_current(), (
        select count(distinct virtualtransaction) - 1 from pg_locks
        where locktype = 'relation' and mode = 'RowExclusiveLock' and relation = 'packages'::regclass
          and database = (select oid from pg_database where datname = current_database())
      );
      return null;
    end $$;
  create trigger watch after update on packages for each statement execute function watch()`;
const together = async (db: TestDatabase) =>
  Number((await db.one('select coalesce(max(beside), 0) as most from seen')).most) + 1;

test('a backlog is worked off by two transactions at a time, each row once', async () => {
  await using db = await database();
  await backlog(db);
  await db.query(WATCHED);
  const result = await tick(db);
  assert.deepEqual(result.jobs[0]!.changed, { activate: BACKLOG });
  await allDone(db);
  assert.equal(await together(db), 2);
});

for (const [what, rows, options] of [
  ['what fits into one batch', 900, {}],
  ['with a batch size that somebody asks for, a backlog', BACKLOG, { batchSize: 1000 }],
] as const) {
  test(`${what} is worked off by one transaction at a time`, async () => {
    await using db = await database();
    await backlog(db, rows);
    await db.query(WATCHED);
    await tick(db, START, options);
    await allDone(db, rows);
    assert.equal(await together(db), 1);
  });
}

test('PostgreSQL can clean up replaced rows while a run works: the holder of the lock keeps no old snapshot', async () => {
  await using db = await database();
  await backlog(db);
  await db.query(`
    create table holders (view text);
    create function look() returns trigger language plpgsql as $$
      begin
        insert into holders select backend_xmin from pg_stat_activity
          where datname = current_database() and application_name = 'scheduler lock';
        return null;
      end $$;
    create trigger look after update on packages for each statement execute function look()`);
  await tick(db);
  await allDone(db);
  const { seen, views } = await db.one('select count(*)::integer as seen, count(view)::integer as views from holders');
  assert.ok(seen > 2);
  // Until the first batch has told that there are more.
  assert.ok(views <= 1, `${views} of ${seen}`);
});

test('a dry run of a backlog reports all of it and keeps nothing', async () => {
  await using db = await database();
  await backlog(db);
  const result = await tick(db, START, { dryRun: true });
  assert.deepEqual(result.jobs[0]!.changed, { activate: BACKLOG });
  assert.deepEqual(await db.events(), []);
});

test('subscriptions of one customer in a backlog take over from one another in their order', async () => {
  await using db = await database();
  await db.query(`insert into customer_packages (id, "userId", status, "isActive", "scheduledStartDate")
    select format('%s of %s', turn, customer), 'customer ' || customer, 'SCHEDULED', false,
      timestamptz '${START}' - interval '1 day' + turn * interval '1 hour' + customer * interval '1 ms'
    from generate_series(1, 2000) as customer, generate_series(1, 3) as turn`);
  const result = await db.tick(START, { only: ['subscriptions'] });
  assert.deepEqual(result.jobs[0]!.changed, { activate: 6000, 'expire previous': 4000 });
  const states = await db.query(
    `select left(id, 1) as turn, status, count(*)::integer as n from customer_packages group by 1, 2 order by 1`,
  );
  assert.deepEqual(states, [
    { turn: '1', status: 'EXPIRED', n: 2000 },
    { turn: '2', status: 'EXPIRED', n: 2000 },
    { turn: '3', status: 'ACTIVE', n: 2000 },
  ]);
});

test('bad rows in a backlog fail once each, and all others are done', async () => {
  await using db = await database();
  await backlog(db);
  await db.query(`alter table packages add constraint no_bad check (id % 100 <> 0 or status = 'inactive')`);
  const { exitCode, jobs } = await tick(db);
  assert.equal(exitCode, 1);
  assert.deepEqual([jobs[0]!.changed, jobs[0]!.failed], [{ activate: BACKLOG * 0.99 }, BACKLOG / 100]);
  assert.deepEqual(
    await db.one('select count(*)::integer as rows, max(attempts) as attempts from scheduler.failures'),
    { rows: BACKLOG / 100, attempts: 1 },
  );
});

test('where the server refuses a second connection for the work, one does all of it', async () => {
  await using db = await database();
  await backlog(db);
  const role = `few_${db.name}`;
  await db.query(`create role ${role} login connection limit 2;
    grant usage on schema scheduler to ${role};
    grant all on all tables in schema ${SCHEMA}, scheduler to ${role};
    grant all on all sequences in schema ${SCHEMA}, scheduler to ${role}`);
  try {
    const { exitCode } = await tick(db, START, { url: db.url.replace('postgres@', `${role}@`) });
    assert.equal(exitCode, 0);
    await allDone(db);
  } finally {
    await db.query(`drop owned by ${role}; drop role ${role}`);
  }
});

/** A trigger that counts what each shop sold. The first of the rows below 1000 that a transaction changes takes so long. */
const counted = (shop: string, seconds: number) => `
  create table sold (shop integer primary key, n integer not null default 0);
  insert into sold select generate_series(0, 499);
  create function count_sold() returns trigger language plpgsql as $$
    begin
      update sold set n = n + 1 where shop = ${shop};
      if new.id < 1000 and coalesce(current_setting('test.slept', true), '') = '' then
        perform pg_sleep(${seconds});
        perform set_config('test.slept', 'yes', true);
      end if;
      return new;
    end $$;
  create trigger count_sold before update on packages for each row execute function count_sold()`;

for (const [what, trigger, fault] of [
  ['makes the two deadlock', counted('abs(hashtext(new.name)) % 500', 0.5), 'deadlock detected'],
  ['keeps one waiting for the other', counted('0', 2.5), 'canceling statement due to lock timeout'],
] as const) {
  test(`where a trigger ${what}, one connection goes on alone, and no row is to blame`, async () => {
    await using db = await database();
    await backlog(db, 2000);
    await db.query(trigger);
    const { code, err } = await db.cli(['packages', '--at', START], { env: { SCHEDULER_LOG_LEVEL: 'debug' } });
    assert.equal(code, 0);
    assert.match(err, new RegExp(`packages: one connection goes on alone \\(${fault}`));
    await allDone(db, 2000);
  });
}

for (const [signal, code] of [
  ['SIGTERM', 75],
  ['SIGKILL', null],
] as const) {
  test(`${signal} in the middle of a backlog leaves whole batches, and the next tick does the rest`, async () => {
    await using db = await database();
    await backlog(db, 20_000);
    await db.query(`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return null; end $$;
      create trigger slow before update on packages for each statement execute function slow()`);
    const child = spawn(LAUNCHER, ['tick', '--at', START], {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin', DATABASE_URL: db.programUrl },
    });
    const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
    const done = async () => Number((await db.one('select count(*) as n from scheduler.events')).n);
    await until('2,000 rows', async () => (await done()) >= 2000, 60_000);
    const at = Date.now();
    child.kill(signal);
    assert.equal(await ended, code);
    assert.ok(Date.now() - at < 2000);
    assert.ok((await done()) < 20_000);
    // The server undoes the rest of a killed one within two seconds.
    for (let tries = 0; tries < 3 && (await tick(db)).jobs.length === 0; tries++) await sleep(1000);
    await tick(db);
    await allDone(db, 20_000);
  });
}
