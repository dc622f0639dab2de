import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../../support/harness.ts';
import { TENANT } from '../../support/schema.ts';
import { at, credits, session } from '../../support/text-session-rows.ts';

const only = ['deductions'];
const left = async (db: TestDatabase) =>
  (await db.query('select text_sessions_remaining as n from subscriptions order by id')).map(({ n }) => n);
const paidBy = async (db: TestDatabase) =>
  (
    await db.query('select subscription_id::integer as id from text_session_deductions order by due_at, session_id')
  ).map(({ id }) => id);
const sessions = async (db: TestDatabase) =>
  (await db.query('select * from text_sessions order by id')).map((row) => [
    row.auto_deductions_processed,
    row.status,
    row.ended_at?.toISOString() ?? null,
  ]);

test('the middle one of three credits has expired: the first and the last pay', async () => {
  await using db = await database();
  await credits(db, 1, { activated_at: '2026-01-01T00:00:00Z' });
  await credits(db, 5, { activated_at: '2026-01-02T00:00:00Z', expires_at: at(5) });
  await credits(db, 2, { activated_at: '2026-01-03T00:00:00Z' });
  await session(db);
  await db.tick(at(25), { only });
  assert.deepEqual(
    [await paidBy(db), await left(db)],
    [
      [1, 3],
      [0, 5, 1],
    ],
  );
  const [told] = await db.events();
  assert.equal(told!.data.credits_left, 1, 'an expired credit is none');
});

test('a credit that expires exactly now, or exactly when the last block comes due, does not count any more', async () => {
  await using db = await database();
  await credits(db, 5, { expires_at: at(20) });
  await session(db);
  await db.tick(at(20), { only });
  assert.deepEqual([await paidBy(db), await left(db)], [[1], [4]]);
  assert.deepEqual(await sessions(db), [[1, 'ended', at(10)]]);
  const told = (await db.events()).map(({ type, channels }) => [type, ...channels]);
  const channels = ['private-text-sessions', 'user.1'];
  assert.deepEqual(told, [
    ['text_session.deducted', ...channels],
    ['text_session.ended', ...channels],
  ]);
  await db.query('truncate text_sessions, subscriptions, text_session_deductions restart identity');
  // The other one pays the last block, and what is left then is over.
  await credits(db, 5, { expires_at: at(10), activated_at: '2026-02-01T00:00:00Z' });
  await credits(db, 1);
  await session(db);
  await db.tick(at(15), { only });
  assert.deepEqual(await paidBy(db), [2]);
  assert.deepEqual(await sessions(db), [[1, 'ended', at(10)]]);
});

test('credits that expire later than the block count for it, also when some blocks were charged before', async () => {
  await using db = await database();
  await credits(db, 9, { expires_at: at(45) });
  await session(db, { auto_deductions_processed: 2 });
  await db.tick(at(90), { only });
  // 30 and 40; 50 is beyond its end.
  assert.deepEqual([await paidBy(db), await left(db)], [[1, 1], [7]]);
});

test('patients are told apart, and the older credit pays whatever its id', async () => {
  await using db = await database();
  await credits(db, 1, { activated_at: '2026-02-01T00:00:00Z' });
  await credits(db, 1, { activated_at: '2026-01-01T00:00:00Z' });
  await credits(db, 3, { user_id: 2, activated_at: '2026-01-15T00:00:00Z' });
  await session(db, { id: 20 });
  await session(db, { id: 10, patient_id: 2, activated_at: at(3) });
  await db.tick(at(15), { only });
  assert.deepEqual(
    [await paidBy(db), await left(db)],
    [
      [2, 3],
      [1, 0, 2],
    ],
  );
});

test('if blocks come due at the same instant, that of the first session is paid', async () => {
  await using db = await database();
  await credits(db, 1);
  await session(db, { id: 7 });
  await session(db, { id: 3 });
  await db.tick(at(10), { only });
  assert.deepEqual(await sessions(db), [
    [1, 'ended', at(10)],
    [0, 'ended', at(0)],
  ]);
});

test('a session without a doctor is charged, and nobody earns', async () => {
  await using db = await database();
  await db.query('alter table text_sessions alter doctor_id drop not null');
  await credits(db, 5);
  await session(db, { doctor_id: null });
  const { jobs } = await db.tick(at(10), { only, env: { SCHEDULER_SESSION_RATE: '2.50' } });
  assert.deepEqual([jobs[0]!.changed, jobs[0]!.failed], [{ deduct: 1 }, 0]);
  assert.deepEqual(await left(db), [4]);
  assert.deepEqual(await db.query('select id from wallet_transactions union all select id from doctor_wallets'), []);
});

test('a quarantined session is not charged along with another one of its patient', async () => {
  await using db = await database();
  await credits(db, 9);
  await session(db);
  await session(db, { activated_at: at(1) });
  await db.query(`insert into scheduler.failures (tenant, job, rule, entity_id, attempts, error, first_failed_at, last_failed_at,
      next_attempt_at, quarantined_at)
    values ('${TENANT.tenant ?? 'public'}', 'deductions', 'deduct', '1', 3, 'the till says no', now(), now(), 'infinity', now())`);
  await db.tick(at(15), { only });
  assert.deepEqual(
    (await sessions(db)).map(([processed]) => processed),
    [0, 1],
  );
});
