import assert from 'node:assert/strict';
import { test } from 'node:test';
import { application, database, type TestDatabase } from '../../support/harness.ts';
import { at, credits, session } from '../../support/text-session-rows.ts';

const only = ['deductions'];

const left = async (db: TestDatabase) =>
  (await db.query('select text_sessions_remaining from subscriptions order by id')).map(
    (r) => r.text_sessions_remaining,
  );
const blocks = (db: TestDatabase) =>
  db.query(
    'select session_id::text, block::integer, subscription_id::integer, due_at from text_session_deductions order by 1, 2',
  );
const paidBy = async (db: TestDatabase) => (await blocks(db)).map((row) => row.subscription_id);
const counters = async (db: TestDatabase) =>
  (await db.query('select auto_deductions_processed as n from text_sessions order by id')).map(({ n }) => n);

test('a session costs one credit per full 10 minutes, counted from its activation', async () => {
  await using db = await database();
  await credits(db, 12);
  await session(db);
  for (const [minutes, processed] of [
    [9.99, 0],
    [10, 1],
    [10.5, 1],
    [19.99, 1],
    [35, 3],
  ] as const) {
    await db.tick(at(minutes), { only });
    const row = await db.one('select * from text_sessions');
    assert.equal(row.auto_deductions_processed, processed, `after ${minutes} minutes`);
    assert.equal(row.sessions_used, processed);
  }
  assert.deepEqual(await left(db), [9]);
  assert.deepEqual(
    (await blocks(db)).map((row) => [row.block, row.due_at.toISOString()]),
    [
      [1, at(10)],
      [2, at(20)],
      [3, at(30)],
    ],
  );
});

test('a NULL counter is zero, and so are NULL credits', async () => {
  await using db = await database();
  await db.query('alter table subscriptions alter column text_sessions_remaining drop not null');
  await credits(db, null);
  await credits(db, 5);
  await session(db, { auto_deductions_processed: null });
  await db.tick(at(25), { only });
  assert.equal((await db.one('select * from text_sessions')).auto_deductions_processed, 2);
  assert.deepEqual(await left(db), [null, 3]);
});

test('blocks that the application has charged before are not charged again', async () => {
  await using db = await database();
  await credits(db, 5);
  await session(db, { auto_deductions_processed: 2, sessions_used: 2 });
  await db.tick(at(35), { only });
  assert.equal((await db.one('select * from text_sessions')).sessions_used, 3);
  assert.deepEqual(await left(db), [4]);
});

test('the oldest active, unexpired subscription with credits pays first, then the next', async () => {
  await using db = await database();
  await credits(db, 9, { activated_at: '2025-01-01T00:00:00Z', is_active: false });
  await credits(db, 9, { activated_at: '2025-01-02T00:00:00Z', expires_at: at(0) });
  await credits(db, 4, { activated_at: '2026-02-03T00:00:00Z' });
  await credits(db, 1, { activated_at: '2026-02-01T00:00:00Z', expires_at: '2027-01-01T00:00:00Z' });
  await credits(db, 1, { activated_at: '2026-02-02T00:00:00Z' });
  await credits(db, 9, { user_id: 2 });
  await session(db);
  await db.tick(at(45), { only });
  assert.deepEqual(await left(db), [9, 9, 2, 0, 0, 9]);
  assert.deepEqual(await paidBy(db), [4, 5, 3, 3]);
});

test('a credit that expires during an outage pays the blocks that were due before, and no other', async () => {
  await using db = await database();
  await credits(db, 9, { activated_at: '2025-01-01T00:00:00Z', expires_at: at(20) });
  await credits(db, 2);
  await session(db);
  await db.tick(at(300), { only });
  // 20 minutes is the end of the first: half-open.
  assert.deepEqual(await paidBy(db), [1, 2, 2]);
  assert.deepEqual(await left(db), [8, 0]);
  assert.equal((await db.one('select * from text_sessions')).ended_at.toISOString(), at(30));
});

test('credits never go below zero: what cannot be paid ends the session after its last paid block, however late', async () => {
  await using db = await database();
  await credits(db, 3);
  await session(db);
  await db.tick(at(10_000), { only });
  const row = await db.one('select * from text_sessions');
  assert.deepEqual(
    [row.status, row.reason, row.auto_deductions_processed, row.ended_at.toISOString()],
    ['ended', 'insufficient_sessions', 3, at(30)],
  );
  assert.deepEqual(await left(db), [0]);
  assert.deepEqual(
    (await db.events()).map((event) => [event.type, event.due_at.toISOString()]),
    [
      ['text_session.deducted', at(10)],
      ['text_session.ended', at(30)],
    ],
  );
});

test('a credit or a rate that is no number is a failure of its sessions, and the others are charged', async () => {
  await using db = await database();
  await db.query(`alter table subscriptions alter text_sessions_remaining type double precision;
    alter table doctor_wallets alter session_rate type double precision`);
  for (const [n, remaining] of ['NaN', 'Infinity', '5', '5'].entries()) {
    await db.insert('subscriptions', { user_id: n, text_sessions_remaining: remaining, activated_at: at(-60) });
    await session(db, { patient_id: n, doctor_id: n });
    await db.insert('doctor_wallets', { doctor_id: n, session_rate: n === 2 ? 'NaN' : 2 });
  }
  const [pass] = (await db.tick(at(15), { only })).jobs;
  assert.deepEqual([pass!.error, pass!.changed], [undefined, { deduct: 1 }]);
  assert.deepEqual(pass!.failures.map(({ id, error }) => `${id}: ${error}`).sort(), [
    '1: the credit of its patient is NaN, which is no number',
    '2: the credit of its patient is Infinity, which is no number',
    '3: the rate of its doctor is NaN, which is no number',
  ]);
  assert.deepEqual(await db.query('select doctor_id::integer as id, balance from doctor_wallets where balance <> 0'), [
    { id: 3, balance: '2' },
  ]);
});

test('the block that takes the last credit ends the session in the same transaction', async () => {
  await using db = await database();
  await credits(db, 1);
  await session(db);
  await db.tick(at(10), { only });
  const row = await db.one('select *, xmin::text from text_sessions');
  assert.deepEqual([row.status, row.reason, row.ended_at.toISOString()], ['ended', 'insufficient_sessions', at(10)]);
  assert.equal((await db.one('select xmin::text from text_session_deductions')).xmin, row.xmin);
  assert.equal((await db.one('select xmin::text from subscriptions')).xmin, row.xmin);
});

test('a session without any credit ends at its activation when its first block comes due', async () => {
  await using db = await database();
  await session(db);
  await db.tick(at(9), { only });
  assert.equal((await db.one('select * from text_sessions')).status, 'active');
  await db.tick(at(10), { only });
  const row = await db.one('select * from text_sessions');
  assert.deepEqual([row.status, row.ended_at.toISOString(), row.sessions_used], ['ended', at(0), 0]);
  assert.deepEqual(
    (await db.events()).map((event) => event.type),
    ['text_session.ended'],
  );
});

test('two sessions of one patient draw on the same credits in the order in which their blocks come due', async () => {
  await using db = await database();
  await credits(db, 3);
  await session(db, { activated_at: at(5) });
  await session(db, { activated_at: at(0) });
  await db.tick(at(600), { only });
  // 10: second, 15: first, 20: second, and nothing is left for 25.
  const rows = await db.query('select * from text_sessions order by id');
  assert.deepEqual(
    rows.map((row) => [row.auto_deductions_processed, row.status, row.ended_at.toISOString()]),
    [
      [1, 'ended', at(15)],
      [2, 'ended', at(20)],
    ],
  );
});

test('a patient is settled as a whole, also when a batch ends among the sessions', async () => {
  await using db = await database();
  await credits(db, 3);
  await session(db, { activated_at: at(5) });
  await session(db, { activated_at: at(0) });
  await db.tick(at(600), { only, batchSize: 1 });
  assert.deepEqual(await counters(db), [1, 2]);
});

test("the doctor's wallet goes up by the rate for each block, with a row for each", async () => {
  await using db = await database();
  await db.insert('doctor_wallets', { doctor_id: 7, balance: '100.10', total_earned: '500', session_rate: '0.10' });
  await credits(db, 9);
  await credits(db, 9, { user_id: 2 });
  await session(db);
  await session(db, { patient_id: 2 });
  await db.tick(at(35), { only, env: { SCHEDULER_SESSION_RATE: '99' } });
  const wallet = await db.one('select * from doctor_wallets');
  assert.deepEqual([wallet.balance, wallet.total_earned], ['100.70', '500.60']);
  const rows = await db.query('select * from wallet_transactions order by session_id, (metadata->>$1)::int', ['block']);
  assert.equal(rows.length, 6);
  assert.deepEqual(
    rows
      .map((row) => [row.doctor_id, row.type, row.amount, row.session_type, row.session_table, row.session_id])
      .at(-1),
    ['7', 'credit', '0.10', 'text', 'text_sessions', '2'],
  );
});

test('a wallet without a rate uses SCHEDULER_SESSION_RATE, and a doctor without a wallet gets one', async () => {
  await using db = await database();
  await db.insert('doctor_wallets', { doctor_id: 7 });
  await credits(db, 9);
  await session(db);
  await session(db, { doctor_id: 8 });
  await db.tick(at(25), { only, env: { SCHEDULER_SESSION_RATE: '12.345' } });
  const wallets = await db.query(
    'select doctor_id, balance, total_earned, session_rate from doctor_wallets order by 1',
  );
  const earned = { balance: '24.690', total_earned: '24.690', session_rate: null };
  assert.deepEqual(wallets, [
    { doctor_id: '7', ...earned },
    { doctor_id: '8', ...earned },
  ]);
});

test('without any rate nothing is earned, and no row says so', async () => {
  await using db = await database();
  await credits(db, 9);
  await session(db);
  await db.tick(at(25), { only });
  assert.equal((await blocks(db)).length, 2);
  assert.equal((await db.query('select * from wallet_transactions')).length, 0);
  assert.equal((await db.query('select * from doctor_wallets')).length, 0);
});

test('a session that a person has ended is left alone', async () => {
  await using db = await database();
  await credits(db, 9);
  const before = await session(db, {
    status: 'ended',
    ended_at: at(12),
    reason: 'doctor_left',
    auto_deductions_processed: 1,
  });
  await db.tick(at(100));
  assert.deepEqual(await db.one('select * from text_sessions'), before);
  assert.deepEqual(await left(db), [9]);
});

test('a session that a person is ending at this moment is left alone, and no failure is recorded', async () => {
  await using db = await database();
  await credits(db, 9);
  await session(db);
  await using person = await application(db);
  await person.query(`begin; update text_sessions set status = 'ended', reason = 'by_patient'`);
  const tick = db.tick(at(25), { only });
  await new Promise((resolve) => setTimeout(resolve, 200));
  await person.query('commit');
  assert.equal((await tick).exitCode, 0);
  await db.tick(at(26), { only });
  assert.deepEqual([(await db.one('select * from text_sessions')).reason, await left(db)], ['by_patient', [9]]);
  assert.equal((await db.query('select * from scheduler.failures')).length, 0);
});

test('a credit that is being sold at this moment is waited for', async () => {
  await using db = await database();
  await credits(db, 0);
  await session(db);
  await using shop = await application(db);
  await shop.query('begin; update subscriptions set text_sessions_remaining = text_sessions_remaining + 5');
  const tick = db.tick(at(25), { only });
  await new Promise((resolve) => setTimeout(resolve, 300));
  await shop.query('commit');
  await tick;
  assert.deepEqual(await left(db), [3]);
  assert.equal((await db.one('select * from text_sessions')).status, 'active');
});

test('a message that the application is writing into a session does not hold its deduction back', async () => {
  await using db = await database();
  await db.query('create table messages (session_id bigint references text_sessions)');
  await credits(db, 9);
  await session(db);
  await using chat = await application(db);
  await chat.query('begin; insert into messages values (1)');
  await db.tick(at(25), { only });
  assert.deepEqual(await left(db), [7]);
  await chat.query('commit');
});

test('a session that cannot be changed harms no other, not even one of the same patient', async () => {
  await using db = await database();
  await db.query(`create function refuse() returns trigger language plpgsql as $$ begin
    if new.doctor_id = 13 then raise 'not this doctor'; end if; return new; end $$`);
  await db.query('create trigger refuse before update on text_sessions for each row execute function refuse()');
  await credits(db, 9);
  await session(db, { doctor_id: 13 });
  await session(db);
  await session(db, { auto_deductions_processed: -1 });
  await session(db, { activated_at: '-infinity' });
  const { exitCode } = await db.tick(at(25), { only });
  assert.equal(exitCode, 1);
  assert.deepEqual(await counters(db), [0, 2, -1, 0]);
  assert.deepEqual(await left(db), [7]);
  assert.deepEqual(
    (await db.query('select entity_id, error from scheduler.failures order by 1')).map((row) => [
      row.entity_id,
      row.error,
    ]),
    [
      ['1', 'not this doctor'],
      ['3', 'auto_deductions_processed is -1, less than nothing'],
      ['4', 'activated_at is -infinity, which is no time to count from'],
    ],
  );
});

test('a session forgotten for a year is charged to the end, batch by batch', async () => {
  await using db = await database();
  await credits(db, 40_000);
  await session(db);
  const days = 256;
  await db.tick(at(days * 1440), { only });
  assert.equal((await db.one('select * from text_sessions')).auto_deductions_processed, days * 144);
  assert.equal((await db.one('select count(*)::integer as n from text_session_deductions')).n, days * 144);
  assert.deepEqual(await left(db), [40_000 - days * 144]);
});

test('the event tells listeners and the log what was deducted', async () => {
  await using db = await database();
  await credits(db, 9);
  await session(db);
  await session(db, { patient_id: 2, activated_at: new Date(Date.now() + 1000).toISOString() });
  const { err } = await db.cli(['deductions', '--debug', '--at', at(25.5)]);
  const event = await db.one('select * from scheduler.events');
  assert.deepEqual(event.channels, ['private-text-sessions', 'user.1']);
  assert.deepEqual(event.data, {
    session_id: 1,
    patient_id: 1,
    doctor_id: 7,
    elapsed_minutes: 25,
    deductions_processed: 2,
    total_deductions: 2,
    credits_left: 7,
    timestamp: '2026-03-01T10:25:30Z',
  });
  const lines = err
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const about = (message: string) =>
    lines.filter((line) => line.msg.startsWith(message)).map(({ level, time, msg, ...rest }) => rest);
  assert.deepEqual(about('Scheduler auto-deduction processed'), [
    { session_id: 1, elapsed_minutes: 25, deductions_processed: 2, total_deductions: 2 },
  ]);
  assert.deepEqual(about('Text session has'), [{ session_id: '1', elapsed: 25, expected: 2, processed: 0, new: 2 }]);
  assert.deepEqual(about('Text session skipped'), [{ session_id: '2', elapsed: 0, expected: 0, processed: 0, new: 0 }]);
  assert.ok(
    lines.some((line) => line.msg.endsWith('1 processed, 1 skipped, 0 errors')),
    err,
  );
});

test('a clock that goes backwards and a dry run change nothing', async () => {
  await using db = await database();
  await credits(db, 9);
  const before = await session(db);
  await db.tick(at(-60), { only });
  await db.tick(at(60), { only, dryRun: true });
  assert.deepEqual(await db.one('select * from text_sessions'), before);
  assert.deepEqual([await left(db), await db.events()], [[9], []]);
});

test('finding nothing to deduct reads an index that holds active sessions alone', async () => {
  await using db = await database();
  await db.query(`insert into text_sessions (patient_id, doctor_id, status, activated_at)
    select n, 1, 'ended', '2026-01-01' from generate_series(1, 20000) as n`);
  const waiting = await db.one(`select pg_relation_size('text_sessions_to_deduct')::integer as bytes`);
  await db.query(`insert into text_sessions (patient_id, doctor_id, status, activated_at)
    select n, 1, 'active', now() + interval '1 minute' from generate_series(1, 2000) as n`);
  await db.query('analyze text_sessions');
  assert.ok(waiting.bytes <= 16_384, `${waiting.bytes}`);
  const plan =
    await db.query(`explain select from text_sessions s where s.status = 'active' and s.patient_id is not null
    and (s.sessions_remaining_before_start is null or coalesce(s.auto_deductions_processed, 0) < s.sessions_remaining_before_start)
    and scheduler.next_block_end(s.activated_at, s.auto_deductions_processed, s.sessions_remaining_before_start) <= now()`);
  assert.match(JSON.stringify(plan), /text_sessions_to_deduct/);
});

test('a session without a patient, which an adopted table may hold, is left alone, and explain says so', async () => {
  await using db = await database();
  await db.query('alter table text_sessions alter patient_id drop not null');
  const { id } = await session(db, { patient_id: null });
  const [pass] = (await db.tick(at(25), { only })).jobs;
  assert.deepEqual([pass!.changed, pass!.failed], [{}, 0]);
  const { out } = await db.cli(['explain', 'deductions', String(id)]);
  assert.match(out, /"it has a patient" is not met/);
});
