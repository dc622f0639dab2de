import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../support/harness.ts';

/** A path that leads to other tables than those that were adopted is a slip; a schema that somebody names is a tenant. */

const inSchema = (db: TestDatabase, schema: string) => ({
  env: { DATABASE_URL: `${db.programUrl}${db.programUrl.includes('?') ? '&' : '?'}schema=${schema}` },
});
const onPath = (path: string) => ({ env: { PGOPTIONS: `-c search_path=${path}` } });

const SALE = `insert into b.packages (name, enable_schedule, scheduled_activation_time, validity)
  values ('of b', true, now() - interval '1 minute', '1 day')`;

test('a search path that leads elsewhere is refused by every command that works on rows, and nothing there is touched', async () => {
  await using db = await database({ empty: true });
  await db.query('create schema a; create schema b');
  assert.equal((await db.cli(['migrate', '--create', 'all'], inSchema(db, 'a'))).code, 0);
  const refused = async (...args: string[]) => {
    const { code, out, err } = await db.cli(args, onPath('b'));
    assert.equal(code, 78, `${args.join(' ')}: ${out}${err}`);
    assert.match(err, /is in the schema "a", and this connection .*"--tenant a"/, args.join(' '));
    return err;
  };
  assert.match(await refused('migrate'), /this connection finds none/);
  await db.query(`create table b.packages (like a.packages including all); ${SALE}`);
  const said = await refused('tick');
  assert.match(said, /The table packages .* finds another one in the schema "b"/);
  for (const args of [
    ...[['migrate'], ['packages'], ['next'], ['explain', 'packages', '1']],
    ...[
      ['tick', '--linger', '1'],
      ['tick', '--dry-run'],
    ],
  ])
    await refused(...args);
  assert.deepEqual(await db.query('select status from b.packages'), [{ status: 'inactive' }]);
  const status = await db.cli(['status', '--check'], onPath('b'));
  assert.equal(status.code, 1);
  assert.match(status.out, /The table packages .* finds another one in the schema "b"/);
  const doctor = await db.cli(['doctor'], onPath('b'));
  assert.equal(doctor.code, 1);
  assert.match(doctor.out, /^failed +schema +The table packages/m);

  // A schema that is named is meant.
  assert.equal((await db.cli(['migrate'], inSchema(db, 'b'))).code, 0);
  assert.match((await db.cli(['tick', '--tenant', 'b'])).out, /packages +activate +1/);
  for (const tenant of ['a', 'b']) {
    const own = await db.cli(['tick'], inSchema(db, tenant));
    assert.deepEqual([own.code, own.err], [0, '']);
  }
});

test('tables that moved are found where they are now; other schemas of the path may hold a part of them', async () => {
  await using db = await database();
  await db.query(`create schema b; alter table packages set schema b; ${SALE}`);
  const { code, out, err } = await db.cli(['tick'], onPath('b,public'));
  assert.equal(code, 0, err);
  assert.match(out, /packages +activate/);
  assert.equal((await db.cli(['migrate'], onPath('b,public'))).code, 0);
  assert.deepEqual(
    await db.query(`select schema from scheduler.adopted where name in ('packages', 'nas') order by 1`),
    [{ schema: 'b' }, { schema: 'public' }],
  );
  await db.query('create table packages (like b.packages)');
  assert.equal((await db.cli(['tick'], onPath('b,public'))).code, 0);
  assert.equal((await db.cli(['tick'])).code, 78);
});
