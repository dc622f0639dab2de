import { decimal, failure, info, type Line, type Outcome, type Rule, STAMP, type Variable } from '../../job/define.ts';

/**
 * What the jobs "deductions" and "session-endings" have in common: one statement, SETTLE, which alone charges sessions.
 *
 * A patient's sessions draw on the same credits, so they are settled together: their due blocks are put in the order of
 * time and paid oldest credit first, each only by a credit that had not expired when the block came due. That order does
 * not depend on who settles or when, so any order of the two jobs, any number of runners at the same time, and one late
 * tick instead of many lead to the same state:
 *  - "deductions" settles the patients with a due block, and ends a session whose credit has run out;
 *  - "session-endings" settles those with a session whose time is over, in the same statement that ends it. Pending blocks
 *    are so charged first, if the other job has not done it yet. A session that has used up its time and its credit with
 *    the same block ends for time: "deductions" leaves it alone.
 * What credit there is, is what the tick finds: one that is bought before the tick looks still pays.
 *
 * Exactly once: a runner holds the patient (the row of its first active session), then the sessions, credits and wallets
 * themselves, always in this order and by id; all it computes with is read under these locks. The key of
 * text_session_deductions is the last resort.
 */

const ACTIVATED = 'scheduler.at(s.activated_at, :dbZone::text)';

/** When a session's next block is full or its time is over, and when its time is over. */
export const NEXT_BLOCK = `scheduler.next_block_end(${ACTIVATED}, s.auto_deductions_processed, s.sessions_remaining_before_start)`;
export const TIME_OVER = `scheduler.block_end(${ACTIVATED}, s.sessions_remaining_before_start)`;

export const ACTIVE = {
  'it is active': "s.status = 'active'",
  // Nobody's credit could pay for one that an application's table holds without.
  'it has a patient': 's.patient_id is not null',
};
export const TIME_FOR_ANOTHER = {
  'its time allows another block':
    '(s.sessions_remaining_before_start is null or coalesce(s.auto_deductions_processed, 0) < s.sessions_remaining_before_start)',
};

const ALLOWED = `case when s.sessions_remaining_before_start is not null then greatest(s.sessions_remaining_before_start, 0) end`;
const EXPECTED = `least(scheduler.full_blocks(${ACTIVATED}, :now::timestamptz), ${ALLOWED})`;
const NEW = `greatest(${EXPECTED} - coalesce(s.auto_deductions_processed, 0), 0)`;

const UNCOUNTABLE = `case
  when not isfinite(${ACTIVATED}) then format('activated_at is %s, which is no time to count from', s.activated_at)
  when s.auto_deductions_processed < 0 then format('auto_deductions_processed is %s, less than nothing', s.auto_deductions_processed)
end`;

// Patient by patient: the planner would rather go through those of everybody for each batch.
const FIRST_OF_PATIENTS = `
  from (select distinct key from due) as patient
  cross join lateral (
    select f.id from text_sessions f where f.status = 'active' and f.patient_id = patient.key order by f.id limit 1
  ) as first
  join text_sessions s on s.id = first.id and s.status = 'active'`;

/** A row lock that lets the application go on referring to a session, from a new message for instance. */
const LOCK_PATIENTS = `select s.patient_id as key ${FIRST_OF_PATIENTS} for no key update of s skip locked`;

// A week. Without it, one session forgotten for years by a patient with a flat rate would fill a batch by itself; what is
// left comes with the next batch.
const BLOCKS_AT_ONCE = 1008;

export const CHANNELS = "array['private-text-sessions', 'user.' || patient_id] as channels";

/** Expects id, sessions_used and the instant of the end. */
export const endedData = (reason: string, at: string) => `
        jsonb_build_object(
          'session_id', id, 'reason', ${reason}, 'ended_at', scheduler.iso(${at}), 'sessions_used', coalesce(sessions_used, 0),
          'timestamp', ${STAMP}
        ) as data`;

/** Also the empty ones: a sale in progress is waited for. */
const purseOf = (rows: string) =>
  `from subscriptions u where u.is_active and u.user_id in (select patient_id from ${rows})`;

const settle = (timeEnds: boolean) => `
    purse as materialized (
      select u.id, u.user_id, greatest(u.text_sessions_remaining, 0)::bigint as credits,
        scheduler.at(u.activated_at, :dbZone::text) as since,
        coalesce(scheduler.at(u.expires_at, :dbZone::text), 'infinity') as expires
      ${purseOf('todo')}
      order by u.id
      for no key update of u
    ),
    wanted as materialized (
      select todo.*, least(todo.new, ${BLOCKS_AT_ONCE}) as owed,
        least(todo.new, ${BLOCKS_AT_ONCE}, coalesce(credit.total, 0)) as payable
      from todo
      left join (select user_id, sum(credits)::bigint as total from purse group by user_id) as credit
        on credit.user_id = todo.patient_id
    ),
    blocks as materialized (
      select w.id as session_id, w.patient_id, n as block, scheduler.block_end(w.activated, n) as due,
        row_number() over (partition by w.patient_id order by scheduler.block_end(w.activated, n), w.id) as place
      from wanted w cross join generate_series(w.processed + 1, w.processed + w.payable) as n
    ),
    reach as (
      select p.id, p.user_id, p.credits, p.since, p.expires,
        sum(case
          when p.expires > :now::timestamptz then w.payable
          when p.expires > w.activated then least(w.payable, greatest(0,
            ceil(extract(epoch from p.expires - w.activated) / 600)::bigint - 1 - w.processed))
          else 0
        end)::bigint as reach
      from purse p join wanted w on w.patient_id = p.user_id
      group by p.id, p.user_id, p.credits, p.since, p.expires
    ),
    drawn as materialized (
      select id, user_id, credits, expires, upto, lag(upto, 1, 0::bigint) over (partition by user_id order by since, id) as before
      from (
        select *, scheduler.drawn(credits, reach) over (partition by user_id order by since, id rows unbounded preceding) as upto
        from reach
      ) as oldest_first
    ),
    charged as materialized (
      select b.session_id, b.patient_id, b.block, b.due, b.place, d.id as subscription_id
      from blocks b join drawn d on d.user_id = b.patient_id and b.place > d.before and b.place <= d.upto
    ),
    -- What is left right after the patient's last paid block, and now.
    rest as (
      select d.user_id, last.place, sum(d.credits - (d.upto - d.before)) filter (where d.expires > last.due) as after_last,
        sum(d.credits - (d.upto - d.before)) filter (where d.expires > :now::timestamptz) as credits
      from drawn d
      left join (select patient_id, max(place) as place, max(due) as due from charged group by patient_id) as last
        on last.patient_id = d.user_id
      group by d.user_id, last.place
    ),
    settled as materialized (
      select w.*, coalesce(c.paid, 0) as paid, w.processed + coalesce(c.paid, 0) as total, coalesce(r.credits, 0) as credits_left,
        case
          when coalesce(c.paid, 0) < w.owed then 'insufficient_sessions'
          when w.processed + coalesce(c.paid, 0) >= w.allowed then ${timeEnds ? "case when w.time_over <= :now::timestamptz then 'time_expired' end" : 'null'}
          when c.last_place = r.place and coalesce(r.after_last, 0) = 0 then 'insufficient_sessions'
        end as why
      from wanted w
      left join (select session_id, count(*) as paid, max(place) as last_place from charged group by session_id) as c on c.session_id = w.id
      left join rest r on r.user_id = w.patient_id
    ),
    ending as (
      select *, case why
        when 'time_expired' then time_over
        when 'insufficient_sessions' then scheduler.block_end(activated, total) end as ends
      from settled
    ),
    changed as materialized (
      update text_sessions s
      set auto_deductions_processed = e.total, sessions_used = coalesce(s.sessions_used, 0) + e.paid,
        status = case when e.why is null then s.status else 'ended' end,
        ended_at = case when e.why is null then s.ended_at else e.ends end,
        reason = coalesce(e.why, s.reason), updated_at = :now::timestamptz
      from ending e
      where s.id = e.id and s.status = 'active'
        -- A comparison is estimated to hold for one row in 200; a case is not, and what follows is planned for a full batch.
        and case when coalesce(s.auto_deductions_processed, 0) = e.processed then e.paid > 0 or e.why is not null end
      returning s.id, s.patient_id, s.doctor_id, s.sessions_used, e.due_at, e.activated, e.paid, e.total, e.credits_left, e.why, e.ends
    ),
    ledger as (
      insert into text_session_deductions (session_id, block, subscription_id, due_at)
      select c.session_id, c.block, c.subscription_id, c.due
      from charged c join changed on changed.id = c.session_id
      returning session_id, block, subscription_id, due_at
    ),
    spent as (
      update subscriptions u set text_sessions_remaining = u.text_sessions_remaining - used.credits
      from (select subscription_id, count(*) as credits from ledger group by subscription_id) as used
      where u.id = used.subscription_id
    ),
    wallets as materialized (
      select w.doctor_id, coalesce(w.session_rate, :sessionRate::numeric) as rate
      from doctor_wallets w
      where w.doctor_id in (select doctor_id from changed where paid > 0)
      order by w.doctor_id
      for no key update of w
    ),
    earned as (
      insert into wallet_transactions
        (doctor_id, type, amount, description, session_type, session_id, session_table, status, metadata)
      select c.doctor_id, 'credit', coalesce(w.rate, :sessionRate::numeric), format('Text session %s, block %s of 10 minutes', c.id, l.block),
        'text', c.id, 'text_sessions', 'completed',
        jsonb_build_object('block', l.block, 'subscription_id', l.subscription_id)
      from ledger l
      join changed c on c.id = l.session_id
      left join wallets w on w.doctor_id = c.doctor_id
      where coalesce(w.rate, :sessionRate::numeric) > 0 and c.doctor_id is not null
      returning doctor_id, amount
    ),
    earnings as materialized (select doctor_id, sum(amount) as amount from earned group by doctor_id order by doctor_id),
    paid_in as (
      update doctor_wallets w
      set balance = coalesce(w.balance, 0) + e.amount, total_earned = coalesce(w.total_earned, 0) + e.amount
      from earnings e where w.doctor_id = e.doctor_id
    ),
    -- Earned is earned, also by a doctor whose wallet nobody has opened yet.
    opened as (
      insert into doctor_wallets as w (doctor_id, balance, total_earned)
      select e.doctor_id, e.amount, e.amount
      from earnings e
      where e.doctor_id not in (select doctor_id from wallets)
      order by e.doctor_id
      on conflict (doctor_id) do update set balance = coalesce(w.balance, 0) + excluded.balance,
        total_earned = coalesce(w.total_earned, 0) + excluded.total_earned
    ),
    outcome as (
      select 1 as step, 'deduct' as transition, 'text_session.deducted' as type, id::text as entity_id, due_at, ${CHANNELS},
        jsonb_build_object(
          'session_id', id, 'patient_id', patient_id, 'doctor_id', doctor_id,
          'elapsed_minutes', floor(extract(epoch from least(:now::timestamptz, ends) - activated) / 60),
          'deductions_processed', paid, 'total_deductions', total, 'credits_left', credits_left,
          'timestamp', ${STAMP}
        ) as data
      from changed where paid > 0
      union all
      select 2, 'end', 'text_session.ended', id::text, ends, ${CHANNELS}, ${endedData('why', 'ends')}
      from changed where why is not null
    )`;

/** The rule that settles patients. Along with the sessions that are due by it go the patient's others that meet `family`. */
export const settling = (
  rule: Pick<Rule, 'name' | 'at' | 'when'>,
  options: { family: string; timeEnds: boolean },
): Rule => ({
  ...rule,
  row: 'text_sessions s',
  wrong: UNCOUNTABLE,
  each: { key: 's.patient_id', lock: LOCK_PATIENTS, family: options.family },
  needs: {
    free: `select s.tableoid, s.id, s.xmax ${FIRST_OF_PATIENTS}`,
    awaited: `
      select u.tableoid, u.id::text, u.xmax ${purseOf('due')}
      union all
      select w.tableoid, w.doctor_id::text, w.xmax from doctor_wallets w where w.doctor_id in (select doctor_id from due)`,
  },
  carry: `s.patient_id, s.doctor_id, ${ACTIVATED} as activated, coalesce(s.auto_deductions_processed, 0)::bigint as processed,
    ${ALLOWED} as allowed, ${TIME_OVER} as time_over, ${NEW} as new`,
  change: settle(options.timeEnds),
});

/** All that run, due or not, in the words of the log. */
export const SURVEY = `
  select s.id::text as session_id, floor(extract(epoch from greatest(:now::timestamptz - ${ACTIVATED}, '0')) / 60)::double precision as elapsed,
    (${EXPECTED})::double precision as expected, coalesce(s.auto_deductions_processed, 0)::double precision as processed, (${NEW})::double precision as new
  from text_sessions s
  where s.status = 'active' and isfinite(${ACTIVATED})
  order by ${NEXT_BLOCK}, s.id`;

export const SETTINGS: Record<string, Variable<string>> = { sessionRate: decimal('SCHEDULER_SESSION_RATE', '0') };

export const TABLES = {
  text_sessions: [
    ...['id', 'patient_id', 'doctor_id', 'status', 'activated_at', 'ended_at', 'sessions_used', 'reason', 'updated_at'],
    ...['sessions_remaining_before_start', 'auto_deductions_processed', 'doctor_response_deadline'],
  ],
  subscriptions: ['id', 'user_id', 'text_sessions_remaining', 'is_active', 'activated_at', 'expires_at'],
  doctor_wallets: ['doctor_id', 'balance', 'total_earned', 'session_rate'],
  wallet_transactions: [
    ...[
      'doctor_id',
      'type',
      'amount',
      'description',
      'session_type',
      'session_id',
      'session_table',
      'status',
      'metadata',
    ],
  ],
  text_session_deductions: ['session_id', 'block', 'subscription_id', 'due_at'],
};

export function done({ transition, data }: Outcome): Line[] {
  const { session_id, reason, ended_at, sessions_used } = data;
  if (transition !== 'deduct')
    return [
      info(`Text session ${transition === 'end' ? 'ended' : 'expired'}`, {
        session_id,
        reason,
        ended_at,
        sessions_used,
      }),
    ];
  return [
    info('Scheduler auto-deduction processed', {
      session_id,
      elapsed_minutes: data.elapsed_minutes,
      deductions_processed: data.deductions_processed,
      total_deductions: data.total_deductions,
    }),
  ];
}

export const failed = (rule: string, id: string, error: string): Line =>
  failure(`Failed to ${rule} text session`, { session_id: id, error });
