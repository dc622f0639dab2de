import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../../support/harness.ts';
import { at, credits, session } from '../../support/text-session-rows.ts';

const only = ['session-endings'];

const one = async (db: TestDatabase) => {
  const row = await db.one('select * from text_sessions');
  return [row.status, row.reason, row.ended_at?.toISOString(), row.auto_deductions_processed];
};

/** Everything that money and time are read from, but not when it was written. */
const state = async (db: TestDatabase) => ({
  sessions: await db.query(
    `select id, status, reason, ended_at, sessions_used, auto_deductions_processed from text_sessions order by id`,
  ),
  credits: await db.query('select id, text_sessions_remaining from subscriptions order by id'),
  wallets: await db.query('select doctor_id, balance, total_earned from doctor_wallets order by 1'),
  ledger: await db.query('select * from text_session_deductions order by 1, 2'),
});

test('a session whose time is over has its pending blocks charged and ends at that very instant, however late', async () => {
  await using db = await database();
  await credits(db, 12);
  await session(db, { sessions_remaining_before_start: 3, auto_deductions_processed: 1 });
  await db.tick(at(29.9), { only });
  assert.deepEqual(await one(db), ['active', null, undefined, 1]);
  await db.tick(at(5000), { only });
  assert.deepEqual(await one(db), ['ended', 'time_expired', at(30), 3]);
  assert.equal((await db.one('select * from subscriptions')).text_sessions_remaining, 10);
  const events = await db.events();
  assert.deepEqual(
    events.map((event) => event.type),
    ['text_session.deducted', 'text_session.ended'],
  );
  assert.equal(events[0]!.data.elapsed_minutes, 30);
  assert.deepEqual(events[1]!.channels, ['private-text-sessions', 'user.1']);
  assert.deepEqual(events[1]!.data, {
    session_id: 1,
    reason: 'time_expired',
    ended_at: '2026-03-01T10:30:00Z',
    sessions_used: 2,
    timestamp: '2026-03-04T21:20:00Z',
  });
});

test('time ends at the instant itself', async () => {
  await using db = await database();
  await credits(db, 12);
  await session(db, { sessions_remaining_before_start: 1 });
  await db.tick(at(10), { only });
  assert.deepEqual(await one(db), ['ended', 'time_expired', at(10), 1]);
});

test('a session that began without time ends when it began', async () => {
  await using db = await database();
  await credits(db, 12);
  await session(db, { sessions_remaining_before_start: 0 });
  await db.tick(at(0));
  assert.deepEqual(await one(db), ['ended', 'time_expired', at(0), 0]);
});

test('credit that runs out before the time does ends the session earlier', async () => {
  await using db = await database();
  await credits(db, 2);
  await session(db, { sessions_remaining_before_start: 3 });
  await db.tick(at(5000), { only });
  assert.deepEqual(await one(db), ['ended', 'insufficient_sessions', at(20), 2]);
});

test('time and credit used up by the same block end the session for time, whichever job comes first', async () => {
  for (const order of [['session-endings'], ['deductions', 'session-endings'], ['session-endings', 'deductions']]) {
    await using db = await database();
    await credits(db, 3);
    await session(db, { sessions_remaining_before_start: 3 });
    for (const job of order) await db.tick(at(5000), { only: [job] });
    assert.deepEqual(await one(db), ['ended', 'time_expired', at(30), 3], order.join());
  }
});

test('the jobs may run in any order', async () => {
  const states = [];
  for (const order of [
    ['deductions', 'session-endings'],
    ['session-endings', 'deductions'],
  ]) {
    await using db = await database();
    await credits(db, 7);
    await credits(db, 3, { activated_at: '2026-02-01T00:00:00Z', expires_at: at(45) });
    await session(db, { sessions_remaining_before_start: 4 });
    await session(db, { activated_at: at(3), doctor_id: 8 });
    await session(db, { activated_at: at(6), sessions_remaining_before_start: 100 });
    await session(db, { activated_at: at(100), status: 'waiting_for_doctor', doctor_response_deadline: at(101) });
    for (const job of order) await db.tick(at(1000), { only: [job], env: { SCHEDULER_SESSION_RATE: '1.25' } });
    states.push(await state(db));
  }
  // Expiring a request writes "now", and both expired at the same one.
  assert.deepEqual(states[0], states[1]);
  assert.equal(states[0]!.ledger.length, 10);
});

test('a request that no doctor answered in time expires now, and nothing is charged', async () => {
  await using db = await database();
  await credits(db, 5);
  const request = { status: 'waiting_for_doctor', activated_at: null, doctor_response_deadline: at(5) };
  await session(db, request);
  await db.tick(at(5), { only });
  assert.equal((await one(db))[0], 'waiting_for_doctor');
  await db.tick(at(6), { only });
  assert.deepEqual(await one(db), ['expired', 'no_response', at(6), 0]);
  assert.equal((await db.one('select * from subscriptions')).text_sessions_remaining, 5);
  const event = await db.one('select * from scheduler.events');
  assert.equal(event.type, 'text_session.expired');
  assert.equal(event.due_at.toISOString(), at(5));
  assert.deepEqual(event.channels, ['private-text-sessions', 'user.1']);
  assert.deepEqual(event.data, {
    session_id: 1,
    reason: 'no_response',
    ended_at: '2026-03-01T10:06:00Z',
    sessions_used: 0,
    timestamp: '2026-03-01T10:06:00Z',
  });
});

test('a request that was answered, and a session that a person ended, are left alone', async () => {
  await using db = await database();
  await session(db, { status: 'declined', doctor_response_deadline: at(5) });
  await session(db, { status: 'ended', sessions_remaining_before_start: 1, ended_at: at(2) });
  const before = await state(db);
  await db.tick(at(500));
  assert.deepEqual(await state(db), before);
});

test('a column without a zone is read in SCHEDULER_DB_TIMEZONE, and written in it', async () => {
  await using db = await database();
  await db.query(
    `alter table text_sessions alter column activated_at type timestamp(0), alter column ended_at type timestamp(0)`,
  );
  const env = { SCHEDULER_DB_TIMEZONE: 'Africa/Nairobi' };
  await db.migrate(env);
  await credits(db, 2);
  await session(db, { activated_at: '2026-03-01 13:00:00' });
  await db.tick(at(19.9), { env });
  assert.equal((await one(db))[3], 1);
  await db.tick(at(100), { env });
  assert.equal((await db.one('select ended_at::text as at from text_sessions')).at, '2026-03-01 13:20:00');
});
