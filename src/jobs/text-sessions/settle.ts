import {
  type Conditions,
  decimal,
  failure,
  info,
  type Lines,
  NO_NUMBER,
  type Row,
  type Rule,
  STAMP,
  type Tables,
} from '../../job/define.ts';
import { NOW, quoteName } from '../../job/expressions.ts';

// Both jobs charge with this one statement, so that their order, the number of runners and late ticks do not matter.
// Locks come in one order: the patient, then sessions, credits and wallets, each by id. All is computed under them.

/** When a session's next block is full or its time is over, whichever comes first. */
export const NEXT_BLOCK =
  'scheduler.next_block_end(activated_at, auto_deductions_processed, sessions_remaining_before_start)';
export const TIME_OVER = 'scheduler.block_end(activated_at, sessions_remaining_before_start)';

export const ACTIVE = {
  'it is active': "status = 'active'",
  // Nobody's credit could pay for it.
  'it has a patient': 'patient_id is not null',
};

const PROCESSED = 'coalesce(auto_deductions_processed, 0)';
const ALLOWED =
  'case when sessions_remaining_before_start is not null then greatest(sessions_remaining_before_start, 0) end';
const EXPECTED = `least(scheduler.full_blocks(activated_at, now), ${ALLOWED})`;
const NEW = `greatest(${EXPECTED} - ${PROCESSED}, 0)`;

export const TIME_FOR_ANOTHER = {
  'its time allows another block': `(sessions_remaining_before_start is null or ${PROCESSED} < sessions_remaining_before_start)`,
};

/** The patient has no credit for the block that comes due at due_at. The statement below looks for one in the same way. */
export const NO_CREDIT = (t: Tables) => `patient_id is not null and not exists (
  select from ${t.subscriptions} u
  where u.user_id = patient_id and u.is_active and u.text_sessions_remaining > 0 and coalesce(u.expires_at, 'infinity') > due_at
)`;

/** The rule that settles patients. A patient's other sessions whose next block is due go along with those that are due. */
export const settling = (due: string, where: Conditions, timeEnds: boolean): Rule => ({
  due,
  where,
  fails: {
    'activated_at is {activated_at}, which is no time to count from': 'not isfinite(activated_at)',
    'auto_deductions_processed is {auto_deductions_processed}, less than nothing': 'auto_deductions_processed < 0',
  },
  together: {
    key: 'patient_id',
    lock: lockPatients,
    family: [...Object.values(where), `${NEXT_BLOCK} <= now`].join(' and '),
  },
  carry: {
    patient_id: 'patient_id',
    doctor_id: 'doctor_id',
    activated: 'activated_at',
    processed: `${PROCESSED}::bigint`,
    allowed: ALLOWED,
    time_over: TIME_OVER,
    new: NEW,
  },
  change: (t) => [draw(t), count(t, timeEnds), pay(t), TOLD].join(',\n'),
});

/**
 * A patient's first active session stands for the patient. It is looked up for each patient: the planner would rather read
 * everybody's for each batch. The lock lets the application refer to the session, from a new message for instance.
 */
const lockPatients = (t: Tables) => `
  select s.patient_id as key
  from (select distinct key from due) as patient
  cross join lateral (
    select f.id from ${t.text_sessions} f where f.status = 'active' and f.patient_id = patient.key order by f.id limit 1
  ) as first
  join ${t.text_sessions} s on s.id = first.id and s.status = 'active'
  for no key update of s skip locked`;

// A week. Without it, a session that was forgotten for years under a flat rate would fill a batch by itself. The rest comes
// with the next batch.
const BLOCKS_AT_ONCE = 1008;

/** The row fails where a number is none: one NaN, and a balance would be nothing else for ever. */
const finite = (number: string, what: string, value: string) => `case
        when ${number}::text in (${NO_NUMBER}) then scheduler.refuse(format('${what} is %s, which is no number', ${number}))::bigint
        else ${value} end`;

/**
 * A patient's due blocks go in the order of time. The oldest credit that had not expired when a block came due pays for it.
 * Empty credits are locked too, so that a sale in progress is waited for.
 */
const draw = (t: Tables) => `
    purse as materialized (
      select u.id, u.user_id, ${finite('u.text_sessions_remaining', 'the credit of its patient', 'greatest(u.text_sessions_remaining, 0)::bigint')} as credits,
        u.activated_at as since, coalesce(u.expires_at, 'infinity') as expires
      from ${t.subscriptions} u
      where u.is_active and u.user_id in (select patient_id from todo)
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
    )`;

/** The sessions' counters, and the end of those whose credit has run out, or whose time is over. */
const count = (t: Tables, timeEnds: boolean) => `
    -- The credits left right after the patient's last paid block, and those left now.
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
    changed as materialized (${t.text_sessions.update((it: Row) => ({
      set: {
        auto_deductions_processed: 'e.total',
        sessions_used: `coalesce(${it.sessions_used}, 0) + e.paid`,
        status: `case when e.why is null then ${it.status} else 'ended' end`,
        ended_at: `case when e.why is null then ${it.ended_at} else e.ends end`,
        reason: `coalesce(e.why, ${it.reason})`,
        updated_at: NOW,
      },
      from: 'ending e',
      // A comparison is estimated to hold for one row in 200; a case is not, and what follows is planned for a full batch.
      where: `${it.id} = e.id and ${it.status} = 'active'
        and case when coalesce(${it.auto_deductions_processed}, 0) = e.processed then e.paid > 0 or e.why is not null end`,
      returning: `${it.id} as id, ${it.patient_id} as patient_id, ${it.doctor_id} as doctor_id, ${it.sessions_used} as sessions_used,
        e.due_at, e.activated, e.paid, e.total, e.credits_left, e.why, e.ends`,
    }))})`;

const paidIn = (it: Row, amount: (column: string) => string) => ({
  balance: `coalesce(${it.balance}, 0) + ${amount('balance')}`,
  total_earned: `coalesce(${it.total_earned}, 0) + ${amount('total_earned')}`,
});

/** The ledger, the credits, and the doctors' earnings. The ledger's key is the last guard against paying twice. */
const pay = (t: Tables) => `
    ledger as (${t.text_session_deductions.insert((it: Row) => ({
      values: { session_id: 'c.session_id', block: 'c.block', subscription_id: 'c.subscription_id', due_at: 'c.due' },
      from: 'from charged c join changed on changed.id = c.session_id',
      returning: `${it.session_id} as session_id, ${it.block} as block, ${it.subscription_id} as subscription_id`,
    }))}),
    spent as (${t.subscriptions.update((it: Row) => ({
      set: { text_sessions_remaining: `${it.text_sessions_remaining} - used.credits` },
      from: '(select subscription_id, count(*) as credits from ledger group by subscription_id) as used',
      where: `${it.id} = used.subscription_id`,
    }))}),
    wallets as materialized (
      select w.doctor_id, ${finite('w.session_rate', 'the rate of its doctor', 'coalesce(w.session_rate, :sessionRate::numeric)')} as rate
      from ${t.doctor_wallets} w
      where w.doctor_id in (select doctor_id from changed where paid > 0)
      order by w.doctor_id
      for no key update of w
    ),
    earned as (${t.wallet_transactions.insert((it: Row) => ({
      values: {
        ...{ doctor_id: 'c.doctor_id', type: "'credit'", amount: 'coalesce(w.rate, :sessionRate::numeric)' },
        description: "format('Text session %s, block %s of 10 minutes', c.id, l.block)",
        ...{ session_type: "'text'", session_id: 'c.id', session_table: "'text_sessions'", status: "'completed'" },
        metadata: "jsonb_build_object('block', l.block, 'subscription_id', l.subscription_id)",
      },
      from: `from ledger l
        join changed c on c.id = l.session_id
        left join wallets w on w.doctor_id = c.doctor_id
        where coalesce(w.rate, :sessionRate::numeric) > 0 and c.doctor_id is not null`,
      returning: `${it.doctor_id} as doctor_id, ${it.amount} as amount`,
    }))}),
    earnings as materialized (select doctor_id, sum(amount) as amount from earned group by doctor_id order by doctor_id),
    paid_in as (${t.doctor_wallets.update((it: Row) => ({
      set: paidIn(it, () => 'e.amount'),
      from: 'earnings e',
      where: `${it.doctor_id} = e.doctor_id`,
    }))}),
    -- A doctor whose wallet nobody has opened yet has earned it all the same.
    opened as (${t.doctor_wallets.insert((it: Row) => ({
      values: { doctor_id: 'e.doctor_id', balance: 'e.amount', total_earned: 'e.amount' },
      from: 'from earnings e where e.doctor_id not in (select doctor_id from wallets) order by e.doctor_id',
      onConflict: {
        column: 'doctor_id',
        set: paidIn(it, (column) => `excluded.${quoteName(t.doctor_wallets.name(column))}`),
      },
    }))})`;

const CHANNELS = "array['private-text-sessions', 'user.' || patient_id] as channels";

const TOLD = `
    outcome as (
      select 1 as step, 'deduct' as transition, 'text_session.deducted' as type, ${CHANNELS}, id::text as entity_id, due_at,
        jsonb_build_object(
          'session_id', id, 'patient_id', patient_id, 'doctor_id', doctor_id,
          'elapsed_minutes', floor(extract(epoch from least(:now::timestamptz, ends) - activated) / 60),
          'deductions_processed', paid, 'total_deductions', total, 'credits_left', credits_left,
          'timestamp', ${STAMP}
        ) as data
      from changed where paid > 0
      union all
      select 2, 'end', 'text_session.ended', ${CHANNELS}, id::text, ends,
        jsonb_build_object(
          'session_id', id, 'reason', why, 'ended_at', scheduler.iso(ends), 'sessions_used', coalesce(sessions_used, 0),
          'timestamp', ${STAMP}
        )
      from changed where why is not null
    )`;

/** All active sessions, due or not, in the words of the log. */
export const survey = (t: Tables) => `
  select s.id::text as session_id, floor(extract(epoch from greatest(now - activated_at, '0')) / 60)::double precision as elapsed,
    (${EXPECTED})::double precision as expected, ${PROCESSED}::double precision as processed, (${NEW})::double precision as new
  from ${t.text_sessions} s cross join (values (:now::timestamptz)) as run (now)
  where status = 'active' and isfinite(activated_at)
  order by ${NEXT_BLOCK}, s.id`;

export const SETTINGS = { sessionRate: decimal('SCHEDULER_SESSION_RATE', '0') };

/** How both jobs tell what became of a session. */
export const LOG = {
  done: ({ transition, data }) => {
    const { session_id, reason, ended_at, sessions_used } = data;
    const { elapsed_minutes, deductions_processed, total_deductions } = data;
    const counts = { elapsed_minutes, deductions_processed, total_deductions };
    if (transition === 'deduct') return [info('Scheduler auto-deduction processed', { session_id, ...counts })];
    const ended = { session_id, reason, ended_at, sessions_used };
    return [info(`Text session ${transition === 'end' ? 'ended' : 'expired'}`, ended)];
  },
  failed: ({ id, rule, error }) => failure(`Failed to ${rule} text session`, { session_id: id, error }),
} satisfies Partial<Lines>;
