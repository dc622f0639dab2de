import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { quoteName } from '../../src/job/expressions.ts';
import { lockOf } from '../../src/store/lock.ts';
import { database } from '../support/harness.ts';
import { readPage } from '../support/markdown.ts';
import { folder, play } from '../support/playing.ts';
import { proxy } from '../support/proxy.ts';
import { ofPublic, SCHEMA } from '../support/schema.ts';
import { onSale, tickTenants as tick, withTenants } from '../support/tenants.ts';

/** Many tenants: the same tables in a schema each. */

test('a tick does the same row of every tenant once, and idle ones leave one row', async () => {
  await using db = await database();
  await withTenants(db);
  await onSale(db, 'ts_a');
  await onSale(db, 'ts_c');
  const first = await tick(db);
  assert.deepEqual([first.code, first.err, first.result.idle, first.busy], [0, '', 1, ['ts_a', 'ts_c']]);
  for (const { now } of first.result.tenants) assert.equal(now, new Date(now).toISOString());
  const events = await db.query('select tenant, entity_id, transition from scheduler.events order by tenant');
  assert.deepEqual(events, [
    { tenant: 'ts_a', entity_id: '77', transition: 'activate' },
    { tenant: 'ts_c', entity_id: '77', transition: 'activate' },
  ]);
  const idle = () =>
    db.query(`select tenant, apart from scheduler.runs where job is null order by tenant nulls last, id`);
  assert.deepEqual(
    (await idle()).map(({ tenant, apart }) => [tenant, apart?.sort()]),
    [
      ['ts_a', undefined],
      ['ts_c', undefined],
      [null, ['ts_a', 'ts_c']],
    ],
  );
  await tick(db);
  assert.equal((await idle()).length, 4);
});

test('idle tenants are found without their lock and together; one with work waits for it', async () => {
  await using db = await database();
  const odd = `ts_o'b"c`;
  await withTenants(db, ['ts_a', 'ts_b', ...Array.from({ length: 30 }, (_, n) => `ts_${n}`)]);
  // Alike but for a type; another one has a name that must be quoted.
  await withTenants(db, ['ts_text', odd].map(quoteName));
  await db.query('alter table ts_text.packages alter name type varchar(80)');
  await onSale(db, 'ts_a');
  // One failed and waits; another one is due but for a condition that no index holds.
  await onSale(db, 'ts_1');
  await db.query(`alter table ts_1.packages add constraint never check (status <> 'active')`);
  const file = join(folder, 'late.yaml');
  writeFileSync(
    file,
    `jobs: { late: { table: vouchers, rules: { drop: { due: created_at, where: status = 'unused', set: { status: "'expired'" } } } } }\n`,
  );
  await db.query(
    `insert into ts_2.vouchers (code, status, created_at) values ('x', 'unused', now() - interval '1 day')`,
  );
  const applied = await db.cli(['apply', file, '--tenant', 'ts_2', '--backlog', 'skip']);
  assert.equal(applied.code, 0, applied.out + applied.err);
  const first = await tick(db);
  assert.deepEqual(first.busy, ['ts_1', 'ts_a']);
  await tick(db);

  await onSale(db, 'ts_b', 78);
  await onSale(db, quoteName(odd), 78);
  await db.query(`select scheduler.request('packages', 'me', 'ts_3')`);
  const other = new pg.Client({ connectionString: db.url });
  await other.connect();
  try {
    for (const tenant of ['ts_0', 'ts_1', 'ts_2', 'ts_a', 'ts_b'])
      await other.query(`select pg_advisory_lock(${lockOf(`'${tenant}'`)})`);
    using way = await proxy(db.tcpUrl);
    const { err, busy, result } = await tick(db, [], { DATABASE_URL: way.url });
    assert.deepEqual([err, busy, result.idle], ['', ['ts_b', odd].sort(), 32]);
    assert.equal(result.tenants.find(({ tenant }: { tenant: string }) => tenant === 'ts_b').locked, true);
    assert.deepEqual(await db.query(`select entity_id from scheduler.events where tenant = 'ts_b'`), []);
    assert.deepEqual(await db.query('select entity_id from scheduler.events where tenant = $1', [odd]), [
      { entity_id: '78' },
    ]);
    assert.deepEqual(await db.query('select run_id is not null as answered from scheduler.requests'), [
      { answered: true },
    ]);
    // A run of each would be four of them, or more.
    assert.ok(way.roundTrips() < 2 * 34, `${way.roundTrips()} round trips`);
  } finally {
    await other.end();
  }
  await db.query(
    `delete from ts_1.packages; update scheduler.failures set compared_at = compared_at - interval '1 hour'`,
  );
  await tick(db);
  assert.deepEqual(await db.query('select entity_id from scheduler.failures'), []);
});

test('failures, pauses, cadence and history of one tenant are nothing to the others', async () => {
  await using db = await database();
  await withTenants(db);
  for (const tenant of ['ts_a', 'ts_b', 'ts_c']) await onSale(db, tenant);
  await db.query(`alter table ts_a.packages add constraint never check (status <> 'active')`);
  await db.cli(['stop', 'packages', '--reason', 'refunds', '--tenant', 'ts_b']);
  assert.deepEqual((await tick(db)).busy, ['ts_a', 'ts_c']);
  const states = () =>
    db.query(`select 'a' as t, status from ts_a.packages union select 'b', status from ts_b.packages
    union select 'c', status from ts_c.packages order by 1`);
  assert.deepEqual(
    (await states()).map(({ status }) => status),
    ['inactive', 'inactive', 'active'],
  );

  const json = async (...args: string[]) => JSON.parse((await db.cli([...args, '--json'])).out);
  assert.deepEqual(
    (await json('failures')).failures.map(({ tenant, entityId }: Record<string, string>) => [tenant, entityId]),
    [['ts_a', '77']],
  );
  assert.deepEqual(await json('failures', '--tenant', 'ts_b'), { failures: [] });
  const jobs = async (tenant: string) => {
    const { jobs } = await json('status', '--tenant', tenant);
    return jobs.find(({ job }: { job: string }) => job === 'packages');
  };
  assert.deepEqual([(await jobs('ts_a')).failing, (await jobs('ts_c')).failing], [1, 0]);
  assert.deepEqual([(await jobs('ts_b')).state, (await jobs('ts_c')).state], ['paused', 'running']);
  const history = await db.cli(['history']);
  assert.match(history.out, /^tenant .*\nts_b .*stopped by \S+: refunds/m);
  assert.match(history.out, /ts_a .*packages/);

  // All of them, without a name.
  await db.cli(['start', '--reason', 'done']);
  assert.deepEqual((await tick(db)).busy.includes('ts_b'), true);
  assert.match((await db.cli(['explain', 'packages', '77', '--tenant', 'ts_a'])).out, /never/);
});

test('one row 77 fails in two tenants: which one is meant must be said', async () => {
  await using db = await database();
  await withTenants(db);
  for (const tenant of ['ts_a', 'ts_b']) {
    await onSale(db, tenant);
    await db.query(`alter table ${tenant}.packages add constraint never check (status <> 'active')`);
  }
  assert.equal((await tick(db)).code, 1);
  const vague = await db.cli(['failures', 'drop', 'packages', '77']);
  assert.equal(vague.code, 2);
  assert.match(vague.err, /ts_a.*--tenant|ts_b.*--tenant/);
  assert.equal((await db.cli(['failures', 'drop', 'packages', '77', '--tenant', 'ts_a'])).code, 0);
  assert.deepEqual(await db.query('select tenant from scheduler.failures'), [{ tenant: 'ts_b' }]);
});

test(
  'an event names its tenant in the row, in the payload and in "events"',
  ofPublic('its events name no tenant'),
  async () => {
    await using db = await database();
    await withTenants(db);
    await onSale(db, 'ts_a');
    await onSale(db, 'public');
    const listener = new pg.Client({ connectionString: db.url });
    await listener.connect();
    try {
      const heard: Record<string, unknown>[] = [];
      listener.on('notification', ({ payload }) => heard.push(JSON.parse(payload!)));
      await listener.query('listen "private-packages"');
      await tick(db);
      await db.cli(['tick']);
      await listener.query('select');
      assert.deepEqual(
        heard.map(({ tenant, event }) => [tenant, event]),
        [
          ['ts_a', 'package.status.changed'],
          [undefined, 'package.status.changed'],
        ],
      );
    } finally {
      await listener.end();
    }
    const { events } = JSON.parse((await db.cli(['events', '--json'])).out);
    assert.deepEqual(
      events.map(({ tenant }: { tenant?: string }) => tenant),
      ['ts_a', undefined],
    );
  },
);

test('a tenant that fails is its own error; the others go on, and the worst exit code counts', async () => {
  await using db = await database();
  await withTenants(db);
  for (const tenant of ['ts_a', 'ts_b', 'ts_c']) await onSale(db, tenant);
  await db.query(`create function boom() returns trigger language plpgsql as $$ begin perform 1 / 0 from no_such_table; end $$;
    create trigger boom before update on ts_b.packages for each row execute function boom()`);
  const { code, err, busy } = await tick(db);
  assert.equal(code, 78);
  assert.match(err, /"tenant":"ts_b".*no_such_table/);
  assert.deepEqual(busy, ['ts_a', 'ts_b', 'ts_c']);
  assert.deepEqual(await db.query('select status from ts_c.packages'), [{ status: 'active' }]);

  // Not a job of it, but the whole tenant.
  await db.query(`drop trigger boom on ts_b.packages;
    insert into scheduler.jobs (tenant, name, compiled, format, by) values ('ts_a', 'odd', '{}', 99, 'test')`);
  await onSale(db, 'ts_c', 78);
  const whole = await tick(db);
  assert.deepEqual([whole.code, whole.busy], [78, ['ts_a', 'ts_b', 'ts_c']]);
  assert.match(whole.err, /"tenant":"ts_a".*format 99/);
});

test('a job whose file names the schema of its table belongs to no tenant, and is done once', async () => {
  await using db = await database();
  await withTenants(db);
  await db.query(`create table invoices (id bigint primary key, due_at timestamptz, state text);
    create table ts_a.orders (id bigint primary key, due_at timestamptz, state text);
    create table ts_b.orders (like ts_a.orders including all)`);
  const file = join(folder, 'two.yaml');
  writeFileSync(
    file,
    `jobs:
  dunning: { table: ${SCHEMA}.invoices, rules: { remind: { due: due_at, where: state = 'open', set: { state: "'reminded'" } } } }
  release: { table: orders, rules: { release: { due: due_at, where: state = 'held', set: { state: "'released'" } } } }
`,
  );
  const applied = await db.cli(['apply', file, '--tenants', 'ts_a,ts_b', '--backlog', 'run']);
  assert.equal(applied.code, 0, applied.out + applied.err);
  assert.match(applied.out, /Tenant ts_a[\s\S]*Tenant ts_b/);
  assert.deepEqual(await db.query('select tenant, name from scheduler.jobs order by tenant nulls first, name'), [
    { tenant: null, name: 'dunning' },
    { tenant: 'ts_a', name: 'release' },
    { tenant: 'ts_b', name: 'release' },
  ]);
  await db.query(`insert into invoices values (1, now() - interval '1 minute', 'open');
    insert into ts_a.orders values (1, now() - interval '1 minute', 'held'); insert into ts_b.orders values (1, now() - interval '1 minute', 'held')`);
  const { code, err } = await tick(db);
  assert.deepEqual([code, err], [0, '']);
  assert.deepEqual(await db.query('select tenant, job from scheduler.runs where job is not null order by tenant'), [
    { tenant: SCHEMA, job: 'dunning' },
    { tenant: 'ts_a', job: 'release' },
    { tenant: 'ts_b', job: 'release' },
  ]);

  // Admin pages see it, and control it.
  const answer = async (call: string) => (await db.one(`select scheduler.${call} as answer`)).answer;
  const dunning = async (tenant: string) => {
    const jobs: Record<string, unknown>[] = (await answer(`status('${tenant}')`)).jobs;
    return jobs.find(({ job }) => job === 'dunning')!;
  };
  const known = () =>
    db.query('select tenant, xmin::text, jobs::text from scheduler.known_jobs where tenant <> $1 order by 1', [SCHEMA]);
  const first = await known();
  assert.deepEqual(
    first.map(({ tenant }) => tenant),
    ['', 'ts_a', 'ts_b', 'ts_c'],
  );
  const seen = await dunning('ts_a');
  assert.deepEqual(
    [seen.state, seen.lastRun && (seen.lastRun as { changed: object }).changed],
    ['running', { remind: 1 }],
  );
  const command = JSON.parse((await db.cli(['status', '--tenant', 'ts_a', '--json'])).out);
  assert.deepEqual(
    command.jobs.map(({ job }: { job: string }) => job),
    (await answer(`status('ts_a')`)).jobs.map(({ job }: { job: string }) => job),
  );
  const overview = await db.query(
    `select tenant, job from scheduler.overview where job in ('dunning', 'release') order by 1, 2`,
  );
  assert.deepEqual(overview, [
    { tenant: 'ts_a', job: 'release' },
    { tenant: 'ts_b', job: 'release' },
    { tenant: null, job: 'dunning' },
  ]);
  const request = async (tenant: string) => (await answer(`request('dunning', 'ann', ${tenant})`)).id;
  await db.query('delete from scheduler.known_jobs where tenant = $1', [SCHEMA]);
  const one = await request(`'ts_a'`);
  assert.equal(await request(`'${SCHEMA}'`), one + 1, 'where its table is, whether that is a tenant or not');
  for (const run of [['tick', '--tenants', 'ts_*'], ['tick', '--tenant', 'ts_b'], ['tick']]) {
    const id = run.includes('--tenants') ? one : await request('null');
    await db.cli(run);
    const { state, run: done } = await answer(`requested(${id})`);
    assert.deepEqual([state, done?.by, done?.error], ['done', 'ann', null], run.join(' '));
  }
  assert.deepEqual(await known(), first, 'no kind of run forgets what another one has found');
  await answer(`stop('dunning', 'x', 'ann', 'ts_b')`);
  assert.deepEqual([(await dunning('ts_a')).state, (await dunning('ts_b')).state], ['paused', 'paused']);
  await db.query(`insert into scheduler.failures (tenant, job, rule, entity_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
    select tenant, 'dunning', 'remind', '7', 1, 'x', now(), now(), now() from unnest(array['${SCHEMA}', 'ts_gone']) as tenant`);
  for (const tenant of ['ts_a', SCHEMA])
    assert.equal((await answer(`retry('dunning', '7', '${tenant}')`)).rows.length, 2);

  // A schema was dropped. Only what is left of it can be forgotten.
  await db.query('drop schema ts_a cascade');
  await db.query(`update scheduler.failures set tenant = 'ts_a', job = 'release' where tenant = 'ts_gone'`);
  for (const call of [
    `status('ts_a')`,
    `request('dunning', 'ann', 'ts_a')`,
    `request('release', 'ann', 'ts_a')`,
    `stop('release', 'x', 'ann', 'ts_a')`,
    `start(null, null, 'ann', 'ts_a')`,
    `retry('release', null, 'ts_a')`,
    `retry(null, null, 'ts_nope')`,
    `retry('release', null, 'ts_nope')`,
    `drop('release', null, 'ts_nope')`,
  ])
    await assert.rejects(answer(call), {
      code: '22023',
      message: /^"ts_(a|nope)" is not a tenant: there is no such schema; valid: .*ts_b/,
    });
  assert.equal((await answer(`drop('release', null, 'ts_a')`)).rows.length, 1);
  await assert.rejects(answer(`drop('release', null, 'ts_a')`), { code: '22023' });
  assert.deepEqual(
    (await db.query(`select distinct tenant from scheduler.overview where tenant like 'ts%' order by 1`)).map(
      ({ tenant }) => tenant,
    ),
    ['ts_b', 'ts_c'],
  );
});

test('tenants.md', async () => {
  await using db = await database();
  await withTenants(db, ['ts_abc', 'ts_def']);
  await db.query(`create table public.tenants as select unnest(array['ts_abc', 'ts_def']) as schema, false as suspended;
    create table ts_abc.orders (id bigint primary key, due_at timestamptz, state text); create table ts_def.orders (like ts_abc.orders including all)`);
  writeFileSync(
    join(folder, 'scheduler.yaml'),
    `jobs: { release: { table: orders, rules: { release: { due: due_at, where: state = 'held', set: { state: "'released'" } } } } }\n`,
  );
  await onSale(db, 'ts_abc');
  await onSale(db, 'ts_def');
  for (const section of readPage('docs/tenants.md').sections)
    await play(section, { db, env: { DATABASE_URL: db.url } });
  assert.deepEqual(
    (await db.query('select tenant from scheduler.events order by 1')).map(({ tenant }) => tenant),
    ['ts_abc', 'ts_def'],
  );
});
