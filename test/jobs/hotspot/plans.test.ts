import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bind } from '../../../src/db/bind.ts';
import { placesOfDue } from '../../../src/engine/ask.ts';
import { type Cursor, claim, claimByKey, complete } from '../../../src/engine/statements.ts';
import type { Job } from '../../../src/job/define.ts';
import { job as accounting } from '../../../src/jobs/hotspot/accounting.ts';
import { job as credentials } from '../../../src/jobs/hotspot/credentials.ts';
import { job as disconnects } from '../../../src/jobs/hotspot/disconnects.ts';
import { job as sessions } from '../../../src/jobs/hotspot/hotspot-sessions.ts';
import { job as payments } from '../../../src/jobs/hotspot/payments.ts';
import { job as vouchers } from '../../../src/jobs/hotspot/vouchers.ts';
import { compiled } from '../../support/compiled.ts';
import { database, type TestDatabase } from '../../support/harness.ts';
import { explain, rowsRead, values } from '../../support/plans.ts';
import { SCHEMA } from '../../support/schema.ts';

/** Finding what is due must cost what is due, not what the tables hold. */

const ROWS = 20_000;
const DUE = 5;

const parametersOf = (job: Job) => ({ ...values(job, 'UTC'), job: job.name, radiusInterim: '300' });

const ruleOf = async (db: TestDatabase, job: Job, name: string) =>
  (await compiled(db, job)).rules.find((rule) => rule.name === name)!;

const scans = async (db: TestDatabase, sql: string, job: Job, more = {}) =>
  (await explain(db, sql, { ...parametersOf(job), ...more })).filter((node) => node['Relation Name']);

/** Years of history; of each kind a few that are due when asked for, and the open sessions of a moment. */
async function filled(due: boolean): Promise<TestDatabase> {
  const db = await database();
  const history = (count: number, past: string) => `
    insert into payments (phone_number, package_id, amount, transaction_id, status, provisioned_at, updated_at)
      select n, 1, 50, 'T${past}' || n, ${past === 'due' ? `'completed', null` : `case when n % 9 = 0 then 'failed' else 'completed' end, case when n % 9 > 0 then now() end`}, '2025-01-01'
      from generate_series(1, ${count}) as n;
    insert into hotspot_credentials (hotspot_user_id, username, phone_number, sms_status, sms_attempts, sms_next_attempt_at)
      select n, 'u' || n, n, 'sent', n % 4, ${past === 'due' ? `'2025-01-01'` : 'null'} from generate_series(1, ${count}) as n;
    insert into radius_sessions (hotspot_user_id, username, expected_end, status, total_bytes, data_limit, session_start, updated_at)
      select n, 'u' || n, case when ${past === 'due'} and n % 2 = 0 then timestamptz '2025-01-01' else '2030-01-01' end,
        case when ${past === 'due'} or n % 50 = 0 then 'active' else 'expired' end,
        case when ${past === 'due'} and n % 2 = 1 then 1000 else 10 end, 1000, '2025-01-01', '2025-01-01'
      from generate_series(1, ${count}) as n;
    insert into session_disconnections (radius_session_id, hotspot_user_id, username, status, attempts, next_attempt_at)
      select n, n, 'u' || n, 'disconnected', n % 4, ${past === 'due' ? `'2025-01-01'` : 'null'} from generate_series(1, ${count}) as n;
    insert into vouchers (code, status, expires_at)
      select '${past}' || n, ${past === 'due' ? `'unused'` : `case when n % 5 = 0 then 'unused' else 'expired' end`},
        ${past === 'due' ? `'2025-01-01'` : `case when n % 5 = 0 then timestamptz '2030-01-01' else '2025-01-01' end`}
      from generate_series(1, ${count}) as n;`;
  await db.query(history(ROWS, 'past'));
  await db.query(`insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctupdatetime,
      acctstoptime, acctsessiontime, acctinputoctets, acctoutputoctets)
    select n, n, 'u' || n, '10.0.0.1', now(), now(), case when n % 100 > 0 then now() end, 0, 0, 0 from generate_series(1, ${ROWS}) as n`);
  await db.query(`insert into scheduler.accounted
      select '${SCHEMA}', radacctid, 0, 0, 0, acctstoptime is not null, now() from radacct
      where acctstoptime is null or radacctid > ${ROWS - 200};
    update scheduler.accounted_up_to set id = ${ROWS}`);
  if (due) await db.query(history(DUE, 'due'));
  await db.query('analyze');
  // As the engine asks: see inIndexOrder in src/db/client.ts.
  await db.query('set enable_seqscan = off; set enable_bitmapscan = off');
  return db;
}

const INDEXES: [Job, string, string][] = [
  [payments, 'provision', 'payments_to_provision'],
  [credentials, 'send', 'hotspot_credentials_to_give_up'],
  [credentials, 'give up', 'hotspot_credentials_to_give_up'],
  [sessions, 'expire', 'radius_sessions_to_expire'],
  [sessions, 'exhaust', 'radius_sessions_to_exhaust'],
  [disconnects, 'send', 'session_disconnections_to_send'],
  [disconnects, 'report', 'session_disconnections_to_report'],
  [vouchers, 'expire', 'vouchers_to_expire'],
];

test('each rule reads the rows that are due and no other', async () => {
  await using db = await filled(true);
  for (const [job, name, index] of INDEXES) {
    const rule = await ruleOf(db, job, name);
    const [scan, ...others] = (await scans(db, claim(rule), job)).filter(
      (node) => node['Relation Name'] === job.table.name && node['Index Name']?.includes('_to_'),
    );
    assert.equal(scan?.['Index Name'], index, `${job.name}/${name}`);
    assert.ok(rowsRead(scan!) <= DUE && others.length === 0, `${job.name}/${name}: ${JSON.stringify(scan)}`);
  }
});

test('the next batch of usage to count starts where the last one ended', async () => {
  await using db = await filled(true);
  await db.query('update radacct set acctinputoctets = 1 where acctstoptime is null');
  const rule = await ruleOf(db, accounting, 'sync');
  const batch = (cursor?: Cursor) => claimByKey(rule, { cursor });
  const all = bind(`select id::text, due_at::text from (${batch()}) as due`, parametersOf(accounting));
  const [last, ...beyond] = (await db.query(all.text, all.values)).slice(-DUE);
  const cursor = { from: last!.due_at, after: last!.id };
  const own = (await scans(db, batch(cursor), accounting, cursor)).filter(
    (node) => node['Index Name'] === 'radacct_to_sync',
  );
  assert.deepEqual(own.map(rowsRead), [beyond.length]);
});

test('an idle tick reads no row of the tables, and of radacct those that are open or recent', async () => {
  await using db = await filled(false);
  for (const job of [payments, credentials, disconnects, vouchers]) {
    const { rules } = await compiled(db, job);
    for (const scan of await scans(db, `select ${placesOfDue(rules, false)}`, job)) {
      assert.equal(rowsRead(scan), 0, `${job.name}: ${JSON.stringify(scan)}`);
    }
  }
  const open = ROWS / 100;
  for (const job of [accounting, sessions]) {
    const { rules } = await compiled(db, job);
    for (const scan of await scans(db, `select ${placesOfDue(rules, false)}`, job)) {
      assert.ok(rowsRead(scan) <= 3 * open, `${job.name}: ${JSON.stringify(scan)}`);
    }
  }
});

test('only the RADIUS rows and passwords of users whose time is up are read', async () => {
  await using db = await filled(false);
  const users = 10_000;
  await db.query(`
    insert into hotspot_users (username, phone_number, has_active_subscription, subscription_expires_at)
      select 'guest' || n, n, true, case when n <= ${users / 4} then '2025-01-01' else timestamptz '2030-01-01' end from generate_series(1, ${users}) as n;
    insert into radius_sessions (hotspot_user_id, username, expected_end, status)
      select id, username, subscription_expires_at, 'active' from hotspot_users;
    insert into hotspot_credentials (hotspot_user_id, username, phone_number, plain_password) select id, username, phone_number, 'p' from hotspot_users;
    insert into radcheck (username, attribute, op, value) select username, 'Expiration', ':=', 'x' from hotspot_users;
    insert into radreply (username, attribute, op, value) select username, 'Session-Timeout', ':=', 'x' from hotspot_users;
    analyze`);
  const rule = await ruleOf(db, sessions, 'expire');
  const run = { run: null, slot: null, by: 'test', host: 'test', version: 'test' };
  const told = { ...run, limit: 4000, rule: rule.name, notify: false, detail: 0 };
  const found = await scans(db, complete(rule, claim(rule)), sessions, told);
  for (const table of ['radcheck', 'radreply', 'hotspot_credentials']) {
    const reads = found.filter((node) => node['Relation Name'] === table && node['Node Type'] !== 'ModifyTable');
    assert.deepEqual(reads.map(rowsRead), [users / 4], `${table}: ${JSON.stringify(reads)}`);
  }
});

// An index that holds only rows under way looks small to the planner. Until it is vacuumed, it holds those of the whole backlog.
test('answered rows are looked up one by one, however many were under way before', async () => {
  await using db = await filled(false);
  await db.query('reset enable_seqscan; reset enable_bitmapscan');
  for (const [job, table, state] of [
    [credentials, 'hotspot_credentials', 'sms_status'],
    [disconnects, 'session_disconnections', 'status'],
  ] as const) {
    const attempts = state.replace('status', 'attempts');
    await db.query(`update ${table} set ${state} = 'sending', ${attempts} = 1 where id <= ${DUE}`);
    const answers = Array.from({ length: DUE }, (_, n) => ({
      id: String(n + 1),
      result: { kind: 'left', attempt: 1 },
    }));
    const { outside } = await ruleOf(db, job, 'send');
    const recording = `
      with answer as materialized (select id, result from json_to_recordset(:answers::json) as a (id text, result jsonb)),
      ${outside!.recording}
      select count(*) from outcome`;
    const found = (await scans(db, recording, job, { answers: JSON.stringify(answers) })).filter(
      (node) => node['Relation Name'] === table && node['Node Type'] !== 'ModifyTable',
    );
    assert.ok(found.length > 0);
    for (const scan of found) assert.ok(scan['Index Cond'], `${job.name}: ${JSON.stringify(scan)}`);
    assert.equal((await db.one(`select count(*)::integer as n from ${table} where ${state} = 'sending'`)).n, 0);
  }
});
