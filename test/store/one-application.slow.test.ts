import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../support/harness.ts';

/** What the program keeps is of one application: the tables of a second one, in another schema, are refused. */

const inSchema = (db: TestDatabase, schema: string) => ({
  env: { DATABASE_URL: `${db.programUrl}${db.programUrl.includes('?') ? '&' : '?'}schema=${schema}` },
});

const SALE = `insert into b.packages (name, enable_schedule, scheduled_activation_time, validity)
  values ('of b', true, now() - interval '1 minute', '1 day')`;

test('a second schema of one database is refused by every command that works on rows, and nothing in it is touched', async () => {
  await using db = await database({ empty: true });
  await db.query('create schema a; create schema b');
  assert.equal((await db.cli(['migrate', '--create', 'all'], inSchema(db, 'a'))).code, 0);
  const refused = async (...args: string[]) => {
    const { code, out, err } = await db.cli(args, inSchema(db, 'b'));
    assert.equal(code, 78, `${args.join(' ')}: ${out}${err}`);
    assert.match(err, /is in the schema "a", and this connection .*"\?schema=a"/, args.join(' '));
    return err;
  };
  assert.match(await refused('migrate'), /this connection finds none/);
  assert.deepEqual(await db.query(`select relname from pg_class where relnamespace = 'b'::regnamespace`), []);

  await db.query(`create table b.packages (like a.packages including all); ${SALE}`);
  const said = await refused('tick');
  assert.match(said, /The table packages .* finds another one in the schema "b"/);
  for (const args of [
    ...[['migrate'], ['packages'], ['status'], ['next'], ['history'], ['events'], ['prune'], ['tick', '--linger', '1']],
    ...[
      ['explain', 'packages', '1'],
      ['failures', 'drop', '--all'],
      ['stop', '--reason', 'b'],
      ['tick', '--dry-run'],
    ],
  ])
    await refused(...args);
  assert.deepEqual(await db.query('select status from b.packages'), [{ status: 'inactive' }]);
  assert.deepEqual(await db.query('select from scheduler.controls'), []);
  const doctor = await db.cli(['doctor'], inSchema(db, 'b'));
  assert.equal(doctor.code, 1);
  assert.match(doctor.out, /^failed +schema +The table packages/m);

  const own = await db.cli(['tick'], inSchema(db, 'a'));
  assert.deepEqual([own.code, own.err], [0, '']);
});

test('tables that moved are found where they are now; other schemas of the path may hold a part of them', async () => {
  await using db = await database();
  await db.query(`create schema b; alter table packages set schema b; ${SALE}`);
  const env = { PGOPTIONS: '-c search_path=b,public' };
  const { code, out, err } = await db.cli(['tick'], { env });
  assert.equal(code, 0, err);
  assert.match(out, /packages +activate/);
  assert.equal((await db.cli(['migrate'], { env })).code, 0);
  assert.deepEqual(
    await db.query(`select schema from scheduler.adopted where name in ('packages', 'nas') order by 1`),
    [{ schema: 'b' }, { schema: 'public' }],
  );
  await db.query('create table packages (like b.packages)');
  assert.equal((await db.cli(['tick'], { env })).code, 0);
  assert.equal((await db.cli(['tick'])).code, 78);
});
