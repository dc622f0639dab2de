import type { TestDatabase } from './harness.ts';

/** What must become of text sessions, one step at a time and as plainly as can be. Times are seconds since START. */

export const START = Date.parse('2026-03-01T10:00:00Z');
export const instant = (seconds: number) => new Date(START + seconds * 1000);
const BLOCK = 600;

export interface Credit {
  user: number;
  credits: number;
  since: number;
  expires: number | null;
  active: boolean;
}

export interface Session {
  patient: number;
  doctor: number;
  activated: number;
  counter: number | null;
  allowed: number | null;
}

export interface World {
  credits: Credit[];
  sessions: Session[];
  /** By doctor: a rate, null for a wallet without one, undefined for no wallet. */
  rates: (number | null | undefined)[];
}

export const RATE = 7;

/** Ticks every minute up to `until`, the last one at `until`. */
export function everyMinute(world: World, until: number) {
  const credits = world.credits.map((credit) => ({ ...credit, left: credit.credits }));
  const sessions = world.sessions.map((session, index) => ({
    ...session,
    index,
    paid: session.counter ?? 0,
    end: null as { at: number; reason: string } | null,
  }));
  const oldestFirst = [...credits].sort((a, b) => a.since - b.since || credits.indexOf(a) - credits.indexOf(b));
  const usable = (user: number, at: number) =>
    oldestFirst.find((c) => c.user === user && c.active && c.left > 0 && (c.expires === null || c.expires > at));
  const next = (s: (typeof sessions)[number]) => s.activated + BLOCK * Math.min(s.paid + 1, s.allowed ?? Infinity);

  const tick = (now: number) => {
    for (;;) {
      const due = sessions
        .filter((s) => !s.end && next(s) <= now)
        .sort((a, b) => next(a) - next(b) || a.index - b.index);
      const session = due[0];
      if (!session) return;
      const at = next(session);
      if (session.allowed !== null && session.paid >= session.allowed) {
        session.end = { at, reason: 'time_expired' };
        continue;
      }
      const credit = usable(session.patient, at);
      if (!credit) {
        session.end = { at: session.activated + BLOCK * session.paid, reason: 'insufficient_sessions' };
        continue;
      }
      credit.left--;
      session.paid++;
      if (session.allowed !== null && session.paid >= session.allowed) session.end = { at, reason: 'time_expired' };
      else if (!usable(session.patient, at)) session.end = { at, reason: 'insufficient_sessions' };
    }
  };
  for (let now = 0; now < until; now += 60) tick(now);
  tick(until);

  const earned = world.rates.map((rate, doctor) => ({
    doctor,
    balance: sessions
      .filter((s) => s.doctor === doctor)
      .reduce((sum, s) => sum + (s.paid - (s.counter ?? 0)) * (rate ?? RATE), 0),
  }));
  return {
    credits: credits.map((credit) => credit.left),
    sessions: sessions.map((s) => ({
      counter: s.paid,
      status: s.end ? 'ended' : 'active',
      reason: s.end?.reason ?? null,
      ended: s.end ? instant(s.end.at).toISOString() : null,
    })),
    wallets: earned.filter(({ doctor, balance }) => world.rates[doctor] !== undefined || balance > 0),
  };
}

export async function put(db: TestDatabase, world: World): Promise<void> {
  await db.query(
    `truncate text_sessions, subscriptions, doctor_wallets, wallet_transactions, text_session_deductions, scheduler.events,
       scheduler.runs, scheduler.failures restart identity`,
  );
  const seconds = (column: string) => `to_timestamp(${START / 1000} + ${column})`;
  await db.query(
    `insert into subscriptions (user_id, text_sessions_remaining, is_active, activated_at, expires_at)
     select "user", credits, active, ${seconds('since')}, ${seconds('expires')}
     from jsonb_to_recordset($1) as c ("user" int, credits int, active bool, since int, expires int)`,
    [JSON.stringify(world.credits)],
  );
  await db.query(
    `insert into text_sessions (patient_id, doctor_id, status, activated_at, auto_deductions_processed, sessions_used, sessions_remaining_before_start)
     select patient, doctor, 'active', ${seconds('activated')}, counter, coalesce(counter, 0), allowed
     from jsonb_to_recordset($1) as s (patient int, doctor int, activated int, counter int, allowed int)`,
    [JSON.stringify(world.sessions)],
  );
  for (const [doctor, rate] of world.rates.entries()) {
    if (rate !== undefined)
      await db.query('insert into doctor_wallets (doctor_id, session_rate) values ($1, $2)', [doctor, rate]);
  }
}

export async function found(db: TestDatabase): Promise<ReturnType<typeof everyMinute>> {
  const credits = await db.query('select text_sessions_remaining as n from subscriptions order by id');
  const sessions = await db.query(
    'select auto_deductions_processed as counter, status, reason, ended_at from text_sessions order by id',
  );
  const wallets = await db.query(
    'select doctor_id::integer as doctor, balance::integer from doctor_wallets order by 1',
  );
  return {
    credits: credits.map((row) => row.n),
    sessions: sessions.map(({ counter, ended_at, status, reason }) => ({
      counter: counter ?? 0,
      status,
      reason,
      ended: ended_at?.toISOString() ?? null,
    })) as ReturnType<typeof everyMinute>['sessions'],
    wallets: wallets as ReturnType<typeof everyMinute>['wallets'],
  };
}

/** Whatever happened: sentences about what does not add up. */
export async function faults(db: TestDatabase, world: World): Promise<string[]> {
  const rows = await db.query(
    `with ledger as (select session_id, count(*) as n, max(due_at) as last from text_session_deductions group by 1),
       earned as (
         select s.doctor_id, count(*) * coalesce(w.session_rate, $1::numeric) as amount
         from text_session_deductions d join text_sessions s on s.id = d.session_id
         left join doctor_wallets w on w.doctor_id = s.doctor_id
         group by s.doctor_id, w.session_rate
       ),
       booked as (select doctor_id, sum(amount) as amount from wallet_transactions group by 1)
     select format('session %s: %s rows, counter %s, used %s', s.id, l.n, s.auto_deductions_processed, s.sessions_used) as fault
     from text_sessions s left join ledger l on l.session_id = s.id
     where coalesce(s.auto_deductions_processed, 0) <> coalesce(($2::int[])[s.id], 0) + coalesce(l.n, 0)
       or s.sessions_used <> coalesce(s.auto_deductions_processed, 0)
     union all
     select format('session %s is charged after its end', s.id) from text_sessions s join ledger l on l.session_id = s.id
     where s.status = 'ended' and l.last > s.ended_at
     union all
     select format('subscription %s: %s left', id, text_sessions_remaining) from subscriptions where text_sessions_remaining < 0
     union all
     select format('doctor %s: earned %s, booked %s, wallet %s', e.doctor_id, e.amount, b.amount, w.balance)
     from earned e left join booked b using (doctor_id) left join doctor_wallets w using (doctor_id)
     where e.amount is distinct from b.amount or e.amount is distinct from w.balance or e.amount is distinct from w.total_earned
     union all
     select format('session %s: events say %s of %s', s.id, e.n, l.n)
     from text_sessions s join ledger l on l.session_id = s.id left join (
       select entity_id, sum((data->>'deductions_processed')::int) as n from scheduler.events where type = 'text_session.deducted' group by 1
     ) as e on e.entity_id = s.id::text
     where e.n is distinct from l.n
     union all
     select format('session %s ended %s times', entity_id, count(*)) from scheduler.events where type = 'text_session.ended'
     group by entity_id having count(*) > 1
     union all
     select format('failure of %s: %s', entity_id, error) from scheduler.failures`,
    [RATE, world.sessions.map((session) => session.counter ?? 0)],
  );
  return rows.map((row) => row.fault);
}
