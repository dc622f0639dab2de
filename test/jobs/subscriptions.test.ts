import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bind } from '../../src/db/bind.ts';
import { hasDue } from '../../src/engine/statements.ts';
import { job } from '../../src/jobs/subscriptions.ts';
import { compiled } from '../support/compiled.ts';
import { application, database, type Finished, type TestDatabase } from '../support/harness.ts';
import { SCHEMA } from '../support/schema.ts';
import { until } from '../support/until.ts';

const NOW = '2026-03-01T10:00:30Z';
const EARLIER = '2026-02-01T00:00:00Z';
const LATER = '2026-05-01T00:00:00Z';

const scheduled = (id: string, over: object = {}) => ({
  id,
  userId: 'u1',
  packageId: 'gold',
  status: 'SCHEDULED',
  scheduledStartDate: '2026-03-01T10:00:00Z',
  ...over,
});

const active = (id: string, over: object = {}) => ({
  id,
  userId: 'u1',
  packageId: 'silver',
  status: 'ACTIVE',
  isActive: true,
  startDate: EARLIER,
  ...over,
});

async function fill(db: TestDatabase, ...rows: object[]) {
  for (const row of rows) await db.insert('customer_packages', row);
}

const states = async (db: TestDatabase) =>
  Object.fromEntries(
    (await db.query('select id::text, status::text, "isActive" from customer_packages order by id')).map((row) => {
      assert.equal(row.isActive, row.status === 'ACTIVE', `"isActive" of ${row.id} goes with its status`);
      return [row.id, row.status];
    }),
  );

const told = async (db: TestDatabase) => (await db.events()).map((event) => `${event.entity_id} ${event.type}`);

const tick = (db: TestDatabase, at = NOW, env: Record<string, string> = {}) =>
  db.tick(at, { only: ['subscriptions'], env });

const passOf = async (result: Awaited<ReturnType<typeof tick>>) => {
  const [pass] = result.jobs;
  assert.ok(pass && pass.error === undefined, pass?.error);
  return pass;
};

const logged = ({ err }: Finished) =>
  err
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { level: string; msg: string });

test('a subscription that was bought ahead takes over from the current one at its time', async () => {
  await using db = await database();
  await fill(db, active('old'), scheduled('new', { previousSubscriptionId: 'old' }));
  await tick(db, '2026-03-01T09:59:59Z');
  assert.deepEqual(await states(db), { new: 'SCHEDULED', old: 'ACTIVE' });
  await tick(db);
  assert.deepEqual(await states(db), { new: 'ACTIVE', old: 'EXPIRED' });
  const row = await db.one(`select "startDate", "updatedAt" from customer_packages where id = 'new'`);
  assert.equal(row.startDate.toISOString(), '2026-03-01T10:00:30.000Z');
  assert.equal(row.updatedAt.toISOString(), '2026-03-01T10:00:30.000Z');
});

test('each transition has one event, with the data that listeners need, on the channel of its customer too', async () => {
  await using db = await database();
  await fill(db, active('old'), scheduled('new', { previousSubscriptionId: 'old' }));
  await tick(db);
  const [expired, activated] = await db.events();
  const channels = ['private-subscriptions', 'private-admin-notifications', 'user.u1'];
  assert.deepEqual(activated?.channels, channels);
  assert.deepEqual(expired?.channels, channels);
  assert.deepEqual(activated?.data, {
    subscription_id: 'new',
    user_id: 'u1',
    package_id: 'gold',
    old_status: 'SCHEDULED',
    new_status: 'ACTIVE',
    previous_subscription_id: 'old',
    scheduled_start_date: '2026-03-01T10:00:00Z',
    start_date: '2026-03-01T10:00:30Z',
    replaced_by: null,
    timestamp: '2026-03-01T10:00:30Z',
    message: 'Subscription new is active',
  });
  assert.deepEqual(expired?.data, {
    subscription_id: 'old',
    user_id: 'u1',
    package_id: 'silver',
    old_status: 'ACTIVE',
    new_status: 'EXPIRED',
    previous_subscription_id: null,
    scheduled_start_date: null,
    start_date: '2026-02-01T00:00:00Z',
    replaced_by: 'new',
    timestamp: '2026-03-01T10:00:30Z',
    message: 'Subscription old expired, replaced by new',
  });
});

test('a chain resolves inside one tick, each step with its events in order', async () => {
  await using db = await database();
  await fill(
    db,
    active('a'),
    scheduled('b', { previousSubscriptionId: 'a' }),
    scheduled('c', { previousSubscriptionId: 'b', scheduledStartDate: '2026-03-01T10:00:10Z' }),
    scheduled('d', { previousSubscriptionId: 'c', scheduledStartDate: '2026-03-01T10:00:20Z' }),
  );
  await tick(db);
  assert.deepEqual(await states(db), { a: 'EXPIRED', b: 'EXPIRED', c: 'EXPIRED', d: 'ACTIVE' });
  assert.deepEqual(await told(db), [
    'a subscription.expired',
    'b subscription.activated',
    'b subscription.expired',
    'c subscription.activated',
    'c subscription.expired',
    'd subscription.activated',
  ]);
});

test('two of one customer that are due at the same instant leave one ACTIVE, whatever the batch size', async () => {
  for (const batchSize of [1, 2, 3, 1000]) {
    await using db = await database();
    const rows = ['u1', 'u2', 'u3'].flatMap((userId) =>
      ['p', 'q', 'r'].map((name) => scheduled(`${name}${userId}`, { userId })),
    );
    await fill(db, ...rows);
    const pass = await passOf(await db.tick(NOW, { only: ['subscriptions'], batchSize }));
    assert.deepEqual(pass.changed, { activate: 9, 'expire previous': 6 });
    assert.deepEqual(await states(db), {
      ...{ pu1: 'EXPIRED', pu2: 'EXPIRED', pu3: 'EXPIRED', qu1: 'EXPIRED', qu2: 'EXPIRED', qu3: 'EXPIRED' },
      ...{ ru1: 'ACTIVE', ru2: 'ACTIVE', ru3: 'ACTIVE' },
    });
  }
});

test('every other ACTIVE subscription of the customer is expired, not only the previous one', async () => {
  await using db = await database();
  await fill(db, active('a'), active('b'), active('x', { userId: 'u2' }));
  await fill(db, scheduled('c', { previousSubscriptionId: 'b' }));
  await tick(db);
  assert.deepEqual(await states(db), { a: 'EXPIRED', b: 'EXPIRED', c: 'ACTIVE', x: 'ACTIVE' });
  assert.deepEqual(await told(db), ['a subscription.expired', 'b subscription.expired', 'c subscription.activated']);
});

for (const status of ['EXPIRED', 'CANCELLED']) {
  test(`a previous subscription that is ${status} is left exactly as it is`, async () => {
    await using db = await database();
    const before = await db.insert('customer_packages', active('old', { status, isActive: false }));
    await fill(db, scheduled('new', { previousSubscriptionId: 'old' }));
    await tick(db);
    assert.deepEqual(await db.one(`select * from customer_packages where id = 'old'`), before);
    assert.deepEqual(await told(db), ['new subscription.activated']);
  });
}

test('a previous subscription that is missing keeps nobody from starting', async () => {
  await using db = await database();
  await fill(db, scheduled('new', { previousSubscriptionId: 'gone' }));
  await tick(db);
  assert.deepEqual(await states(db), { new: 'ACTIVE' });
});

test('a row whose previous is foreign or itself, or that has no customer, fails alone and nothing is written for it', async () => {
  await using db = await database();
  await db.query('alter table customer_packages alter "userId" drop not null');
  await fill(
    db,
    active('mine'),
    active('theirs', { userId: 'u2' }),
    scheduled('foreign', { previousSubscriptionId: 'theirs' }),
    scheduled('itself', { previousSubscriptionId: 'itself' }),
    scheduled('nobody', { userId: null }),
    scheduled('good', { userId: 'u3' }),
  );
  const before = await db.query(`select * from customer_packages where id <> 'good' order by id`);
  const result = await tick(db);
  assert.equal(result.exitCode, 1);
  assert.deepEqual(await db.query(`select * from customer_packages where id <> 'good' order by id`), before);
  assert.deepEqual(await told(db), ['good subscription.activated']);
  const failures = await db.query('select entity_id, error from scheduler.failures order by entity_id');
  assert.deepEqual(failures, [
    { entity_id: 'foreign', error: 'its previous subscription theirs belongs to another customer' },
    { entity_id: 'itself', error: 'it names itself as its previous subscription' },
    { entity_id: 'nobody', error: 'it belongs to no customer' },
  ]);
});

test('a failing row of a customer does not hold up the next one of the same customer', async () => {
  await using db = await database();
  await fill(
    db,
    active('a'),
    active('theirs', { userId: 'u2' }),
    scheduled('b', { previousSubscriptionId: 'theirs' }),
    scheduled('c', { scheduledStartDate: '2026-03-01T10:00:10Z' }),
  );
  await tick(db);
  assert.deepEqual(await states(db), { a: 'EXPIRED', b: 'SCHEDULED', c: 'ACTIVE', theirs: 'ACTIVE' });
});

test("one customer's failure rolls back that customer's change alone", async () => {
  await using db = await database();
  await db.query(`
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no credit for %', new."userId"; end $$;
    create trigger refuse before update on customer_packages for each row
      when (new.status = 'ACTIVE' and new."userId" in ('u13', 'u77')) execute function refuse()`);
  await db.query(`
    insert into customer_packages (id, "userId", status, "isActive") select 'a' || n, 'u' || n, 'ACTIVE', true from generate_series(1, 100) n;
    insert into customer_packages (id, "userId", status, "scheduledStartDate", "previousSubscriptionId")
    select 'b' || n, 'u' || n, 'SCHEDULED', '2026-03-01T10:00:00Z', 'a' || n from generate_series(1, 100) n`);
  const pass = await passOf(await tick(db));
  assert.deepEqual(pass.changed, { activate: 98, 'expire previous': 98 });
  assert.deepEqual(pass.failures.map(({ id, error }) => `${id}: ${error}`).sort(), [
    'b13: no credit for u13',
    'b77: no credit for u77',
  ]);
  const all = await states(db);
  for (const n of [13, 77]) assert.deepEqual([all[`a${n}`], all[`b${n}`]], ['ACTIVE', 'SCHEDULED']);
  assert.equal((await db.events()).length, 196);
});

test('an activation that a trigger swallows expires nobody', async () => {
  await using db = await database();
  await db.query(`
    create function swallow() returns trigger language plpgsql as $$ begin return null; end $$;
    create trigger swallow before update on customer_packages for each row
      when (new.status = 'ACTIVE' and new."userId" = 'u1') execute function swallow()`);
  await fill(db, active('a'), scheduled('b'), scheduled('other', { userId: 'u2' }));
  const pass = await passOf(await tick(db));
  assert.deepEqual(await states(db), { a: 'ACTIVE', b: 'SCHEDULED', other: 'ACTIVE' });
  assert.deepEqual(
    pass.failures.map(({ id, error }) => ({ id, error })),
    [{ id: 'b', error: 'a trigger or a rule of the table suppressed the update' }],
  );
});

test('a subscription whose time is over ends', async () => {
  await using db = await database();
  await fill(db, active('over', { endDate: NOW }), active('open', { userId: 'u2', endDate: LATER }));
  await fill(db, active('endless', { userId: 'u3' }));
  await tick(db, '2026-03-01T10:00:29Z');
  assert.equal((await states(db)).over, 'ACTIVE');
  await tick(db);
  assert.deepEqual(await states(db), { endless: 'ACTIVE', open: 'ACTIVE', over: 'EXPIRED' });
  assert.deepEqual(await told(db), ['over subscription.expired']);
});

test('SCHEDULER_END_SUBSCRIPTIONS=false leaves a subscription ACTIVE beyond its end', async () => {
  await using db = await database();
  await fill(db, active('over', { endDate: EARLIER }), scheduled('next', { userId: 'u2', endDate: EARLIER }));
  await tick(db, NOW, { SCHEDULER_END_SUBSCRIPTIONS: 'false' });
  assert.deepEqual(await states(db), { next: 'ACTIVE', over: 'ACTIVE' });
});

test('a subscription bought and over within one outage goes through ACTIVE to EXPIRED in the same tick', async () => {
  await using db = await database();
  await fill(db, active('old'), scheduled('short', { endDate: '2026-03-01T10:00:20Z' }));
  const pass = await passOf(await tick(db));
  assert.deepEqual(await states(db), { old: 'EXPIRED', short: 'EXPIRED' });
  assert.deepEqual(await told(db), [
    'old subscription.expired',
    'short subscription.activated',
    'short subscription.expired',
  ]);
  assert.deepEqual(pass.changed, { activate: 1, 'expire previous': 1, end: 1 });
});

test('a subscription that waits for its failed successor still ends', async () => {
  await using db = await database();
  await fill(db, active('theirs', { userId: 'u2' }), active('mine', { endDate: NOW }));
  await fill(db, scheduled('bad', { previousSubscriptionId: 'theirs' }));
  await tick(db);
  assert.deepEqual(await states(db), { bad: 'SCHEDULED', mine: 'EXPIRED', theirs: 'ACTIVE' });
});

test('a quarantined successor does not keep an expired subscription active', async () => {
  await using db = await database();
  await fill(db, active('old', { endDate: LATER }), scheduled('new'));
  await db.query(`create function refuse() returns trigger language plpgsql as $$ begin
      if new.id = 'new' then raise exception 'no stock'; end if; return new; end $$;
    create trigger refuse before update on customer_packages for each row execute function refuse()`);
  await tick(db);
  await db.query(`update scheduler.failures set next_attempt_at = 'infinity', quarantined_at = now()`);
  await tick(db, LATER);
  assert.deepEqual(await states(db), { new: 'SCHEDULED', old: 'EXPIRED' });
});

test('a customer whose row the application holds is left to the next tick; nobody waits for it', async () => {
  await using db = await database();
  for (const held of ['a', 'b']) {
    await db.query('truncate customer_packages');
    await fill(db, active('a'), scheduled('b'), active('x', { userId: 'u2' }), scheduled('y', { userId: 'u2' }));
    await using app = await application(db);
    await app.query(`begin; update customer_packages set "packageId" = 'platinum' where id = '${held}'`);
    const began = Date.now();
    await tick(db);
    assert.ok(Date.now() - began < 3000);
    assert.deepEqual(await states(db), { a: 'ACTIVE', b: 'SCHEDULED', x: 'EXPIRED', y: 'ACTIVE' });
    await app.query('commit');
    await tick(db, '2026-03-01T10:01:30Z');
    assert.deepEqual(await states(db), { a: 'EXPIRED', b: 'ACTIVE', x: 'EXPIRED', y: 'ACTIVE' });
  }
});

test('a younger subscription does not overtake an older one that the application held for a moment; both start in the same tick', async () => {
  await using db = await database();
  await fill(
    db,
    ...[active('a'), scheduled('b'), scheduled('c', { scheduledStartDate: '2026-03-01T10:00:20Z' })],
    scheduled('y', { userId: 'u2', scheduledStartDate: '2026-03-01T10:00:10Z' }),
  );
  await db.query(`
    create function dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return new; end $$;
    create trigger dawdle before update on customer_packages for each row when (new.id = 'y') execute function dawdle()`);
  await using app = await application(db);
  await app.query(`begin; update customer_packages set "packageId" = 'platinum' where id = 'b'`);
  const run = db.tick(NOW, { only: ['subscriptions'], batchSize: 1 });
  const isAtY = `select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`;
  await until('it waits for y', async () => (await db.query(isAtY)).length > 0, 60_000);
  await app.query('commit');
  await passOf(await run);
  assert.deepEqual(await states(db), { a: 'EXPIRED', b: 'EXPIRED', c: 'ACTIVE', y: 'ACTIVE' });
  assert.deepEqual(
    (await told(db)).filter((event) => event.endsWith('.activated')),
    ['y', 'b', 'c'].map((id) => `${id} subscription.activated`),
  );
});

test('a transaction of the application that only refers to a subscription holds nothing up', async () => {
  await using db = await database();
  await db.query('create table invoices (subscription text references customer_packages)');
  await fill(db, active('a'), scheduled('b'));
  await using app = await application(db);
  await app.query(`begin; insert into invoices values ('a'), ('b')`);
  await tick(db);
  assert.deepEqual(await states(db), { a: 'EXPIRED', b: 'ACTIVE' });
  await app.query('commit');
});

test('a unique index on the one ACTIVE subscription of a customer is satisfied at every step', async () => {
  await using db = await database();
  await db.query(`create unique index one_active on customer_packages ("userId") where status = 'ACTIVE'`);
  await fill(db, active('a'), scheduled('b'), scheduled('c'));
  await passOf(await tick(db));
  assert.deepEqual(await states(db), { a: 'EXPIRED', b: 'EXPIRED', c: 'ACTIVE' });
});

test('a batch of 1,000 customers is one transaction', async () => {
  await using db = await database();
  await db.query(`
    insert into customer_packages (id, "userId", status, "isActive") select 'a' || n, 'u' || n, 'ACTIVE', true from generate_series(1, 1000) n;
    insert into customer_packages (id, "userId", status, "scheduledStartDate")
    select 'b' || n, 'u' || n, 'SCHEDULED', '2026-03-01T10:00:00Z' from generate_series(1, 1000) n`);
  const pass = await passOf(await tick(db));
  assert.deepEqual(pass.changed, { activate: 1000, 'expire previous': 1000 });
  const writers = await db.one(
    'select count(distinct xmin::text)::integer as n from (select xmin from customer_packages union all select xmin from scheduler.events) as rows',
  );
  assert.equal(writers.n, 1);
});

test('finding nothing due and finding the due ones use the indexes of waiting rows', async () => {
  await using db = await database();
  await db.query('set enable_seqscan = off');
  const { rules } = await compiled(db, job);
  for (const name of ['activate', 'end']) {
    // Over tables of other names, "scheduler apply" has built it.
    const index = `(customer_packages_to_${name}|the_customer_packages_subscriptions_${name}_\\w+)`;
    const rule = rules.find((each) => each.name === name)!;
    const values = { now: new Date(), tenant: SCHEMA, endSubscriptions: true };
    const bound = bind(`explain select ${hasDue(rule, false)}`, values);
    const plan = await db.query(bound.text, bound.values);
    assert.match(JSON.stringify(plan), new RegExp(`Index (Only )?Scan using ${index} on`));
    assert.doesNotMatch(JSON.stringify(plan), /Sort/);
  }
});

test('the log tells the pass in the words that its operators search for', async () => {
  await using db = await database();
  await fill(db, active('cs_old', { userId: 'u9' }), scheduled('cs_123', { userId: 'u9' }));
  await fill(db, scheduled('cs_456', { previousSubscriptionId: 'cs_456' }));
  const env = { SCHEDULER_LOG_LEVEL: 'info' };
  const error = 'Failed to activate subscription cs_456: it names itself as its previous subscription';
  const lines = logged(await db.cli(['subscriptions'], { env }));
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    [
      'Starting scheduled subscription activation check',
      'Found 2 scheduled subscriptions to activate',
      'Activating scheduled subscription cs_123 for user u9',
      'Expired previous subscription cs_old',
      'Activated subscription cs_123',
      error,
      'Scheduled subscription activation completed: 1 activated, 1 errors',
      `Auto-activation errors: 1 [ ${error} ]`,
    ],
  );
  assert.deepEqual(
    lines.filter(({ level }) => level === 'error').map(({ msg }) => msg),
    [error, `Auto-activation errors: 1 [ ${error} ]`],
  );
  const idle = logged(await db.cli(['subscriptions'], { env }));
  assert.deepEqual(
    idle.map(({ msg }) => msg),
    ['Starting scheduled subscription activation check', 'No scheduled subscriptions to activate'],
  );
});

test('ENABLE_SUBSCRIPTION_SCHEDULER=false switches the job off in tick, and only there', async () => {
  await using db = await database();
  await fill(db, scheduled('b'));
  const env = { ENABLE_SUBSCRIPTION_SCHEDULER: 'false' };
  const result = await tick(db, NOW, env);
  assert.deepEqual(result.skipped, [{ job: 'subscriptions', why: 'switched off by ENABLE_SUBSCRIPTION_SCHEDULER' }]);
  assert.deepEqual(await states(db), { b: 'SCHEDULED' });
  await db.cli(['subscriptions'], { env });
  assert.deepEqual(await states(db), { b: 'ACTIVE' });
});

const PRISMA = `
  create type "SubscriptionStatus" as enum ('PENDING', 'SCHEDULED', 'ACTIVE', 'EXPIRED', 'CANCELLED');
  create table "User" (id text primary key);
  create table customer_packages (
    id text not null primary key,
    "userId" text not null references "User" (id) on delete restrict on update cascade,
    "packageId" text not null,
    status "SubscriptionStatus" not null default 'PENDING',
    "isActive" boolean not null default false,
    "startDate" timestamp(3),
    "endDate" timestamp(3),
    "scheduledStartDate" timestamp(3),
    "previousSubscriptionId" text references customer_packages (id) on delete set null on update cascade,
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null
  );
  create index "customer_packages_userId_idx" on customer_packages ("userId");
  insert into "User" values ('u1');
  insert into customer_packages values
    ('ckold', 'u1', 'silver', 'ACTIVE', true, '2026-02-01', '2026-03-01 10:00', null, null, default, now()),
    ('cknew', 'u1', 'gold', 'SCHEDULED', false, null, '2026-04-01', '2026-03-01 10:00', 'ckold', default, now()),
    ('cklate', 'u1', 'gold', 'SCHEDULED', false, null, '2026-05-01', '2026-04-01 10:00', 'cknew', default, now())`;

const LARAVEL = `
  create table users (id bigserial primary key);
  create table customer_packages (
    id bigserial primary key,
    "userId" bigint not null references users (id),
    "packageId" bigint not null,
    status varchar(255) not null check (status in ('SCHEDULED', 'ACTIVE', 'EXPIRED', 'CANCELLED')),
    "isActive" boolean not null default false,
    "startDate" timestamp(0),
    "endDate" timestamp(0),
    "scheduledStartDate" timestamp(0),
    "previousSubscriptionId" bigint references customer_packages (id),
    "createdAt" timestamp(0),
    "updatedAt" timestamp(0)
  );
  insert into users values (7);
  insert into customer_packages values
    (1, 7, 3, 'ACTIVE', true, '2026-02-01', '2026-03-01 10:00', null, null),
    (2, 7, 3, 'SCHEDULED', false, null, '2026-04-01', '2026-03-01 10:00', 1),
    (3, 7, 3, 'SCHEDULED', false, null, '2026-05-01', '2026-04-01 10:00', 2)`;

for (const [kind, schema, ids] of [
  ['Prisma', PRISMA, ['ckold', 'cknew', 'cklate']],
  ['Laravel', LARAVEL, ['1', '2', '3']],
] as const) {
  const [old, next, last] = ids;

  test(`the table of a ${kind} application is adopted as it is, and nothing but indexes is added`, async () => {
    await using db = await database({ empty: true });
    await db.query(schema);
    const columns = `select attname, format_type(atttypid, atttypmod) as type, attnotnull from pg_attribute
      where attrelid = 'customer_packages'::regclass and attnum > 0 order by attnum`;
    const rows = `select * from customer_packages order by id`;
    const before = [await db.query(columns), await db.query(rows)];
    await db.migrate();
    await db.migrate();
    assert.deepEqual([await db.query(columns), await db.query(rows)], before);
  });

  test(`the subscriptions of a ${kind} application take over at their time`, async () => {
    await using db = await database({ empty: true });
    await db.query(schema);
    await db.migrate();
    await passOf(await tick(db, '2026-03-01T09:59:00Z'));
    assert.deepEqual(await states(db), { [old]: 'ACTIVE', [next]: 'SCHEDULED', [last]: 'SCHEDULED' });
    const pass = await passOf(await tick(db));
    assert.deepEqual(pass.changed, { activate: 1, 'expire previous': 1 });
    assert.deepEqual(await states(db), { [old]: 'EXPIRED', [next]: 'ACTIVE', [last]: 'SCHEDULED' });
    const { start } = await db.one(`select "startDate"::text as start from customer_packages where id::text = $1`, [
      next,
    ]);
    assert.equal(start, '2026-03-01 10:00:30');
    await passOf(await db.tick('2026-05-02T00:00:00Z', { only: ['subscriptions'], batchSize: 1 }));
    assert.deepEqual(await states(db), { [old]: 'EXPIRED', [next]: 'EXPIRED', [last]: 'EXPIRED' });
    const event = await db.one(
      `select channels, data from scheduler.events where entity_id = $1 and data ->> 'new_status' = 'ACTIVE'`,
      [next],
    );
    assert.equal(String(event.data.subscription_id), next);
    assert.equal(event.data.scheduled_start_date, '2026-03-01T10:00:00Z');
    assert.equal(event.channels[2], `user.${event.data.user_id}`);
  });

  test(`the due subscriptions of a ${kind} application are found by index`, async () => {
    await using db = await database({ empty: true });
    await db.query(schema);
    await db.migrate();
    await db.query('set enable_seqscan = off');
    const plan = await db.query(
      `explain select id from customer_packages where status = 'SCHEDULED' and scheduler.at("scheduledStartDate", 'UTC') <= now()`,
    );
    assert.match(JSON.stringify(plan), /customer_packages_to_activate/);
  });
}

test('columns without a zone are read in SCHEDULER_DB_TIMEZONE', async () => {
  await using db = await database({ empty: true });
  await db.query(PRISMA);
  const env = { SCHEDULER_DB_TIMEZONE: 'Africa/Nairobi' };
  await db.migrate(env);
  await passOf(await tick(db, '2026-03-01T06:59:59Z', env));
  assert.equal((await states(db)).cknew, 'SCHEDULED');
  await passOf(await tick(db, '2026-03-01T07:00:00Z', env));
  assert.equal((await states(db)).cknew, 'ACTIVE');
  const { start } = await db.one(`select "startDate"::text as start from customer_packages where id = 'cknew'`);
  assert.equal(start, '2026-03-01 10:00:00');
});

test('missing columns are added to a table that is recognisably the one, and no old row starts by that', async () => {
  await using db = await database({ empty: true });
  await db.query(`
    create table customer_packages (
      id uuid primary key default gen_random_uuid(), "userId" integer, "scheduledStartDate" timestamp, "previousSubscriptionId" uuid
    );
    insert into customer_packages ("userId", "scheduledStartDate") values (1, '2026-01-01')`);
  await db.migrate();
  await passOf(await tick(db));
  const row = await db.one('select * from customer_packages');
  assert.equal(row.status, null);
  assert.equal(row.isActive, false);
  await db.query(`update customer_packages set status = 'SCHEDULED'`);
  await passOf(await tick(db));
  assert.equal((await db.one('select status from customer_packages')).status, 'ACTIVE');
});

test('a table of that name that belongs to something else is left alone, and the job reports itself as not installed', async () => {
  await using db = await database({ empty: true });
  await db.query('create table customer_packages (id integer primary key, weight numeric)');
  await db.migrate();
  const columns = await db.query(
    `select attname from pg_attribute where attrelid = 'customer_packages'::regclass and attnum > 0 order by attnum`,
  );
  assert.deepEqual(
    columns.map((column) => column.attname),
    ['id', 'weight'],
  );
  const { skipped, exitCode } = await tick(db);
  assert.match(skipped[0]?.why ?? '', /^not installed: .*customer_packages\.scheduledStartDate/);
  assert.equal(exitCode, 0);
});

test('a subscription whose successor is due but held by the application is replaced next tick, not ended meanwhile', async () => {
  await using db = await database();
  await fill(db, active('a', { endDate: NOW }), scheduled('b'));
  await using app = await application(db);
  await app.query(`begin; update customer_packages set "packageId" = 'platinum' where id = 'b'`);
  await tick(db);
  assert.deepEqual(await states(db), { a: 'ACTIVE', b: 'SCHEDULED' });
  await app.query('commit');
  await tick(db, '2026-03-01T10:01:30Z');
  assert.deepEqual(await states(db), { a: 'EXPIRED', b: 'ACTIVE' });
});

test('a dry run tells of a whole chain and keeps nothing of it', async () => {
  await using db = await database();
  await fill(db, active('a'), scheduled('b'), scheduled('c', { endDate: NOW }));
  const pass = await passOf(await db.tick(NOW, { only: ['subscriptions'], dryRun: true }));
  assert.deepEqual(pass.changed, { activate: 2, 'expire previous': 2, end: 1 });
  assert.deepEqual(await states(db), { a: 'ACTIVE', b: 'SCHEDULED', c: 'SCHEDULED' });
  assert.deepEqual(await told(db), []);
});
