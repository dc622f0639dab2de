import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../../support/harness.ts';
import { NOW, pay } from '../../support/hotspot-rows.ts';
import { SCHEMA } from '../../support/schema.ts';

const radiusTables = async (db: TestDatabase) =>
  (
    await db.query(`select tablename as name from pg_tables
      where schemaname = '${SCHEMA}' and (tablename like 'rad%' or tablename like 'nas%') and tablename <> 'radius_sessions' order by 1`)
  ).map(({ name }) => name);

test("all of FreeRADIUS's tables are made where it has none, as its queries ask for them at every login", async () => {
  await using db = await database();
  assert.deepEqual(await radiusTables(db), [
    ...['nas', 'nasreload', 'radacct', 'radcheck', 'radgroupcheck', 'radgroupreply', 'radpostauth', 'radreply'],
    'radusergroup',
  ]);
});

test("where somebody has loaded a part of FreeRADIUS's schema, nothing is added to it", async () => {
  await using db = await database({ empty: true });
  await db.query('create table radcheck (id serial primary key, username text, attribute text, value text)');
  await db.migrate();
  assert.deepEqual(await radiusTables(db), ['radcheck']);
  const columns = await db.query(
    `select attname from pg_attribute where attrelid = 'radcheck'::regclass and attnum > 0`,
  );
  assert.equal(columns.length, 4);
  const { skipped } = await db.tick(NOW, { only: ['payments', 'accounting', 'disconnects'] });
  const reasons = Object.fromEntries(skipped.map(({ job, why }) => [job, why]));
  assert.match(reasons.payments!, /^not installed: .*radcheck\.op, radreply/);
  assert.match(reasons.accounting!, /^not installed: radacct/);
  assert.match(reasons.disconnects!, /^not installed: session_disconnections, radacct, nas/);
});

test('payments that were completed before this program came count as provisioned, and others do not', async () => {
  await using db = await database();
  await pay(db, 1);
  await pay(db, 1, { status: 'pending' });
  await db.query('alter table payments drop column provisioned_at');
  await db.migrate();
  const rows = await db.query('select status, provisioned_at is not null as provisioned from payments order by id');
  assert.deepEqual(rows, [
    { status: 'completed', provisioned: true },
    { status: 'pending', provisioned: false },
  ]);
});
