import { defineJob, info, type Rule } from '../../job/define.ts';
import { ACTIVE, LOG, SETTINGS, settling, TIME_OVER } from './settle.ts';
import { TABLES, TEXT_SESSIONS } from './tables.ts';

/** Charges pending blocks first, if "deductions" has not done so yet. */
const end = settling(TIME_OVER, ACTIVE, true);

const expire: Rule = {
  // At the deadline itself the doctor may still answer.
  due: 'scheduler.just_after(doctor_response_deadline)',
  where: { 'the doctor has not answered': "status = 'waiting_for_doctor'" },
  set: { status: "'expired'", ended_at: 'now', reason: "'no_response'", updated_at: 'now' },
  event: {
    type: 'text_session.expired',
    due: 'doctor_response_deadline',
    channels: ['private-text-sessions', 'user.{patient_id}'],
    data: {
      ...{ session_id: 'id', reason: "'no_response'", ended_at: 'now' },
      ...{ sessions_used: 'coalesce(sessions_used, 0)', timestamp: 'now' },
    },
  },
};

export const job = defineJob({
  name: 'session-endings',
  summary: 'end text sessions whose time is over, and those that no doctor answered',
  everyMinutes: 1,
  order: 50,
  table: TEXT_SESSIONS,
  tables: TABLES,
  settings: SETTINGS,
  rules: { end, expire },
  log: {
    started: info('Text session endings started'),
    ...LOG,
    finished: ({ deduct = 0, end = 0, expire = 0 }, _, errors) => [
      info(`Text session endings completed: ${end} ended, ${expire} expired, ${deduct} charged, ${errors} errors`),
    ],
  },
});
