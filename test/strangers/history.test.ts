import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../support/harness.ts';
import { grantRole } from '../support/roles.ts';
import { stranger } from '../support/stranger.ts';

/** The role that ticks adds to the history, and takes nothing away. */

const ages = (db: TestDatabase) =>
  db.query(`select (select array_agg(entity_id order by id) from scheduler.events) as events,
    (select array_agg(version order by id) from scheduler.runs where version in ('old', 'young', 'new')) as runs`);

test('the role that ticks rewrites and deletes no history; what is past its retention goes all the same', async () => {
  await using db = await database();
  await using role = await stranger(db);
  await grantRole(db, role.role);
  await db.query(`
    insert into scheduler.events (type, job, transition, entity_id, occurred_at, channels, data)
    select 't', 'packages', 'x', age, now() - span::interval, '{}', '{}'
    from (values ('old', '100 days'), ('young', '2 days'), ('new', '1 hour')) as e (age, span);
    insert into scheduler.runs (job, at, started_at, finished_at, host, version)
    select job, occurred_at, occurred_at, occurred_at, 'h', entity_id from scheduler.events`);
  for (const [attack, refusal] of [
    ['delete from scheduler.events', /permission denied/],
    ['delete from scheduler.runs', /permission denied/],
    ['truncate scheduler.runs', /permission denied/],
    ["update scheduler.events set data = '{}'", /permission denied/],
    ['update scheduler.runs set started_at = now()', /permission denied/],
    [`update scheduler.runs set changed = '{"activate": 1}', finished_at = now()`, /history.* cannot be changed/],
    ['update scheduler.runs set finished_at = null', /history.* cannot be changed/],
  ] as const)
    await assert.rejects(role.query(attack), refusal, attack);

  const env = { DATABASE_URL: role.url };
  const tick = await db.cli(['tick'], { env });
  assert.deepEqual([tick.code, tick.err], [0, '']);
  assert.deepEqual(await ages(db), [{ events: ['young', 'new'], runs: ['young', 'new'] }]);
  await role.query('select scheduler.forget(-1000)');
  assert.deepEqual(await ages(db), [{ events: ['new'], runs: ['new'] }]);

  await db.query(`update scheduler.events set occurred_at = now() - interval '3 days'`);
  const prune = await db.cli(['prune', '--json'], { env: { ...env, SCHEDULER_RETENTION: '2 days' } });
  assert.deepEqual(JSON.parse(prune.out), { events: 1, runs: 0, retentionDays: 2 });
});

test('nobody else makes the program forget, also not with a right on its schema', async () => {
  await using db = await database();
  await using mallory = await stranger(db, 'usage on schema scheduler');
  await assert.rejects(mallory.query('select scheduler.forget(1)'), /permission denied for function forget/);
});
