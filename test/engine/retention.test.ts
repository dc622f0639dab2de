import assert from 'node:assert/strict';
import { test } from 'node:test';
import { active, count, due, eachOnce, later, tick } from '../support/due-packages.ts';
import { database } from '../support/harness.ts';

/** Old history is forgotten. */

test('retention forgets old history, and changes nothing that later ticks do', async () => {
  await using db = await database();
  await due(db, 2);
  await tick(db);
  const env = { SCHEDULER_RETENTION: '1 day' };
  await db.query(`update scheduler.events set occurred_at = occurred_at - interval '1 year'`);
  await db.query(`update scheduler.runs set started_at = started_at - interval '1 year'`);
  await db.query(`insert into scheduler.events (type, job, transition, entity_id, occurred_at, channels, data)
    select 't', 'packages', 'x', n::text, '2025-01-01', '{}', '{}' from generate_series(1, 12000) as n`);
  await tick(db, later(1), { env });
  assert.deepEqual(await db.events(), []);
  assert.equal(await count(db, 'scheduler.runs'), 1);
  assert.equal(await active(db), 2);
  await tick(db, later(120), { env });
  await eachOnce(db, 'deactivate', 2);
});
