import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { readSettings } from '../../src/base/config.ts';
import { type Line, Log } from '../../src/base/log.ts';
import { Stop } from '../../src/base/stop.ts';
import { jobVariables } from '../../src/context.ts';
import { Database } from '../../src/db/client.ts';
import { linger } from '../../src/engine/linger.ts';
import type { RunResult } from '../../src/engine/run.ts';
import { AT_ONCE } from '../../src/job/define.ts';
import { job as packages } from '../../src/jobs/hotspot/packages.ts';
import { only } from '../../src/store/standing.ts';
import { active, count, due, failures, later, START, tick } from '../support/due-packages.ts';
import { application, database } from '../support/harness.ts';
import { applied } from '../support/own.ts';
import { SCHEMA } from '../support/schema.ts';

/** What a run owes to those that come before, after and beside it. */

test('a row that fails only by its event is found, and the others are done', async () => {
  await using db = await database();
  await due(db, 3);
  await db.query(`insert into packages (name, enable_schedule, scheduled_activation_time) values ('bad', true, '${START}');
    create function refuse() returns trigger language plpgsql as $$ begin
      if new.data ->> 'package_name' = 'bad' then raise exception 'no room for %', new.entity_id; end if; return new; end $$;
    create trigger refuse before insert on scheduler.events for each row execute function refuse()`);
  const { jobs } = await tick(db);
  assert.deepEqual([jobs[0]!.changed, jobs[0]!.failed, await active(db)], [{ activate: 3 }, 1, 3]);
  assert.equal((await failures(db))[0]!.error, 'no room for 4');
});

test('a tick comes to a job also if another one has done its row, or somebody holds it', async () => {
  await using db = await database({ empty: true });
  await db.migrate({}, []);
  await db.query(`create table holds (id serial primary key, state text default 'held', ends_at timestamptz default now());
    insert into holds default values; create table others as select 1 as id, 'held' as state, now() as ends_at;
    alter table others add primary key (id)`);
  const rules = `rules: { release: { due: ends_at, where: state = 'held', set: state = 'free' } }`;
  await applied(
    db,
    `{ jobs: { one: { table: holds, ${rules} }, two: { table: holds, ${rules} }, held: { table: others, ${rules} } } }`,
    '--backlog',
    'run',
  );
  const holder = new pg.Client({ connectionString: db.url });
  await holder.connect();
  await holder.query('begin; select from others for update');
  const { out } = await db.cli(['tick', '--json']);
  await holder.end();
  const { jobs } = JSON.parse((await db.cli(['status', '--json'])).out);
  const of = (name: string) => jobs.find(({ job }: { job: string }) => job === name);
  assert.deepEqual(
    JSON.parse(out).jobs.filter(({ changed }: { changed: object }) => Object.keys(changed).length > 0).length,
    1,
  );
  assert.deepEqual(
    ['one', 'two', 'held'].map((name) => of(name).state),
    ['running', 'running', 'running'],
  );
});

test('a later batch, and a later sweep, hide nothing of what the ones before did', async () => {
  await using db = await database();
  await due(db, 2, `- interval '1 hour'`);
  await due(db, 1);
  await db.query(`update packages set validity = 'soon' where id = 1`);
  const { jobs } = await tick(db, START, { batchSize: 1 });
  assert.deepEqual([jobs[0]!.changed, jobs[0]!.failed, jobs[0]!.lateSeconds], [{ activate: 2 }, 1, 3600]);
  const run = await db.one(
    `select changed, failed, extract(epoch from late_by)::integer as late from scheduler.runs where job = 'packages'`,
  );
  assert.deepEqual(run, { changed: { activate: 2 }, failed: 1, late: 3600 });
});

test('a batch in which a row fails tells how late the others were', async () => {
  await using db = await database();
  await due(db, 2, `- interval '1 hour'`);
  await db.query(`alter table packages add constraint good check (id <> 2 or status = 'inactive')`);
  const { jobs } = await tick(db);
  assert.deepEqual([jobs[0]!.changed, jobs[0]!.failed, jobs[0]!.lateSeconds], [{ activate: 1 }, 1, 3600]);
  assert.equal(await count(db, 'scheduler.runs where job is not null'), 1, 'both belong to one run');
});

test('a run that is stopped before it begins says which jobs it leaves', async () => {
  await using db = await database();
  await due(db, 1);
  const stop = new Stop();
  stop.request('signal');
  const { jobs, exitCode, stopped } = await db.tick(START, { only: ['packages', 'vouchers'], stop });
  assert.deepEqual([jobs.map(({ workLeft }) => workLeft), exitCode, stopped], [[true, false], 75, 'signal']);
});

test('an idle tick forgets old runs and events', async () => {
  await using db = await database();
  await tick(db);
  await db.query(`update scheduler.runs set started_at = started_at - interval '1 year'`);
  await tick(db, later(1));
  assert.equal(await count(db, 'scheduler.runs'), 1);
  await db.query(`insert into scheduler.events (type, job, transition, entity_id, occurred_at, channels, data)
    values ('t', 'packages', 'x', '1', '2020-01-01', '{}', '{}')`);
  await tick(db, later(1));
  assert.deepEqual(await db.events(), []);
  // A person who looks prunes nothing.
  await db.query(`update scheduler.runs set started_at = started_at - interval '1 year'`);
  await tick(db, later(2), { by: 'somebody' });
  assert.equal(await count(db, 'scheduler.runs'), 3);
});

test('the lock of a run may be held for longer than the run may take, and a batch for a minute', async () => {
  await using db = await database();
  await db.query(`create table seen (timeout text);
    create function note() returns boolean language sql as $$
      insert into ${SCHEMA}.seen values (current_setting('idle_in_transaction_session_timeout')) returning true $$`);
  await due(db, 1);
  const rule = { due: AT_ONCE, where: { 'it is noted': `${SCHEMA}.note()` }, set: { updated_at: 'now' } };
  await db.tick(START, { jobs: { builtIn: [{ ...packages, rules: { rule } }], names: 'all' }, timeoutSeconds: 120 });
  assert.deepEqual(
    (await db.query('select distinct timeout from seen order by 1')).map(({ timeout }) => timeout),
    ['1min', '3min'],
  );
});

test('a database that gives no connection for the work ends all jobs at once, with one sentence', async () => {
  await using db = await database();
  await due(db, 1);
  await db.insert('vouchers', { code: 'A', status: 'unused', expires_at: START });
  const role = `one_${db.name}`;
  await db.query(`create role ${role} login connection limit 1; grant usage on schema scheduler to ${role};
    grant all on all tables in schema ${SCHEMA}, scheduler to ${role};
    grant all on all sequences in schema ${SCHEMA}, scheduler to ${role}`);
  try {
    const env = { DATABASE_URL: db.url.replace('postgres@', `${role}@`) };
    const { code, err } = await db.cli(['tick'], { env });
    assert.equal(code, 69);
    assert.match(err, /^scheduler: The database at .* cannot be reached: too many connections for role .*\n$/);
    assert.equal(await count(db, 'scheduler.runs'), 0);
  } finally {
    await db.query(`drop owned by ${role}; drop role ${role}`);
  }
});

test('while a row is held, a tick that lingers looks once a second', async () => {
  await using db = await database();
  await due(db, 1);
  await using other = await application(db);
  await other.query('begin; select from packages for update');
  const settings = readSettings({}, jobVariables([packages]), { databaseUrl: db.url });
  let begun = 0;
  const log = Object.assign(new Log('silent'), {
    write: ({ message }: Line) => void (message === 'ProcessScheduledPackages job started' && begun++),
  });
  const passes: RunResult[] = [];
  const request = {
    jobs: only([packages], [packages.name]),
    dryRun: false,
    timeoutSeconds: 120,
    debug: false,
    stop: new Stop(),
  };
  const report = async (pass: RunResult) => void passes.push(pass);
  const own = new Database(settings, log);
  try {
    await linger({ db: own, settings, log, request, report, seconds: performance.now() / 1000 + 3 });
  } finally {
    await own.close();
  }
  // A tick, perhaps that of the next minute, too, and one pass a second but for the first, which is followed by another one.
  assert.ok(begun <= 8, `${begun} passes in three seconds`);
  // The first, and no other did anything. A new minute may have begun.
  assert.ok(passes.length <= 2);
});
