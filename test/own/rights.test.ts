import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';
import { SCHEMA } from '../support/schema.ts';
import { stranger } from '../support/stranger.ts';

/** What the role that ticks may do, and what it may not. */

const AT = '2026-03-10T12:00:00Z';

test('a role with what apply grants ticks every kind of rule, and cannot write a definition', async () => {
  await using db = await database();
  await db.query(`create schema app; create schema log; create schema other;
    create table app.items (id serial primary key, at timestamptz, kind text, done boolean default false, told timestamptz);
    create table log.items (no serial primary key, item integer, at timestamptz);
    create table other.wanted (kind text primary key);
    create function other.is_it(text) returns boolean immutable language sql return $1 = 'set';
    revoke execute on function other.is_it(text) from public;
    insert into other.wanted values ('set'), ('delete'), ('once'), ('repeat')`);
  const rule = (kind: string, what: string) =>
    `
      ${kind}:
        due: at
        where: { it is of the kind: kind = '${kind}', it is wanted: exists (select from other.wanted w where w.kind = items.kind) }
        ${what}`.replace('items.kind', 'own_row.kind');
  const yaml = `
jobs:
  items:
    table: app.items
    rules:${rule('delete', 'delete: true')}${rule('once', 'once: told\n        event: item.told')}${rule('repeat', 'repeat: 1 day')}
      set:
        due: at
        where: { it is open: not done, it is it: other.is_it(kind) }
        set: done = true
        also: insert into log.items (item, at) select id, due_at from changed
`;
  await using ticking = await stranger(db);
  const said = await applied(db, yaml, '--role', ticking.role);
  for (const each of [
    'usage on schema log',
    'usage on sequence log.items_no_seq',
    'insert on log.items',
    'select on other.wanted',
    'execute on function other.is_it(text)',
  ])
    assert.ok(said.includes(`granted ${each} to`), `${each} in ${said}`);
  await db.query(
    `insert into app.items (at, kind) select '2026-03-10Z', unnest(array['set', 'delete', 'once', 'repeat'])`,
  );
  const { jobs } = await db.tick(AT, { only: ['items'], url: ticking.url });
  assert.deepEqual([jobs[0]!.error, jobs[0]!.failures], [undefined, []]);
  assert.deepEqual(jobs[0]!.changed, { set: 1, delete: 1, once: 1, repeat: 1 });
  assert.equal((await db.query('select from log.items')).length, 1);
  for (const sql of [
    "insert into scheduler.jobs (name, format, by) values ('x', 1, 'x')",
    'update scheduler.jobs set by = by',
    'delete from scheduler.jobs',
  ])
    await assert.rejects(ticking.query(sql), /permission denied/, sql);

  const doctor = await db.cli(['doctor', '--json'], { env: { DATABASE_URL: ticking.url } });
  const of = (checks: { check: string; outcome: string; message: string; remedy?: string[] }[], name: string) =>
    checks.find(({ check }) => check === name);
  const { checks } = JSON.parse(doctor.out);
  assert.deepEqual([of(checks, 'rights')!.outcome, of(checks, 'items')!.outcome], ['ok', 'ok'], doctor.out);
  assert.equal(of(checks, 'own jobs'), undefined);
  await db.query(`revoke insert on log.items from ${ticking.role}; grant insert on scheduler.jobs to ${ticking.role}`);
  const again = JSON.parse((await db.cli(['doctor', '--json'], { env: { DATABASE_URL: ticking.url } })).out).checks;
  assert.equal(of(again, 'rights')!.message, `${ticking.role} lacks insert on log.items`);
  assert.match(of(again, 'own jobs')!.message, /may write the definitions of jobs/);

  await db.query('alter table app.items enable row level security');
  const hidden = `row-level security hides rows of app.items from ${ticking.role}`;
  assert.ok((await applied(db, yaml, '--role', ticking.role)).includes(`${hidden}, and a tick as ${ticking.role}`));
  const found = JSON.parse((await db.cli(['doctor', '--json'], { env: { DATABASE_URL: ticking.url } })).out).checks;
  const { message, remedy } = of(found, 'rights')!;
  assert.equal(message, hidden);
  const error = async () => (await db.tick(AT, { only: ['items'], url: ticking.url })).jobs[0]!.error;
  assert.match((await error()) ?? '', /row-level security policy for table "items".*"scheduler doctor" says which/);
  await db.query(remedy!.join('\n'));
  assert.equal(await error(), undefined);
});

test('apply grants the use of the schemas in which the functions and types of a rule lie', async () => {
  await using db = await database();
  await db.query(`create schema fn; create schema "The types"; create schema log;
    create type "The types".state as enum ('open', 'done'); create domain "The types".number as integer;
    create function fn.is_it(text) returns boolean immutable language sql return $1 = 'it';
    create function log.of(text) returns text immutable language sql return upper($1); revoke execute on function log.of(text) from public;
    create table items (no "The types".number primary key, at timestamptz, kind text, state "The types".state);
    create table logged (what text);
    insert into items values (1, '2026-03-10Z', 'it', 'open')`);
  const yaml = `
jobs:
  items:
    table: items
    rules:
      go:
        due: at
        where: { it is open: state = 'open', it is it: fn.is_it(kind) }
        set: state = 'done'
        also: insert into logged select log.of(kind) from changed
`;
  await using ticking = await stranger(db);
  const said = await applied(db, yaml, '--role', ticking.role, '--backlog', 'run');
  for (const right of [
    ...['fn', '"The types"', 'log'].map((schema) => `usage on schema ${schema}`),
    'execute on function log.of(text)',
  ])
    assert.ok(said.includes(`granted ${right} to`), `${right} in ${said}`);
  const { jobs } = await db.tick(AT, { only: ['items'], url: ticking.url });
  assert.deepEqual([jobs[0]!.error, jobs[0]!.changed], [undefined, { go: 1 }]);
  assert.deepEqual(await db.query('select what from logged'), [{ what: 'IT' }]);

  await db.query(`revoke usage on schema fn from ${ticking.role}`);
  const { checks } = JSON.parse((await db.cli(['doctor', '--json'], { env: { DATABASE_URL: ticking.url } })).out);
  const rights = checks.find(({ check }: { check: string }) => check === 'rights');
  assert.equal(rights.message, `${ticking.role} lacks usage on schema fn`);
});

test('a definition is not switched on if the role that ticks cannot get its rights', async () => {
  await using db = await database({ empty: true });
  await using keeper = await stranger(db, `create on database ${db.name}`, 'create on schema public');
  const env = { DATABASE_URL: keeper.url };
  assert.equal((await db.cli(['migrate'], { env })).code, 0);
  const ticking = `t_${db.name}`;
  await db.query(`create role ${ticking} login; create schema fn; grant usage, create on schema fn to ${keeper.role}`);
  try {
    await keeper.query(`create table items (id serial primary key, at timestamptz, done boolean default false);
      create function fn.is_it(integer) returns boolean immutable language sql return $1 > 0`);
    const yaml = `jobs: { items: { table: items, rules: { go: { due: at, where: not done and fn.is_it(id), set: done = true } } } }`;
    const as = () => apply({ ...db, cli: (args) => db.cli(args, { env }) }, yaml, '--role', ticking);
    const refused = await as();
    assert.equal(refused.code, 78, refused.out + refused.err);
    assert.match(
      refused.err,
      new RegExp(`No job is applied: .*as "postgres" or a superuser, grant usage on schema fn to "${ticking}"`),
    );
    assert.deepEqual(await db.query('select from scheduler.jobs'), []);
    assert.deepEqual(
      await db.query(`select has_table_privilege('${ticking}', 'scheduler.runs', 'insert') as may`),
      [{ may: false }],
      'all or nothing is granted',
    );

    await db.query(/grant usage on schema fn to "[^"]+"/.exec(refused.err)![0]);
    const { code, out, err } = await as();
    assert.equal(code, 0, out + err);
    assert.equal((await db.query('select from scheduler.jobs')).length, 1);
  } finally {
    await db.query(`drop owned by ${ticking} cascade; drop role ${ticking}`);
  }
});

test('a superuser does not run what an ordinary role may write, and says so', async () => {
  await using db = await database();
  await db.query(
    `create table holds (id serial primary key, at timestamptz, gone boolean default false); insert into holds (at) values ('2030-01-01Z')`,
  );
  await applied(db, `jobs: { holds: { table: holds, rules: { go: { due: at, where: not gone, set: gone = true } } } }`);
  await using owner = await stranger(db);
  await db.query(`alter table scheduler.jobs owner to ${owner.role}`);
  const { jobs, skipped } = await db.tick('2030-02-01T00:00:00Z', { only: ['holds'] });
  assert.deepEqual(
    [jobs, skipped.map(({ why }) => why)],
    [[], [`written by the role "${owner.role}", whose SQL a superuser does not run: tick as another role`]],
  );
  const status = await db.cli(['status', '--json']);
  assert.match(status.out, new RegExp(`holds is not run: it was written by the role \\\\"${owner.role}`));
  assert.match((await db.cli(['doctor'])).out, /is a superuser, and .* may write the definitions of jobs/);
  // Cron mails it.
  assert.match((await db.cli(['tick'])).err, /was skipped: written by the role/);
  assert.match((await db.cli(['jobs'])).out, /holds .* not run +written by/);
  const { out } = await db.cli(['explain', 'holds', '1', '--at', '2030-02-01T00:00:00Z']);
  assert.match(out, /nothing comes next\..*\n.*cannot happen because holds is not run: written by the role/s);
});

test('a definition that apply did not write ends a tick with 78 and what to do', async () => {
  await using db = await database();
  await db.query('create table holds (id serial primary key, at timestamptz, gone boolean default false)');
  const yaml = 'jobs: { holds: { table: holds, rules: { go: { due: at, where: not gone, set: gone = true } } } }';
  await applied(db, yaml);
  const kept = (await db.one('select compiled from scheduler.jobs')).compiled;
  const { found: _, ...without } = kept;
  const cases: [unknown, number, RegExp][] = [
    [kept, 99, /kept in format 99.*Run "scheduler apply"/],
    ['text', 1, /not as "scheduler apply" writes it.*Run "scheduler apply"/],
    [[], 1, /not as "scheduler apply" writes it/],
    [without, 1, /not as "scheduler apply" writes it/],
    [{ ...kept, job: { ...kept.job, everyMinutes: 'x' } }, 1, /not as "scheduler apply" writes it/],
    [{ ...kept, job: { ...kept.job, rules: { go: { due: 1 } } } }, 1, /not as "scheduler apply" writes it/],
  ];
  for (const [compiled, format, sentence] of cases) {
    await db.query(
      `insert into scheduler.jobs (tenant, name, definition, compiled, format, by) values ('${SCHEMA}', 'holds', '{}', $1, $2, 'me')`,
      [JSON.stringify(compiled), format],
    );
    await assert.rejects(db.tick(AT), { exitCode: 78, message: sentence });
  }
  const { code, err } = await db.cli(['tick']);
  assert.equal(code, 78, err);
  assert.match((await db.cli(['doctor'])).out, /holds .*a form that this version does not know/);
  await applied(db, yaml);
  assert.equal((await db.tick(AT)).exitCode, 0);
});

test('apply says as which role to run it, and always that a policy hides rows', async () => {
  await using db = await database({ empty: true });
  await using keeper = await stranger(db, `create on database ${db.name}`, 'create on schema public');
  const other = `o_${db.name}`;
  const env = { DATABASE_URL: keeper.url };
  const as = async (...args: string[]) => {
    const { code, out, err } = await apply({ ...db, cli: (args) => db.cli(args, { env }) }, yaml, ...args);
    return { code, said: out + err };
  };
  const yaml =
    'jobs: { codes: { uses: vouchers, table: codes, id: no, columns: { code: word, status: state, expires_at: until } } }';
  assert.equal((await db.cli(['migrate'], { env })).code, 0);
  await db.query(`create role ${other} login;
    create table codes (no serial primary key, word text, state text not null default 'unused', until timestamptz);
    insert into codes (until) values ('2026-03-01Z'); alter table codes owner to ${other}; grant usage on schema scheduler to ${other}; grant select on all tables in schema scheduler to ${other}`);
  try {
    const above = await apply(db, yaml, '--dry-run');
    assert.equal(above.code, 78, above.out);
    assert.match(
      above.err,
      new RegExp(`belong to the role "${keeper.role}", and "postgres" is a superuser.*Apply as "${keeper.role}"`),
    );

    const obstacle = `${SCHEMA}.codes belongs to "${other}", and "${keeper.role}" is no member of that role: `;
    const remedy = `grant "${other}" to "${keeper.role}"`;
    const refused = async (right: string | undefined, code: number, said: string) => {
      if (right) await db.query(`grant ${right} on codes to ${keeper.role}`);
      const found = await as('--backlog', 'run');
      assert.equal(found.code, code, found.said);
      assert.ok(found.said.includes(`${said}${obstacle}`) && found.said.includes(remedy), found.said);
    };
    await refused(undefined, 78, 'No job is applied: permission denied for table codes. ');
    await refused('select', 1, 'Most likely the reason: ');
    await refused('update', 78, 'No job is applied: must be owner of table codes. ');

    await db.query(remedy);
    const owned = await as('--backlog', 'run');
    assert.equal(owned.code, 0, owned.said);
    await db.query('alter table codes enable row level security; alter table codes force row level security');
    const hidden = `row-level security hides rows of ${SCHEMA}.codes from ${keeper.role}`;
    for (const option of ['--json', '--check', '--role']) {
      const { code, said } = await as(...(option === '--role' ? [option, keeper.role] : [option]));
      assert.equal(code, 0, said);
      assert.equal(said.split(hidden).length, 2, said);
    }
    const mayNot = await apply(
      { ...db, cli: (args) => db.cli(args, { env: { DATABASE_URL: env.DATABASE_URL.replace(keeper.role, other) } }) },
      yaml,
    );
    assert.equal(mayNot.code, 78, mayNot.out);
    assert.match(mayNot.err, /Nothing is changed: .* the owner of the schema "scheduler"\. Run this as that role\./);
  } finally {
    await db.query(`drop owned by ${other} cascade; drop role ${other}`);
  }
});
