import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';
import { here } from '../support/schema.ts';

/** What the keys of a rule do, on real rows. */

const AT = '2026-03-10T12:00:00Z';

const TRIALS = `
jobs:
  trials:
    table: app.accounts
    zone: time_zone
    where: deleted_at is null
    rules:
      remind:
        due: trial_ends_at - 3 days at 09:00
        where: state = 'trialing'
        once: reminded_for
        late: 1 day
        event: trial.ending
      expire:
        due: trial_ends_at
        where: state = 'trialing'
        set: state = 'expired', expired_at = due_at
        event: { type: trial.expired, channels: ["user.{owner_id}"], message: "Trial of {owner_id} is over" }
      purge:
        due: expired_at + 90 days
        where: state = 'expired'
        delete: true
`;

test('a job of your own reminds once, expires, purges, and passes by what is too late', async () => {
  await using db = await database();
  await db.query(`create schema app; create type app.state as enum ('trialing', 'expired');
    create table app.accounts (
      id uuid primary key default gen_random_uuid(), owner_id integer, state app.state not null default 'trialing',
      trial_ends_at timestamptz, expired_at timestamp, deleted_at timestamptz, time_zone text
    );
    insert into app.accounts (owner_id, trial_ends_at, time_zone, deleted_at) values
      (1, '2026-03-13 06:00Z', 'Europe/Berlin', null), (2, '2026-03-11 20:00Z', null, null), (3, '2026-03-10 11:59Z', null, null),
      (4, '2025-11-01Z', null, null), (5, '2026-03-01Z', null, now()), (6, '2026-03-20Z', 'Mars/Base', null), (7, null, null, null)`);
  assert.match(await applied(db, TRIALS, '--dry-run'), /\+ trials {2}on app\.accounts/);
  assert.equal((await db.query('select from scheduler.jobs')).length, 0);
  const refused = await apply(db, TRIALS);
  assert.equal(refused.code, 2);
  assert.match(refused.err, /--backlog run .* --backlog skip/);
  assert.match(await applied(db, TRIALS, '--backlog', 'run'), /added the column app\.accounts\.reminded_for/);

  const first = await db.tick(AT, { only: ['trials'] });
  assert.deepEqual(first.jobs[0]!.changed, { 'remind (missed)': 3, remind: 1, expire: 2, purge: 1 });
  // A zone that is none is due at once, and says so by every rule that needs it.
  assert.deepEqual(
    first.jobs[0]!.failures.map(({ error }) => error),
    ["the zone 'Mars/Base' is not known"],
  );
  assert.deepEqual((await db.tick(AT, { only: ['trials'] })).jobs[0]!.changed, {});
  const rows = await db.query(
    `select owner_id, state::text as state, scheduler.iso(reminded_for) as reminded, expired_at::text as expired
     from app.accounts order by 1`,
  );
  assert.deepEqual(
    rows.map((row) => Object.values(row)),
    [
      [1, 'trialing', '2026-03-10T08:00:00Z', null],
      [2, 'trialing', '2026-03-08T09:00:00Z', null],
      [3, 'expired', '2026-03-07T09:00:00Z', '2026-03-10 11:59:00'],
      [5, 'trialing', null, null],
      [6, 'trialing', null, null],
      [7, 'trialing', null, null],
    ],
  );
  const events = await db.query(`select type, entity_id, channels, data from scheduler.events order by id`);
  const types = events.map(({ type }) => type);
  assert.deepEqual(types.filter((type) => type === 'trial.ending').length, 1);
  assert.equal(types.filter((type) => type === 'trial.ending.missed').length, 3);
  const expired = events.find(({ type, data }) => type === 'trial.expired' && data.message === 'Trial of 3 is over');
  assert.deepEqual(expired!.channels, ['user.3']);
  // A moved time is another time: it reminds again.
  await db.query(`update app.accounts set trial_ends_at = '2026-03-13 07:00Z' where owner_id = 1`);
  assert.deepEqual((await db.tick(AT, { only: ['trials'] })).jobs[0]!.changed, {});
  await db.query(`update app.accounts set trial_ends_at = '2026-03-12 07:00Z' where owner_id = 1`);
  assert.deepEqual((await db.tick(AT, { only: ['trials'] })).jobs[0]!.changed, { 'remind (missed)': 1 });
});

// The statements of the engine have a column "ended" themselves.
for (const done of ['done', 'ended'])
  test(`"also" reads any column, and of a whole row what is of the table, now and due_at: with a column ${done}`, async () => {
    await using db = await database();
    await db.query(`create table items (id serial primary key, at timestamptz, n integer, spare text, ${done} boolean default false);
      create table log (row jsonb); insert into items (at, n, spare) values ('2026-03-10Z', 3, 'x')`);
    const jobs = (also: string) => `
jobs:
  items:
    table: items
    rules: { go: { due: at, where: not ${done}, set: ${done} = true, also: "insert into log select ${also}" } }
`;
    const logs = async (also: string) => {
      await db.query(`update items set ${done} = false; truncate log`);
      await applied(db, jobs(also), '--backlog', 'run');
      const [job] = (await db.tick('2026-03-10T12:00:00Z', { only: ['items'] })).jobs;
      assert.deepEqual([job!.error, job!.changed], [undefined, { go: 1 }]);
      return (await db.one('select row from log')).row;
    };
    assert.equal(await logs('to_jsonb(n) from changed'), 3);
    assert.equal(await logs('to_jsonb(c.spare) from changed as c'), 'x');
    assert.equal(await logs('to_jsonb(count(*)) from changed'), 1);
    const at = '2026-03-10T00:00:00+00:00';
    const whole = { ...{ id: 1, at, n: 3, spare: 'x', [done]: true }, due_at: at, now: '2026-03-10T12:00:00+00:00' };
    assert.deepEqual(await logs('to_jsonb(changed) from changed'), whole);
    assert.deepEqual(await logs('to_jsonb(it) from (select * from changed) as it'), whole);
  });

test('a time repeats on the wall clock, and a month keeps the day that it was given', async () => {
  await using db = await database();
  await db.query(`create table bills (no text primary key, next_at timestamptz, day date, hour time, seen integer default 0);
    create table bill_log (bill text, at timestamptz, was timestamptz);
    insert into bills values ('month', '2026-01-31 02:30Z'), ('day', '2026-01-31 02:30Z')`);
  const yaml = (every: string, no: string) => `
    table: bills
    zone: Europe/Berlin
    where: no = '${no}'
    rules:
      bill:
        due: next_at
        repeat: ${every}
        set: seen = seen + 1
        also: insert into bill_log (bill, at, was) select no, now, due_at from changed
`;
  await applied(db, `jobs:\n  monthly:${yaml('1 month', 'month')}  daily:${yaml('1 day', 'day')}`, '--backlog', 'run');
  const times: Record<string, string[]> = { month: [], day: [] };
  for (const at of [
    '2026-01-31T10:00Z',
    '2026-02-28T10:00Z',
    '2026-03-28T10:00Z',
    '2026-03-29T10:00Z',
    '2026-03-31T10:00Z',
  ]) {
    const { jobs } = await db.tick(at, { only: ['monthly', 'daily'] });
    assert.deepEqual(jobs.flatMap(({ error, failures }) => [error, ...failures]).filter(Boolean), [], at);
    for (const { no, next } of await db.query('select no, scheduler.iso(next_at) as next from bills'))
      times[no]!.push(next);
  }
  assert.deepEqual(times.month, [
    ...['2026-02-28T02:30:00Z', '2026-03-31T01:30:00Z', '2026-03-31T01:30:00Z', '2026-03-31T01:30:00Z'],
    '2026-04-30T01:30:00Z',
  ]);
  // 03:30 in Berlin; on 29 March at 02:00 the clock goes on to 03:00.
  assert.deepEqual(times.day, [
    ...['2026-02-01T02:30:00Z', '2026-03-01T02:30:00Z', '2026-03-29T01:30:00Z', '2026-03-30T01:30:00Z'],
    '2026-04-01T01:30:00Z',
  ]);
  assert.equal(
    (await db.query('select from bill_log')).length,
    (await db.one('select sum(seen)::int as n from bills')).n,
  );
});

test('a row that its change leaves due fails alone, and so does one whose condition raises', async () => {
  await using db = await database();
  await db.query(`create table posts (id serial primary key, publish_at timestamptz, state text default 'draft', meta jsonb default '{"n": 1}');
    create function put_back() returns trigger language plpgsql as $$
      begin if new.id = 2 then new.state := 'draft'; end if; return new; end $$;
    create trigger put_back before update on posts for each row execute function put_back()`);
  const yaml = `
jobs:
  posts:
    table: posts
    rules:
      publish:
        due: publish_at
        where:
          it is a draft: state = 'draft'
          it is wanted: (meta ->> 'n')::integer > 0
        fails: { "the id {id} is unlucky": id = 4 }
        set: state = 'published'
        event: post.published
`;
  const out = await applied(db, yaml);
  assert.match(out, /rules\.publish\.where\.it is wanted is not part of an index, as it may fail for some values/);
  await db.query(`insert into posts (publish_at) select '2026-03-10Z' from generate_series(1, 6);
    update posts set meta = '{"n": "x"}' where id = 3; update posts set meta = '{"n": 0}' where id = 5`);
  const { jobs } = await db.tick(AT, { only: ['posts'] });
  assert.equal(jobs[0]!.error, undefined);
  assert.deepEqual(jobs[0]!.changed, { publish: 2 });
  assert.deepEqual(jobs[0]!.failures.map(({ id, error }) => [id, error]).sort(), [
    ['2', 'the change left it due'],
    ['3', 'invalid input syntax for type integer: "x"'],
    ['4', 'the id 4 is unlucky'],
  ]);
  assert.deepEqual(
    (await db.query(`select id from posts where state = 'draft' order by id`)).map(({ id }) => id),
    [2, 3, 4, 5],
  );
});

test('rules that feed one another are found by playing them, and nothing is applied', async () => {
  await using db = await database();
  await db.query(`create table lamps (id serial primary key, at timestamptz, is_on boolean default false);
    insert into lamps (at) values ('2026-01-01Z')`);
  const yaml = `
jobs:
  lamps:
    table: lamps
    rules:
      on: { due: at, where: not is_on, set: is_on = true }
      off: { due: at, where: is_on, set: is_on = false }
`;
  const { code, out } = await apply(db, yaml, '--backlog', 'run');
  assert.equal(code, 1, out);
  assert.match(out, /row 1 fails by the rule "on": one pass would change it twice/);
  assert.equal((await db.query('select from scheduler.jobs')).length, 0);
});

test('rows that are due when a rule is new can be left alone for ever', async () => {
  await using db = await database();
  await db.query(`create table holds (id serial primary key, until timestamptz, gone boolean default false);
    insert into holds (until) values (now() - interval '1 day')`);
  const yaml = `
jobs:
  holds:
    table: holds
    rules:
      release: { due: until, where: not gone, set: gone = true }
`;
  await applied(db, yaml, '--backlog', 'skip');
  await db.query(`insert into holds (until) values (now() + interval '1 second')`);
  const later = new Date(Date.now() + 60_000).toISOString();
  assert.deepEqual((await db.tick(later, { only: ['holds'] })).jobs[0]!.changed, { release: 1 });
  assert.match(await applied(db, yaml), /Nothing has changed/);
  assert.deepEqual((await db.tick(later, { only: ['holds'] })).jobs[0]!.changed, {});
});

test('the column of a zone may stand in quotes, as SQL writes a name with capitals', async () => {
  await using db = await database();
  await db.query(`create table items (id serial primary key, day date, "CamelZone" text, done boolean default false);
    insert into items (day, "CamelZone") values ('2026-03-10', 'Asia/Tokyo'), ('2026-03-10', 'America/Lima')`);
  for (const zone of [`'"CamelZone"'`, 'CamelZone']) {
    const rules = `{ go: { due: day at 09:00, where: not done, set: done = true } }`;
    await applied(db, `jobs: { items: { table: items, zone: ${zone}, rules: ${rules} } }`, '--backlog', 'run');
  }
  await db.tick('2026-03-10T00:30:00Z', { only: ['items'] });
  assert.deepEqual(await db.query('select id from items where done'), [{ id: 1 }]);
});

test('a column that was renamed stops the rules that name it, and no other', async () => {
  await using db = await database();
  await db.query(`create table items (id serial primary key, at timestamptz, note text, "place" text, shown boolean default false, gone boolean default false);
    create table log (note text)`);
  const yaml = `
jobs:
  items:
    table: items
    rules:
      show: { due: at, where: not shown, set: shown = true, event: { type: item.shown, data: [note] } }
      log: { due: at + 1 second, once: logged, also: insert into log select place from changed }
      go: { due: at + 1 hour, where: not gone, set: gone = true }
`;
  await applied(db, yaml);
  const left = async (sql: string, rules: string[], column: string, did: object) => {
    await db.query(
      `truncate items; insert into items (at) values ('2026-03-10T10:00:00Z'); alter table items rename ${sql}`,
    );
    const { jobs, exitCode } = await db.tick('2026-03-10T12:00:00Z', { only: ['items'] });
    assert.deepEqual([exitCode, jobs[0]!.changed], [78, did], jobs[0]!.error);
    const sentences = rules.map((rule) => `The rule "${rule}" of items is left, as its column "${column}" is gone.`);
    assert.ok(
      jobs[0]!.error!.startsWith(`${sentences.join(' ')} Something about its table has changed`),
      jobs[0]!.error,
    );
    const run = await db.one(
      'select changed, error from scheduler.runs where job is not null order by id desc limit 1',
    );
    assert.deepEqual([run.changed, run.error], [did, jobs[0]!.error]);
    await db.query(`alter table items rename ${sql.split(' to ').reverse().join(' to ')}`);
  };
  await left('note to remark', ['show'], 'note', { log: 1, go: 1 });
  await left('place to location', ['log'], 'place', { show: 1, go: 1 });
  await left('gone to went', ['go'], 'gone', { show: 1, log: 1 });
  await db.query('alter table items rename at to begins');
  const { jobs } = await db.tick('2026-03-10T12:00:00Z', { only: ['items'] });
  assert.match(jobs[0]!.error!, /The tables of items do not fit: column .*at does not exist/);
  await db.query('alter table items rename begins to at');
  assert.deepEqual((await db.tick('2026-03-10T12:00:00Z', { only: ['items'] })).jobs[0]!.changed, { go: 1 });
});

test('a month repeats from whatever year on; only rules that need the zone fail by it', async () => {
  await using db = await database();
  await db.query(`create table bills (id serial primary key, next_at timestamptz, zone text, told timestamptz);
    insert into bills (next_at) select make_timestamptz(year, 11, 30, 10, 0, 0, 'UTC') from unnest(array[1, 1974, 1995, 2009, 2016]) as year;
    create table holds (id serial primary key, until timestamptz, zone text, gone boolean default false);
    insert into holds (until, zone) values ('2026-03-01Z', 'Mars/Base')`);
  const yaml = `
jobs:
  bills:
    table: bills
    zone: UTC
    rules:
      bill: { due: next_at, repeat: 1 month }
  holds:
    table: holds
    zone: zone
    rules:
      release: { due: until, where: not gone, set: gone = true }
      remind: { due: until - 1 day at 09:00, where: gone, once: '"Told At"', event: hold.over }
`;
  await applied(db, yaml, '--backlog', 'run');
  const { jobs } = await db.tick('2026-11-29T08:01Z', { only: ['bills', 'holds'] });
  assert.deepEqual(await db.query('select distinct scheduler.iso(next_at) as next from bills'), [
    { next: '2026-11-30T10:00:00Z' },
  ]);
  assert.deepEqual(jobs[1]!.changed, { release: 1 });
  assert.deepEqual(
    jobs[1]!.failures.map(({ rule, error }) => [rule, error]),
    [['remind', "the zone 'Mars/Base' is not known"]],
  );
  assert.equal((await db.query('select "Told At" from holds')).length, 1);
});

test('a clock in a text, a column shared by two rules and "late" without an event are faults', async () => {
  await using db = await database();
  await db.query('create table "Rows" (id serial primary key, at timestamptz, told timestamptz, word text)');
  const yaml = `
jobs:
  one:
    table: '"Rows"'
    rules:
      a: { due: at, where: "at < 'today'", once: told }
      b: { due: at, where: "word = 'now'", once: told }
      c: { due: at, once: other, late: 1 day }
`;
  const { code, out } = await apply(db, yaml);
  assert.equal(code, 1, out);
  assert.match(out, /:6:\d+: a condition does not read the clock/);
  assert.match(out, /:7:\d+: "told" keeps the times of the rule "a" of "one": each rule needs a column of its own/);
  assert.match(out, /:8:\d+: "late" needs an "event"/);
  assert.match(out, /3 faults/);
  const good = yaml
    .replace("'today'", "'2026-01-01Z'")
    .replace('once: told }\n      c', 'once: other }\n      c')
    .replace(', once: other, late: 1 day', ', set: word = null, where: word is not null');
  assert.match(
    (await apply(db, good, '--sql')).out,
    here(/alter table "public"\."Rows" add column if not exists "other"/),
  );
});

test('two jobs share a column where their conditions part the rows, and not where both take all', async () => {
  await using db = await database();
  await db.query('create table notes (id serial primary key, at timestamptz, told timestamptz, kind text)');
  const yaml = (first: string, second: string) => `
jobs:
  mails: { table: notes, where: "${first}", rules: { a: { due: at, once: told } } }
  calls: { table: notes, where: "${second}", rules: { a: { due: at, once: told } } }
`;
  assert.equal((await apply(db, yaml("kind = 'mail'", "kind = 'call'"))).code, 0);
  const { code, out } = await apply(db, yaml("kind = 'mail'", "kind = 'mail'"));
  assert.equal(code, 1, out);
  assert.match(out, /:4:\d+: "told" keeps the times of the rule "a" of "mails": each rule needs a column of its own/);
});

test('a condition may ask another table for the row, by the name own_row', async () => {
  await using db = await database();
  await db.query(`create table trips (id serial primary key, ends_at timestamptz, is_over boolean default false);
    create table stays (id serial primary key, trip_id integer);
    insert into trips (ends_at) values ('2026-03-01Z'), ('2026-03-01Z'), ('2026-03-01Z');
    insert into stays (id, trip_id) values (7, 2), (8, 3)`);
  const yaml = `
jobs:
  trips:
    table: trips
    rules:
      end:
        due: ends_at
        where:
          it is not over: not is_over
          somebody stayed: exists (select from stays s where s.trip_id = own_row.id)
        set: is_over = true
`;
  await applied(db, yaml, '--backlog', 'run');
  assert.deepEqual((await db.tick(AT, { only: ['trips'] })).jobs[0]!.changed, { end: 2 });
  assert.deepEqual(await db.query('select id from trips where is_over order by id'), [{ id: 2 }, { id: 3 }]);
});

test('a subquery may use any alias, also those of the statements around it', async () => {
  await using db = await database();
  await db.query(`create table trips (id integer primary key, ends_at timestamptz, is_over boolean default false, said text);
    create table r (id integer primary key, ok boolean);
    insert into r values (2, true), (3, false)`);
  for (const alias of ['r', 't', 'it', 'todo', 'changed', 'due', 'l', 'c']) {
    await db.query(
      `truncate trips; insert into trips (id, ends_at) select n, '2026-03-01Z' from generate_series(1, 4) as n`,
    );
    const exists = (more: string) => `exists (select from r ${alias} where ${alias}.id = own_row.id${more})`;
    const yaml = `
jobs:
  trips:
    table: trips
    rules:
      end:
        due: ends_at
        where: not is_over and (own_row.id = 4 or ${exists('')} or exists (with ${alias} as (select 0 as id) select from ${alias} where ${alias}.id = own_row.id))
        fails: { it is not ok: "not ${exists(` and ${alias}.ok`)} and own_row.id <> 4" }
        set: is_over = true, said = (select ${alias}.ok::text from r ${alias} where ${alias}.id = own_row.id)
        event: trip.over
`;
    await applied(db, yaml, '--backlog', 'run');
    const { changed, failed } = (await db.tick(AT, { only: ['trips'] })).jobs[0]!;
    assert.deepEqual([changed, failed], [{ end: 2 }, 1], alias);
    assert.deepEqual(await db.query('select id, said from trips where is_over order by id'), [
      { id: 2, said: 'true' },
      { id: 4, said: null },
    ]);
    await db.query('truncate scheduler.failures');
  }
});
