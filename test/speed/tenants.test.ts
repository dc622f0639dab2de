import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import pg from 'pg';
import { database } from '../support/harness.ts';
import { onSale, tickTenants, withTenants } from '../support/tenants.ts';
import { seconds } from '../support/timing.ts';

/** The cost of many tenants in one process. */

const names = (count: number) => Array.from({ length: count }, (_, n) => `ts_${n}`);
const MANY = 200;
const ROUNDS = 5;

const mebibytes = (pid: number | string, what: 'VmHWM' | 'RssAnon'): number => {
  try {
    return (
      Number(new RegExp(`^${what}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) /
      1024
    );
  } catch {
    return 0; // it has ended
  }
};

/**
 * An idle tenant may cost this part of a process for one. Three milliseconds are asked for, where such a process takes a quarter of a
 * second: that is 0.012, and a slow machine is slow in both.
 */
const SHARE = 0.025;

test(`${MANY} idle tenants cost a fortieth of ${MANY} processes at most, and little memory`, async (t) => {
  await using db = await database();
  await withTenants(db, names(MANY), ['packages', 'customer_packages']);
  // Idle is not empty: each has a row that waits for its time.
  const soon = `insert into TENANT.packages (id, name, enable_schedule, scheduled_activation_time, validity)
    values (1, 'soon', true, now() + interval '1 day', '30 days')`;
  await db.query(
    names(MANY)
      .map((name) => soon.replace('TENANT', name))
      .join('; '),
  );
  await db.query('vacuum analyze');
  const least = async (work: () => Promise<unknown>) => {
    let best = Number.POSITIVE_INFINITY;
    for (let n = 0; n < ROUNDS; n++) best = Math.min(best, await seconds(work));
    return best;
  };
  const one = await least(() => db.cli(['tick', '--tenant', 'ts_1']));
  const all = await least(async () => assert.equal((await tickTenants(db)).result.idle, MANY));
  const each = (all - one) / MANY;
  t.diagnostic(
    `${(each * 1000).toFixed(1)} ms an idle tenant, ${(each / one).toFixed(4)} of a process for one; all ${(all / (one * MANY)).toFixed(3)} times as long as ${MANY} processes`,
  );
  assert.ok(each <= SHARE * one, `${each} s an idle tenant, and one process ${one} s`);

  let [ours, theirs] = [0, 0];
  let pid = 0;
  const watch = setInterval(async () => {
    ours = Math.max(ours, mebibytes(pid, 'VmHWM'));
    const backends = await db.query(
      `select pid from pg_stat_activity where application_name like 'scheduler%' and datname = current_database()`,
    );
    for (const backend of backends) theirs = Math.max(theirs, mebibytes(backend.pid, 'RssAnon'));
  }, 50);
  await db.cli(['tick', '--tenants', 'ts_*'], { started: (child) => (pid = child.pid!) });
  clearInterval(watch);
  t.diagnostic(`ours ${ours.toFixed(0)} MiB, a backend ${theirs.toFixed(0)} MiB`);
  assert.ok(ours > 0 && ours < 120, `${ours} MiB`);
  assert.ok(theirs > 0 && theirs < 100, `a backend has ${theirs} MiB`);
});

test('a hundred tenants with a locked row each delay the others by five seconds in all at most', async (t) => {
  await using db = await database();
  const tenants = names(101);
  await withTenants(db, tenants, ['packages', 'customer_packages']);
  const other = new pg.Client({ connectionString: db.url });
  await other.connect();
  // The plan before is ended by the same statement, so its row is waited for.
  const due = `insert into TENANT.customer_packages (id, "userId", "packageId", status, "isActive", "startDate", "endDate", "scheduledStartDate", "previousSubscriptionId")
    values ('old', 'u', 'basic', 'ACTIVE', true, now() - interval '30 days', now() + interval '30 days', null, null),
      ('new', 'u', 'basic', 'SCHEDULED', false, null, now() + interval '30 days', now() - interval '1 hour', 'old')`;
  const fill = async () => {
    for (const tenant of tenants)
      await db.query(`truncate TENANT.customer_packages, TENANT.packages; ${due}`.replaceAll('TENANT', tenant));
    await onSale(db, 'ts_100');
  };
  try {
    await fill();
    const free = await seconds(() => tickTenants(db));
    await fill();
    await other.query('begin');
    for (const tenant of tenants.slice(0, 100))
      await other.query(`select from ${tenant}.customer_packages where id = 'old' for update`);
    const held = await seconds(() => tickTenants(db));
    await other.query('rollback');
    t.diagnostic(`${free.toFixed(1)} s, and ${held.toFixed(1)} s with the locks`);
    assert.deepEqual(await db.query('select status from ts_100.packages'), [{ status: 'active' }]);
    assert.ok(held - free < 5, `${held - free} s`);
    const state = `select status from ts_7.customer_packages where id = 'new'`;
    assert.deepEqual(await db.query(state), [{ status: 'SCHEDULED' }]);
    assert.equal((await tickTenants(db)).code, 0);
    assert.deepEqual(await db.query(state), [{ status: 'ACTIVE' }]);
  } finally {
    await other.end();
  }
});
