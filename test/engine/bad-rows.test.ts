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

// States of classes that stand for a fault of the statement, of a program, of a server's insides, or for nothing known.
const STATES =
  '03000 0A000 21000 22012 23505 26000 28000 2B000 34000 38000 39000 3F000 42501 42P01 42883 42601 54000 55000 A1234 E0001 HV000 P0001 XX000 Z9999';

/** Raises the state that is a row's name. */
const RAISES_ITS_NAME = `create function refuse() returns trigger language plpgsql as $$
  begin
    if new.name !~ '^good' and new.status = 'active' then raise exception 'no' using errcode = new.name; end if;
    return new;
  end $$;
  create trigger refuse before update on packages for each row execute function refuse()`;

test('a row is to blame for whatever error it alone meets: every state is recorded, and the other rows are done', async () => {
  await using db = await database();
  const states = STATES.split(' ');
  await due(db, 3);
  for (const name of states)
    await db.insert('packages', { name, enable_schedule: true, scheduled_activation_time: START });
  await db.query(RAISES_ITS_NAME);
  // Too large for an index: 54000 is also what a full queue of notifications raises.
  await db.query(`create index on packages (description) where status = 'active';
    insert into packages (name, enable_schedule, scheduled_activation_time, description)
    select 'good, but large', true, '${START}', string_agg(md5(n::text), '') from generate_series(1, 1000) as n`);
  const { jobs, exitCode } = await tick(db);
  assert.deepEqual([jobs[0]!.error, jobs[0]!.changed, exitCode], [undefined, { activate: 3 }, 1]);
  assert.equal((await failures(db)).length, states.length + 1);
  assert.deepEqual([jobs[0]!.failed, jobs[0]!.unsent], [states.length + 1, 0]);
  // By itself, such a row is tried again and put into quarantine all the same.
  await db.query(`delete from packages where name <> '42501'`);
  for (const minutes of [5, 35]) assert.equal((await tick(db, later(minutes))).jobs[0]!.failed, 1);
  assert.equal((await failures(db)).find(({ entity_id }) => entity_id === '16')!.attempts, 3);
});

test('an error that every row of a rule meets is one error of its job: no row fails, and its other rules go on', async () => {
  await using db = await database();
  await due(db, 40);
  await db.query(`create function broken() returns trigger language plpgsql as $$
      begin insert into audit select new.id; return new; end $$;
    create trigger broken before update on packages for each row when (new.status = 'active') execute function broken();
    insert into packages (name, enable_schedule, scheduled_activation_time, validity, status) values
      ('on', true, timestamptz '${START}' - interval '3 hours', '2 hours', 'active')`);
  const { jobs, exitCode } = await tick(db);
  assert.match(
    jobs[0]!.error!,
    /^The tables of packages refuse every row alike: relation "audit" does not exist\. Most likely a trigger/,
  );
  assert.deepEqual([jobs[0]!.failed, jobs[0]!.changed, exitCode], [0, { deactivate: 1 }, 78]);
  assert.deepEqual(await failures(db), []);
  await db.query('create table audit (id bigint)');
  assert.deepEqual((await tick(db)).jobs[0]!.changed, { activate: 40 });
});

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
    assert.deepEqual(await retryFailures(own, { job: 'packages', id: '1' }), [{ job: 'packages', entityId: '1' }]);
  });
  await db.query(`update packages set validity = null`);
  assert.deepEqual((await tick(db, later(40))).jobs[0]!.changed, { activate: 1 });
  assert.deepEqual(await failures(db), []);
});

test('a row in quarantine that somebody mends is tried again by itself, within five minutes and from its first attempt', async () => {
  await using db = await database();
  await due(db, 3);
  await db.query(`update packages set validity = 'banana'`);
  const failed = async (minutes: number) => (await tick(db, later(minutes))).jobs[0]!.failed;
  for (const minutes of [0, 5, 35]) assert.equal(await failed(minutes), 3);
  // In the first, a column changes that the rule does not read.
  await db.query(`update packages set description = 'new' where id = 1;
    update packages set validity = '2 hours' where id = 2; update packages set validity = 'apple' where id = 3`);
  assert.equal(await failed(39), 0);
  const dry = await tick(db, later(40), { dryRun: true });
  const { jobs } = await tick(db, later(40));
  assert.deepEqual([jobs[0]!.changed, jobs[0]!.failures.map(({ id }) => id)], [{ activate: 1 }, ['3']]);
  assert.deepEqual(dry.jobs, jobs);
  const known = async () =>
    (await failures(db)).map((row) => [row.entity_id, row.attempts, row.quarantined_at === null]);
  assert.deepEqual(await known(), [
    ['1', 3, false],
    ['3', 1, true],
  ]);
  // Not compared again before five minutes have passed; the failure of a row that is gone is forgotten.
  await db.query(`update packages set validity = '1 hour' where id = 1`);
  assert.equal(await failed(44), 0);
  await db.query(`delete from packages where id = 3`);
  assert.deepEqual((await tick(db, later(45))).jobs[0]!.changed, { activate: 1 });
  assert.deepEqual(await known(), []);
});

test('a rule that fails on a row holds back no other rule of it', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(CAUSES['a check constraint']!.sql);
  await db.query(`update packages set name = 'bad 1'`);
  for (const minutes of [0, 5, 35]) assert.equal((await tick(db, later(minutes))).jobs[0]!.failed, 1);
  const { changed, failed } = (await tick(db, later(120))).jobs[0]!;
  assert.deepEqual([changed, failed], [{ miss: 1 }, 0]);
  // It is none for the first rule any more.
  assert.deepEqual(await failures(db), []);
});

test('a released row that fails again starts over with its attempts', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`update packages set validity = 'banana'`);
  for (const minutes of [0, 5, 35]) await tick(db, later(minutes));
  await withOwn(db, async (own) => {
    assert.equal((await listFailures(own, {}))[0]!.nextAttemptAt, null);
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
