import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../support/harness.ts';
import { at, NOW } from '../support/hotspot-rows.ts';
import { begun, fill } from '../support/own-story.ts';
import { remember, type Snapshot, snapshot } from '../support/world.ts';

/** Twenty processes over thousands of due rows of all businesses. Larger ones of single jobs: test/slow/*-storm.test.ts. */

const PROCESSES = 20;

const FILL = `
  insert into packages (id, name, enable_schedule, scheduled_activation_time, validity, repeats)
  select n, 'p' || n, true, timestamptz '${NOW}' - n * interval '1 second', case when n % 3 = 0 then '1 minute' else '2 days' end,
    case when n % 5 = 0 then 'daily' end
  from generate_series(1, 1500) as n;
  insert into packages (id, name, price, duration, upload_speed, download_speed, devices) values (9001, 'One hour', 50, '1 hour', '2M', '4M', 1);
  insert into special_packages (name, scheduled, auto_activate, auto_deactivate, schedule_date, schedule_time, valid_until)
  select 's' || n, true, true, true, '2026-02-01', '10:00', date '2026-02-20' + n % 20 from generate_series(1, 500) as n;
  insert into customer_packages (id, "userId", status, "isActive")
  select 'a' || n, 'u' || n, 'ACTIVE', true from generate_series(1, 500) as n;
  insert into customer_packages (id, "userId", status, "scheduledStartDate", "previousSubscriptionId")
  select 'b' || n, 'u' || n, 'SCHEDULED', timestamptz '${NOW}' - n * interval '1 second', 'a' || n from generate_series(1, 500) as n;
  insert into subscriptions (user_id, text_sessions_remaining, is_active, activated_at)
  select n, n % 7, true, timestamptz '${NOW}' - interval '9 days' from generate_series(1, 300) as n;
  insert into doctor_wallets (doctor_id, session_rate) select n, 2.50 from generate_series(1, 20) as n;
  insert into text_sessions (id, patient_id, doctor_id, status, activated_at, auto_deductions_processed, sessions_remaining_before_start)
  select n, 1 + n % 300, 1 + n % 20, 'active', timestamptz '${NOW}' - n % 90 * interval '1 minute', 0, 6 from generate_series(1, 600) as n;
  insert into payments (id, phone_number, package_id, amount, transaction_id, status, updated_at)
  select n, '25470' || lpad((n % 400)::text, 7, '0'), 9001, case when n % 50 = 0 then 5 else 50 end, 'T' || n, 'completed',
    timestamptz '${NOW}' - n * interval '1 second'
  from generate_series(1, 600) as n;
  insert into vouchers (code, status, expires_at)
  select 'code-' || n, 'unused', timestamptz '${NOW}' - n * interval '1 second' from generate_series(1, 500) as n`;

// The first to come gets the lower number. Everything else is compared.
const NUMBERS = ['id', 'user_id', 'hotspot_user_id', 'radius_session_id', 'session_id', 'run_id', 'radacct_id'];
const NUMBERED = new Set([
  ...['public.hotspot_users', 'public.radius_sessions', 'public.hotspot_credentials', 'public.session_disconnections'],
  ...['public.radcheck', 'public.radreply', 'public.wallet_transactions', 'scheduler.events'],
]);

function comparable(found: Snapshot): Snapshot {
  const plain = Object.entries(found).map(([table, rows]): [string, string[]] => {
    if (!NUMBERED.has(table)) return [table, rows];
    return [table, rows.map((text) => without(table, JSON.parse(text))).sort()];
  });
  return Object.fromEntries(plain);

  function without(table: string, row: Record<string, unknown>): string {
    const data = (row.data ?? {}) as Record<string, unknown>;
    if (table !== 'public.wallet_transactions') for (const name of NUMBERS) delete row[name];
    else delete row.id;
    // If one number has two payments, twenty runners that let go and come again may count either first.
    if (table === 'public.hotspot_credentials') delete row.payment_id;
    // Which SMS it is, is in its number alone.
    if (row.job === 'credentials') delete row.entity_id;
    if (row.type === 'HotspotUserCreated') delete data.user_id;
    return JSON.stringify(row);
  }
}

async function afterwards(db: TestDatabase): Promise<Snapshot> {
  // One runner may queue work for a job that all others have been through already: that is done a tick later.
  for (const time of [NOW, at(1)]) await db.tick(time);
  const [twice] = await db.query(
    `select type, transition, entity_id, due_at, count(*) from scheduler.events group by 1, 2, 3, 4 having count(*) > 1`,
  );
  assert.equal(twice, undefined, 'no transition has two events');
  return comparable(await snapshot(db));
}

for (const withoutLock of [false, true]) {
  const how = withoutLock ? 'without the lock' : 'with the lock';
  test(`${PROCESSES} processes at once, ${how}, leave over all jobs what one alone leaves`, async (t) => {
    await using db = await database({ withoutLock });
    await begun(db);
    await db.query(FILL);
    await fill(db, 60);
    await db.query('analyze');
    const restore = await remember(db);
    await db.cli(['tick', '--at', NOW, '--batch-size', '100']);
    const expected = await afterwards(db);

    await restore();
    const args = (n: number) => ['tick', '--at', NOW, '--batch-size', String(50 + 10 * n)];
    const runs = await Promise.all(
      Array.from({ length: PROCESSES }, (_, n) => db.cli(args(n), { timeoutMs: 300_000 })),
    );
    for (const { code, err } of runs) assert.ok(code === 0 || code === 1, err);
    const idle = runs.filter(({ err }) => err.includes('Another run holds the lock')).length;
    t.diagnostic(`${idle} of ${PROCESSES} found the lock taken`);
    if (withoutLock) assert.equal(idle, 0);
    else assert.ok(idle > 0);
    const found = await afterwards(db);
    for (const table of Object.keys(expected)) {
      const only = (these: Snapshot, those: Snapshot) => {
        const other = new Set(those[table]);
        return (these[table] ?? []).filter((row) => !other.has(row)).slice(0, 3);
      };
      assert.deepEqual(only(found, expected), only(expected, found), table);
      assert.equal(found[table]!.length, expected[table]!.length, table);
    }
    assert.ok(expected['scheduler.events']!.length > 4000, `${expected['scheduler.events']!.length} events`);
  });
}
