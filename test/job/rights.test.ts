import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { rolesSql } from '../../deploy/roles.ts';
import { ROOT } from '../../src/base/version.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import { SAMPLES } from '../../src/setup/samples/index.ts';
import { fakeNas } from '../support/fakes.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { hotspotPackage, online, pay, theUser } from '../support/hotspot-rows.ts';
import { grantRole } from '../support/roles.ts';

/** The work, with the real command connected as a role that has the rights of deploy/roles.sql and no others. */
async function asRole(
  db: TestDatabase,
  work: (run: (args: string[], env?: object) => Promise<string>) => Promise<void>,
) {
  const role = `tick_${db.name}`;
  await grantRole(db, role);
  try {
    const url = new URL(db.url.replace('postgres@', `${role}@`));
    await work(async (args, env = {}) => {
      const { code, out, err } = await db.cli(args, { env: { ...env, DATABASE_URL: url.href } });
      assert.ok(code === 0 || (code === 1 && args[0] !== 'status'), `${args.join(' ')} ended with ${code}: ${err}`);
      assert.doesNotMatch(out + err, /permission denied/, args.join(' '));
      return out;
    });
  } finally {
    await db.query(`drop owned by "${role}"; drop role "${role}"`);
  }
}

test('deploy/roles.sql is what "npm run roles" writes', async () => {
  assert.equal(readFileSync(join(ROOT, 'deploy/roles.sql'), 'utf8'), await rolesSql());
});

test('the rights in deploy/roles.sql are enough for every job, with rows to change', async () => {
  await using db = await database();
  for (const { fill } of SAMPLES) await db.query(fill.replaceAll(':now::timestamptz', 'now()'));
  await asRole(db, async (run) => {
    for (const { name } of await loadJobs()) await run([name]);
  });
  const jobs = await db.query('select distinct job from scheduler.events');
  assert.ok(jobs.length >= 6, `only ${jobs.map(({ job }) => job)} had anything to do`);
  assert.deepEqual(
    await db.query(`select * from scheduler.failures where error ~ 'denied'`),
    [],
    'a missing right of a single row counts as a failed row',
  );
  assert.deepEqual(await db.query('select job, error from scheduler.runs where error is not null'), []);
});

test('the rights in deploy/roles.sql are enough for every hotspot job, from payment to disconnect', async () => {
  await using db = await database();
  await using nas = await fakeNas((request) => request.send(request.reply(41)));
  const { id } = await hotspotPackage(db);
  await pay(db, id, { updated_at: new Date() });
  await db.insert('nas', { nasname: '127.0.0.1', shortname: 'test', secret: nas.secret });
  await db.insert('vouchers', { code: 'x', expires_at: '2026-01-01' });
  await asRole(db, async (run) => {
    const job = (name: string) => run([name], { SCHEDULER_RADIUS_PORT: String(nas.port) });
    for (const name of ['payments', 'credentials', 'vouchers']) await job(name);
    const { username } = await theUser(db);
    await online(db, username, { nasipaddress: '127.0.0.1', acctupdatetime: new Date(), acctinputoctets: 5 });
    await online(db, username, { acctupdatetime: '2026-01-01', acctstarttime: '2026-01-01' });
    await job('accounting');
    await pay(db, id, { updated_at: new Date() });
    await job('payments');
    await db.query(
      'update radius_sessions set expected_end = now(); update hotspot_users set subscription_expires_at = now()',
    );
    for (const name of ['hotspot-sessions', 'disconnects']) await job(name);
  });
  assert.equal((await db.one('select status from session_disconnections')).status, 'disconnected');
});

test('the rights in deploy/roles.sql are enough for every command but migrate', async () => {
  await using db = await database();
  for (const { fill } of SAMPLES) await db.query(fill.replaceAll(':now::timestamptz', 'now()'));
  await asRole(db, async (run) => {
    await run(['tick', '--dry-run']);
    await run(['tick']);
    await run(['activate-now']);
    await run(['stop', 'packages', '--reason', 'a test']);
    await run(['start', 'packages']);
    for (const command of ['status', 'next', 'history', 'events', 'failures', 'doctor']) await run([command]);
    const { id } = await db.one('select min(id)::text as id from packages');
    await run(['explain', 'packages', String(id)]);
    await run(['failures', 'retry', '--all']);
    await run(['failures', 'drop', '--all']);
    await run(['prune']);
    await run(['migrate', '--status']);
    const heard = join(mkdtempSync(join(tmpdir(), 'rights-')), 'heard');
    await run(['listen', '--since', '0', '--exec', `cat > ${heard}; kill -TERM $PPID; sleep 1`]);
    assert.match(readFileSync(heard, 'utf8'), /"type":/);
    rmSync(dirname(heard), { recursive: true });
  });
});

test('deploy/roles.sql also serves tables in a schema of their own, with keys made by "serial"', async () => {
  await using db = await database({ empty: true });
  await db.query(`create schema shop; set search_path = shop;
    create table data_usage_logs (
      id serial primary key, hotspot_user_id bigint, radius_session_id bigint, bytes_in bigint, bytes_out bigint,
      total_bytes bigint, recorded_at timestamp
    )`);
  const path = new URL(db.url);
  path.searchParams.set('schema', 'shop');
  const { code, err } = await db.cli(['migrate'], { env: { DATABASE_URL: path.href } });
  assert.equal(code, 0, err);
  const role = `shop_${db.name}`;
  await grantRole(db, role);
  try {
    await db.query(`set role "${role}"`);
    await db.query('insert into data_usage_logs (bytes_in) values (1)');
    await assert.rejects(db.query('delete from data_usage_logs'), /permission denied/);
  } finally {
    await db.query(`reset role; drop owned by "${role}"; drop role "${role}"`);
  }
});
