import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { test } from 'node:test';
import { ownServer } from '../faults/server.ts';
import { database } from '../support/harness.ts';
import { shareOf } from '../support/share.ts';
import { onSale, tickTenants } from '../support/tenants.ts';

/** A thousand tenants on a server that remembers few locks: what is done with all of them must be done with one after the other. */

const TENANTS = shareOf(1000);
/** A tenth of them is done when the first run is killed. */
const SOME = TENANTS / 10;
// By default 64 locks for each connection, whoever takes them: fewer for fewer tenants. All of them together need more.
const FEW_LOCKS = {
  ...{ max_connections: '10', max_worker_processes: '2', max_wal_senders: '0', wal_level: 'minimal' },
  max_locks_per_transaction: String(Math.ceil((64 * TENANTS) / 1000)),
};

// A block that never commits would itself run out of locks.
const make = `do $$ begin
  for n in 1..${TENANTS} loop
    execute format('create schema ts_%1$s;
      create table ts_%1$s.packages (id bigint primary key, name text, type text, status text default ''inactive'', is_active boolean default false,
        enable_schedule boolean, scheduled_activation_time timestamptz, scheduled_deactivation_time timestamptz, validity text);
      create table ts_%1$s.vouchers (id bigint primary key, code text, status text, expires_at timestamptz);
      create table ts_%1$s.other (id bigint primary key)', lpad(n::text, 4, '0'));
    if n % 50 = 0 then commit; end if;
  end loop; end $$`;

const atOnce = `do $$ begin
  for n in 1..${TENANTS} loop
    execute format('create index on ts_%1$s.packages (name); create index on ts_%1$s.packages (status);
      create index on ts_%1$s.vouchers (code); create index on ts_%1$s.vouchers (expires_at); create index on ts_%1$s.other (id)', lpad(n::text, 4, '0'));
  end loop; end $$`;

test(`${TENANTS} tenants migrate without running out of locks, go on where a run was killed, and tick`, async (t) => {
  await using server = await ownServer(FEW_LOCKS);
  await using db = await database({ server });
  await db.query(make);
  await assert.rejects(db.query(atOnce), { code: '53200' }, 'they cannot be changed in one transaction');
  let out = '';
  const watched = (child: ChildProcess) =>
    child.stdout!.on('data', (chunk) => {
      out += chunk;
      if (linesOf(out).length >= SOME) child.kill('SIGKILL');
    });
  const timeoutMs = 1_200_000;
  const migrate = ['migrate', '--tenants', 'ts_*'];
  assert.equal((await db.cli(migrate, { started: watched, timeoutMs })).code, null, 'it was killed on its way');
  const [{ begun }] = (await db.query(
    `select count(*)::integer as begun from pg_attribute where attname = 'opened_start' and attrelid::regclass::text like 'ts_%'`,
  )) as [{ begun: number }];
  assert.ok(begun >= SOME && begun < TENANTS, `${begun} had been done`);

  let began = performance.now();
  const again = await db.cli(migrate, { timeoutMs });
  assert.equal(again.code, 0, again.err);
  const lines = linesOf(again.out);
  assert.equal(new Set(lines.map((line) => line.split(':')[0])).size, TENANTS, 'each is told');
  const untouched = lines.filter((line) => line.endsWith(': up to date')).length;
  // The one at work when the run was killed is undone, in part or whole.
  assert.ok(untouched === begun || untouched === begun - 1, `${untouched} were up to date, and ${begun} had been done`);
  t.diagnostic(`${TENANTS - untouched} tenants migrate in ${Math.round((performance.now() - began) / 1000)} s`);

  const busy = ['ts_0001', `ts_${String(TENANTS / 2).padStart(4, '0')}`, `ts_${String(TENANTS).padStart(4, '0')}`];
  for (const tenant of busy) await onSale(db, tenant);
  began = performance.now();
  const ticked = await tickTenants(db, ['--timeout', '1000']);
  assert.deepEqual([ticked.code, ticked.err, ticked.busy, ticked.result.left], [0, '', busy, []]);
  assert.equal(ticked.result.idle, TENANTS - busy.length);
  t.diagnostic(`they tick in ${Math.round((performance.now() - began) / 1000)} s`);
});

const linesOf = (out: string): string[] => out.split('\n').filter((line) => /^ts_\d+: /.test(line));
