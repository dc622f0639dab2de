import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { due, eachOnce, failures, later, START, tick } from '../support/due-packages.ts';
import { database, type TestDatabase } from '../support/harness.ts';

/** Due rows in batches, and what happens to one that somebody holds. */

test('due rows are changed batch after batch, oldest first, until none is left', async () => {
  await using db = await database();
  // The youngest row has the first id.
  await due(db, 10, `- n * interval '1 minute'`);
  const result = await tick(db, START, { batchSize: 3 });
  assert.deepEqual(result.jobs[0]!.changed, { activate: 10 });
  assert.equal(result.jobs[0]!.lateSeconds, 10 * 60);
  const order = (await db.events()).map(({ entity_id }) => Number(entity_id));
  assert.deepEqual(order, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
  const batches = await db.one('select count(distinct xmin::text)::integer as n from scheduler.events');
  assert.equal(batches.n, 4);
});

test('rows due at the same instant are told apart by their id, at any batch size', async () => {
  for (const batchSize of [1, 4, 10, 11]) {
    await using db = await database();
    await due(db, 10);
    await tick(db, START, { batchSize });
    await eachOnce(db, 'activate', 10);
  }
});

test('a row that somebody holds is left to the next tick, and waited for by nobody', async () => {
  await using db = await database();
  await due(db, 3);
  const other = new pg.Client({ connectionString: db.url });
  await other.connect();
  await other.query('begin; select from packages where id = 2 for update');
  assert.deepEqual((await tick(db)).jobs[0]!.changed, { activate: 2 });
  await other.query('rollback');
  await other.end();
  assert.deepEqual((await tick(db, later(1))).jobs[0]!.changed, { activate: 1 });
});

/** Ten packages, of which the fourth needs what the answered connection holds. */
async function oneIsHeld(db: TestDatabase): Promise<pg.Client> {
  await due(db, 10);
  await db.query(`create table stock (name text primary key, sold integer not null default 0);
    insert into stock select name from packages;
    create function sell() returns trigger language plpgsql as $$
      begin update stock set sold = sold + 1 where name = new.name; return new; end $$;
    create trigger sell before update on packages for each row execute function sell()`);
  const holder = new pg.Client({ connectionString: db.url });
  await holder.connect();
  await holder.query(`begin; update stock set sold = 100 where name = 'good 4'`);
  return holder;
}

test('a row that needs what somebody else holds fails alone, and is done when it is free', async () => {
  await using db = await database();
  const holder = await oneIsHeld(db);
  const result = await tick(db);
  assert.deepEqual(result.jobs[0]!.changed, { activate: 9 });
  assert.deepEqual(
    (await failures(db)).map(({ entity_id, error }) => [entity_id, error]),
    [['4', 'canceling statement due to lock timeout']],
  );
  await holder.query('rollback');
  await holder.end();
  assert.deepEqual((await tick(db, later(5))).jobs[0]!.changed, { activate: 1 });
  await eachOnce(db, 'activate', 10);
});

test('a run waits for a row that somebody else holds for three seconds, and no row fails', async () => {
  await using db = await database();
  const holder = await oneIsHeld(db);
  const run = tick(db);
  await sleep(3000);
  await holder.query('rollback');
  await holder.end();
  assert.deepEqual((await run).jobs[0]!.changed, { activate: 10 });
  assert.deepEqual(await failures(db), []);
  await eachOnce(db, 'activate', 10);
});
