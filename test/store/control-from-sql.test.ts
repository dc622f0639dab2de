import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import pg from 'pg';
import { lockOf } from '../../src/store/lock.ts';
import { application, type CliOptions, database, type TestDatabase } from '../support/harness.ts';
import { applied } from '../support/own.ts';
import { grantRole } from '../support/roles.ts';
import { here, ofPublic, SCHEMA } from '../support/schema.ts';
import { stranger } from '../support/stranger.ts';

/** An admin page does by SQL the same as an operator by the command. */

// biome-ignore lint/suspicious/noExplicitAny: a test reads the JSON as its user does
type Json = any;

const due = { name: 'Weekend Special', enable_schedule: true, scheduled_activation_time: '2026-03-01T10:00:00Z' };
const bad = { ...due, validity: 'banana' };

const answer = async (db: Pick<TestDatabase, 'query'>, call: string): Promise<Json> =>
  (await db.query(`select scheduler.${call} as answer`))[0]!.answer;

async function command(db: TestDatabase, args: string[], options?: CliOptions): Promise<Json> {
  const { code, out, err } = await db.cli([...args, '--json'], options);
  assert.equal(code, 0, err);
  return JSON.parse(out);
}

const refused = (db: TestDatabase, call: string, message: RegExp) =>
  assert.rejects(answer(db, call), (error: Json) => {
    assert.equal(error.code, '22023', call);
    assert.match(error.message, message);
    return true;
  });

/** Answers what both say. A minute may pass between the two. */
async function agreed(db: TestDatabase, options?: CliOptions): Promise<Json> {
  for (let attempt = 1; ; attempt++) {
    const before = await answer(db, 'status()');
    const said = await command(db, ['status'], options);
    if (attempt < 5 && !isDeepStrictEqual(await answer(db, 'status()'), before)) continue;
    // Only the expressions of the jobs could tell what is due.
    for (const job of said.jobs) job.backlog = null;
    said.attention = said.attention.filter((sentence: string) => !/ due, the oldest for /.test(sentence));
    assert.deepEqual(before, said);
    return before;
  }
}

const stateOf = ({ jobs }: Json, name: string) => jobs.find(({ job }: Json) => job === name).state;

const age = (db: TestDatabase, table: string, column: string, interval: string) =>
  db.query(`update scheduler.${table} set ${column} = ${column} - $1::interval`, [interval]);

test('status() says what the command says, in every state', async () => {
  await using db = await database();
  assert.match((await agreed(db)).message, /no tick has ever come/);

  await db.insert('packages', bad);
  await db.cli(['tick']);
  const ticking = await agreed(db);
  assert.equal(ticking.message, 'Scheduler is running');
  assert.equal(ticking.jobs[0].failing, 1);
  await db.query(`update scheduler.failures set quarantined_at = now(), next_attempt_at = 'infinity'`);
  await db.insert('packages', { ...due, scheduled_activation_time: new Date(Date.now() - 12 * 60_000) });
  assert.deepEqual((await agreed(db)).attention, ['packages has 1 row in quarantine: see "scheduler failures".']);
  assert.equal((await command(db, ['status'])).attention.length, 2, 'the command also tells of what is due');

  await db.cli(['stop', '--reason', 'moving']);
  await answer(db, `start('packages', null, 'ann')`);
  await answer(db, `stop('vouchers', 'we sell none', 'ann')`);
  const one = await agreed(db);
  assert.deepEqual([stateOf(one, 'packages'), stateOf(one, 'vouchers')], ['running', 'paused']);
  await answer(db, `stop('packages', 'nor these', 'ann')`);
  await age(db, 'controls', 'at', '25 hours');
  const stopped = await agreed(db);
  assert.match(stopped.message, /^Scheduler was stopped by ann at .*: nor these$/);
  assert.match(stopped.attention.join(), /moving, which is more than a day ago/);
  assert.equal(stopped.attention.length, 4, 'a row in quarantine, and each word once');
  await answer(db, `start(null, null, 'ann')`);
  assert.equal((await agreed(db)).scheduler.isRunning, true);

  await age(db, 'controls', 'at', '1 hour');
  await age(db, 'runs', 'started_at', '4 minutes');
  assert.match((await agreed(db)).message, /no tick has come since/);
});

test('status() knows what only the program knows, from the last tick, "migrate" or "apply"', async () => {
  await using db = await database();
  const env = { ENABLE_SUBSCRIPTION_SCHEDULER: 'false' };
  const version = async () => (await db.one(`select xmin::text, jobs::text from scheduler.known_jobs`)).xmin;
  const first = await version();
  await db.cli(['tick']);
  assert.equal(await version(), first, 'nothing differs, so nothing is written');
  await db.cli(['tick'], { env });
  const off = await version();
  assert.notEqual(off, first);
  assert.equal(stateOf(await agreed(db, { env }), 'subscriptions'), 'switched off');
  await db.cli(['tick'], { env });
  await db.cli(['packages']);
  await db.cli(['tick', '--dry-run']);
  assert.equal(await version(), off);

  await db.query('alter table vouchers drop column code');
  await db.cli(['tick']);
  const gone = await agreed(db);
  assert.equal(stateOf(gone, 'vouchers'), 'not installed');
  assert.match(gone.attention.join(), /vouchers is no longer installed: vouchers\.code missing\./);

  await db.query(
    'create table things (id bigint primary key, ends_at timestamptz, ended boolean not null default false)',
  );
  await applied(
    db,
    `jobs:
  things:
    table: things
    rules:
      end: { due: ends_at, where: not ended, set: { ended: true } }
`,
  );
  assert.equal(stateOf(await agreed(db), 'things'), 'no tick');
  await db.cli(['tick']);
  assert.equal(stateOf(await agreed(db), 'things'), 'running');
  await using mallory = await stranger(db);
  await mallory.query(`select pg_advisory_lock(${lockOf(`'${SCHEMA}'`)})`);
  assert.match((await agreed(db)).attention.at(-1), new RegExp(`held by process \\d+ of the role "${mallory.role}"`));
  await db.cli(['jobs', 'remove', 'things']);
  assert.equal(
    (await agreed(db)).jobs.some(({ job }: Json) => job === 'things'),
    false,
  );
  await db.query('alter table vouchers add column code text');
  await db.cli(['migrate']);
  assert.notEqual(stateOf(await agreed(db), 'vouchers'), 'not installed');
});

test('stop, start, retry and drop answer what the command answers, and record who asks', async () => {
  await using db = await database();
  const calls: [string, string[]][] = [
    [`stop('packages', ' a reason ', 'ann')`, ['stop', 'packages', '--reason', ' a reason ']],
    [`stop(null, 'moving', 'ann')`, ['stop', '--reason', 'moving']],
    [`start('subscriptions', null, 'ann')`, ['start', 'subscriptions']],
    [`start(null, 'moved', 'ann')`, ['start', '--reason', 'moved']],
  ];
  const isRunning = [false, false, true, true];
  for (const [call, args] of calls) {
    const [said, done] = [await command(db, args), await answer(db, call)];
    // A minute may have passed.
    for (const { scheduler } of [said, done]) scheduler.nextCheck &&= 'then';
    assert.deepEqual(done, said);
    assert.equal(done.scheduler.isRunning, isRunning.shift(), call);
  }
  const fail = `insert into scheduler.failures (job, rule, entity_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at, quarantined_at)
    select 'packages', 'activate', n, 3, 'x', now(), now(), 'infinity', now() from generate_series(1, 2) as n
    on conflict (tenant, job, rule, entity_id) do update set attempts = 3, quarantined_at = now()`;
  for (const [call, args] of [
    [`retry('packages', '2')`, ['retry', 'packages', '2']],
    [`retry(null, null)`, ['retry', '--all']],
    [`drop('packages', '1')`, ['drop', 'packages', '1']],
    [`drop('vouchers', null)`, ['drop', 'vouchers']],
  ] as const) {
    await db.query(fail);
    const done = await answer(db, call);
    await db.query(fail);
    assert.deepEqual(done, await command(db, ['failures', ...args]));
  }
  await answer(db, `drop('packages', '1')`);
  await answer(db, `retry('packages', null)`);
  assert.deepEqual(await db.query('select entity_id, attempts, quarantined_at from scheduler.failures'), [
    { entity_id: '2', attempts: 0, quarantined_at: null },
  ]);
  assert.deepEqual(
    await db.query(`select tenant, job, action, reason, role from scheduler.controls where by = 'ann' order by id`),
    [
      { tenant: null, job: 'packages', action: 'stop', reason: 'a reason', role: 'postgres' },
      { tenant: null, job: null, action: 'stop', reason: 'moving', role: 'postgres' },
      { tenant: null, job: 'subscriptions', action: 'start', reason: null, role: 'postgres' },
      { tenant: null, job: null, action: 'start', reason: 'moved', role: 'postgres' },
    ],
  );
});

test('a wrong argument is refused with a sentence that says what is valid', async () => {
  await using db = await database();
  const unknown = /^"nosuch" is not a job; valid: packages, special-packages, .*vouchers\.$/;
  for (const call of [
    `stop('nosuch', 'x', 'ann')`,
    `start('nosuch', 'x', 'ann')`,
    `request('nosuch', 'ann')`,
    `retry('nosuch', null)`,
    `drop('nosuch', '1')`,
  ])
    await refused(db, call, unknown);
  await refused(db, `request(null, 'ann')`, /^"" is not a job; valid: packages, /);
  for (const reason of ['null', `''`, `E' \\n'`])
    await refused(db, `stop('packages', ${reason}, 'ann')`, /^reason is empty/);
  await refused(db, `stop('packages', repeat('x', 201), 'ann')`, /^reason has 201 characters; valid: up to 200\.$/);
  for (const by of ['null', `' '`]) {
    await refused(db, `start(null, null, ${by})`, /^by is empty/);
    await refused(db, `request('packages', ${by})`, /^by is empty/);
  }
  await refused(db, `retry(null, '1')`, /^An id names a row of one job/);
  for (const call of [`status('nosuch')`, `stop(null, 'x', 'ann', 'nosuch')`, `drop(null, null, 'nosuch')`])
    await refused(db, call, here(/^"nosuch" is not a tenant: there is no such schema; valid: public\.$/));
  assert.deepEqual(await db.query('select from scheduler.controls union all select from scheduler.requests'), []);
  await db.query('delete from scheduler.known_jobs');
  await refused(db, 'status()', /^No job is known yet: run "scheduler migrate"/);
});

test(
  'each tenant is controlled apart, or all at once',
  ofPublic('it is the tenant that is meant if none is named'),
  async () => {
    await using db = await database();
    await db.query(`create schema shop; create schema spa; update scheduler.known_jobs set tenant = 'shop'`);
    const shop = await answer(db, 'status()');
    assert.equal(shop.jobs.length > 5, true, 'the only tenant is the one that is meant');
    await db.query(`insert into scheduler.known_jobs values ('spa', '[{"job": "rooms", "every": 5}]')`);
    await refused(db, 'status()', /^There are several tenants, so name one; valid: shop, spa\.$/);
    await db.query(
      `insert into scheduler.known_jobs select 'public', jobs from scheduler.known_jobs where tenant = 'shop'`,
    );
    assert.deepEqual(await answer(db, 'status()'), shop);
    await refused(db, `stop('rooms', 'x', 'ann', 'shop')`, /^"rooms" is not a job; valid: packages/);
    const states = async () =>
      Object.fromEntries(
        (
          await db.query(
            `select tenant, string_agg(distinct state, ', ' order by state) as states from scheduler.overview group by 1`,
          )
        ).map(({ tenant, states }) => [tenant, states]),
      );
    await answer(db, `stop(null, 'x', 'ann', 'shop')`);
    assert.deepEqual(await states(), { public: 'no tick', shop: 'paused', spa: 'no tick' });
    const { scheduler } = await answer(db, `stop('rooms', 'x', 'ann')`);
    assert.deepEqual(scheduler, { isRunning: false, intervalMinutes: 5, nextCheck: null });
    assert.deepEqual(await states(), { public: 'no tick', shop: 'paused', spa: 'paused' });
    const { intervalMinutes } = (await answer(db, `start(null, null, 'ann')`)).scheduler;
    assert.equal(intervalMinutes, 1, 'the answer is about "public"');
    assert.deepEqual(await states(), { public: 'running', shop: 'running', spa: 'running' });
    await db.query(`insert into scheduler.failures (tenant, job, rule, entity_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
    select tenant, 'packages', 'activate', '7', 1, 'x', now(), now(), now() from unnest(array['public', 'shop']) as tenant`);
    await db.query(
      `insert into scheduler.runs (tenant, job, slot, at, host, version) values ('shop', 'packages', 1, now(), 'h', '1')`,
    );
    const [one, other] = [await answer(db, `status('shop')`), await answer(db, 'status()')];
    assert.deepEqual([one.jobs[0].failing, other.jobs[0].failing], [1, 1]);
    assert.deepEqual([one.jobs[0].lastTick !== null, other.jobs[0].lastTick], [true, null]);
    await answer(db, `drop(null, null, 'shop')`);
    assert.deepEqual(await db.query('select tenant from scheduler.failing'), [{ tenant: 'public' }]);
  },
);

test('nobody but scheduler_admin can call them, and it can do nothing else', async () => {
  await using db = await database();
  const tick = `tick_${db.name}`;
  await grantRole(db, tick);
  await using nobody = await stranger(db, 'usage on schema scheduler');
  const role = `admin_${db.name}`;
  await db.query(`create role ${role} login; grant scheduler_admin to ${role}`);
  const admin = new pg.Client({ connectionString: db.url.replace('postgres@', `${role}@`) });
  await admin.connect();
  try {
    const calls = [
      'status()',
      `stop('packages', 'x', 'ann')`,
      `start(null, null, 'ann')`,
      `request('packages', 'ann')`,
      'requested(1)',
      `retry('packages', null)`,
      'drop(null, null)',
    ];
    const denied = { code: '42501' };
    for (const call of calls) {
      assert.ok((await admin.query(`select scheduler.${call} as answer`)).rows[0].answer, call);
      await assert.rejects(nobody.query(`select scheduler.${call}`), denied);
    }
    for (const view of ['overview', 'failing', 'recent']) {
      await admin.query(`select * from scheduler.${view}`);
      await assert.rejects(nobody.query(`select * from scheduler.${view}`), denied);
    }
    for (const sql of [
      ...['jobs', 'known_jobs', 'requests', 'controls', 'runs', 'events', 'failures', 'migrations', 'adopted'].flatMap(
        (table) => [`select from scheduler.${table}`, `delete from scheduler.${table}`],
      ),
      `insert into scheduler.controls (action, by) values ('stop', 'ann')`,
      `insert into scheduler.requests (tenant, job, by) values ('${SCHEMA}', 'packages', 'ann')`,
      `select scheduler.control('stop', null, 'x', 'ann', null)`,
      `select scheduler.report('[{"job": "packages", "every": 1}]', '${SCHEMA}')`,
      'select scheduler.forget(1)',
      `select from ${SCHEMA}.packages`,
      'create table scheduler.mine (id integer)',
    ])
      await assert.rejects(admin.query(sql), denied, sql);
    const kept = await db.query(
      `select by, role from scheduler.controls union all select by, role from scheduler.requests`,
    );
    assert.deepEqual(
      kept,
      Array.from({ length: 3 }, () => ({ by: 'ann', role })),
    );
    const definers = await db.query(
      `select proname, proconfig from pg_proc where pronamespace = 'scheduler'::regnamespace and prosecdef order by 1`,
    );
    assert.deepEqual(
      definers.map(({ proname }) => proname),
      ['drop', 'forget', 'request', 'requested', 'retry', 'start', 'status', 'stop'],
    );
    for (const { proconfig } of definers) assert.deepEqual(proconfig, ['search_path=pg_catalog, pg_temp']);
  } finally {
    await admin.end();
    await db.query(`drop owned by ${role}; drop role ${role}; drop owned by ${tick}; drop role ${tick}`);
  }
});

test('no function reads a table of the application: they answer while all are locked', async () => {
  await using db = await database();
  await db.insert('packages', bad);
  await db.tick();
  await using other = await application(db);
  await other.query(`begin; do $$ declare place text; begin
    for place in select oid::regclass from pg_class where relkind in ('r', 'p') and relnamespace = '${SCHEMA}'::regnamespace loop
      execute 'lock table ' || place || ' in access exclusive mode';
    end loop; end $$`);
  await db.query(`set lock_timeout = '10ms'`);
  await assert.rejects(db.query('select from packages'), { code: '55P03' });
  await answer(db, 'status()');
  await answer(db, `stop(null, 'x', 'ann')`);
  await answer(db, `start('packages', null, 'ann')`);
  const { id } = await answer(db, `request('packages', 'ann')`);
  assert.equal((await answer(db, `requested(${id})`)).state, 'waiting');
  await answer(db, 'retry(null, null)');
  for (const view of ['overview', 'failing', 'recent'])
    assert.ok((await db.query(`select from scheduler.${view}`)).length > 0, view);
  await answer(db, 'drop(null, null)');
});

test('recent runs are those that did something, newest first', async () => {
  await using db = await database();
  await db.tick();
  await db.insert('packages', bad);
  await db.tick();
  await db.insert('packages', due);
  await db.tick();
  assert.deepEqual(await db.query('select job, changed, failed from scheduler.recent'), [
    { job: 'packages', changed: { activate: 1 }, failed: 0 },
    { job: 'packages', changed: {}, failed: 1 },
  ]);
  const [first] = await db.query('select job, changed, failing, next_check > now() as coming from scheduler.overview');
  assert.deepEqual(first, { job: 'packages', changed: { activate: 1 }, failing: 1, coming: true });
  const [row] = await db.query(
    'select tenant, job, rule, entity_id, attempts, next_attempt_at > now() as again from scheduler.failing',
  );
  assert.deepEqual(row, {
    tenant: SCHEMA,
    job: 'packages',
    rule: 'activate',
    entity_id: '1',
    attempts: 1,
    again: true,
  });
});
