import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readSettings } from '../../src/base/config.ts';
import { Log } from '../../src/base/log.ts';
import { Database } from '../../src/db/client.ts';
import { LAUNCHER, type TestDatabase, type TickOptions } from './harness.ts';
import { until } from './until.ts';

/** Packages that are due, and what became of them: what the engine does is seen by its simplest job. */

export const START = '2026-03-01T10:00:00Z';
export const later = (minutes: number) => new Date(Date.parse(START) + minutes * 60_000).toISOString();

/** Packages due at START, named "good 1", "good 2", ... */
export const due = (db: TestDatabase, rows: number, over = '') =>
  db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, validity)
    select 'good ' || n, true, timestamptz '${START}' ${over}, '2 hours' from generate_series(1, ${rows}) as n`);

export const tick = (db: TestDatabase, at = START, options: TickOptions = {}) =>
  db.tick(at, { only: ['packages'], ...options });
export const count = async (db: TestDatabase, from: string) =>
  Number((await db.one(`select count(*) as n from ${from}`)).n);
export const active = (db: TestDatabase) => count(db, `packages where status = 'active'`);
export const failures = (db: TestDatabase) => db.query('select * from scheduler.failures order by entity_id::bigint');

/** The real command at that time, at work: the first row is done. */
export async function startTick(db: TestDatabase, args: string[]) {
  const child = spawn(LAUNCHER, ['tick', '--at', START, ...args], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', DATABASE_URL: db.programUrl },
  });
  const ended = new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)));
  await until('the first row', async () => (await active(db)) > 0, 60_000);
  return { child, ended };
}

export async function withOwn<T>(db: TestDatabase, work: (own: Database) => Promise<T>): Promise<T> {
  const own = new Database(readSettings({}, {}, { databaseUrl: db.programUrl }), new Log('silent'));
  try {
    return await work(own);
  } finally {
    await own.close();
  }
}

/** Each row had its transition exactly once, and its event. */
export async function eachOnce(db: TestDatabase, transition: string, rows: number) {
  const [seen] = await db.query(
    `select count(*)::integer as events, count(distinct entity_id)::integer as entities from scheduler.events where transition = $1`,
    [transition],
  );
  assert.deepEqual(seen, { events: rows, entities: rows });
}

export const RAISE = `create function refuse() returns trigger language plpgsql as $$
  begin
    if new.name like 'bad%' and new.status = 'active' then raise exception 'the till says no to %', new.name; end if;
    return new;
  end $$;`;

/** Why the database refuses a row that is named "bad …". */
export const CAUSES: Record<string, { sql: string; reason: RegExp }> = {
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
