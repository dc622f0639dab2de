import assert from 'node:assert/strict';
import { test } from 'node:test';
import { placesOfDue } from '../../src/engine/ask.ts';
import { claim, claimByKey } from '../../src/engine/statements.ts';
import { job as accounting } from '../../src/jobs/hotspot/accounting.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import { compiled } from '../support/compiled.ts';
import { database } from '../support/harness.ts';
import { DUE, explain, inIndexOrder, rowsRead, scansOf } from '../support/plans.ts';
import { share } from '../support/share.ts';

/** Due rows are found in their index, in tables of a million rows of all kinds: past, to come, going on. */

const MILLION = 1_000_000;

interface Large {
  /** Nothing of it is due. */
  past: string;
  /** By the name of the rule. */
  due: Record<string, string>;
}

const rows = (sql: string, count: number) => `${sql} from generate_series(1, ${count}) as n`;
const SESSION =
  'insert into text_sessions (patient_id, doctor_id, status, activated_at, doctor_response_deadline) select';
const TEXT_SESSIONS = `${SESSION} n, n % 100,
    case when n % 100 = 0 then 'active' when n % 100 = 1 then 'waiting_for_doctor' else 'ended' end,
    case when n % 100 = 0 then now() - n % 500 * interval '1 s' else now() - n * interval '1 minute' end,
    case when n % 100 = 1 then now() + interval '1 hour' + n * interval '1 s' else now() - n * interval '1 minute' end`;
const SALE =
  'insert into packages (name, enable_schedule, status, scheduled_activation_time, validity, opened_start, opened_end, closed_end) select';
const SPECIAL =
  'insert into special_packages (name, scheduled, auto_activate, auto_deactivate, is_active, schedule_date, valid_until) select';
const SUBSCRIPTION =
  'insert into customer_packages (id, "userId", "packageId", status, "startDate", "endDate", "scheduledStartDate") select';
const SMS =
  'insert into hotspot_credentials (hotspot_user_id, username, phone_number, sms_status, sms_attempts, sms_next_attempt_at) select';
const ACCESS =
  'insert into radius_sessions (hotspot_user_id, username, expected_end, status, total_bytes, data_limit, updated_at) select';
const LOG_OUT = 'insert into session_disconnections (username, status, attempts, next_attempt_at) select';

const LARGE: Record<string, Large> = {
  packages: {
    past: `${SALE} n, true, case when n % 10 = 0 then 'active' else 'inactive' end,
      case when n % 10 = 0 then now() - interval '1 hour' when n % 10 < 5 then now() + n * interval '1 minute' else now() - n * interval '1 minute' - interval '2 days' end,
      case when n % 10 < 5 then '3 weeks' else '1 day' end,
      case when n % 10 = 0 then now() - interval '1 hour' when n % 10 >= 5 then now() - n * interval '1 minute' - interval '2 days' end,
      case when n % 10 = 0 then now() - interval '1 hour' + interval '21 days' when n % 10 >= 5 then now() - n * interval '1 minute' - interval '1 day' end,
      case when n % 10 >= 5 then now() - n * interval '1 minute' - interval '1 day' end`,
    due: {
      activate: `${SALE} n, true, 'inactive', now() - interval '1 hour', '1 day', null, null, null`,
      deactivate: `${SALE} n, true, 'active', now() - interval '3 hours', '2 hours', now() - interval '3 hours', now() - interval '1 hour', null`,
    },
  },
  'special-packages': {
    past: `${SPECIAL} n, n % 10 < 5, true, true, n % 10 = 9, current_date + case when n % 10 < 5 then 2 else -5 end + n % 500, current_date + 1000`,
    due: {
      activate: `${SPECIAL} n, true, true, true, false, current_date - 5, current_date + 1000`,
      deactivate: `${SPECIAL} n, false, true, true, true, current_date - 10, current_date - 5`,
    },
  },
  subscriptions: {
    past: `${SUBSCRIPTION} n, 'user' || n / 5, 'basic', case n % 5 when 0 then 'ACTIVE' when 1 then 'SCHEDULED' else 'EXPIRED' end,
      now() - interval '90 days', case n % 5 when 0 then now() + n * interval '1 minute' else now() - n * interval '1 minute' end,
      case n % 5 when 1 then now() + n * interval '1 minute' else now() - interval '91 days' end`,
    due: {
      activate: `${SUBSCRIPTION} 'new' || n, 'user' || n, 'basic', 'SCHEDULED', null, now() + interval '1 day', now() - n * interval '1 minute'`,
      end: `${SUBSCRIPTION} 'old' || n, 'somebody' || n, 'basic', 'ACTIVE', now() - interval '1 day', now() - n * interval '1 minute', null`,
    },
  },
  deductions: {
    past: TEXT_SESSIONS,
    due: { deduct: `${SESSION} 2000000 + n, 1, 'active', now() - interval '15 minutes', null` },
  },
  'session-endings': {
    past: TEXT_SESSIONS,
    due: {
      end: `insert into text_sessions (patient_id, doctor_id, status, activated_at, sessions_remaining_before_start)
        select 2000000 + n, 1, 'active', now() - interval '15 minutes', 1`,
      expire: `${SESSION} n, 1, 'waiting_for_doctor', null, now() - n * interval '1 minute'`,
    },
  },
  payments: {
    past: `insert into payments (phone_number, package_id, amount, transaction_id, status, provisioned_at, updated_at)
      select n, 1, 50, 'T' || n, case when n % 9 = 0 then 'failed' else 'completed' end, case when n % 9 > 0 then now() end, now() - n * interval '1 minute'`,
    due: {
      provision: `insert into payments (phone_number, package_id, amount, transaction_id, status, updated_at)
        select n, 1, 50, 'due' || n, 'completed', now() - n * interval '1 minute'`,
    },
  },
  'hotspot-sessions': {
    past: `${ACCESS} n, 'u' || n, case when n % 50 = 0 then now() + interval '1 hour' + n * interval '1 s' else now() - n * interval '1 minute' end,
      case when n % 50 = 0 then 'active' else 'expired' end, 10, 1000, now()`,
    due: {
      expire: `${ACCESS} n, 'over' || n, now() - n * interval '1 minute', 'active', 10, 1000, now()`,
      exhaust: `${ACCESS} n, 'used' || n, now() + interval '1 day', 'active', 1000, 1000, now()`,
    },
  },
  credentials: {
    past: `${SMS} n, 'u' || n, n, 'sent', n % 3, case when n % 100 = 0 then now() + interval '1 hour' + n * interval '1 s' end`,
    due: {
      send: `${SMS} n, 'due' || n, n, 'pending', 0, now() - n * interval '1 minute'`,
      'give up': `${SMS} n, 'lost' || n, n, 'sending', 3, now() - n * interval '1 minute'`,
    },
  },
  disconnects: {
    past: `${LOG_OUT} 'u' || n, 'disconnected', n % 3, case when n % 100 = 0 then now() + interval '1 hour' + n * interval '1 s' end`,
    due: {
      send: `${LOG_OUT} 'due' || n, 'pending', 0, now() - n * interval '1 minute'`,
      'give up': `${LOG_OUT} 'lost' || n, 'sending', 3, now() - n * interval '1 minute'`,
    },
  },
  vouchers: {
    past: `insert into vouchers (code, status, expires_at)
      select n, case when n % 5 = 0 then 'unused' else 'expired' end, now() + case when n % 5 = 0 then 1 else -1 end * n * interval '1 minute'`,
    due: {
      expire: `insert into vouchers (code, status, expires_at) select 'due' || n, 'unused', now() - n * interval '1 minute'`,
    },
  },
};

for (const job of share((await loadJobs()).filter((each) => each !== accounting))) {
  test(`among a million rows, ${job.name} reads those that are due and no other`, async () => {
    await using db = await database();
    const { past, due } = LARGE[job.name]!;
    const table = job.table.name;
    const { rules } = await compiled(db, job);
    const reads = async (sql: string) => {
      const { now } = await db.one('select now()::text as now');
      const settings = { zone: 'UTC', dbZone: 'UTC', tenant: 'public', endSubscriptions: true, seen: '[]' };
      const nodes = await inIndexOrder(db, () => explain(db, sql, { now, job: job.name, limit: 1000, ...settings }));
      const scans = scansOf(nodes, table).filter((node) => !/ModifyTable|LockRows/.test(node['Node Type']));
      assert.ok(scans.length > 0);
      for (const scan of scans) assert.match(scan['Node Type'], /^(Index|Index Only|Tid) Scan$/, JSON.stringify(scan));
      return { own: scans.filter((scan) => scan['Index Name']?.includes('_to_')), all: scans };
    };
    await db.query(rows(past, MILLION));
    await db.query(`analyze ${table}`);
    const idle = await reads(`select ${placesOfDue(rules, false)}`);
    for (const scan of idle.all) assert.equal(rowsRead(scan), 0, JSON.stringify(scan));

    for (const each of Object.values(due)) await db.query(rows(each, DUE));
    for (const rule of rules) {
      const { own, all } = await reads((rule.together ? claimByKey : claim)(rule));
      const found = own.reduce((most, scan) => Math.max(most, scan['Actual Rows']), 0);
      if (rule.name in due) assert.equal(found, DUE, `${rule.name}: ${JSON.stringify(own)}`);
      // Rules may share an index, and a row's key is looked up.
      const most = DUE * Object.keys(due).length;
      for (const scan of own) assert.ok(rowsRead(scan) <= most, `${rule.name}: ${JSON.stringify(scan)}`);
      for (const scan of all) assert.ok(rowsRead(scan) <= 2 * most, `${rule.name}: ${JSON.stringify(scan)}`);
    }
  });
}

/** Only a comparison tells what there is to count: the sessions that go on, and the rows since the last time, with what was counted. */
test('among a million rows, accounting compares the sessions that go on with what it knows, and reads no other', async () => {
  await using db = await database();
  const open = 1000;
  const recent = 200;
  const call = `insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctupdatetime, acctstoptime,
    acctsessiontime, acctinputoctets, acctoutputoctets) select`;
  await db.query(rows(LARGE['hotspot-sessions']!.past, MILLION));
  await db.query(
    rows(
      `${call} n, n, 'u' || n, '10.0.0.1', now(), now(), case when n % ${MILLION / open} > 0 then now() end, 0, 0, 0`,
      MILLION,
    ),
  );
  await db.query(`
    insert into scheduler.accounted select 'public', radacctid, 0, 0, 0, acctstoptime is not null, now() from radacct
      where acctstoptime is null or radacctid > ${MILLION - recent};
    update scheduler.accounted_up_to set id = ${MILLION};
    analyze`);
  const reads = async (sql: string) => {
    const { now } = await db.one('select now()::text as now');
    const parameters = {
      now,
      job: accounting.name,
      limit: 1000,
      zone: 'UTC',
      dbZone: 'UTC',
      radiusInterim: 300,
      tenant: 'public',
    };
    const nodes = await inIndexOrder(db, () => explain(db, sql, parameters));
    const tables = ['radacct', 'radius_sessions', 'accounted'];
    const scans = tables.flatMap((table) => scansOf(nodes, table));
    assert.ok(scans.length > 0);
    for (const scan of scans) {
      assert.match(scan['Node Type'], /^(Index|Index Only|Tid) Scan$/, JSON.stringify(scan));
      assert.ok(rowsRead(scan) <= open + recent, JSON.stringify(scan));
    }
    return nodes[0]!['Actual Rows'];
  };
  const { rules } = await compiled(db, accounting);
  await reads(`select ${placesOfDue(rules, false)}`);

  const some = (nth: number) =>
    `array(select radacctid from radacct where acctstoptime is null order by radacctid offset ${nth * DUE} limit ${DUE})`;
  await db.query(`
    update radacct set acctinputoctets = 1 where radacctid = any (${some(0)});
    update scheduler.accounted set changed_at = '2025-01-01' where id = any (${some(1)});
    update radacct set acctupdatetime = '2025-01-01' where radacctid = any (${some(1)});
    update radacct set acctstoptime = now() where radacctid = any (${some(2)})`);
  await db.query(rows(`${call} 'new' || n, 'new' || n, 'u' || n, '10.0.0.1', now(), now(), now(), 60, 1, 1`, DUE));
  for (const rule of rules) {
    const found = await reads(rule.together ? claimByKey(rule) : claim(rule));
    assert.equal(found, DUE, rule.name);
  }
});
