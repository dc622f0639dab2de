import type { Values } from '../db/bind.ts';
import type { Database, Transaction } from '../db/client.ts';
import { sqlState } from '../db/states.ts';
import type { CompiledRule, Installed } from '../job/compile.ts';
import { NOW, quoteText } from '../job/expressions.ts';
import { mayBeTried } from '../store/failures.ts';
import type { Requested } from '../store/requests.ts';
import { ANYTHING_EXPIRED } from '../store/retention.ts';
import { FINISHING, namesWhere, recordIdle, recordRequested } from '../store/runs.ts';
import { asInBatch, conditionsAt, firstRow, hasDue, momentOf } from './statements.ts';

/** One question about all rules of all jobs, in one round trip: which of them have a due row? */

export type RecordsIdle = 'always' | 'beside work' | 'never';

export interface Question {
  jobs: Installed[];
  anyFailures: boolean;
  /** The first question of a run records the jobs that have nothing due, and asks whether old history can go. */
  first?: RecordsIdle;
  /** Recorded apart, if they have nothing due. */
  requests: Requested[];
  /** The values of FINISHING, for the job that was just worked on. */
  finish?: Values;
}

export interface Due {
  rules: CompiledRule[];
  expired: boolean;
}

/** SQL for the places, in the list given, of the rules that have a due row. */
export const placesOfDue = (rules: CompiledRule[], anyFailures: boolean): string =>
  placesOf(rules.map((rule) => hasDue(rule, anyFailures)));

/** SQL for the places of the conditions that hold. */
export const placesOf = (conditions: string[]): string => {
  const places = conditions.map((condition, n) => `case when ${condition} then ${n} end`);
  return `array_remove(array[${[...places, 'null'].join(',\n')}]::integer[], null)`;
};

const isIdle = (job: string) =>
  `not exists (select from answer, unnest(due) as place where (:owners::text[])[place + 1] = ${job})`;
const ALL_IDLE = namesWhere(isIdle('name'));
const IDLE = {
  always: ALL_IDLE,
  'beside work': `select * from (${ALL_IDLE}) as idle where exists (select from answer where cardinality(due) > 0)`,
};

export async function whatIsDue(tx: Transaction, question: Question, values: Values): Promise<Due> {
  const { jobs, anyFailures, first, finish } = question;
  const names = jobs.map(({ job }) => job.name);
  const requests = question.requests.filter(({ job }) => names.includes(job));
  const rules = jobs.flatMap((job) => job.rules);
  const sql = `
    with answer as materialized (select ${placesOfDue(rules, anyFailures)} as due)
    ${first && first !== 'never' ? `, recorded as (${recordIdle(IDLE[first])})` : ''}
    ${requests.length > 0 ? `, ${recordRequested(isIdle)}` : ''}
    ${finish ? `, ${FINISHING}` : ''}
    select due, ${first && first !== 'never' ? ANYTHING_EXPIRED : 'false'} as expired from answer`;
  const isRequested = ({ job }: Installed) => requests.some((each) => each.job === job.name);
  const others = jobs.filter((each) => !isRequested(each));
  const [answer] = await tx.query<{ due: number[]; expired: boolean }>(sql, {
    ...{ ...values, ...finish },
    names: others.map(({ job }) => job.name),
    tenants: others.map(({ tenant }) => tenant),
    requests: JSON.stringify(
      requests.map((each) => ({ ...each, tenant: jobs.find(({ job }) => job.name === each.job)!.tenant })),
    ),
    owners: rules.map((rule) => rule.job),
  });
  return { rules: answer!.due.map((n) => rules[n]!), expired: answer!.expired };
}

/**
 * One job's broken or locked table must not hide the others: each job is asked by itself, and may meet its own error. `failed`
 * answers with what of it can still be asked.
 */
export async function whatIsDueApart(
  db: Database,
  question: Question,
  values: Values,
  failed: (job: Installed, error: unknown) => Promise<Installed | undefined>,
): Promise<Due> {
  const due: Due = { rules: [], expired: false };
  const askOf = async (installed: Installed): Promise<void> => {
    const ask = (tx: Transaction) => whatIsDue(tx, { ...question, jobs: [installed] }, values);
    try {
      const found = await db.transaction(ask, { inIndexOrder: true });
      due.rules.push(...found.rules);
      due.expired ||= found.expired;
    } catch (error) {
      if (!isOfOneJob(error)) throw error;
      const rest = await failed(installed, error);
      if (rest) await askOf(rest);
    }
  };
  for (const installed of question.jobs) await askOf(installed);
  return due;
}

/** An error that may be the fault of one job's tables, and not one that would meet any statement. */
export const isOfOneJob = (error: unknown) => /^(?!08|25006|40|53|55(?!P03)|57)/.test(sqlState(error) ?? '08');

// Further than from one look to the next.
const SOON = `(${NOW} + interval '2 seconds')`;

/** SQL for the seconds until each job has something to do, if that is soon: 0 for what is due already. */
export function soonest(jobs: Installed[], anyFailures: boolean): string {
  const first = (rule: CompiledRule) =>
    firstRow(rule, rule.at, [
      asInBatch(rule, [
        ...conditionsAt(rule, momentOf(rule, NOW)),
        ...(anyFailures ? [mayBeTried(rule)] : []),
        `${rule.at} <= ${SOON}`,
      ]),
    ]);
  const parts = jobs.map(
    ({ job, rules }) => `select ${quoteText(job.name)} as job, least(${rules.map(first).join(', ')}) as at`,
  );
  return `
    select job, extract(epoch from greatest(at, now) - now)::double precision as seconds
    from (${parts.join('\n      union all ')}) as soonest cross join lateral (select clock_timestamp() as now) as clock
    where at is not null`;
}
