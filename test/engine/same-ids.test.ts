import assert from 'node:assert/strict';
import { test } from 'node:test';
import { later, START } from '../support/due-packages.ts';
import { database } from '../support/harness.ts';

const only = ['packages', 'special-packages'];
const special = { schedule_date: '2026-03-01', schedule_time: '10:00', scheduled: true, auto_activate: true };
const sale = { enable_schedule: true, scheduled_activation_time: START };

test('two jobs have rows of the same id, and rules of the same name: what fails in one concerns no row of the other', async () => {
  await using db = await database();
  await db.insert('packages', { id: 1, name: 'bad', ...sale, validity: 'soon' });
  await db.insert('special_packages', { id: 2, name: 'bad', ...special, timezone: 'Mars/Olympus' });
  const first = await db.tick(START, { only });
  assert.deepEqual(
    first.jobs.map(({ job, failed }) => [job, failed]),
    [
      ['packages', 1],
      ['special-packages', 1],
    ],
  );
  await db.insert('special_packages', { id: 1, name: 'Spa', ...special });
  const { jobs } = await db.tick(later(1), { only });
  assert.deepEqual(jobs[1]!.changed, { activate: 1 }, 'the failure of the other row 1 holds nothing back');
  // Once forgotten, it would be a failure of this tick.
  const failures = await db.query(
    `select job, rule, entity_id from scheduler.failures where first_failed_at = '${START}' order by job`,
  );
  assert.deepEqual(failures, [
    { job: 'packages', rule: 'activate', entity_id: '1' },
    { job: 'special-packages', rule: 'activate', entity_id: '2' },
  ]);
});

test('a rule that succeeds clears no failure of another rule of the same row, and is not held back by it', async () => {
  await using db = await database();
  for (const id of [1, 2]) await db.insert('packages', { id, name: 'bad', ...sale, validity: 'soon' });
  await db.tick(START, { only });
  // Another rule's failure, and one that has changed its words since.
  await db.query(`update scheduler.failures set rule = 'deactivate', next_attempt_at = 'infinity' where entity_id = '1';
    update packages set validity = '1 hour' where id = 1`);
  assert.deepEqual((await db.tick(later(1), { only })).jobs[0]!.changed, { activate: 1 });
  const failures = await db.query('select rule from scheduler.failures order by entity_id');
  assert.deepEqual(failures, [{ rule: 'deactivate' }, { rule: 'activate' }]);
});

test('the error of a failure is that of its last attempt', async () => {
  await using db = await database();
  await db.insert('packages', { id: 1, name: 'bad', ...sale, validity: 'soon' });
  await db.tick(START, { only });
  await db.query(`update packages set validity = 'later'`);
  await db.tick(later(5), { only });
  assert.match((await db.one('select error from scheduler.failures')).error, /'later'/);
});
