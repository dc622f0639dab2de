import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../harness.ts';

test('try', async () => {
  await using db = await database();
  await db.insert('subscriptions', { user_id: 1, text_sessions_remaining: 1, activated_at: '2026-01-01T00:00:00Z' });
  await db.insert('subscriptions', { user_id: 1, text_sessions_remaining: 5, activated_at: '2026-01-02T00:00:00Z' });
  await db.insert('text_sessions', {
    patient_id: 1,
    doctor_id: 7,
    status: 'active',
    activated_at: '2026-03-01T10:00:00Z',
    auto_deductions_processed: null,
  });
  const r = await db.tick('2026-03-01T10:25:30Z', { env: { SCHEDULER_SESSION_RATE: '2.50' } });
  console.log(JSON.stringify(r));
  for (const t of [
    'text_sessions',
    'subscriptions',
    'doctor_wallets',
    'wallet_transactions',
    'text_session_deductions',
    'scheduler.events',
  ])
    console.log(t, JSON.stringify(await db.query(`select * from ${t}`)));
  assert.ok(r);
});
