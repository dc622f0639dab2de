import { info, type Job, type Rule } from '../../job/define.ts';
import {
  ACTIVE,
  CHANNELS,
  done,
  endedData,
  failed,
  NEXT_BLOCK,
  SETTINGS,
  settling,
  TABLES,
  TIME_OVER,
} from './settle.ts';

const END_OVER_TIME = settling(
  { name: 'end', at: TIME_OVER, when: ACTIVE },
  { family: `${Object.values(ACTIVE).join(' and ')} and ${NEXT_BLOCK} <= :now::timestamptz`, timeEnds: true },
);

const DEADLINE = 'scheduler.at(s.doctor_response_deadline, :dbZone::text)';

const EXPIRE_UNANSWERED: Rule = {
  name: 'expire',
  row: 'text_sessions s',
  at: `scheduler.just_after(${DEADLINE})`,
  when: { 'the doctor has not answered': "s.status = 'waiting_for_doctor'" },
  carry: `${DEADLINE} as deadline`,
  change: `
    expired as (
      update text_sessions s
      set status = 'expired', ended_at = :now::timestamptz, reason = 'no_response', updated_at = :now::timestamptz
      from todo where s.id = todo.id and s.status = 'waiting_for_doctor'
      returning s.id, s.patient_id, s.sessions_used, todo.deadline
    ),
    outcome as (
      select 1 as step, 'expire' as transition, 'text_session.expired' as type, id::text as entity_id, deadline as due_at, ${CHANNELS},
        ${endedData("'no_response'", ':now::timestamptz')}
      from expired
    )`,
};

export const job: Job = {
  name: 'session-endings',
  summary: 'end text sessions whose time is over, and those that no doctor answered',
  everyMinutes: 1,
  order: 50,
  tables: TABLES,
  adopt: 'adopt_text_sessions',
  settings: SETTINGS,
  rules: [END_OVER_TIME, EXPIRE_UNANSWERED],
  lines: {
    started: info('Text session endings started'),
    done,
    failed,
    finished: ({ deduct = 0, end = 0, expire = 0 }, _, errors) => [
      info(`Text session endings completed: ${end} ended, ${expire} expired, ${deduct} charged, ${errors} errors`),
    ],
  },
};
