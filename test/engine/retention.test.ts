import assert from 'node:assert/strict';
import { test } from 'node:test';
import { active, count, due, eachOnce, later, tick } from '../support/due-packages.ts';
import { database } from '../support/harness.ts';
import { SCHEMA } from '../support/schema.ts';

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

test('a tick whose history cannot be forgotten has done its work, and ends as it did', async () => {
  await using db = await database();
  await db.insert('packages', { name: 'p', enable_schedule: true, scheduled_activation_time: new Date() });
  await db.query(`insert into scheduler.runs (tenant, job, slot, at, started_at, finished_at, host, version)
    values ('${SCHEMA}', 'packages', 1, '2020-01-01', '2020-01-01', '2020-01-01', 'h', 'v');
    create function keep() returns trigger language plpgsql as $$ begin raise 'history is sacred'; end $$;
    create trigger keep before delete on scheduler.runs for each row execute function keep()`);
  const { code, out, err } = await db.cli(['tick', '--json']);
  assert.equal(code, 0, err);
  assert.deepEqual(JSON.parse(out).jobs.find(({ job }: { job: string }) => job === 'packages').changed, {
    activate: 1,
  });
  assert.match(JSON.parse(err).msg, /^The tick is done, but old history was not forgotten: history is sacred$/);
  assert.equal(await active(db), 1);
});
