import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';

test('a column is stored once if an index says so at once, for all rows and of that column alone', async () => {
  await using db = await database();
  await db.query('create table kept (a text, b text, c text, d text, e text, f text)');
  await db.query(`create unique index on kept (a);
    create unique index on kept (b, c);
    alter table kept add constraint later unique (d) deferrable initially deferred;
    create unique index partial on kept (e) where e <> '';
    create unique index broken on kept (f);
    update pg_index set indisvalid = false where indexrelid = 'broken'::regclass`);
  const once = async (column: string, name = '') =>
    (await db.one(`select scheduler.stored_once($2, 'kept', $1) as once`, [column, name])).once;
  const found = [];
  for (const column of ['a', 'b', 'c', 'd', 'e', 'f']) found.push([column, await once(column)]);
  assert.deepEqual(
    found.filter(([, isOnce]) => isOnce),
    [['a', true]],
  );
  assert.equal(await once('e', 'partial'), true, 'ours is partial');
});

test('columns that were dropped are not there', async () => {
  await using db = await database();
  await db.query('alter table vouchers drop column updated_at');
  const { skipped } = await db.tick('2026-03-01T10:00:00Z', { only: ['vouchers'] });
  assert.deepEqual(skipped, [{ job: 'vouchers', why: 'not installed: vouchers.updated_at missing' }]);
  assert.equal((await db.cli(['migrate'])).code, 0);
  assert.deepEqual((await db.tick('2026-03-01T10:00:00Z', { only: ['vouchers'] })).skipped, []);
});
