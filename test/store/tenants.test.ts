import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { folder } from '../support/playing.ts';
import { SCHEMA } from '../support/schema.ts';
import { onSale, tickTenants as tick, withTenants } from '../support/tenants.ts';

/** The schemas that "--tenants" finds. */

test("a stranger's schema that matches is not touched, until its owner is named", async () => {
  await using db = await database();
  await withTenants(db, ['ts_a', 'ts_evil']);
  const role = `evil_${db.name}`;
  await db.query(`create role ${role}; alter schema ts_evil owner to ${role}`);
  try {
    await onSale(db, 'ts_evil');
    const { err, busy } = await tick(db);
    assert.match(err, /ts_evil.*is no tenant/);
    assert.deepEqual(busy, []);
    assert.deepEqual(await db.query('select status from ts_evil.packages'), [{ status: 'inactive' }]);
    const named = await tick(db, [], { SCHEDULER_TENANT_OWNERS: role });
    assert.deepEqual([named.err, named.busy], ['', ['ts_evil']]);
  } finally {
    await db.query(`drop owned by ${role} cascade; drop role ${role}`);
  }
});

test('which tenants are meant is said in one way, and what would be passed by is named', async () => {
  await using db = await database();
  await withTenants(db, ['ts_a', 'ts_b']);
  for (const tenant of ['ts_a', 'ts_b', SCHEMA]) await onSale(db, tenant);
  const run = (args: string[], env: Record<string, string> = {}) =>
    db.cli(['tick', ...args], { env: { SCHEDULER_LOG_LEVEL: 'warn', ...env } });
  const active = async () => {
    const each = [SCHEMA, 'ts_a', 'ts_b'].map(
      (name) => `select '${name}' as name from ${name}.packages where is_active`,
    );
    return (await db.query(`${each.join(' union all ')} order by 1`)).map(({ name }) => name);
  };
  for (const [args, why] of [
    [['--tenants', ''], /--tenants is empty/],
    [['--tenants', 'ts_a', '--tenant', 'ts_b'], /give one of them/],
    [['--tenant', 'nope'], /There is no schema "nope" in this database/],
    [['--tenants', `select 'ts_a'; select 'ts_b'`], /cannot be asked: syntax error/],
    [['--tenants', 'select 1'], /its first column is no text/],
  ] as const) {
    const { code, err } = await run([...args]);
    assert.deepEqual([code, why.test(err)], [2, true], err);
  }
  assert.deepEqual(await active(), []);
  // Prisma writes a schema into every URL.
  const url = `${db.url}${db.url.includes('?') ? '&' : '?'}schema=${SCHEMA}`;
  const typed = await run(['--tenants', 'ts_a, typo'], { DATABASE_URL: url });
  assert.match(typed.err, /There is no schema \\"typo\\", which --tenants names/);
  assert.deepEqual(await active(), ['ts_a']);
  // Since PostgreSQL 15 it belongs to a role that stands for the owner of the database.
  await db.query(`do $$ begin if current_setting('server_version_num')::integer >= 150000 and '${SCHEMA}' = 'public'
    then alter schema public owner to pg_database_owner; end if; end $$`);
  const listed = await run([
    '--tenants',
    `with all_of (name) as (values ('${SCHEMA}'), ('ts_b'), (null)) select name from all_of;`,
  ]);
  assert.deepEqual([listed.code, listed.err], [0, '']);
  assert.deepEqual((await active()).length, 3);

  // One that the jobs of the file were not applied for.
  const file = join(folder, 'some.yaml');
  writeFileSync(file, 'jobs: { mine: { table: vouchers, rules: { drop: { due: expires_at, once: told } } } }\n');
  await db.query('create schema empty; create table empty.vouchers (id integer)');
  assert.equal((await db.cli(['apply', file, '--tenants', 'ts_a'])).code, 0);
  assert.match(
    (await run(['--tenants', 'ts_*'], { SCHEDULER_LOG_LEVEL: 'info' })).err,
    /Tables of jobs of your own that were not applied for their tenant: ts_b \(vouchers\)\. /,
  );
  assert.match((await db.cli(['next', 'mine'])).err, /"mine" is a job of a tenant: name one, --tenant ts_a/);
  assert.equal((await db.cli(['failures', 'mine'])).code, 0);
  const whole = await db.cli(['status', '--check'], { env: { SCHEDULER_TENANTS: 'ts_*' } });
  assert.deepEqual([whole.code, /^ts_a +Scheduler is running +0 +0\nts_b /m.test(whole.out)], [0, true], whole.out);
  await db.query(`insert into scheduler.failures (tenant, job, rule, entity_id, error, attempts, first_failed_at, last_failed_at, quarantined_at,
    next_attempt_at) values ('ts_b', 'packages', 'activate', '77', 'bad', 3, now(), now(), now(), 'infinity')`);
  const ill = await db.cli(['status', '--check', '--tenants', 'ts_*']);
  assert.deepEqual([ill.code, /\nts_b: .*quarantine/.test(ill.out)], [1, true], ill.out);

  // A job of no tenant is done, whoever matches.
  await db.query(
    `create schema apart; create table apart.bills (id serial primary key, at timestamptz, told timestamptz)`,
  );
  writeFileSync(file, 'jobs: { bills: { table: apart.bills, rules: { tell: { due: at, once: told } } } }\n');
  assert.equal((await db.cli(['apply', file])).code, 0);
  await db.query(`insert into apart.bills (at) values (now() - interval '1 minute')`);
  const none = await run(['--tenants', 'zz*']);
  assert.deepEqual([none.code, /matches \\"zz\*\\": there is no tenant/.test(none.err)], [0, true], none.err);
  assert.equal((await db.query('select from apart.bills where told is not null')).length, 1);
});
