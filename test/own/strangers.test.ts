import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';
import { SCHEMA } from '../support/schema.ts';

/** What belongs to others, and what does not fit, is refused before a tick meets it. */

const AT = '2026-03-10T12:00:00Z';

test('a thing that another role has put into the search path is never used', async () => {
  await using db = await database();
  const role = `stranger_${process.pid}_${Date.now()}`;
  await db.query(`create table items (id serial primary key, at timestamptz, state varchar(20) default 'a', told timestamptz);
    create table stolen (who text); create role ${role}; grant create, usage on schema ${SCHEMA} to ${role}; grant insert on stolen to public;
    create function mine(varchar) returns varchar language sql immutable as 'select $1';
    set role ${role};
    create function ${SCHEMA}.upper(varchar) returns text language plpgsql as $$ begin insert into stolen values (current_user); return 'stolen'; end $$;
    create function ${SCHEMA}.is_it(varchar, varchar) returns boolean language plpgsql immutable as $$ begin return true; end $$;
    create operator ${SCHEMA}.= (leftarg = varchar, rightarg = varchar, function = ${SCHEMA}.is_it);
    create domain ${SCHEMA}.loud as text check (${SCHEMA}.upper(value::varchar) is not null);
    reset role`);
  const yaml = (rule: string) =>
    `jobs:\n  items:\n    table: items\n    rules:\n      a: { due: at, once: told, ${rule} }\n`;
  try {
    for (const [rule, thing] of [
      ['set: state = upper(state)', `the function ${SCHEMA}.upper\\(character varying\\)`],
      [
        `where: "state = 'b'::varchar"`,
        `the function ${SCHEMA}.is_it\\(.*the operator ${SCHEMA}.=\\(character varying`,
      ],
      [`where: "state::loud is not null"`, `the domain ${SCHEMA}.loud`],
      [`also: insert into stolen select upper(state) from changed`, `the function ${SCHEMA}.upper`],
    ] as const) {
      const { code, out } = await apply(db, yaml(rule));
      assert.equal(code, 1, out);
      assert.match(
        out,
        new RegExp(`:5:\\d+: ${thing}.* of the role ${role}.*: its owner could change what the job does`),
      );
    }
    await applied(db, yaml('set: state = mine(state)'));
    assert.equal((await db.query('select from stolen')).length, 0);
  } finally {
    await db.query(`drop owned by ${role} cascade; drop role ${role}`);
  }
});

test('the column that names a row is unique and not null', async () => {
  await using db = await database();
  await db.query(`create table lines (no integer not null, part integer, at timestamptz, maybe integer unique, primary key (no, part));
    create table parts (id integer not null, at timestamptz not null, gone boolean default false) partition by range (at);
    create table parts_all partition of parts default`);
  const yaml = (table: string, id: string) =>
    `jobs:\n  job:\n    table: ${table}\n    id: ${id}\n    rules:\n      a: { due: at, once: told }\n`;
  assert.match((await apply(db, yaml('lines', 'no'))).out, /:4:9: two rows may have the same "no"/);
  assert.match((await apply(db, yaml('lines', 'maybe'))).out, /:4:9: "maybe" may be null/);
  assert.match(await applied(db, yaml('parts', 'id'), '--dry-run'), /nothing keeps "id" unique in all partitions/);
});

test('a CASE may be the whole of an expression', async () => {
  await using db = await database();
  await db.query(`create table things (id serial primary key, at timestamptz, other date, state text default 'a');
    insert into things (at, other) values ('2026-03-01Z', '2026-03-02'), ('2026-03-01Z', '2099-01-01'), (null, null)`);
  const yaml = `
jobs:
  things:
    table: things
    rules:
      a:
        due: case when state = 'a' then at else other::timestamptz end
        where: case when state = 'c' then false else true end
        fails: { it is bad: case when id = 7 then true else false end }
        set: state = case when state = 'a' then 'b' else 'c' end
`;
  await applied(db, yaml, '--backlog', 'run');
  const { jobs } = await db.tick(AT, { only: ['things'] });
  assert.deepEqual([jobs[0]!.error, jobs[0]!.failures, jobs[0]!.changed], [undefined, [], { a: 3 }]);
  assert.deepEqual(
    (await db.query('select state from things order by id')).map(({ state }) => state),
    ['c', 'b', 'a'],
  );
});

test('a time without a next occurrence is the failure of its row alone', async () => {
  await using db = await database();
  await db.query(`create table bills (id serial primary key, at timestamptz);
    insert into bills (at) values ('2026-01-31Z')`);
  await applied(
    db,
    'jobs:\n  bills:\n    table: bills\n    rules:\n      a: { due: at, repeat: 1 month }\n',
    '--backlog',
    'run',
  );
  await db.query(`insert into bills (at) values ('-infinity')`);
  const { jobs } = await db.tick(AT, { only: ['bills'] });
  assert.deepEqual(jobs[0]!.changed, { a: 1 });
  assert.deepEqual(
    jobs[0]!.failures.map(({ id, error }) => [id, error]),
    [['2', '-infinity has no next occurrence']],
  );
});

test('skipped rows stay skipped under another due time; the rows of a changed rule are counted', async () => {
  await using db = await database();
  await db.query(`create table holds (id serial primary key, at timestamptz, state text default 'a');
    insert into holds (at) values ('2020-01-01Z'); insert into holds (at, state) values ('2020-01-01Z', 'b')`);
  const yaml = (due: string, where: string) =>
    `jobs:\n  holds:\n    table: holds\n    rules:\n      a: { due: ${due}, where: "${where}", set: state = 'c' }\n`;
  await applied(db, yaml('at', `state = 'a'`), '--backlog', 'skip');
  assert.doesNotMatch(await applied(db, yaml('at + 1 hour', `state = 'a'`)), /due now/);
  assert.deepEqual((await db.tick(AT, { only: ['holds'] })).jobs[0]!.changed, {});
  await db.query('create table seats (id serial primary key, at timestamptz, state text)');
  const seats = yaml('at', `state = 'a'`).replaceAll('holds', 'seats');
  await applied(db, seats);
  await db.query(`insert into seats (at, state) values ('2020-01-01Z', 'b')`);
  const other = seats.replace(`state = 'a'"`, `state in ('a', 'b')"`);
  assert.match(await applied(db, other, '--dry-run'), /a: due now: 1 row, the oldest since 2020-01-01/);
});

test('a column that no rule names may go, whatever other jobs do with it', async () => {
  await using db = await database();
  await db.query(`create table trials (id serial primary key, at timestamptz, gone boolean default false, old text, flag boolean default true, told timestamptz);
    insert into trials (at) values ('2020-01-01Z')`);
  const yaml = `
jobs:
  one: { table: trials, rules: { go: { due: at, where: not gone, set: gone = true, event: { type: a, data: [at] } } } }
  other: { table: trials, where: flag, rules: { tell: { due: at, once: told } } }
`;
  await applied(db, yaml, '--backlog', 'run');
  await db.query('alter table trials drop column old, drop column flag');
  const { jobs } = await db.tick('2026-03-10T12:00:00Z', { only: ['one', 'other'] });
  assert.deepEqual(
    jobs.map(({ job, changed, error }) => [job, changed, error && /flag/.test(error)]),
    [
      ['one', { go: 1 }, undefined],
      ['other', {}, true],
    ],
  );
});

test('one job that does not fit its table any more hides no other from next, and says what to do', async () => {
  await using db = await database();
  await db.query(`create table ones (id serial primary key, at timestamptz, told timestamptz);
    create table twos (id serial primary key, at timestamptz, told timestamptz);
    insert into ones (at) values ('2099-01-01Z'); insert into twos (at) values ('2099-01-01Z')`);
  const job = (name: string) => `  ${name}:\n    table: ${name}\n    rules:\n      a: { due: at, once: told }\n`;
  await applied(db, `jobs:\n${job('ones')}${job('twos')}`);
  await db.query('alter table ones rename at to ends_at');
  const { code, out, err } = await db.cli(['next', '--within', '40000d', '--json']);
  assert.equal(code, 0, err);
  const { transitions, held } = JSON.parse(out);
  assert.deepEqual(
    transitions.map(({ job: name }: { job: string }) => name),
    ['twos'],
  );
  assert.match(
    JSON.stringify(held),
    /"ones".*column t?\.?.*at.* does not exist.*Then run \\"scheduler apply\\" with your files/,
  );
  const wrong = await db.cli(['rehearse', '--until', '1d', '--expect', '/dev/null']);
  assert.equal(wrong.code, 2, wrong.err);
});

test('a name that a result has already, and a role that is not there, are refused before anything is applied', async () => {
  await using db = await database();
  await db.query('create table items (id serial primary key, at timestamptz, told timestamptz)');
  const yaml = (name: string) =>
    `jobs:\n  items:\n    table: items\n    rules:\n      ${name}: { due: at, once: told }\n`;
  for (const name of ['failed', '"a (missed)"'])
    assert.match((await apply(db, yaml(name))).out, /:5:\d+: ".*" tells what became of a row/);
  const { code, err } = await apply(db, yaml('a'), '--role', 'nobody_at_all');
  assert.equal(code, 2);
  assert.match(err, /Nothing is applied: there is no role "nobody_at_all"/);
  assert.equal((await db.query('select from scheduler.jobs')).length, 0);
});
