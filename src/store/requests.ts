import type { Values } from '../db/bind.ts';

/** A request that somebody made with scheduler.request(). The next tick does it. */
export interface Requested {
  job: string;
  /** The first who asked: the run is recorded as theirs. */
  by: string;
  /** Later ones ask for another run. */
  upTo: number;
}

/** The values of a job's records, in a run that has these for all jobs. */
export function valuesOf(
  requests: Map<string, Requested>,
  values: Values,
  { job, tenant }: { job: string; tenant: string },
): Values {
  const requested = requests.get(job);
  return { ...values, job, tenant, by: requested?.by ?? values.by, upTo: requested?.upTo ?? null };
}

const WAITING = 'run_id is null and refused is null';

/** SQL for those that wait. */
export const requestsOf = (homes: string): string => `(
  select coalesce(json_agg(waiting), '[]') from (
    select distinct on (job) job, by, max(id) over (partition by job) as "upTo"
    from scheduler.requests where tenant = any(${homes}) and ${WAITING} order by job, id
  ) as waiting
)`;

/** SQL for those of a job. Another runner may be about to answer them, and must not be waited for. */
const waiting = (job: string, upTo: string) => `array(
    select id from scheduler.requests where tenant = any(:homes::text[]) and job = ${job} and id <= ${upTo} and ${WAITING}
    for update skip locked
  )`;

const answer = (change: string) => `
  update scheduler.requests set ${change} where id = any(${waiting(':job::text', ':upTo::bigint')})`;

/** Expects the values of a job. A run answers its requests in the transaction that closes it: a tick that is killed loses none. */
export const answerBy = (run: string): string => answer(`run_id = ${run}`);

/** The same for jobs that had nothing to do, by a relation `done` (id, job) and one of the requests. */
export const answerIdle = (requests: string) => `
  update scheduler.requests q set run_id = done.id from ${requests} as asked join done using (job)
  where q.id = any(${waiting('asked.job', 'asked."upTo"')})`;

export const REFUSE = answer('refused = :why::text');
