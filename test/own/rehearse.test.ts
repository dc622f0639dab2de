import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { application, database } from '../support/harness.ts';
import { applied } from '../support/own.ts';
import { SCHEMA } from '../support/schema.ts';
import { ticker } from '../support/ticker.ts';
import { until } from '../support/until.ts';

/** A rehearsal plays what ticks then do, and leaves nothing behind. */

const HOLDS = `
jobs:
  holds:
    table: holds
    zone: Europe/Berlin
    rules:
      warn:
        due: until - 30 minutes
        where: not released
        once: warned_for
        late: 10 minutes
        event: hold.ending
      release:
        due: until
        where: not released
        set: released = true, released_at = due_at
        event: { type: hold.released, channels: ["holds.{id}"] }
      again:
        due: again_at
        repeat: 1 day
      forget:
        due: released_at + 1 hour
        where: released
        delete: true
`;

test('three hours rehearsed are three hours ticked minute by minute', async () => {
  await using db = await database();
  await db.query(`create table holds (id serial primary key, until timestamptz, again_at timestamptz, released boolean not null default false, released_at timestamptz);
    insert into holds (until, again_at)
    select '2027-03-28 00:00Z'::timestamptz + n * interval '7 minutes', case when n % 3 = 0 then '2027-03-28 00:30Z'::timestamptz - (n % 5) * interval '1 day' end
    from generate_series(-3, 20) as n`);
  await applied(db, HOLDS);
  const from = Date.parse('2027-03-28T00:00:00Z');
  const end = from + 3 * 3_600_000;
  const iso = (at: number) => new Date(at).toISOString();
  const args = ['rehearse', '--from', iso(from), '--until', iso(end), 'holds', '--timeout', '60'];
  const { code, out, err } = await db.cli([...args, '--json']);
  assert.equal(code, 0, err);
  const { timeline, stopped } = JSON.parse(out);
  assert.equal(stopped, null);
  assert.equal((await db.query('select from scheduler.events')).length, 0, 'nothing of it is kept');

  await using ticks = await ticker(db, ['holds'], { by: 'test' });
  const changed: Record<string, number> = {};
  for (let at = from; at <= end; at += 60_000)
    for (const job of (await ticks.at(at)).jobs)
      for (const [name, count] of Object.entries(job.changed)) changed[name] = (changed[name] ?? 0) + count;
  const played: Record<string, number> = {};
  for (const { transition } of timeline) played[transition] = (played[transition] ?? 0) + 1;
  assert.deepEqual(played, changed);
  assert.ok(Object.keys(changed).length >= 5, JSON.stringify(changed));
  const told = await db.query(
    `select scheduler.iso(occurred_at) as at, entity_id as id, type, channels, data from scheduler.events order by id`,
  );
  const heard = timeline.filter((each: { event?: unknown }) => each.event);
  const key = (each: { at: string; id: string; type: string }) => `${Date.parse(each.at)} ${each.type} ${each.id}`;
  assert.deepEqual(
    heard
      .map((each: { at: string; id: string; event: { type: string } }) => key({ ...each, type: each.event.type }))
      .sort(),
    told.map((each) => key(each as { at: string; id: string; type: string })).sort(),
  );
});

const JOBS = `
jobs:
  holds:
    table: holds
    rules:
      release:
        due: until
        where: not released
        fails: { "nobody may release {id}": id = 3 }
        set: released = true
        event: hold.released
  slow:
    table: slow
    every: 15 minutes
    rules:
      end: { due: until, where: not released, set: released = true }
`;

const SPAN = ['--from', '2030-01-01T00:00Z', '--until', '1d', '--timeout', '60'];

interface Happened {
  at: string;
  job: string;
  transition: string;
  id: string;
}

const short = ({ at, job, transition, id }: Happened) => `${at.slice(11, 16)} ${job} ${transition} ${id}`;

test('a rehearsal shows slots, failures and their retries, compares, and leaves nothing', async () => {
  await using db = await database();
  await db.query(`create schema app; alter database ${db.name} set search_path = app, ${SCHEMA}; set search_path = app;
    create table holds (id integer primary key, until timestamptz, released boolean not null default false);
    create table slow (like holds including all);
    insert into holds select n, '2030-01-01 01:00Z'::timestamptz + n * interval '1 minute' from generate_series(1, 3) as n;
    insert into slow values (1, '2030-01-01 02:01Z')`);
  await applied(db, JOBS);
  const rehearse = async (...args: string[]) => {
    const { code, out, err } = await db.cli(['rehearse', ...SPAN, ...args]);
    return { code, out, err };
  };
  const { out, err } = await rehearse('--json');
  const played = JSON.parse(out || err);
  assert.deepEqual(played.timeline.map(short), [
    ...['01:01 holds release 1', '01:02 holds release 2', '01:03 holds failed 3', '01:08 holds failed 3'],
    ...['01:38 holds failed 3', '02:15 slow end 1'],
  ]);
  assert.equal(played.timeline[2].error, 'release: nobody may release 3');
  for (const time of [played.from, played.until, ...played.timeline.map(({ at }: Happened) => at)])
    assert.match(time, /^2030-01-0[12]T\d\d:\d\d:00Z$/);
  for (const table of ['events', 'failures', 'runs'])
    assert.equal((await db.query(`select from scheduler.${table}`)).length, 0, table);

  const one = JSON.parse((await rehearse('--json', 'holds', '2')).out);
  assert.deepEqual(one.timeline.map(short), ['01:02 holds release 2']);
  for (const id of ['99', 'nine']) {
    for (const more of [[], ['-n', '1'], ['--json']]) {
      const none = await rehearse('holds', id, ...more);
      assert.equal(none.code, 2, none.err);
      assert.match(none.err, new RegExp(`There is no row with the id ${id} in holds\\.\n$`));
    }
  }
  // The limit counts what happens to the others, too.
  assert.match(
    (await rehearse('holds', '2', '--limit', '1')).out,
    /^Nothing happens to the row 2 from 2030-01-01 00:00:00Z to 2030-01-01 01:01:00Z\.\n\nStopped at 2030-01-01 01:01:00Z: there are 1 tr/,
  );
  const two = JSON.parse((await rehearse('--json', '--limit', '2')).out);
  assert.equal(two.timeline.length, 2);
  assert.match(two.stopped.why, /there are 2 transitions/);

  const file = join(tmpdir(), `expected-${db.name}.json`);
  try {
    writeFileSync(file, out);
    assert.deepEqual(await rehearse('--expect', file), { code: 0, out: '', err: '' });
    // The same twice is not the same once.
    writeFileSync(file, JSON.stringify({ ...played, timeline: [...played.timeline.slice(1), played.timeline[1]] }));
    const differs = await rehearse('--expect', file);
    assert.equal(differs.code, 1);
    assert.match(differs.out, /- +2030-01-01 01:02:00Z .* 2 /);
    assert.match(differs.out, /\+ +2030-01-01 01:01:00Z .* 1 /);
  } finally {
    rmSync(file);
  }

  await db.insert('scheduler.controls', { action: 'stop', job: 'slow', by: 'the test' });
  const text = (await rehearse('--limit', '1')).out;
  assert.match(text, /Left out: slow, stopped by/);
  assert.match(text, /Stopped at 2030-01-01 01:01:00Z: there are 1 transitions/);
  assert.doesNotMatch(text, /not installed/);
});

test('rows that a rehearsal has touched are left to a later tick, and nobody hears of it', async () => {
  await using db = await database();
  await db.query(`create table holds (id integer primary key, until timestamptz, released boolean not null default false);
    create table slow (like holds including all);
    create function waits() returns trigger language plpgsql as $$
      begin perform pg_advisory_xact_lock(42); return new; end $$;
    create trigger waits before update on holds for each row when (old.id = 2) execute function waits()`);
  await applied(db, JOBS.replace('event: hold.released', 'event: { type: hold.released, channels: [holds] }'));
  await db.query(`insert into holds values (1, '2026-01-01Z'), (2, '2026-01-01Z')`);
  await using listener = await application(db);
  let heard = 0;
  listener.on('notification', () => heard++);
  await listener.query('listen holds');
  await db.query('select pg_advisory_lock(42)');
  const playing = db.cli(['rehearse', '--until', '1h', 'holds', '--json', '--timeout', '60']);
  await until('the rehearsal has its rows', async () => {
    const waiting = await db.query(`select from pg_locks where locktype = 'advisory' and objid = 42 and not granted`);
    return waiting.length > 0;
  });
  const { jobs } = await db.tick(undefined, { only: ['holds'] });
  assert.deepEqual(jobs[0]!.changed, {});
  await db.query('select pg_advisory_unlock(42)');
  assert.equal(JSON.parse((await playing).out).timeline.length, 2);
  await listener.query('select');
  assert.equal(heard, 0);
  assert.deepEqual((await db.tick(undefined, { only: ['holds'] })).jobs[0]!.changed, { release: 2 });
});

test('work outside the database is taken for done, and named', async () => {
  await using db = await database();
  await db.query(`insert into hotspot_credentials (username, plain_password, phone_number, sms_next_attempt_at)
    values ('u', 'hush-hush', '+254711000000', '2030-01-01 03:00Z')`);
  const { out } = await db.cli(['rehearse', ...SPAN, 'credentials', '--json']);
  const { timeline, assumed } = JSON.parse(out);
  assert.deepEqual(
    timeline.map((each: Happened) => `${each.at} ${each.transition}`),
    ['2030-01-01T03:00:00Z sent'],
  );
  assert.deepEqual(assumed, ['credentials: send']);
  assert.doesNotMatch(out, /hush-hush|711000000/);
  const text = (await db.cli(['rehearse', ...SPAN, 'credentials'])).out;
  assert.match(text, /Taken for done: credentials: send\./);
});
