import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';
import { SCHEMA } from '../support/schema.ts';
import { withTenants } from '../support/tenants.ts';

/** Jobs of your own for many tenants: what apply says of each, drops and refuses. */

const TRIALS = 'id bigint primary key, ends_at timestamptz, state text';
const file = (name: string, table: string, state = 'open') =>
  `jobs: { ${name}: { table: ${table}, rules: { end: { due: ends_at, where: state = '${state}', set: { state: "'ended'" } } } } }\n`;
const tenantsIn = (out: string) => JSON.parse(out).tenants;

test('apply names an index as dropped only if it drops it, and in JSON names each tenant in one list', async () => {
  await using db = await database();
  await withTenants(db, ['ts_a', 'ts_b', 'ts_c'], []);
  for (const tenant of ['ts_a', 'ts_b']) await db.query(`create table ${tenant}.trials (${TRIALS})`);

  const nowhere = await apply(db, file('trials', 'trials'));
  const remedy = 'it is in the schemas ts_a, ts_b: name one with the table, or add --tenant or --tenants';
  assert.ok(nowhere.out.includes(`there is no table trials in the search path; ${remedy}`), nowhere.out);
  await applied(db, file('trials', 'trials'), '--tenants', 'ts_a,ts_b');

  const all = ['--tenants', 'ts_*'];
  const some = await apply(db, file('trials', 'trials'), ...all, '--json');
  const [a, b, c] = tenantsIn(some.out);
  assert.equal(some.code, 1);
  assert.deepEqual([a.tenant, b.tenant, c.tenant, a.changes[0].what], ['ts_a', 'ts_b', 'ts_c', 'same']);
  assert.match(c.faults[0].message, /no table trials in the schema ts_c; it is in the schemas ts_a, ts_b: make it/);

  await db.query(`create table ts_c.trials (${TRIALS}); insert into ts_c.trials values (1, now() - interval '1 day', 'open');
    create schema ts_d; create table ts_d.trials (${TRIALS}); create table ${SCHEMA}.plain (${TRIALS})`);
  const refused = await apply(db, file('trials', 'trials'), ...all, '--json');
  const lines: { tenant: string; error?: string; changes: { what: string }[] }[] = tenantsIn(refused.out);
  assert.equal(refused.code, 2);
  assert.deepEqual(
    lines.map(({ tenant, error }) => [tenant, error?.slice(0, 19)]),
    [
      ['ts_a', undefined],
      ['ts_b', undefined],
      ['ts_c', 'Nothing is applied:'],
      ['ts_d', undefined],
    ],
  );
  assert.equal(lines[2]!.changes[0]!.what, 'new');

  const place = async (tenant: string) =>
    (
      await db.one(
        `select indexrelid::regclass::text as place from pg_index where indrelid = '${tenant}.trials'::regclass and not indisprimary`,
      )
    ).place;
  const before = await place('ts_b');
  const outs = [
    await applied(db, file('plain', `plain`)),
    await applied(db, file('trials', 'trials'), '--tenant', 'ts_a'),
    await applied(db, file('trials', 'trials'), '--tenants', 'ts_a,ts_b'),
  ];
  for (const out of outs) assert.doesNotMatch(out, /no job needs it|dropped/);
  const changed = await applied(db, file('trials', 'trials', 'held'), '--tenant', 'ts_b');
  const dropped = changed.match(/^- index .*/gm)!;
  assert.deepEqual([dropped.length, dropped[0]!.replaceAll('"', '').includes(before)], [1, true], changed);
  assert.equal(changed.match(/dropped the index/g)!.length, 1);

  const moved = await db.cli(['migrate', '--tenants', 'ts_a,ts_b', '--json']);
  const { steps, tenants } = JSON.parse(moved.out);
  assert.deepEqual([steps, tenants.map(({ tenant }: { tenant: string }) => tenant)], [[], ['ts_a', 'ts_b']], moved.err);
  await db.query('create table ts_a.vouchers (code text, status text, expires_at timestamptz)');
  const failed = await db.cli(['migrate', '--tenants', 'ts_a,ts_b', '--json']);
  const [first, second] = tenantsIn(failed.out);
  assert.deepEqual([failed.code, first.tenant, second.tenant, second.error], [78, 'ts_a', 'ts_b', undefined]);
  assert.match(first.error, /vouchers/);
});

test('a job of no tenant is applied once, and refused where tenants have one of its name', async () => {
  await using db = await database();
  await withTenants(db, ['ts_a', 'ts_b', 'ts_c'], []);
  for (const tenant of ['ts_a', 'ts_b', 'ts_c']) await db.query(`create table ${tenant}.trials (${TRIALS})`);
  await applied(db, file('aaa', 'trials'), '--tenants', 'ts_*');
  const kept = () =>
    db.query(`select * from (
        select distinct on (tenant) tenant, compiled is not null as "isThere" from scheduler.jobs where name = 'aaa' order by tenant, id desc
      ) as newest where "isThere" order by tenant nulls first`);

  const ofNone = file('aaa', 'ts_a.trials');
  for (const args of [[], ['--tenant', 'ts_a'], ['--tenants', 'ts_a,ts_b']]) {
    const refused = await apply(db, ofNone, ...args);
    assert.equal(refused.code, 1);
    const whose =
      args.length === 0 ? 'tenants ts_a, ts_b, ts_c' : args[1] === 'ts_a' ? 'tenants ts_b, ts_c' : 'tenant ts_c';
    const [tenant] = whose.match(/ts_./)!;
    assert.ok(
      refused.out.includes(
        `a job "aaa" of the ${whose} would hide it in their runs: remove theirs ("scheduler jobs remove aaa --tenant ${tenant}")`,
      ),
      refused.out,
    );
  }
  assert.equal((await kept()).length, 3);

  await db.cli(['jobs', 'remove', 'aaa', '--tenant', 'ts_c']);
  const moved = await applied(db, ofNone, '--tenants', 'ts_*');
  const [, a, b, c] = moved.split(/Tenant ts_.\n/);
  assert.match(a!, /^~ aaa +on ts_a\.trials\n +"table" is another\n/);
  assert.match(b!, /^= aaa +on ts_a\.trials\n- aaa +on ts_b\.trials\n- index .*ts_b/);
  assert.match(c!, /^= aaa +on ts_a\.trials\nNothing has changed/);
  const rows = "select count(*)::integer as n from scheduler.jobs where name = 'aaa'";
  assert.deepEqual([await kept(), (await db.one(rows)).n], [[{ tenant: null, isThere: true }], 3 + 1 + 2 + 1]);
  const again = await applied(db, ofNone, '--tenants', 'ts_*');
  assert.deepEqual([again.match(/Nothing has changed/g)!.length, (await db.one(rows)).n], [3, 7], again);
  assert.doesNotMatch(again, /index/);
});

test('a command that is told to run names the tenant', async () => {
  await using db = await database();
  await withTenants(db, ['ts_a']);
  await db.query(`create table ts_a.trials (${TRIALS})`);
  await applied(db, file('trials', 'trials'), '--tenant', 'ts_a');
  const out = async (...args: string[]) => {
    const done = await db.cli([...args, '--tenant', 'ts_a']);
    return done.out + done.err;
  };
  await db.query(`alter table ts_a.trials add constraint never check (state <> 'ended'), add more text;
    insert into ts_a.trials values (1, now() - interval '1 minute', 'open'); alter table ts_a.trials alter state type varchar(9)`);
  await out('tick');
  await db.query('update scheduler.failures set attempts = 3, quarantined_at = now()');
  assert.match(await out('explain', 'trials', '1'), /"scheduler failures retry trials 1 --tenant ts_a"/);
  assert.match(await out('next'), /see "scheduler failures --tenant ts_a"/);
  const status = await out('status');
  for (const words of ['doctor', 'failures']) assert.ok(status.includes(`"scheduler ${words} --tenant ts_a"`), status);
  assert.match(await out('stop', 'trials', '--reason', 'x'), /"scheduler start trials --tenant ts_a"/);
  assert.match(await out('migrate'), /"scheduler migrate --create JOB --tenant ts_a"/);
  const doctor = (await out('doctor')).match(/^scheduler .*|tick --env-file .*/gm)!;
  assert.ok(doctor.length > 3, doctor.join('\n'));
  for (const command of doctor) assert.match(command, / --tenant ts_a$/);
});

test('a job of no tenant is applied again where the search path names no existing schema', async () => {
  await using db = await database({ empty: true });
  await db.query(
    `create schema app; create table app.trials (${TRIALS}); alter database ${db.name} set search_path = nowhere`,
  );
  assert.equal((await db.cli(['migrate'])).code, 0);
  assert.match(await applied(db, file('trials', 'app.trials')), /The next tick knows them/);
  assert.match(await applied(db, file('trials', 'app.trials')), /^= trials +on app\.trials\nNothing has changed\.\n$/);
  assert.match(await applied(db, file('trials', 'app.trials', 'running')), /^~ trials +on app\.trials\n/);
});
