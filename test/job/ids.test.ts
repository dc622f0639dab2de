import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadJobs } from '../../src/jobs/index.ts';
import { database } from '../support/harness.ts';
import { layEverything } from '../support/laid.ts';
import { allExplained } from '../support/looking.ts';

/** Ids of every type that applications have: each job does its rows, and whatever names a row finds it again. */

const NOW = '2026-03-01T12:00:00Z';
const ULID = (n: number) => `01ARZ3NDEKTSV4RRFFQ69G5FA${n}`;
const UUID_OF = (n: number) => `a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1${n}`;

/** A type, the n-th id of it, and what is there before the tables. */
const TYPES: [type: string, id: (n: number) => string, before?: string][] = [
  ['smallint', String],
  ['integer', String],
  ['bigint', (n) => `900000000000000000${n}`],
  ['numeric', (n) => `${n}.50`],
  ['uuid', UUID_OF],
  ['text', (n) => `cs_${n}`],
  ['varchar(26)', ULID],
  ['char(26)', ULID],
  // Shorter than its type: PostgreSQL fills it up with blanks.
  ['char(36)', ULID],
  ['citext', (n) => `Cs_${'aBcDeFg'[n]}`, 'create extension citext'],
  ['ulid', ULID, 'create domain ulid as char(26) check (length(value) = 26)'],
];

const NUMBERS = ['smallint', 'integer', 'bigint', 'numeric'];
/** Numbers come of a sequence. Other ids are made by whoever inserts. */
const TABLES = (type: string) => `
  create sequence ids start 20;
  create table packages (id ${type} primary key, name text, enable_schedule boolean, scheduled_activation_time timestamptz,
    validity text, price numeric, duration text, data_limit bigint, upload_speed text, download_speed text, devices integer);
  create table special_packages (id ${type} primary key, name text, scheduled boolean, schedule_date date, auto_activate boolean,
    timezone text);
  create table customer_packages (id ${type} primary key, "userId" ${type}, "packageId" ${type}, status text, "endDate" timestamptz,
    "scheduledStartDate" timestamptz, "previousSubscriptionId" ${type});
  create table text_sessions (id ${type} primary key, patient_id ${type} not null, doctor_id ${type} not null, status text,
    activated_at timestamptz, auto_deductions_processed integer, doctor_response_deadline timestamptz);
  create table subscriptions (id ${type} primary key, user_id ${type}, text_sessions_remaining integer, is_active boolean,
    activated_at timestamptz, expires_at timestamptz);
  create table doctor_wallets (id ${type}, doctor_id ${type} unique, balance numeric, session_rate numeric);
  create table payments (id ${type} primary key, phone_number text, package_id ${type}, amount numeric, transaction_id text,
    status text, updated_at timestamptz, provisioned_at timestamptz);
  create table vouchers (id ${type} primary key, code text, status text check (status = 'unused' or code <> 'bad'), expires_at timestamptz);
  create table radius_sessions (id ${type} primary key ${NUMBERS.includes(type) ? "default nextval('ids')" : ''}, username text, status text check (status = 'active' or username <> 'bad'),
    expected_end timestamptz);
  create table hotspot_credentials (id ${type} primary key ${NUMBERS.includes(type) ? "default nextval('ids')" : ''}, hotspot_user_id bigint, username text, phone_number text, plain_password text,
    sms_status text check (sms_status = 'pending' or username <> 'bad'), sms_next_attempt_at timestamptz, expires_at timestamptz);
  create table session_disconnections (id ${type} primary key ${NUMBERS.includes(type) ? "default nextval('ids')" : ''}, radius_session_id ${type}, hotspot_user_id bigint, username text,
    disconnect_reason text, attempts integer, next_attempt_at timestamptz, status text check (status = 'pending' or username <> 'bad'))`;

/** Row 1 of each table is done, and row 2 fails. */
const ROWS = `
  insert into packages (id, name, enable_schedule, scheduled_activation_time, validity, price, duration, status) values
    (#1, 'good', true, '${NOW}', '2 hours', 50, '1 hour', 'inactive'), (#2, 'bad', true, '${NOW}', 'banana', 50, '1 hour', 'inactive'),
    (#3, 'good', true, '${NOW}', '2 hours', 50, '1 hour', 'inactive');
  insert into special_packages (id, name, scheduled, schedule_date, auto_activate, timezone) values
    (#1, 'good', true, '2026-03-01', true, null), (#2, 'bad', true, '2026-03-01', true, 'Mars/Base');
  insert into customer_packages (id, "userId", status, "scheduledStartDate", "previousSubscriptionId") values
    (#3, #1, 'ACTIVE', null, null), (#1, #1, 'SCHEDULED', '${NOW}', #3), (#2, #2, 'SCHEDULED', '${NOW}', #2);
  insert into subscriptions (id, user_id, text_sessions_remaining, is_active, activated_at) values (#1, #1, 10, true, '2026-01-01');
  insert into doctor_wallets (id, doctor_id, balance, session_rate) values (#1, #1, 0, 2);
  insert into text_sessions (id, patient_id, doctor_id, status, activated_at, auto_deductions_processed, doctor_response_deadline) values
    (#1, #1, #1, 'active', timestamptz '${NOW}' - interval '25 minutes', 0, null),
    (#2, #2, #1, 'active', timestamptz '${NOW}' - interval '25 minutes', -1, null),
    (#3, #3, #1, 'waiting_for_doctor', null, 0, timestamptz '${NOW}' - interval '1 minute');
  insert into payments (id, phone_number, package_id, amount, transaction_id, status, updated_at) values
    (#1, '254712345671', #1, 50, 'T1', 'completed', '${NOW}'), (#2, '254712345672', #4, 50, 'T2', 'completed', '${NOW}');
  insert into vouchers (id, code, status, expires_at) values (#1, 'good', 'unused', '${NOW}'), (#2, 'bad', 'unused', '${NOW}');
  insert into radius_sessions (id, username, status, expected_end) values (#1, 'good', 'active', '${NOW}'), (#2, 'bad', 'active', '${NOW}');
  insert into hotspot_credentials (id, username, phone_number, sms_status, sms_next_attempt_at, sms_attempts) values
    (#1, 'good', '1', 'pending', '${NOW}', 3), (#2, 'bad', '2', 'pending', '${NOW}', 3);
  insert into session_disconnections (id, username, status, next_attempt_at, attempts) values
    (#1, 'good', 'pending', '${NOW}', 3), (#2, 'bad', 'pending', '${NOW}', 3)`;

const rows = (id: (n: number) => string) => ROWS.replace(/#(\d)/g, (_, n) => `'${id(Number(n))}'`);

const JOBS = [
  ...['packages', 'special-packages', 'subscriptions', 'deductions', 'payments', 'vouchers', 'hotspot-sessions'],
  ...['credentials', 'disconnects'],
];

/** Other rows than the first that are told of. */
const MORE: Record<string, number[]> = {
  packages: [1, 3],
  subscriptions: [1, 3],
  vouchers: [],
  disconnects: [],
  payments: [1, 2],
};

for (const [type, id, before] of TYPES) {
  test(`rows with ids of the type ${type} are done, and found by their ids`, async () => {
    await using db = await database({ empty: true });
    await db.query(`${before ?? ''}; ${TABLES(type)}`);
    await db.migrate();
    if (process.env.TEST_LAID) await layEverything(db.url, await loadJobs());
    await db.query(rows(id));
    // One row a batch: each batch goes on from the id of the last one.
    const { jobs } = await db.tick(NOW, { only: [...JOBS, 'session-endings'], batchSize: 1 });
    for (const { job, error, failures } of jobs) {
      assert.equal(error, undefined, job);
      assert.deepEqual(
        failures.map((each) => each.id),
        job === 'session-endings' ? [] : [id(2)],
        job,
      );
    }
    for (const job of JOBS) {
      const told = await db.query('select distinct entity_id as id from scheduler.events where job = $1', [job]);
      const known = [1, 2, 3].filter((n) => told.some((row) => row.id === id(n)));
      assert.deepEqual(known, MORE[job] ?? [1], job);
      const found = await allExplained(db, job, [id(1), id(2)], { at: NOW });
      const said = [...found.values()].map(({ id, events, failures }) => [id, events.length > 0, failures.length]);
      assert.deepEqual(
        said,
        [
          [id(1), known.length > 0, 0],
          [id(2), known.includes(2), 1],
        ],
        job,
      );
    }
    for (const table of ['vouchers', 'session_disconnections'])
      assert.deepEqual(await db.query(`select id::text as id from ${table} where status in ('expired', 'failed')`), [
        { id: id(1) },
      ]);
    assert.equal((await db.one(`select status from text_sessions where id = '${id(3)}'`)).status, 'expired');
    const ledger = await db.query(
      'select session_id::text as id, block::integer from text_session_deductions order by block',
    );
    assert.deepEqual(
      ledger,
      [1, 2].map((block) => ({ id: id(1), block })),
    );
    const wallet = await db.one('select balance::text as balance from doctor_wallets');
    assert.equal(Number(wallet.balance), 4);
  });
}

test('every command finds a row by an id of the type char(26)', async () => {
  await using db = await database({ empty: true });
  await db.query(TABLES('char(26)'));
  await db.migrate();
  await db.query(rows(ULID));
  const said = async (command: string, code = 0) => {
    const result = await db.cli(command.split(' '));
    assert.equal(result.code, code, `${command}: ${result.err}`);
    return result.out;
  };
  await said('stop subscriptions --reason test');
  assert.match(
    await said('activate-now', 1),
    new RegExp(`Manually activated 1 .*\nFailed to activate subscription ${ULID(2)}: `),
  );
  await said('start subscriptions');
  assert.match(await said(`explain subscriptions ${ULID(1)}`), new RegExp(`Subscription ${ULID(1)} is active`));
  assert.match(
    await said(`failures subscriptions ${ULID(2)}`),
    new RegExp(`^(?:\\w+ +)?subscriptions +${ULID(2)} `, 'm'),
  );
  assert.match(await said(`failures retry subscriptions ${ULID(2)}`), /^Released 1 row/);
});
