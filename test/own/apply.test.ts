import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { application, cli, database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';
import { here } from '../support/schema.ts';
import { until } from '../support/until.ts';

/** What apply builds, drops, refuses and moves. */

const job = (name: string, table: string, where = 'not gone', more = '') =>
  `  ${name}:\n    table: ${table}\n${more}    rules: { go: { due: at, where: ${where}, set: gone = true } }\n`;
const file = (...jobs: string[]) => `jobs:\n${jobs.join('')}`;
const ITEMS = 'id serial primary key, at timestamptz, gone boolean default false';
const INDEXES = here(
  `select indexname as name from pg_indexes where schemaname = 'public' and indexname not like '%_pkey' and tablename ~ '^items' order by 1`,
);

test('an equal index counts whatever its name, an unused one goes, and a broken one is built anew', async () => {
  await using db = await database();
  await db.query(`create table items (${ITEMS}); create index "my own ""USING"" one" on items (at, id) where not gone`);
  const names = async () => (await db.query(INDEXES)).map(({ name }) => name);
  assert.doesNotMatch(await applied(db, file(job('one', 'items'))), /index/);
  assert.deepEqual(await names(), ['my own "USING" one']);
  const both = file(job('one', 'items', 'gone is false'), job('two', 'items', 'gone is false'));
  assert.match(
    await applied(db, both),
    here(/~ one .*\n.*\n +index "public"\."items_one_go_[0-9a-f]{6}" on \(.*where/),
  );
  const built = (await names()).find((name) => name.startsWith('items_one_go_'));
  // The other job finds its rows by the same one.
  assert.deepEqual(await names(), [built, 'my own "USING" one']);
  await db.query('update pg_index set indisvalid = false where indexrelid = $1::regclass', [`"${built}"`]);
  assert.match((await db.cli(['doctor'])).out, /failed +two .*the index .* is missing or invalid/);
  assert.equal((await apply(db, both, '--check')).code, 1);
  assert.match(await applied(db, both), /built the index/);
  assert.equal((await db.one('select bool_and(indisvalid) as ok from pg_index')).ok, true);
  assert.doesNotMatch((await db.cli(['jobs', 'remove', 'one'])).out, /dropped/);
  const last = file(job('two', 'items'));
  assert.match(
    await applied(db, last, '--dry-run'),
    new RegExp(here(`- index "public"\\."${built}": no job needs it`)),
  );
  assert.match(await applied(db, last), /dropped the index/);
  assert.deepEqual(await names(), ['my own "USING" one']);
  assert.doesNotMatch((await db.cli(['jobs', 'remove', 'two'])).out, /dropped/);
  // An index that apply did not build stays.
  assert.deepEqual(await names(), ['my own "USING" one']);
});

test('an index means the same whatever the settings of the role that builds it', async () => {
  await using db = await database();
  await db.query(`create table paths (id serial primary key, name text, at timestamptz, told timestamptz);
    alter database ${db.name} set standard_conforming_strings = off`);
  const yaml = `
jobs:
  paths:
    table: paths
    where: name <> 'a\\b'
    rules:
      old: { due: at, once: told }
`;
  await applied(db, yaml);
  const [index] = await db.query<{ sql: string }>(
    `select pg_get_indexdef(indexrelid) as sql from pg_index where indrelid = 'paths'::regclass and indpred is not null`,
  );
  assert.match(index!.sql, /'a\\b'/);
  assert.equal((await apply(db, yaml, '--check')).code, 0);
});

test('a partitioned table gets an index on each partition, attached', async () => {
  await using db = await database();
  await db.query(`create table items (id integer, at timestamptz, gone boolean default false, part integer, primary key (id, part)) partition by list (part);
    create table items_1 partition of items for values in (1);
    create table items_2 partition of items for values in (2, 3) partition by list (part);
    create table items_3 partition of items_2 for values in (3)`);
  const yaml = file(job('one', 'items', 'not gone', '    id: id\n'));
  await applied(db, yaml);
  assert.match(await applied(db, yaml), /Nothing has changed/);
  const all = await db.query(
    `select i.indisvalid as valid from pg_index i join pg_class c on c.oid = i.indrelid where c.relname ~ '^items' and not i.indisprimary`,
  );
  assert.deepEqual(all, Array(4).fill({ valid: true }));
  await db.query(`insert into items (id, at, part) values (1, '2026-01-01Z', 1), (2, '2026-01-01Z', 3)`);
  assert.deepEqual((await db.tick('2026-03-10T12:00:00Z', { only: ['one'] })).jobs[0]!.changed, { go: 2 });
  await db.cli(['jobs', 'remove', 'one']);
  assert.deepEqual((await db.query(INDEXES)).length, 0);
});

test('a delete lists what cascades, and a foreign key that would stop it is a fault at its place', async () => {
  await using db = await database();
  await db.query(`create table items (${ITEMS}); create table lines (id integer primary key, item integer references items on delete cascade);
    create table notes (line integer references lines on delete set null, item integer references items on delete cascade)`);
  const yaml = 'jobs:\n  one:\n    table: items\n    rules:\n      go:\n        due: at\n        delete: true\n';
  const plan = await applied(db, yaml);
  assert.match(plan, here(/go: deletes rows of public\.lines \(lines_item_fkey\)/));
  assert.match(plan, here(/go: sets columns to null in public\.notes \(notes_line_fkey\)/));
  await db.query('create table bills (line integer references lines)');
  const { code, out } = await apply(db, yaml);
  assert.equal(code, 1);
  assert.match(out, here(/jobs\.yaml:7:\d+: the foreign key "bills_line_fkey" of public\.bills would stop it/));
});

test('tables of one name in two schemas are two tables', async () => {
  await using db = await database();
  await db.query(
    `create schema a; create schema b; create table a.orders (${ITEMS}); create table b.orders (${ITEMS})`,
  );
  await applied(db, file(job('one', 'a.orders'), job('two', 'b.orders')));
  await db.query(`insert into a.orders (at) values ('2026-01-01Z'); insert into b.orders (at) values ('2026-01-01Z')`);
  await using other = await application(db);
  await other.query('begin; lock table b.orders in access exclusive mode');
  assert.match((await db.cli(['explain', 'two', '1'])).out, /the table orders is locked/);
  assert.doesNotMatch((await db.cli(['explain', 'one', '1'])).out, /locked/);
  await other.query('rollback');
  const { jobs } = await db.tick('2026-03-10T12:00:00Z', { only: ['one', 'two'] });
  assert.deepEqual(
    jobs.map(({ changed }) => changed),
    [{ go: 1 }, { go: 1 }],
  );
  assert.deepEqual(
    [(await db.one('select gone from a.orders')).gone, (await db.one('select gone from b.orders')).gone],
    [true, true],
  );
});

test('pauses, failures and history move along to a new name; only one apply is at work', async () => {
  await using db = await database();
  await db.query(`create table items (${ITEMS}, check (id <> 1 or not gone))`);
  await applied(db, file(job('one', 'items')));
  await db.query(`insert into items (at) values ('2026-01-01Z'), ('2026-01-01Z')`);
  await db.tick('2026-03-10T12:00:00Z', { only: ['one'] });
  await db.tick('2026-03-10T12:01:00Z');
  await db.cli(['stop', 'one', '--reason', 'a pause']);
  await using other = await application(db);
  await other.query('begin; lock table scheduler.jobs in share update exclusive mode');
  const second = await apply(db, file(job('two', 'items', 'not gone', '    was: one\n')));
  assert.deepEqual([second.code, /another "scheduler apply".* is at work/.test(second.err)], [75, true], second.err);
  await other.query('rollback');
  await applied(db, file(job('two', 'items', 'not gone', '    was: one\n')));
  const left =
    await db.one(`select (select count(*) from scheduler.runs where job = 'one' or 'one' = any(idle)) + (select count(*) from scheduler.failures where job = 'one')
    + (select count(*) from scheduler.controls where job = 'one') + (select count(*) from scheduler.events where job = 'one') as n`);
  assert.equal(left.n, '0');
  const status = JSON.parse((await db.cli(['status', '--json'])).out);
  const of = (name: string) => status.jobs.find(({ job }: { job: string }) => job === name);
  assert.equal(of('one'), undefined);
  assert.deepEqual([of('two').state, of('two').failing, of('two').lastRun !== null], ['paused', 1, true]);
  const wrong = await apply(db, file(job('two', 'items'), job('three', 'items', 'not gone', '    was: two\n')));
  assert.match(wrong.out, /"was" is a former name, and a job is called "two" now/);
});

test('a plan speaks the words of the file; of two jobs of one name it says where the other one is', async () => {
  await using db = await database();
  await db.query(`create table items (${ITEMS})`);
  await applied(db, file(job('one', 'items')));
  const hourly = file(job('one', 'items', 'not gone', '    every: 1 hour\n'));
  assert.match(await applied(db, hourly, '--dry-run'), /~ one .*\n +"every" is another\n/);
  const folder = mkdtempSync(join(tmpdir(), 'jobs-'));
  try {
    for (const name of ['a.yaml', 'b.yaml']) writeFileSync(join(folder, name), file(job('one', 'items')));
    const { out } = await db.cli(['apply', folder]);
    assert.ok(
      out.includes(`b.yaml:3:5: there are two jobs named "one": the other one is at ${folder}/a.yaml:3:5`),
      out,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
  assert.match((await cli(['next', '--help'])).out, /how far to look ahead: 90m, 24h, 7d \(default: 24h\)\n/);
});

test('apply waits for a tick that is at work, and the next tick does what it says', async () => {
  await using db = await database();
  await db.query(`create table items (${ITEMS}, told timestamptz);
    create function waits() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(42); return new; end $$;
    create trigger waits before update on items for each row execute function waits()`);
  await applied(db, file(job('one', 'items')));
  await db.query(`insert into items (at) values ('2026-01-01Z'); select pg_advisory_lock(42)`);
  const waiting = (type: string) => async () =>
    (await db.query('select from pg_locks where locktype = $1 and not granted', [type])).length > 0;
  const ticking = db.tick('2026-03-10T12:00:00Z', { only: ['one'] });
  await until('the tick works on its row', waiting('advisory'));
  const applying = apply(db, file(job('two', 'items', 'not gone and told is null', '    was: one\n')));
  await until('apply waits for it', waiting('virtualxid'));
  await db.query('select pg_advisory_unlock(42)');
  const [{ jobs }, { code, err }] = await Promise.all([ticking, applying]);
  assert.deepEqual([jobs[0]!.error, jobs[0]!.changed, code], [undefined, { go: 1 }, 0], err);
  assert.equal((await db.one(`select count(*)::integer as n from scheduler.runs where job = 'two'`)).n, 1);
  await db.query(
    `insert into items (at) values ('2026-01-01Z'); insert into items (at, told) values ('2026-01-01Z', now())`,
  );
  const next = await db.tick('2026-03-10T12:01:00Z', { only: ['one', 'two'] });
  assert.deepEqual(
    next.jobs.map(({ job, changed }) => [job, changed]),
    [['two', { go: 1 }]],
  );
});
