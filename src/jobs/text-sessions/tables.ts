import {
  CREATED,
  flag,
  idOf,
  instant,
  json,
  kept,
  key,
  like,
  money,
  small,
  starting,
  text,
  whole,
} from '../../job/columns.ts';
import type { Table } from '../../job/define.ts';

const createdAt = { ...CREATED, newTableOnly: true };
const patient = like('text_sessions', 'patient_id', { notNull: true });
const doctor = like('text_sessions', 'doctor_id', { notNull: true });

export const TEXT_SESSIONS: Table = {
  name: 'text_sessions',
  recognisedBy: ['activated_at', 'auto_deductions_processed', 'patient_id', 'doctor_id'],
  columns: {
    id: key(),
    patient_id: idOf(whole({ notNull: true })),
    doctor_id: idOf(whole({ notNull: true })),
    status: {
      ...starting(text, "'waiting_for_doctor'"),
      words: ['waiting_for_doctor', 'active', 'ended', 'expired'],
      writes: ['ended', 'expired'],
    },
    started_at: CREATED,
    activated_at: instant(),
    ended_at: instant(),
    last_activity_at: instant(),
    sessions_used: starting(small, '0'),
    sessions_remaining_before_start: small(),
    auto_deductions_processed: kept(small, 'How many times ten minutes were charged', { default: '0' }),
    doctor_response_deadline: instant(),
    reason: text({ writes: ['time_expired', 'insufficient_sessions', 'no_response'] }),
    created_at: createdAt,
    updated_at: CREATED,
  },
  needs: [
    ...['id', 'patient_id', 'doctor_id', 'status', 'activated_at', 'ended_at', 'sessions_used', 'reason', 'updated_at'],
    ...['sessions_remaining_before_start', 'auto_deductions_processed', 'doctor_response_deadline'],
  ],
  indexes: { of_patient: "(patient_id, id) where status = 'active'" },
};

/** A patient's credits. */
const SUBSCRIPTIONS: Table = {
  name: 'subscriptions',
  recognisedBy: ['user_id', 'text_sessions_remaining'],
  columns: {
    id: key(),
    user_id: patient,
    text_sessions_remaining: small({ notNull: true, default: '0', check: 'text_sessions_remaining >= 0' }),
    is_active: starting(flag, 'true'),
    activated_at: instant({ default: 'now()' }),
    expires_at: instant(),
    created_at: createdAt,
  },
  indexes: { of_patient: '(user_id) where is_active' },
};

// Money is numeric without a scale: a rate of 0.125 is not rounded on its way into a wallet.
const asBalance = { like: { table: 'doctor_wallets', column: 'balance' } };

const DOCTOR_WALLETS: Table = {
  name: 'doctor_wallets',
  recognisedBy: ['doctor_id', 'balance'],
  columns: {
    id: key(),
    doctor_id: { ...doctor, unique: true },
    balance: money({ notNull: true, default: '0' }),
    total_earned: { ...starting(money, '0'), ...asBalance },
    session_rate: money({ check: 'session_rate >= 0', ...asBalance }),
    currency: text(),
    created_at: createdAt,
    updated_at: createdAt,
  },
  needs: ['doctor_id', 'balance', 'total_earned', 'session_rate'],
  // A wallet is opened for a doctor who has none. Two of them would both be paid.
  unique: ['doctor_id'],
};

const WALLET_TRANSACTIONS: Table = {
  name: 'wallet_transactions',
  recognisedBy: ['doctor_id', 'amount'],
  columns: {
    id: key(),
    doctor_id: doctor,
    type: text({ notNull: true, words: ['credit'] }),
    amount: money({ notNull: true }),
    description: text(),
    session_type: text({ writes: ['text'] }),
    session_id: like('text_sessions'),
    session_table: text({ writes: ['text_sessions'] }),
    status: text({ writes: ['completed'] }),
    metadata: json(),
    created_at: createdAt,
  },
  needs: [
    ...['doctor_id', 'type', 'amount', 'description', 'session_type', 'session_id', 'session_table'],
    ...['status', 'metadata'],
  ],
};

/** Which credit paid for which ten minutes. It lies beside the sessions, because it is the application's business. */
const DEDUCTIONS: Table = {
  name: 'text_session_deductions',
  ours: true,
  recognisedBy: ['session_id', 'block', 'subscription_id', 'due_at'],
  columns: {
    session_id: like('text_sessions', 'id', { notNull: true }),
    block: whole({ notNull: true }),
    subscription_id: like('subscriptions', 'id', {
      comment: 'The subscription whose credit it was; null for blocks that were charged before this table existed.',
    }),
    due_at: instant({ notNull: true }),
  },
  primaryKey: ['session_id', 'block'],
  comment: 'One row per block of 10 minutes that was paid; no row is ever changed.',
  // From its first day on, a session's rows and its counter say the same.
  begin: (t) => `
    ${t.text_session_deductions.insert(() => ({
      values: { session_id: 's.id', block: 'block', due_at: 'scheduler.block_end(s.activated_at, block)' },
      from: `from ${t.text_sessions} s cross join generate_series(1, least(s.auto_deductions_processed, 10000)) as block
        where s.auto_deductions_processed > 0 and s.activated_at is not null`,
    }))}`,
};

export const TABLES: Record<string, Table> = Object.fromEntries(
  [SUBSCRIPTIONS, DOCTOR_WALLETS, WALLET_TRANSACTIONS, DEDUCTIONS].map((table) => [table.name, table]),
);
