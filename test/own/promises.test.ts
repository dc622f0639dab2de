import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../src/base/version.ts';
import { eachOnce } from '../support/due-packages.ts';
import { application, database, type TestDatabase } from '../support/harness.ts';
import { startLingering } from '../support/lingering.ts';
import { allExplained, outlook } from '../support/looking.ts';
import { applied } from '../support/own.ts';
import { begun, expected, fill, NOW, OWN_JOBS } from '../support/own-story.ts';
import { proxy } from '../support/proxy.ts';
import { SCHEMA } from '../support/schema.ts';
import { until } from '../support/until.ts';

/** The promises about built-in jobs hold for jobs of your own. */

const later = (minutes: number) => new Date(Date.parse(NOW) + minutes * 60_000).toISOString();
const of = ({ jobs }: { jobs: { job: string; changed: object }[] }) =>
  Object.fromEntries(jobs.map(({ job, changed }) => [job, changed]));

/** Every row of every table. */
async function everything(db: TestDatabase): Promise<Record<string, unknown>> {
  const tables = await db.query(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('${SCHEMA}', 'scheduler') order by 1`,
  );
  const content: Record<string, unknown> = {};
  for (const { name } of tables) content[name] = await db.query(`select t::text, xmin::text from ${name} t order by 1`);
  return content;
}

test('twenty runners at once without the lock do each transition once, and write each row beside it once', async () => {
  await using db = await database({ withoutLock: true });
  await begun(db);
  await fill(db, 24);
  const ticks = await Promise.all(Array.from({ length: 20 }, () => db.tick(NOW, { only: OWN_JOBS, batchSize: 7 })));
  const counts: Record<string, number> = {};
  for (const { jobs } of ticks)
    for (const { changed } of jobs)
      for (const [name, count] of Object.entries(changed)) counts[name] = (counts[name] ?? 0) + count;
  // A runner may pass by rows that another one holds.
  for (const [name, count] of Object.entries(
    Object.assign({}, ...Object.values(of(await db.tick(NOW, { only: OWN_JOBS })))),
  ))
    counts[name] = (counts[name] ?? 0) + Number(count);
  const { trials, rents } = expected(24);
  assert.deepEqual(counts, { ...trials, ...rents });
  for (const [name, count] of Object.entries(counts)) await eachOnce(db, name, count);
  assert.deepEqual(
    await db.one(`select (select count(*) from letters where text = 'expired')::integer as expired,
      (select count(distinct account) from letters where text = 'expired')::integer as accounts,
      (select count(*) from letters where text = 'farewell')::integer as farewells,
      (select count(*) from bills)::integer as bills, (select count(distinct rent) from bills)::integer as rents,
      (select max(billed) from rents) as most, (select max(attempts) from scheduler.failures) as attempts`),
    { ...{ expired: 48, accounts: 48, farewells: 16, bills: rents.bill, rents: rents.bill, most: 1, attempts: 1 } },
  );
});

test('a dry run tells what a tick then does, and changes nothing; explain says it of each row', async () => {
  await using db = await database();
  await begun(db);
  await fill(db, 6);
  await db.query(`update accounts set trial_ends_at = trial_ends_at + (no * 7919 % 11 - 5) * interval '9 hours', state = case when no % 7 = 0 then 'expired' else state end,
    reminded_for = case when no % 5 = 0 then timestamptz '2026-03-01 08:00Z' end, time_zone = case when no % 9 = 4 then 'Mars/Base' else time_zone end`);
  const before = await everything(db);
  const dry = await db.tick(NOW, { only: OWN_JOBS, dryRun: true, batchSize: 3 });
  assert.deepEqual(await everything(db), before);
  const ids = (await db.query('select no from accounts order by no')).map(({ no }) => String(no));
  const said = await allExplained(db, 'trials', ids, { at: NOW });
  const done = new Map<string, string>();
  const real = await db.tick(NOW, {
    ...{ only: OWN_JOBS, batchSize: 3 },
    rehearsal: {
      heard: (job, outcomes) => {
        for (const { entity_id, transition } of outcomes)
          if (job === 'trials' && !done.has(entity_id)) done.set(entity_id, transition!);
      },
      assumed: () => {},
    },
  });
  assert.deepEqual(dry.jobs, real.jobs);
  const failed = await db.query('select entity_id as id, rule from scheduler.failures');
  for (const [id, { transitions, next }] of said) {
    const sentences = transitions.map(({ transition, verdict }) => `${transition}: ${verdict.sentence}`).join('\n');
    const kinds = (kind: string) => transitions.filter(({ verdict }) => verdict.kind === kind);
    assert.equal(kinds('now').length > 0, done.has(id), `${id}\n${sentences}`);
    if (done.has(id) && kinds('fails').length === 0)
      assert.equal(next!.transition, done.get(id), `${id}\n${sentences}`);
    // A row without a zone expires, and then cannot be purged: explain does not look that far.
    const isForeseen = (rule: unknown) => !(rule === 'purge' && done.get(id) === 'expire');
    assert.deepEqual(
      kinds('fails').map(({ transition }) => transition),
      failed.filter((each) => each.id === id && isForeseen(each.rule)).map(({ rule }) => rule),
      `${id}\n${sentences}`,
    );
  }
  assert.ok(done.size > 15 && failed.length > 3, `${done.size} changed, ${failed.length} failed`);
});

test('next announces each row at its time, and ticks of that time do it', async () => {
  await using db = await database();
  await begun(db);
  await fill(db, 6);
  const ahead = `interval '1 day' + (now() - timestamptz '${NOW}')`;
  await db.query(`update accounts set trial_ends_at = trial_ends_at + ${ahead} + no * interval '1 hour', expired_at = expired_at + ${ahead} where no % 8 <> 7;
    delete from accounts where no % 8 = 7 or owner is null; update rents set next_at = now() + length(id) * interval '3 hours'`);
  const { transitions, now } = await outlook(db, { within: 20 * 86_400, limit: 1000 });
  const minuteOf = (at: string) => Math.floor(Math.max(Date.parse(at), Date.parse(now)) / 60_000);
  const own = transitions.filter(({ job }) => OWN_JOBS.includes(job));
  const minutes = [...new Set(own.map(({ at }) => minuteOf(at)))].sort();
  const announced = own.map(({ job, transition, at, rows }) => [minuteOf(at), job, transition, rows]);
  const happened: typeof announced = [];
  for (const minute of minutes) {
    const { jobs } = await db.tick(new Date((minute + 1) * 60_000 - 1).toISOString(), { only: OWN_JOBS });
    for (const { job, changed } of jobs)
      for (const [transition, rows] of Object.entries(changed)) happened.push([minute, job, transition, rows]);
  }
  assert.ok(
    announced.some(([, , transition]) => transition === 'expire'),
    'also what comes after a reminder',
  );
  assert.deepEqual(happened.map(String).sort(), announced.map(String).sort());
});

const POISON = `
  create function refuse() returns trigger language plpgsql as $$
    begin if new.owner = 'refused' and new.state = 'expired' then raise exception 'the till says no'; end if; return new; end $$;
  create trigger refuse before update on accounts for each row execute function refuse();
  insert into accounts (no, owner, trial_ends_at) values
    (1001, 'refused', timestamptz '${NOW}'), (1002, null, timestamptz '${NOW}'),
    (1003, repeat('x', 100), timestamptz '${NOW}'), (1004, E'a\\nb', timestamptz '${NOW}')`;

test('bad rows fail alone, are tried again, quarantined, and come back when they are mended', async () => {
  await using db = await database();
  await begun(db);
  await fill(db, 6);
  await db.query(`delete from accounts where owner is null; ${POISON}`);
  const only = { only: ['trials'] };
  const first = await db.tick(NOW, only);
  assert.deepEqual(first.jobs[0]!.error, undefined);
  const { trials } = expected(6);
  // The two without a channel that can be fail to be told that they are too late to be reminded, too.
  assert.deepEqual(first.jobs[0]!.changed, { ...trials, 'remind (missed)': trials['remind (missed)'] - 6 + 2 });
  const bad = () =>
    db.query(
      `select entity_id::integer as id, rule, attempts, quarantined_at is not null as rests from scheduler.failures order by 1, 2`,
    );
  const rows = (attempts: number, rests: boolean) =>
    [
      [1001, 'expire'],
      [1002, 'expire'],
      ...[1003, 1004].flatMap((id) => [
        [id, 'expire'],
        [id, 'remind (missed)'],
      ]),
    ].map(([id, rule]) => ({ id, rule, attempts, rests }));
  assert.deepEqual(await bad(), rows(1, false));
  for (const [minutes, attempts] of [
    [1, 1],
    [5, 2],
    [34, 2],
    [35, 3],
    [6000, 3],
  ] as const) {
    await db.tick(later(minutes), only);
    assert.deepEqual(await bad(), rows(attempts, attempts === 3), `after ${minutes} minutes`);
  }
  await db.query(`update accounts set owner = 'mended' where no > 1001; drop trigger refuse on accounts`);
  const mended = await db.tick(later(6010), only);
  assert.deepEqual(mended.jobs[0]!.changed, { 'remind (missed)': 2, expire: 3 });
  assert.deepEqual(
    (await bad()).map(({ id }) => id),
    [1001],
    'what it reads of that row is as it was',
  );
  assert.match((await db.cli(['failures', 'retry', 'trials', '1001'])).out, /Released 1 row/);
  assert.deepEqual((await db.tick(later(6011), only)).jobs[0]!.changed, { expire: 1 });
  assert.deepEqual(await bad(), []);
});

test('a row whose reminder fails can still expire', async () => {
  await using db = await database();
  await begun(db);
  await db.query(`insert into accounts (no, owner, trial_ends_at) values (1, repeat('x', 100), '2026-03-04T12:00Z')`);
  const reminded = await db.tick(NOW, { only: ['trials'] });
  assert.deepEqual(
    reminded.jobs[0]!.failures.map(({ rule }) => rule),
    ['remind'],
  );
  await db.query(
    `update accounts set owner = 'u', trial_ends_at = '2026-03-01T10:00Z', reminded_for = '2026-02-26T08:00Z'`,
  );
  assert.deepEqual((await db.tick(later(1), { only: ['trials'] })).jobs[0]!.changed, { expire: 1 });
});

const POSTS = `
jobs:
  posts:
    table: posts
    every: 1 hour
    rules:
      publish:
        due: at
        where: { it is wanted: (meta ->> 'n')::integer > 0 }
        fails: { "it has no title": title is null }
        set: meta = '{"n":0}'
`;

test('a condition that a batch asks of each row guards the rest: such a row is neither a failure, nor overdue, nor announced', async () => {
  await using db = await database();
  await db.query(`create table posts (id serial primary key, at timestamptz, meta jsonb, title text)`);
  await applied(db, POSTS.replace(/ +every.*\n/, ''));
  await db.query(`insert into posts (at, meta, title) values ('2026-03-01', '{"n":1}', 't'), ('2026-03-01', '{"n":0}', null),
    ('2026-03-01', '{"n":2}', null), ('2026-03-01', '{"n":"x"}', 't')`);
  const said = await allExplained(db, 'posts', ['1', '2', '3', '4'], { at: NOW });
  assert.deepEqual(
    [...said.values()].map(({ transitions }) => transitions[0]!.verdict.kind),
    ['now', 'not', 'fails', 'fails'],
  );
  const announced = await outlook(db, { job: 'posts', within: 60 });
  assert.deepEqual(
    announced.transitions.map(({ rows }) => rows),
    [4],
    'one of them raises: then it cannot be told apart',
  );
  const [job] = (await db.tick(NOW, { only: ['posts'] })).jobs;
  assert.deepEqual([job!.changed, job!.failures.map(({ id }) => id).sort()], [{ publish: 1 }, ['3', '4']]);
  await db.query('delete from posts where id > 2; truncate scheduler.failures');
  assert.deepEqual((await outlook(db, { job: 'posts', within: 60 })).transitions, []);
  await db.cli(['tick']);
  const { attention } = JSON.parse((await db.cli(['status', '--check', '--json'])).out);
  assert.deepEqual(attention, []);
  await db.query('truncate scheduler.runs');
  const lingering = startLingering(db, 30);
  await until('a tick', async () => (await db.query('select from scheduler.runs where job is null')).length > 0);
  await db.query(`insert into posts (at, meta, title) values (now() + interval '3 seconds', '{"n":1}', 't')`);
  await until(
    'a row',
    async () =>
      (await db.query(`select from scheduler.events where transition = 'publish'`)).length > 2 ||
      (await db.query(`select from posts where id > 4 and meta = '{"n":0}'`)).length > 0,
  );
  lingering.kill('SIGTERM');
  await lingering.ended;
  const runs = await db.query(`select changed from scheduler.runs where job = 'posts' and changed = '{}'`);
  assert.ok(runs.length <= 2, `${runs.length} records of nothing, in as many seconds`);
});

test('a job of your own has a cadence, can be stopped and started, run by name, and looked at', async () => {
  await using db = await database();
  await db.query(
    `create table posts (id serial primary key, at timestamptz, meta jsonb default '{"n":1}', title text default 't')`,
  );
  await applied(db, POSTS);
  const post = () => db.query(`insert into posts (at) values ('2026-03-01')`);
  const done: unknown[] = [];
  for (const at of ['10:00:02', '10:30', '10:59:59.9', '11:00:00.1', '11:59', '12:00']) {
    await post();
    done.push((await db.tick(`2026-03-01T${at}Z`, { only: ['posts'] })).jobs[0]?.changed);
  }
  assert.deepEqual(done, [{ publish: 1 }, undefined, undefined, { publish: 3 }, undefined, { publish: 2 }]);
  const cli = async (...args: string[]) => {
    const { code, out, err } = await db.cli(args);
    assert.ok(code === 0 || code === 1, `${args.join(' ')}: ${err}`);
    return out;
  };
  await post();
  await cli('stop', 'posts', '--reason', 'so it is');
  assert.deepEqual((await db.tick(undefined, { only: ['posts'] })).jobs, []);
  assert.match(await cli('status'), /posts +paused/);
  assert.match(await cli('explain', 'posts', '7'), /paused/);
  await cli('start', 'posts');
  assert.match(await cli('run', 'posts'), /publish +1/);
  await db.query(`insert into posts (at, title) values ('2026-03-01', null)`);
  await cli('run', 'posts');
  assert.match(await cli('failures', 'posts'), /it has no title/);
  assert.match(await cli('history', 'posts'), /posts/);
  assert.match(await cli('events', 'posts'), /No such event/);
});

test('explain shows the events of a row of a job of your own', async () => {
  await using db = await database();
  await begun(db);
  await db.query(`insert into accounts (no, owner, trial_ends_at) values (7, 'u', '2026-03-01T09:00Z')`);
  await db.tick(NOW, { only: ['trials'] });
  const said = (await allExplained(db, 'trials', ['7'], { at: NOW })).get('7')!;
  assert.deepEqual(
    said.events.map(({ type }) => type),
    ['trial.ending.missed', 'trial.expired'],
  );
});

test('an idle tick sends four statements, with jobs of your own as without, and reads no YAML', async () => {
  await using db = await database();
  await begun(db);
  await using way = await proxy(db.tcpUrl);
  const { code, err } = await db.cli(['tick'], { env: { DATABASE_URL: way.url } });
  assert.equal(code, 0, err);
  assert.equal(way.roundTrips() - 3, 4);
  const { idle } = await db.one('select idle from scheduler.runs');
  assert.deepEqual(
    OWN_JOBS.filter((name) => !idle.includes(name)),
    [],
  );
  const program = readFileSync(join(ROOT, 'dist/tick.cjs'), 'utf8');
  assert.doesNotMatch(program, /yaml/i);
});

test('somebody holds a row: it is passed by, explain says so, and the next tick does it', async () => {
  await using db = await database();
  await begun(db);
  await fill(db, 2);
  await using other = await application(db);
  await other.query('begin; select from accounts where no = 1 for update');
  const said = (await allExplained(db, 'trials', ['1'], { at: NOW })).get('1')!;
  assert.match(said.transitions.map(({ verdict }) => verdict.sentence).join(), /its row is locked/);
  const { trials } = expected(2);
  assert.equal((await db.tick(NOW, { only: ['trials'] })).jobs[0]!.changed.expire, trials.expire - 1);
  await other.query('commit');
  assert.deepEqual((await db.tick(later(1), { only: ['trials'] })).jobs[0]!.changed, {
    'remind (missed)': 1,
    expire: 1,
  });
});
