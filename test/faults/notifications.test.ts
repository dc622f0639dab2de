import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { database, type TestDatabase } from '../support/harness.ts';
import { ownServer } from './server.ts';

const NOW = '2026-03-01T10:00:00Z';

const due = (db: TestDatabase, rows: number) =>
  db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, validity)
    select 'p' || n, true, timestamptz '${NOW}' - n * interval '1 second', '2 hours' from generate_series(1, ${rows}) as n`);

async function connected(db: TestDatabase) {
  const client = new pg.Client({ connectionString: db.url });
  client.on('error', () => {}); // if a test fails, its database is dropped under this connection
  await client.connect();
  const heard: string[] = [];
  client.on('notification', ({ payload }) => heard.push(payload ?? ''));
  return Object.assign(client, { heard });
}

/** Somebody else's notifications, until there is room for no more. */
async function fillQueue(db: TestDatabase): Promise<void> {
  const client = await connected(db);
  for (let n = 0; ; n++) {
    try {
      await client.query(`select pg_notify('others', $1 || repeat('x', 7000)) from generate_series(1, 1)`, [n]);
    } catch (error) {
      assert.equal((error as { code: string }).code, '54000');
      return client.end();
    }
  }
}

test('a listener that sleeps in a transaction fills the notification queue: changes go on, the run warns and counts', async (t) => {
  {
    await using db = await database();
    const { version } = await db.one(`select current_setting('server_version_num')::integer as version`);
    if (version < 170000) return t.skip('the size of the queue can be set from PostgreSQL 17 on; before, it is 8 GB');
  }
  await using server = await ownServer({ max_notify_queue_pages: '64' });
  await using db = await database({ server });
  const sleeper = await connected(db);
  await sleeper.query('listen "private-packages"');
  await sleeper.query('begin');
  await sleeper.query('select 1');

  // Full in the middle of a run: the first batches are told, then none.
  await due(db, 3000);
  const first = await db.cli(['tick', '--at', NOW, '--batch-size', '300']);
  assert.equal(first.code, 0, first.err);
  const warnings = first.err.split('\n').filter((line) => line.includes('notification queue is full'));
  assert.equal(warnings.length, 1, 'said once');
  const { unsent } = await db.one(`select unsent from scheduler.runs where job = 'packages'`);
  assert.ok(unsent > 0 && unsent < 3000 && unsent % 300 === 0, `${unsent} unsent`);
  t.diagnostic(`${unsent} of 3000 unsent`);
  const state = `select (select count(*)::integer from packages where status = 'active') as active, (select count(*)::integer from scheduler.events) as events`;
  assert.deepEqual(await db.one(state), { active: 3000, events: 3000 });

  // Full from the beginning.
  await fillQueue(db);
  await due(db, 500);
  const second = await db.tick(NOW, { only: ['packages'] });
  assert.deepEqual([second.exitCode, second.jobs[0]!.changed, second.jobs[0]!.unsent], [0, { activate: 500 }, 500]);
  assert.deepEqual(await db.one(state), { active: 3500, events: 3500 });
  assert.deepEqual(await db.query('select * from scheduler.failures'), []);

  // A listener that reads on has the log to catch up with, and what was told before.
  const { code, out } = await db.cli(['events', '--limit', '5000', '--json']);
  assert.equal(code, 0);
  assert.equal((out.match(/"package\.status\.changed"/g) ?? []).length, 3500);
  await sleeper.query('commit');
  await sleeper.query('select 1');
  assert.equal(sleeper.heard.length, 3000 - unsent);

  // With the sleeper awake, the next run tells again: nobody had to do anything.
  await due(db, 10);
  const third = await db.tick(NOW, { only: ['packages'] });
  assert.deepEqual([third.exitCode, third.jobs[0]!.unsent], [0, 0]);
  await sleeper.query('select 1');
  assert.equal(sleeper.heard.length, 3010 - unsent);
  await sleeper.end();
});
