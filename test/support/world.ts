import assert from 'node:assert/strict';
import { bind } from '../../src/db/bind.ts';
import { SAMPLES } from '../../src/setup/samples/index.ts';
import { ACK, type FakeGateway, type FakeNas, fakeGateway, fakeNas } from './fakes.ts';
import type { TestDatabase } from './harness.ts';
import { at, NOW, online } from './hotspot-rows.ts';
import { SCHEMA } from './schema.ts';

/** Due rows of every business, some of them bad, and a way back to them: one database serves hundreds of runs. */

export interface Outside extends AsyncDisposable {
  gateway: FakeGateway;
  nas: FakeNas;
  env: Record<string, string>;
}

/** A gateway that takes every SMS, and a router that disconnects whom it is asked to. */
export async function outside(): Promise<Outside> {
  const gateway = await fakeGateway((response, { body }) => {
    response.writeHead(200).end(JSON.stringify({ id: `of ${JSON.parse(body).reference}` }));
  });
  const nas = await fakeNas((request) => request.send(request.reply(ACK)));
  return {
    gateway,
    nas,
    env: {
      // These ticks are of long ago, and the server's clock says what history is old.
      SCHEDULER_RETENTION: '36500',
      SCHEDULER_SMS: 'webhook',
      SCHEDULER_SMS_URL: gateway.url,
      SCHEDULER_SMS_SECRET: 'signing-key',
      SCHEDULER_RADIUS_PORT: String(nas.port),
    },
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await nas[Symbol.asyncDispose]();
    },
  };
}

/** The rows of the demo, and what it does not show: usage to count, vouchers, something to send and somebody to disconnect. */
export async function fill(db: TestDatabase, nas: FakeNas): Promise<void> {
  for (const { fill } of SAMPLES) {
    const { text, values } = bind(fill, { now: NOW });
    await db.query(text, values);
  }
  await db.query(`insert into vouchers (code, status, expires_at) select 'code-' || n, 'unused', timestamptz '${NOW}' - n * interval '1 minute'
    from generate_series(0, 4) as n`);
  await db.query(`with over as (
      insert into hotspot_users (username, phone_number, has_active_subscription, subscription_expires_at, status)
      select 'over' || n, '25470000010' || n, true, timestamptz '${NOW}' - n * interval '1 minute', 'active' from generate_series(1, 4) as n
      returning *
    )
    insert into radius_sessions (hotspot_user_id, package_id, username, session_start, expected_end)
    select id, 801, username, subscription_expires_at - interval '1 hour', subscription_expires_at from over`);
  await db.insert('nas', { nasname: nas.host, shortname: 'router', secret: nas.secret });
  await db.query(`insert into scheduler.events (type, job, transition, entity_id, occurred_at, channels, data)
    select 'old', 'packages', 'activate', n::text, '2020-01-01', '{}', '{}' from generate_series(1, 3) as n`);
  const usage = { acctupdatetime: at(-1), acctsessiontime: 60, acctinputoctets: 1000, acctoutputoctets: 7_000 };
  // A user whose access is over, one whose access goes on, one whose router fell silent, one who came and went.
  for (const name of ['rt7xv9pk', 'hp34cyjn', 'kdfh3746']) await online(db, name, { nasipaddress: nas.host, ...usage });
  await online(db, 'kdfh3746', { ...usage, acctstarttime: at(-90), acctupdatetime: at(-80), acctinterval: 300 });
  await online(db, 'kdfh3746', { ...usage, acctstarttime: at(-30), acctstoptime: at(-20) });
}

/** Another three to be sent an SMS, and two to be disconnected, as the jobs before would have left them. */
export async function fillOutside(db: TestDatabase): Promise<void> {
  await db.query(`insert into hotspot_credentials (username, plain_password, phone_number, package_name, expires_at, sms_next_attempt_at)
    select 'user' || n, 'secret' || n, '25470000000' || n, 'One day', timestamptz '${NOW}' + interval '1 day',
      timestamptz '${NOW}' - n * interval '1 second' from generate_series(1, 5) as n`);
  await db.query(`insert into session_disconnections (radius_session_id, radacct_id, username, acct_session_id, nas_ip_address, status, next_attempt_at)
    select 1, radacctid, username, acctsessionid, host(nasipaddress), 'pending', timestamptz '${NOW}' - radacctid * interval '1 second'
    from radacct where username in ('rt7xv9pk', 'hp34cyjn')`);
}

const TABLES = `select format('%I.%I', schemaname, tablename) as name from pg_tables
  where schemaname in ('${SCHEMA}', 'scheduler') and tablename not in ('migrations', 'holds') order by 1`;

/** Remembers all rows; what it answers brings them back. */
export async function remember(db: TestDatabase): Promise<() => Promise<void>> {
  const tables = (await db.query<{ name: string }>(TABLES)).map(({ name }) => name);
  await db.query('create schema saved');
  const kept: string[] = [];
  for (const [n, name] of tables.entries()) {
    await db.query(`create table saved.t${n} as table ${name}`);
    const { rows } = await db.one(`select count(*)::integer as rows from ${name}`);
    if (rows > 0) kept.push(`insert into ${name} overriding system value select * from saved.t${n}`);
  }
  // A truncated table has new files, and whoever uses it then must find them.
  const emptied = tables.map((name) => `delete from ${name}`);
  const restore = `begin; set local session_replication_role = replica; ${[...emptied, ...kept].join('; ')}; commit`;
  return async () => {
    await db.query(restore);
    await nextIds(db);
  };
}

const setIds = new WeakMap<TestDatabase, string>();

/** Ids that an undone transaction has used up are given out again, so that two histories can be compared by them. */
export async function nextIds(db: TestDatabase): Promise<void> {
  if (!setIds.has(db)) {
    const columns = await db.query(`
      select c.oid::regclass::text as table, a.attname as column, pg_get_serial_sequence(c.oid::regclass::text, a.attname) as sequence
      from pg_class c join pg_attribute a on a.attrelid = c.oid
      where c.relkind = 'r' and c.relnamespace in ('${SCHEMA}'::regnamespace, 'scheduler'::regnamespace)
        and pg_get_serial_sequence(c.oid::regclass::text, a.attname) is not null`);
    const each = columns.map(
      ({ table, column, sequence }) =>
        `setval('${sequence}', (select coalesce(max("${column}"), 0) + 1 from ${table}), false)`,
    );
    setIds.set(db, `select ${each.join(', ')}`);
  }
  await db.query(setIds.get(db)!);
}

// What may differ between two histories that are the same: how often something outside was tried, and when.
const VOLATILE: Record<string, string[]> = {
  'scheduler.events': ['id', 'run_id', 'occurred_at'],
  [`${SCHEMA}.hotspot_credentials`]: [
    ...['sms_attempts', 'sms_next_attempt_at', 'sms_sent_at', 'sms_reference', 'sms_message_id', 'sms_error'],
    'updated_at',
  ],
  [`${SCHEMA}.session_disconnections`]: ['attempts', 'updated_at', 'disconnected_at', 'answer'],
  // Rows that a job of your own inserts.
  [`${SCHEMA}.letters`]: ['id'],
  [`${SCHEMA}.bills`]: ['id'],
};

/** The rows of each table, as sorted text. */
export type Snapshot = Record<string, string[]>;

/** Every row of every table but the record of the runs, with secrets made anew each time named by whose they are. */
export async function snapshot(db: TestDatabase): Promise<Snapshot> {
  const names = new Map<string, string>();
  for (const { username, phone_number, value } of await db.query(
    `select u.username, u.phone_number, c.value from hotspot_users u
     left join radcheck c on c.username = u.username and attribute = 'Cleartext-Password'`,
  )) {
    names.set(username, `the user of ${phone_number}`);
    if (value && value !== 'demo') names.set(value, `the password of ${phone_number}`);
  }
  const tables = (await db.query<{ name: string }>(TABLES)).map(({ name }) => name);
  const of = (name: string) => `(select json_agg(to_jsonb(t)) from ${name} as t) as "${name}"`;
  const found: Snapshot = {};
  const compared = tables.filter((name) => name !== 'scheduler.runs');
  for (const [name, rows] of Object.entries(await db.one(`select ${compared.map(of).join(', ')}`))) {
    found[name] = (rows ?? []).map((row: Record<string, unknown>) => told(name, row)).sort();
  }
  return found;

  function told(table: string, row: Record<string, unknown>): string {
    for (const column of [...(VOLATILE[table] ?? []), 'created_at']) delete row[column];
    if (row.type === 'CredentialsSent') {
      delete row.due_at;
      delete (row.data as Record<string, unknown>).sent_at;
    }
    return JSON.stringify(row).replace(/"(\w{8,10})"/g, (all, word) =>
      names.has(word) ? `"${names.get(word)}"` : all,
    );
  }
}

/** Names no more than what differs: the whole world is long to read. */
export function assertSame(found: Snapshot, expected: Snapshot, when: string): void {
  const only = (these: Snapshot, those: Snapshot) =>
    Object.keys(these).flatMap((table) =>
      (these[table] ?? []).filter((row) => !those[table]?.includes(row)).map((row) => `${table} ${row}`),
    );
  assert.deepEqual(only(found, expected), only(expected, found), when);
  assert.deepEqual(found, expected, when);
}

/** How long a run that is gone still holds its lock or its rows; too long is a fault. */
export async function untilGone(db: TestDatabase, boundMs = 2000): Promise<number> {
  const began = performance.now();
  for (;;) {
    const [left] = await db.query(
      `select pid, state, query from pg_stat_activity where datname = current_database() and application_name like 'scheduler%'`,
    );
    const took = performance.now() - began;
    if (!left) return took;
    if (took > boundMs) throw new Error(`after ${boundMs} ms there is still ${JSON.stringify(left)}`);
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
}
