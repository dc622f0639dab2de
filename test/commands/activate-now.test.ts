import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type Finished, type TestDatabase } from '../support/harness.ts';
import { SCHEMA } from '../support/schema.ts';

async function schedule(db: TestDatabase, ...ids: string[]) {
  for (const id of ids) {
    await db.insert('customer_packages', {
      id,
      userId: `user of ${id}`,
      status: 'SCHEDULED',
      scheduledStartDate: '2026-03-01T10:00:00Z',
    });
  }
}

const stopped = (db: TestDatabase) =>
  db.insert('scheduler.controls', { action: 'stop', job: 'subscriptions', by: 'ops@host', reason: 'refunds first' });

const answer = ({ out }: Finished) => JSON.parse(out);

test('an admin activates what is due by hand, also while the job is stopped', async () => {
  await using db = await database();
  await schedule(db, 'a', 'b', 'c');
  await stopped(db);
  assert.equal((await db.cli(['subscriptions'])).code, 0);
  assert.equal((await db.one(`select count(*)::integer as n from customer_packages where status = 'ACTIVE'`)).n, 0);

  const finished = await db.cli(['activate-now', '--json']);
  assert.equal(finished.code, 0, finished.err);
  const { message, result } = answer(finished);
  assert.equal(message, 'Manually activated 3 subscription(s)');
  assert.deepEqual(result, { activated: 3, errors: [] });
  assert.equal((await db.one(`select count(*)::integer as n from customer_packages where status = 'ACTIVE'`)).n, 3);
});

test('it is recorded as a manual run: who, when, what', async () => {
  await using db = await database();
  await schedule(db, 'a');
  await db.cli(['activate-now']);
  const run = await db.one(`select slot, started_by, changed from scheduler.runs where job = 'subscriptions'`);
  assert.equal(run.slot, null);
  assert.match(run.started_by, /^\w+@/);
  assert.deepEqual(run.changed, { activate: 1 });
});

test('a subscription that fails is named with its reason, and the exit code says so', async () => {
  await using db = await database();
  await schedule(db, 'cs_1', 'cs_456');
  await db.query(`update customer_packages set "previousSubscriptionId" = id where id = 'cs_456'`);
  const finished = await db.cli(['activate-now', '--json']);
  assert.equal(finished.code, 1);
  assert.deepEqual(answer(finished).result, {
    activated: 1,
    errors: ['Failed to activate subscription cs_456: it names itself as its previous subscription'],
  });
});

test('while another run holds the lock it leaves the work to that one', async () => {
  await using db = await database();
  await schedule(db, 'a');
  await db.query(`begin; select pg_advisory_xact_lock(hashtextextended('${SCHEMA}', 8314034311083879525))`);
  const finished = await db.cli(['activate-now', '--json']);
  await db.query('commit');
  assert.equal(finished.code, 0);
  assert.equal(answer(finished).message, 'Another run is at work and activates what is due');
  assert.equal((await db.one('select status from customer_packages')).status, 'SCHEDULED');
});

test('where the table belongs to something else it says so', async () => {
  await using db = await database({ empty: true });
  await db.query('create table customer_packages (weight numeric)');
  await db.migrate();
  const finished = await db.cli(['activate-now']);
  assert.equal(finished.code, 78);
  assert.match(finished.err, /cannot be activated: not installed: .*customer_packages\.scheduledStartDate/);
});
