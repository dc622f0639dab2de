import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';
import { SCHEMA } from '../support/schema.ts';
import { stranger } from '../support/stranger.ts';

test('doctor finds what has changed under a job before a tick meets it, and its remedy works', async () => {
  await using db = await database();
  await db.query(`create table items (id serial primary key, at timestamptz, gone boolean default false, n integer, note text);
    create function wanted(integer) returns boolean immutable language sql return $1 > 0`);
  const yaml = `
jobs:
  items:
    table: items
    rules: { go: { due: at, where: { it is there: not gone, it is wanted: wanted(n) }, set: { gone: 'true', note: n::text }, once: told } }
`;
  await applied(db, yaml);
  const found = async () => {
    const { checks } = JSON.parse((await db.cli(['doctor', '--json'])).out);
    const { outcome, message } = checks.find(({ check }: { check: string }) => check === 'items');
    return { outcome, message };
  };
  assert.equal((await found()).outcome, 'ok', (await found()).message);
  const finds = async (sql: string, what: RegExp, outcome = 'failed', undo?: string) => {
    await db.query(sql);
    const { outcome: is, message } = await found();
    assert.equal(is, outcome, message);
    assert.match(message, what);
    if (undo) await db.query(undo);
    await applied(db, yaml);
    assert.equal((await found()).outcome, 'ok', sql);
  };
  await finds(
    'alter table items alter n type bigint',
    /no function|does not exist/,
    'failed',
    'alter table items alter n type integer',
  );
  await finds('alter table items alter note type varchar(9)', /"note" is of type character varying\(9\) now/);
  await finds('alter table items drop told', /the column "told" is gone/);
  await finds(
    'create or replace function wanted(integer) returns boolean immutable language sql return $1 > 1',
    /the function .*wanted\(integer\) is another/,
  );
  await finds(
    'alter table items rename at to begins_at',
    /"?at"?/,
    'failed',
    'alter table items rename begins_at to at',
  );
  const { name } = await db.one(`select indexname as name from pg_indexes where indexname like 'items_items%'`);
  await finds(`drop index "${name}"`, /the index .* is missing or invalid/);

  await db.tick();
  await db.query(`insert into items (at, n) values (now() - interval '1 hour', 2)`);
  const { checks } = JSON.parse((await db.cli(['doctor', '--json'])).out);
  const backlog = checks.find(({ check }: { check: string }) => check === 'backlog');
  assert.match(backlog.remedy[1], /^scheduler run items --debug/);
  assert.match((await db.cli(['run', 'items', '--debug'])).out, /go +1/);
});

test('columns that no rule names may come, change and go; "changed.*" names all of them', async () => {
  await using db = await database();
  await db.query(`create table items (no serial primary key, at timestamptz, spare text, unused integer, "place" text);
    create table log (row jsonb); create table copies (at timestamptz, no integer)`);
  const yaml = (also: string) =>
    `jobs: { items: { table: items, rules: { go: { due: at, repeat: 1 day, set: { place: upper(spare) }, also: "${also}" } } } }`;
  const changes = async (jobs: string) => {
    const { code, out, err } = await apply(db, jobs, '--check');
    assert.equal(err, '');
    const { checks } = JSON.parse((await db.cli(['doctor', '--json'])).out);
    const { outcome } = checks.find(({ check }: { check: string }) => check === 'items');
    return [code, outcome, out];
  };
  const some = yaml('insert into copies (at, no) select changed.due_at, changed.no from changed');
  await applied(db, some);
  for (const sql of ['add more text', 'alter unused type bigint', 'drop unused']) {
    await db.query(`alter table items ${sql}`);
    assert.deepEqual((await changes(some)).slice(0, 2), [0, 'ok'], sql);
  }
  await db.query('alter table items drop at_first');
  for (const all of [
    'insert into log select to_jsonb(changed) from changed',
    'insert into log select to_jsonb(c) from (select * from changed) as c',
  ]) {
    await applied(db, yaml(all));
    assert.deepEqual((await changes(yaml(all))).slice(0, 2), [0, 'ok'], 'the columns that apply adds are part of it');
    await db.query('alter table items add another text');
    const [code, outcome, out] = await changes(yaml(all));
    assert.deepEqual([code, outcome], [1, 'warning'], out);
    assert.match(out, /the column "another" is new/);
    await db.query('alter table items drop another, drop at_first');
  }
});

test('while a job of your own is broken, nothing is told of its backlog', async () => {
  await using db = await database({ empty: true });
  await db.migrate({}, []);
  await db.query('create table items (id serial primary key, at timestamptz, gone boolean default false)');
  await applied(db, 'jobs: { items: { table: items, rules: { go: { due: at, where: not gone, set: gone = true } } } }');
  await db.query('alter table items rename at to begins_at');
  await db.cli(['tick']);
  const { checks } = JSON.parse((await db.cli(['doctor', '--json'])).out);
  const of = (name: string) => checks.find(({ check }: { check: string }) => check === name);
  assert.deepEqual(
    [of('backlog').outcome, of('backlog').message],
    ['skipped', 'cannot be told of items, whose tables do not answer'],
  );
  assert.equal(of('indexes').message, 'no built-in job needs one');
  assert.match((await db.cli(['status'])).out, /^items +broken (?!.* due for ).*items do not fit/m);
});

test('without the right to make temporary tables, apply and doctor each name the one grant that is lacking', async () => {
  await using db = await database({ empty: true });
  await using keeper = await stranger(db, `create on database ${db.name}`, 'create on schema public');
  const env = { DATABASE_URL: keeper.url };
  const as: typeof db = { ...db, cli: (args) => db.cli(args, { env }) };
  assert.equal((await as.cli(['migrate'])).code, 0);
  await keeper.query(`create table items (id serial primary key, at timestamptz, gone boolean default false);
    create table codes (id serial primary key, code text, status text, expires_at timestamptz, updated_at timestamptz)`);
  await db.query(`revoke temporary on database ${db.name} from public`);
  const grant = `grant temporary on database ${db.name} to ${keeper.role}`;
  const rules =
    'jobs: { items: { table: items, rules: { go: { due: at, where: not gone, set: gone = true, once: told } } } }';
  for (const yaml of [rules, 'jobs: { codes: { table: codes, uses: vouchers } }']) {
    const { code, out, err } = await apply(as, yaml);
    assert.equal(code, 78, out + err);
    assert.equal(out, '');
    assert.match(err, new RegExp(`No job is applied: .*temporary view.*As "postgres" or a superuser: ${grant};`));
  }
  await db.query(grant);
  await applied(as, rules);

  await db.query(`revoke temporary on database ${db.name} from ${keeper.role}`);
  const own = async () => {
    const { checks } = JSON.parse((await as.cli(['doctor', '--json'])).out);
    const names = ['own jobs', 'items'];
    return checks.filter(({ check }: { check: string }) => names.includes(check));
  };
  const [found, ...more] = await own();
  assert.deepEqual([found.check, found.outcome, more], ['own jobs', 'warning', []], found.message);
  assert.match(found.message, /^not compared with the database: .*temporary view/);
  await db.query(found.remedy.join('\n'));
  assert.deepEqual(
    (await own()).map(({ check, outcome }: { check: string; outcome: string }) => [check, outcome]),
    [['items', 'ok']],
  );
});

test('a role that lacks a right, or from which a policy hides rows, is sent to the check of rights', async () => {
  await using db = await database();
  await db.query('create table items (id serial primary key, at timestamptz, gone boolean default false)');
  await using ticking = await stranger(db);
  const yaml = 'jobs: { items: { table: items, rules: { go: { due: at, where: not gone, set: gone = true } } } }';
  await applied(db, yaml, '--role', ticking.role);
  const found = async () => {
    const { out } = await db.cli(['doctor', '--json'], { env: { DATABASE_URL: ticking.url } });
    const { outcome, message } = JSON.parse(out).checks.find(({ check }: { check: string }) => check === 'items');
    return { outcome, message };
  };
  assert.equal((await found()).outcome, 'ok', (await found()).message);
  await db.query('alter table items enable row level security');
  assert.deepEqual(await found(), {
    outcome: 'skipped',
    message: `cannot be looked at: row-level security hides rows of ${SCHEMA}.items from ${ticking.role}; see "rights"`,
  });
  await db.query(`alter table items disable row level security; revoke update on items from ${ticking.role}`);
  assert.deepEqual(await found(), {
    outcome: 'skipped',
    message: `cannot be looked at: ${ticking.role} lacks update on ${SCHEMA}.items; see "rights"`,
  });
});
