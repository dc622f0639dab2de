import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropFailures, listFailures, retryFailures } from '../../src/store/failures.ts';
import { active, CAUSES, due, eachOnce, failures, later, START, tick, withOwn } from '../support/due-packages.ts';
import { database } from '../support/harness.ts';

/** A row that cannot be changed: found, tried again, put into quarantine, released. */

for (const [cause, { sql, reason }] of Object.entries(CAUSES)) {
  test(`a row refused by ${cause} is recorded with its reason; the others of its batch are done in the same tick`, async () => {
    await using db = await database();
    await due(db, 40);
    await db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, validity)
      values ('bad 1', true, '${START}', '2 hours')`);
    await due(db, 19);
    await db.query(sql);
    const dry = await tick(db, START, { dryRun: true });
    const result = await tick(db);
    assert.deepEqual(result.jobs[0]!.changed, { activate: 59 });
    assert.equal(result.jobs[0]!.failed, 1);
    assert.equal(result.exitCode, 1);
    await eachOnce(db, 'activate', 59);
    const [row, ...more] = await failures(db);
    assert.deepEqual(more, []);
    assert.equal(row!.entity_id, '41');
    assert.equal(row!.rule, 'activate');
    assert.match(row!.error, reason);
    assert.deepEqual(
      [dry.jobs[0]!.changed, dry.jobs[0]!.failures],
      [result.jobs[0]!.changed, result.jobs[0]!.failures],
    );
  });
}

test('many bad rows among good ones, over several batches: every good one is done, every bad one recorded once', async () => {
  await using db = await database();
  await due(db, 100);
  await db.query(`update packages set name = 'bad ' || id where id % 7 = 0`);
  await db.query(CAUSES['a check constraint']!.sql);
  const result = await tick(db, START, { batchSize: 30 });
  assert.deepEqual(result.jobs[0]!.changed, { activate: 86 });
  assert.equal(result.jobs[0]!.failed, 14);
  assert.equal((await failures(db)).length, 14);
  assert.equal(await active(db), 86);
});

test('a failing row is retried after 5 minutes, again after 30, then quarantined until an operator releases it', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`update packages set validity = 'banana'`);
  const failed = async (minutes: number) => (await tick(db, later(minutes))).jobs[0]!.failed;
  assert.equal(await failed(0), 1);
  assert.equal(await failed(0), 0);
  assert.equal(await failed(4), 0);
  assert.equal(await failed(5), 1);
  assert.equal(await failed(34), 0);
  assert.equal(await failed(35), 1);
  const [row] = await failures(db);
  assert.equal(row!.attempts, 3);
  assert.equal(row!.quarantined_at.toISOString(), later(35));
  for (const minutes of [36, 600, 1_000_000]) assert.equal(await failed(minutes), 0);
  await withOwn(db, async (own) => {
    assert.deepEqual(await retryFailures(own, { job: 'packages', id: '1' }), [{ job: 'packages', entity_id: '1' }]);
  });
  await db.query(`update packages set validity = null`);
  assert.deepEqual((await tick(db, later(40))).jobs[0]!.changed, { activate: 1 });
  assert.deepEqual(await failures(db), []);
});

test('a released row that fails again starts over with its attempts', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`update packages set validity = 'banana'`);
  for (const minutes of [0, 5, 35]) await tick(db, later(minutes));
  await withOwn(db, async (own) => {
    assert.equal((await listFailures(own, {}))[0]!.next_attempt_at, null);
    await retryFailures(own, {});
  });
  await tick(db, later(36));
  const [row] = await failures(db);
  assert.deepEqual([row!.attempts, row!.quarantined_at], [1, null]);
  assert.equal(row!.next_attempt_at.toISOString(), later(41));
});

test('a dropped failure is forgotten, and its row tried like any other', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`update packages set validity = 'banana'`);
  await tick(db);
  await withOwn(db, (own) => dropFailures(own, { job: 'packages', id: '1' }));
  assert.equal((await tick(db)).jobs[0]!.failed, 1);
});

test('success clears a failure', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`update packages set validity = 'banana'`);
  await tick(db);
  await db.query(`update packages set validity = '2 hours'`);
  await tick(db, later(5));
  assert.deepEqual(await failures(db), []);
  assert.equal(await active(db), 1);
});
