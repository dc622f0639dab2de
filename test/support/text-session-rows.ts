import type { TestDatabase } from './harness.ts';

/** An active session of patient 1 with doctor 7, and the patient's credits. */

const START = '2026-03-01T10:00:00Z';
export const at = (minutes: number) => new Date(Date.parse(START) + minutes * 60_000).toISOString();

export const session = (db: TestDatabase, over: object = {}) =>
  db.insert('text_sessions', { patient_id: 1, doctor_id: 7, status: 'active', activated_at: START, ...over });

const CREDITS = { user_id: 1, activated_at: '2026-01-01T00:00:00Z' };
export const credits = (db: TestDatabase, remaining: number | null, over: object = {}) =>
  db.insert('subscriptions', { ...CREDITS, text_sessions_remaining: remaining, ...over });
