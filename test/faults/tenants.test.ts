import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { loadJobs } from '../../src/jobs/index.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { at } from '../support/hotspot-rows.ts';
import { killer } from '../support/killer.ts';
import { applied } from '../support/own.ts';
import * as ownStory from '../support/own-story.ts';
import { SCHEMA } from '../support/schema.ts';
import { shareOf } from '../support/share.ts';
import { untilGone } from '../support/world.ts';

/**
 * Two tenants whose tables have the same ids, and other rows under them. Random histories happen in both at once, while twenty processes
 * tick and some of them are killed. Each tenant ends exactly as it would in a database of its own, with one undisturbed tick at each time.
 */

const TENANTS = ['ts_a', 'ts_b'];
const JOBS = [
  'packages',
  'special-packages',
  'subscriptions',
  'deductions',
  'session-endings',
  'vouchers',
  'accounting',
];
const PROCESSES = 20;
const HISTORIES = Math.max(2, shareOf(4));
/** A run takes about 40 steps where it finds something to do for both tenants, and 12 where it finds the locks taken. */
const STEPS = 60;
// At each time the application changes something before. Failed rows are tried again after five minutes.
const TIMES = [0, 6].map(at);
// These ticks are of long ago, and the server's clock says what history is old.
const ENV = { SCHEDULER_RETENTION: '36500' };

/** The application's changes before that time: new rows with ids from 1 on, and changes of some that are there. */
function changes(seed: number, round: number): string {
  const now = `timestamptz '${TIMES[round]}'`;
  let column = 0;
  // The same for the same seed, round and row, in whatever database.
  const any = (below: number) =>
    `abs(hashint8extended(n, ${seed * 10_000 + round * 100 + ++column}) % ${below})::integer`;
  const one = (...words: string[]) => `(array[${words.join(', ')}])[1 + ${any(words.length)}]`;
  const ago = (minutes: number) => `${now} - ${any(minutes * 60)} * interval '1 second'`;
  const [first, last] = [1 + 30 * round, 30 + 30 * round];
  const of = (alias = 'n') => `from generate_series(${first}, ${last}) as ${alias}`;
  const some = (id: string) =>
    `from (select n from generate_series(1, ${last}) as n where ${any(4)} = 0) as chosen where ${id} = n`;
  return `
    insert into packages (id, name, enable_schedule, scheduled_activation_time, validity, repeats)
    select n, 'p' || n, ${any(8)} > 0, ${ago(200)}, ${one("'1 minute'", "'2 hours'", "'2 days'", "'banana'")}, ${one("'daily'", 'null', 'null')} ${of()};
    insert into special_packages (id, name, scheduled, auto_activate, auto_deactivate, schedule_date, schedule_time, valid_until)
    select n, 's' || n, true, true, ${any(2)} = 0, date '2026-02-27' + ${any(4)}, '10:00', date '2026-02-27' + ${any(5)} ${of()};
    insert into customer_packages (id, "userId", status, "isActive") select 'a' || n, 'u' || n, 'ACTIVE', true ${of()};
    insert into customer_packages (id, "userId", status, "scheduledStartDate", "previousSubscriptionId")
    select 'b' || n, 'u' || n, 'SCHEDULED', ${ago(60)} + ${any(2)} * interval '50 minutes', 'a' || n ${of()};
    insert into subscriptions (user_id, text_sessions_remaining, is_active, activated_at) select n, ${any(9)}, true, ${now} - interval '9 days' ${of()};
    insert into doctor_wallets (doctor_id, session_rate) select n, 1 + ${any(9)} ${of()};
    insert into text_sessions (id, patient_id, doctor_id, status, started_at, activated_at, auto_deductions_processed, sessions_remaining_before_start)
    select n, n, ${first} + ${any(30)}, 'active', ${now} - interval '2 hours', ${ago(90)}, 0, 1 + ${any(9)} ${of()};
    insert into vouchers (id, code, status, expires_at) select n, 'code-' || n, 'unused', ${ago(40)} + ${any(2)} * interval '40 minutes' ${of()};
    insert into hotspot_users (id, username, phone_number, has_active_subscription, subscription_expires_at, status)
    select n, 'user' || n, '25470' || lpad(n::text, 7, '0'), true, ${now} + interval '9 days', 'active' ${of()};
    insert into radius_sessions (id, hotspot_user_id, username, session_start, expected_end)
    select n, n, 'user' || n, ${now} - interval '1 hour', ${now} + interval '9 days' ${of()};
    insert into radacct (radacctid, acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctupdatetime, acctsessiontime,
      acctinputoctets, acctoutputoctets, acctstoptime)
    select n, 's' || n, 'q' || n, 'user' || n, '10.0.0.1', ${now} - interval '1 hour', ${ago(20)}, ${any(3000)}, ${any(1e6)}, ${any(1e6)},
      case when ${any(3)} = 0 then ${now} end ${of()};
    insert into accounts (no, owner, trial_ends_at) select n, case when ${any(6)} > 0 then ${one("'friend'", "'user'")} || n end,
      ${now} + ${any(6)} * interval '1 day' - interval '2 days' ${of()};
    insert into invoices (id, account, paid) select n, n, ${any(3)} = 0 ${of()};
    insert into rents select 'rent ' || n, ${ago(100_000)} ${of()};
    update packages set scheduled_activation_time = ${ago(10)}, validity = '3 hours' ${some('id')};
    update special_packages set is_active = not is_active ${some('id')};
    update radacct set acctinputoctets = acctinputoctets + ${any(1000)}, acctupdatetime = ${now} ${some('radacctid')};
    update text_sessions set status = 'ended' ${some('id')} and status = 'active';
    update accounts set owner = 'nobody' ${some('no')} and owner is null;`;
}

const happen = (db: TestDatabase, schema: string, seed: number, round: number) =>
  db.query(`set search_path = ${schema}; ${changes(seed, round)} set search_path = ${SCHEMA}`);

/** Twenty processes at once: for all tenants or for one, of every size. Answers what they ended with; null is killed. */
async function crowd(db: TestDatabase, time: string): Promise<(number | null)[]> {
  const runs = Array.from({ length: PROCESSES }, async (_, n) => {
    const whose = n % 4 === 3 ? ['--tenant', TENANTS[randomInt(2)]!] : ['--tenants', 'ts_*'];
    const size = ['--batch-size', String(randomInt(2, 40)), '--connections', String(randomInt(1, 3))];
    let kill = () => {};
    using way = await killer(db.url, n % 3 === 0 ? randomInt(1, STEPS) : Number.POSITIVE_INFINITY, () => kill());
    const { code, err } = await db.cli(['tick', '--at', time, ...whose, ...size], {
      env: { ...ENV, DATABASE_URL: way.url },
      timeoutMs: 300_000,
      started: (child) => {
        kill = () => child.kill('SIGKILL');
      },
    });
    return { code, err, isFine: code === 0 || code === 1 || (code === null && way.killed()) };
  });
  const ended = await Promise.all(runs);
  for (const { code, err, isFine } of ended) assert.ok(isFine, `${code} ${err}`);
  return ended.map(({ code }) => code);
}

// Ids that a sequence gives go to who comes first. The rest tells one row from another.
const NUMBERED = ['wallet_transactions', 'text_session_deductions', 'data_usage_logs', 'letters', 'bills'];

/** All that a tenant is, and all that is kept of it: its rows, what was told, what failed, what was counted. */
async function stateOf(db: TestDatabase, schema: string): Promise<Record<string, string[]>> {
  const tables = await db.query<{ name: string }>(
    'select tablename as name from pg_tables where schemaname = $1 order by 1',
    [schema],
  );
  const written = ['created_at', 'createdAt', 'updated_at', 'updatedAt'];
  const places = [
    ...tables.map(({ name }) => ({
      name,
      from: `${schema}.${name} as t`,
      but: NUMBERED.includes(name) ? ['id', ...written] : written,
    })),
    { name: 'events', from: `scheduler.events as t where tenant = '${schema}'`, but: ['id', 'run_id', 'tenant'] },
    ...['failures', 'accounted', 'accounted_up_to'].map((name) => ({
      ...{ name, from: `scheduler.${name} as t where tenant = '${schema}'`, but: ['tenant'] },
    })),
  ];
  const found: Record<string, string[]> = {};
  for (const { name, from, but } of places) {
    const rows = await db.query<{ row: string }>(`select (to_jsonb(t) - $1::text[])::text as row from ${from}`, [but]);
    found[name] = rows.map(({ row }) => row).sort();
  }
  return found;
}

async function asAlone(seed: number): Promise<Record<string, string[]>> {
  await using db = await database();
  await ownStory.begun(db);
  for (const [round, time] of TIMES.entries()) {
    await happen(db, SCHEMA, seed, round);
    await db.tick(time, { env: ENV });
  }
  return await stateOf(db, SCHEMA);
}

for (let n = 0; n < HISTORIES; n++) {
  const seeds = [randomInt(1_000_000), randomInt(1_000_000)];
  const withoutLock = n % 2 === 1 ? TENANTS : false;
  test(`two tenants with the same ids, ${PROCESSES} processes, ${withoutLock ? 'no lock, ' : ''}kills: each ends as it would alone (seeds ${seeds})`, async (t) => {
    const expected: Record<string, string[]>[] = [];
    for (const seed of seeds) expected.push(await asAlone(seed));
    await using db = await database({ withoutLock });
    const create = (await loadJobs()).filter(({ name }) => JOBS.includes(name)).map(({ name }) => name);
    for (const tenant of TENANTS) {
      await db.query(`create schema ${tenant}; set search_path = ${tenant}`);
      await ownStory.tables(db);
      await db.query(`set search_path = ${SCHEMA}`);
      const made = await db.cli(['migrate', '--tenant', tenant, '--create', ...create]);
      assert.equal(made.code, 0, made.err);
    }
    await applied(db, ownStory.STORY, '--tenants', 'ts_*');

    const codes: (number | null)[] = [];
    for (const [round, time] of TIMES.entries()) {
      for (const [which, tenant] of TENANTS.entries()) await happen(db, tenant, seeds[which]!, round);
      codes.push(...(await crowd(db, time)));
      await untilGone(db, 10_000);
      const quiet = await db.cli(['tick', '--at', time, '--tenants', 'ts_*'], { env: ENV });
      assert.ok(quiet.code === 0 || quiet.code === 1, quiet.err);
    }
    const killed = codes.filter((code) => code === null).length;
    t.diagnostic(`${killed} of ${codes.length} were killed`);
    assert.ok(killed > 0);
    for (const [which, tenant] of TENANTS.entries()) {
      const found = await stateOf(db, tenant);
      const only = (these: Record<string, string[]>, those: Record<string, string[]>) =>
        Object.keys(expected[which]!).flatMap((table) =>
          (these[table] ?? [])
            .filter((row) => !those[table]?.includes(row))
            .slice(0, 3)
            .map((row) => `${table} ${row}`),
        );
      assert.deepEqual(only(found, expected[which]!), only(expected[which]!, found), tenant);
      for (const [table, rows] of Object.entries(found))
        assert.equal(rows.length, expected[which]![table]?.length, table);
      for (const table of ['events', 'failures', 'accounted', 'bills', 'wallet_transactions', 'data_usage_logs'])
        assert.ok(found[table]!.length > 0, `something happened in ${table}`);
    }
    assert.notDeepEqual(expected[0], expected[1]);
  });
}
