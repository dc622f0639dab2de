import type { Sample } from './sample.ts';

export const textSessions: Sample = {
  title: 'A telehealth service: text sessions with a doctor',
  story: 'A session costs one credit per 10 minutes, and ends when its time or the credit runs out.',
  channel: 'private-text-sessions',
  fill: `
    with minute as materialized (select date_trunc('minute', :now::timestamptz) as minute),
    credits as (
      insert into subscriptions (user_id, text_sessions_remaining, is_active, activated_at)
      select user_id, credits, true, minute - interval '9 days' from minute
      cross join (values (1, 6), (2, 1), (3, 4)) as sample (user_id, credits)
    ),
    wallets as (
      insert into doctor_wallets (doctor_id, session_rate) values (70, 2.50)
    )
    insert into text_sessions (id, patient_id, doctor_id, status, activated_at, auto_deductions_processed,
      sessions_remaining_before_start, doctor_response_deadline)
    select id, patient, 70, status, minute + began::interval, 0, allowed, minute + deadline::interval from minute
    cross join (values
      (901, 1, 'active', '-23 minutes', 6, null),
      (902, 2, 'active', '-31 minutes', 4, null),
      (903, 3, 'active', '-42 minutes', 3, null),
      (904, 4, 'waiting_for_doctor', null, null, '-1 minute'),
      (905, 1, 'active', '-4 minutes', 6, null)
    ) as sample (id, patient, status, began, allowed, deadline)`,
  show: `
    select s.id::text as session, s.status, coalesce(s.auto_deductions_processed, 0)::text as "blocks paid",
      coalesce((select sum(text_sessions_remaining) from subscriptions where user_id = s.patient_id)::text, '') as "credits left",
      coalesce(to_char(s.ended_at, 'HH24:MI'), '') as ended,
      case s.id
        when 901 then '23 minutes so far'
        when 902 then '31 minutes, but one credit'
        when 903 then '42 minutes, and time for 30'
        when 904 then 'no doctor answered in time'
        when 905 then 'its first 10 minutes are not over'
      end as "what to know"
    from text_sessions s where s.id between 901 and 905 order by s.id`,
};
