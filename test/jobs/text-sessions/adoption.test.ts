import assert from 'node:assert/strict';
import { test } from 'node:test';
import { claim } from '../../../src/engine/statements.ts';
import { jobs } from '../../../src/jobs/text-sessions/index.ts';
import { compiled } from '../../support/compiled.ts';
import { database } from '../../support/harness.ts';
import { explain, inIndexOrder, scansOf, values } from '../../support/plans.ts';

const END = '2026-03-01T12:00:00Z';
const env = { SCHEDULER_SESSION_RATE: '0.30' };

const PRISMA = `
  create type "SessionStatus" as enum ('waiting_for_doctor', 'active', 'ended', 'expired');
  create type "WalletTransactionType" as enum ('credit', 'debit');
  create table users (id text primary key);
  create table text_sessions (
    "id" text not null primary key,
    "patient_id" text not null references users on delete restrict on update cascade,
    "doctor_id" text not null references users on delete restrict on update cascade,
    "status" "SessionStatus" not null default 'waiting_for_doctor',
    "started_at" timestamp(3) not null default current_timestamp,
    "activated_at" timestamp(3),
    "ended_at" timestamp(3),
    "last_activity_at" timestamp(3),
    "sessions_used" integer not null default 0,
    "sessions_remaining_before_start" integer not null,
    "auto_deductions_processed" integer,
    "doctor_response_deadline" timestamp(3),
    "reason" text,
    "updated_at" timestamp(3) not null
  );
  create table subscriptions (
    "id" text not null primary key,
    "user_id" text not null references users,
    "text_sessions_remaining" integer not null,
    "is_active" boolean not null default true,
    "activated_at" timestamp(3) not null default current_timestamp,
    "expires_at" timestamp(3)
  );
  create table doctor_wallets (
    "id" text not null primary key,
    "doctor_id" text not null references users,
    "balance" decimal(10, 2) not null default 0,
    "total_earned" decimal(10, 2) not null default 0,
    "session_rate" decimal(10, 2),
    "currency" text not null default 'MWK',
    "updated_at" timestamp(3) not null
  );
  create unique index "doctor_wallets_doctor_id_key" on doctor_wallets ("doctor_id");
  create table wallet_transactions (
    "id" text not null primary key,
    "doctor_id" text not null references users,
    "type" "WalletTransactionType" not null,
    "amount" decimal(10, 2) not null,
    "description" text not null,
    "session_type" text,
    "session_id" text references text_sessions,
    "session_table" text,
    "status" text not null default 'completed',
    "metadata" jsonb,
    "created_at" timestamp(3) not null default current_timestamp
  );
  insert into users values ('pat'), ('doc'), ('doc2');
  insert into text_sessions (id, patient_id, doctor_id, status, activated_at, sessions_remaining_before_start, auto_deductions_processed, updated_at)
  values ('s1', 'pat', 'doc', 'active', '2026-03-01 10:00', 4, null, now()), ('s2', 'pat', 'doc2', 'active', '2026-03-01 11:35', 9, 1, now()),
    ('s3', 'pat', 'doc', 'waiting_for_doctor', null, 9, null, now());
  update text_sessions set doctor_response_deadline = '2026-03-01 11:59:59.999' where id = 's3';
  insert into subscriptions (id, user_id, text_sessions_remaining) values ('c1', 'pat', 20);
  insert into doctor_wallets (id, doctor_id, balance, session_rate, updated_at) values ('w1', 'doc', 0.10, 2.55, now())`;

test('a Prisma database is adopted: enum status, text ids without a default, timestamp(3), foreign keys', async () => {
  await using db = await database({ empty: true });
  await db.query(PRISMA);
  await db.migrate();
  const { exitCode, jobs } = await db.tick(END, { env });
  assert.deepEqual([exitCode, jobs.find((job) => job.job === 'deductions')!.failures], [0, []]);
  const sessions = await db.query(
    'select id, status, ended_at::text, sessions_used, auto_deductions_processed as n from text_sessions order by id',
  );
  assert.deepEqual(sessions, [
    { id: 's1', status: 'ended', ended_at: '2026-03-01 10:40:00', sessions_used: 4, n: 4 },
    { id: 's2', status: 'active', ended_at: null, sessions_used: 1, n: 2 },
    { id: 's3', status: 'expired', ended_at: '2026-03-01 12:00:00', sessions_used: 0, n: null },
  ]);
  assert.equal((await db.one('select text_sessions_remaining as n from subscriptions')).n, 15);
  assert.deepEqual(await db.query('select doctor_id, balance, currency from doctor_wallets order by 1'), [
    { doctor_id: 'doc', balance: '10.30', currency: 'MWK' },
    { doctor_id: 'doc2', balance: '0.30', currency: 'MWK' },
  ]);
  assert.equal((await db.one('select count(distinct id)::integer as n from wallet_transactions')).n, 5);
});

test('inserted rows get an id and the times of the run, and no default of the application is changed', async () => {
  await using db = await database({ empty: true });
  await db.query(PRISMA);
  const defaults = () =>
    db.query(`select table_name, column_name, column_default from information_schema.columns
      where table_name in ('doctor_wallets', 'wallet_transactions') and column_name in ('id', 'created_at', 'updated_at')
      order by 1, 2`);
  const before = await defaults();
  await db.migrate();
  await db.tick(END, { env });
  assert.deepEqual(await defaults(), before);
  const wallet = await db.one(`select id, updated_at::text from doctor_wallets where doctor_id = 'doc2'`);
  assert.match(wallet.id, /^[0-9a-f-]{36}$/);
  assert.equal(wallet.updated_at, '2026-03-01 12:00:00');
  assert.deepEqual(await db.query('select distinct created_at::text as at from wallet_transactions'), [
    { at: '2026-03-01 12:00:00' },
  ]);
});

for (const [type, pattern] of [
  ['uuid', /^[0-9a-f-]{36}$/],
  ['char(26)', /^[0-9a-f]{26}$/],
  ['varchar(255)', /^[0-9a-f-]{36}$/],
] as const) {
  test(`an id of the type ${type} that only the application makes is made for an inserted row`, async () => {
    await using db = await database({ empty: true });
    await db.query(PRISMA);
    await db.query(`alter table wallet_transactions alter id type ${type} using null`);
    await db.migrate();
    assert.equal((await db.tick(END, { env })).exitCode, 0);
    for (const { id } of await db.query('select id from wallet_transactions')) assert.match(id, pattern);
  });
}

test('a doctor has one wallet: the table gets a unique index where it has none', async () => {
  await using db = await database({ empty: true });
  await db.query(LARAVEL);
  await db.query('alter table doctor_wallets drop constraint doctor_wallets_doctor_id_key');
  await db.migrate();
  await assert.rejects(db.query('insert into doctor_wallets (doctor_id) values (2)'), /duplicate key/);
  await db.migrate();
  const indexes = await db.query(`select from pg_index where indrelid = 'doctor_wallets'::regclass and indisunique`);
  assert.equal(indexes.length, 2);
});

test('each rule reads its own index, also where columns are never null or have no zone', async () => {
  for (const tables of ['', PRISMA, LARAVEL]) {
    await using db = await database({ empty: true });
    if (tables) await db.query(tables);
    await db.migrate();
    for (const job of jobs) {
      for (const rule of (await compiled(db, job)).rules) {
        const plan = await inIndexOrder(db, () =>
          explain(db, claim(rule), { ...values(job, 'UTC'), sessionRate: '0' }),
        );
        const [scan] = scansOf(plan, 'text_sessions');
        assert.equal(scan!['Index Name'], `text_sessions_to_${rule.name}`, `${job.name}/${rule.name}`);
      }
    }
  }
});

test('the application can still alter the type of a column that an index of a rule reads', async () => {
  await using db = await database();
  for (const type of ['timestamp', 'timestamptz'])
    await db.query(
      `alter table text_sessions alter activated_at type ${type}, alter doctor_response_deadline type ${type}`,
    );
});

test('blocks charged before the adoption are in the ledger from its first day on', async () => {
  await using db = await database({ empty: true });
  await db.query(PRISMA);
  await db.migrate();
  await db.migrate();
  const rows = await db.query('select session_id, block, subscription_id, due_at from text_session_deductions');
  assert.deepEqual(rows, [
    { session_id: 's2', block: '1', subscription_id: null, due_at: new Date('2026-03-01T11:45:00Z') },
  ]);
});

const LARAVEL = `
  create table migrations (id serial primary key, migration varchar(255) not null, batch integer not null);
  create table users (id bigserial primary key);
  create table text_sessions (
    id bigserial primary key, patient_id bigint not null references users on delete cascade, doctor_id bigint not null references users,
    status varchar(255) not null default 'waiting_for_doctor' check (status in ('waiting_for_doctor', 'active', 'ended', 'expired', 'cancelled')),
    started_at timestamp(0), activated_at timestamp(0), ended_at timestamp(0), last_activity_at timestamp(0),
    sessions_used integer not null default 0, sessions_remaining_before_start integer not null default 0,
    auto_deductions_processed integer, reason varchar(255), created_at timestamp(0), updated_at timestamp(0)
  );
  create table subscriptions (
    id bigserial primary key, user_id bigint not null references users, text_sessions_remaining integer not null default 0,
    is_active boolean not null default true, activated_at timestamp(0), expires_at timestamp(0), created_at timestamp(0), updated_at timestamp(0)
  );
  create table doctor_wallets (
    id bigserial primary key, doctor_id bigint not null unique references users, balance numeric(10, 2) not null default 0,
    total_earned numeric(10, 2) not null default 0, currency varchar(3) not null default 'USD', created_at timestamp(0), updated_at timestamp(0)
  );
  create table wallet_transactions (
    id bigserial primary key, doctor_id bigint not null references users, type varchar(255) not null check (type in ('credit', 'debit')),
    amount numeric(10, 2) not null, description varchar(255) not null, session_type varchar(255), session_id bigint,
    session_table varchar(255), status varchar(255) not null default 'completed', metadata json, created_at timestamp(0), updated_at timestamp(0)
  );
  insert into users select from generate_series(1, 9);
  insert into text_sessions (patient_id, doctor_id, status, activated_at, sessions_remaining_before_start) values (1, 2, 'active', '2026-03-01 10:00', 3);
  insert into subscriptions (user_id, text_sessions_remaining, activated_at) values (1, 3, '2026-01-01');
  insert into doctor_wallets (doctor_id) values (2)`;

test('a Laravel database is adopted: bigint ids, timestamp(0), a check on status, wallets without a rate', async () => {
  await using db = await database({ empty: true });
  await db.query(LARAVEL);
  await db.migrate();
  const { exitCode } = await db.tick(END, { env });
  assert.equal(exitCode, 0);
  const row = await db.one('select status, reason, ended_at::text, auto_deductions_processed as n from text_sessions');
  assert.deepEqual(row, { status: 'ended', reason: 'time_expired', ended_at: '2026-03-01 10:30:00', n: 3 });
  assert.deepEqual(await db.query('select balance, total_earned, session_rate from doctor_wallets'), [
    { balance: '0.90', total_earned: '0.90', session_rate: null },
  ]);
  assert.deepEqual(await db.query('select distinct created_at::text, updated_at::text from wallet_transactions'), [
    { created_at: '2026-03-01 12:00:00', updated_at: '2026-03-01 12:00:00' },
  ]);
});

test('a table "subscriptions" of something else is left alone, and both jobs say that they are not installed', async () => {
  await using db = await database({ empty: true });
  await db.query('create table subscriptions (id serial primary key, user_id integer, stripe_id text)');
  await db.migrate();
  const { skipped, exitCode } = await db.tick(END);
  assert.equal(exitCode, 0);
  for (const job of ['deductions', 'session-endings'])
    assert.match(
      skipped.find((each) => each.job === job)!.why,
      /not installed: .*subscriptions\.text_sessions_remaining/,
    );
  const columns = await db.one(
    `select count(*)::integer as n from information_schema.columns where table_name = 'subscriptions'`,
  );
  assert.equal(columns.n, 3);
});

test('a table "text_sessions" of something else is left alone, and nothing is put beside it', async () => {
  await using db = await database({ empty: true });
  await db.query('create table text_sessions (id serial primary key, body text)');
  await db.migrate();
  await db.tick(END);
  assert.equal((await db.one(`select to_regclass('doctor_wallets') as found`)).found, null);
});

test('the indexes never keep the application from writing a row, however odd', async () => {
  await using db = await database();
  await db.query(`insert into text_sessions (patient_id, doctor_id, status, activated_at, auto_deductions_processed, sessions_remaining_before_start, doctor_response_deadline)
    select 1, 1, status, moment, counter, counter, moment
    from unnest(array['active', 'waiting_for_doctor']) as status,
      unnest(array['infinity', '-infinity', '294276-12-31', '4713-01-01 BC', '2026-01-01']::timestamptz[]) as moment,
      unnest(array[2147483647, -2147483648, 0, null]) as counter`);
  const { jobs } = await db.tick(END);
  assert.deepEqual(
    jobs.filter((job) => job.error),
    [],
  );
});
