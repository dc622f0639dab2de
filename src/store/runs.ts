import { hostname } from 'node:os';
import type { ExitCode } from '../base/errors.ts';
import { VERSION } from '../base/version.ts';
import type { Failed } from '../job/define.ts';
import { answerBy, answerIdle } from './requests.ts';

/** The records that a run keeps of itself. */

export const IDENTITY = { host: hostname(), version: VERSION };

/** The record of a job's run begins with its first batch, in the same transaction. */
export const BEGIN_RUN = `run as (
    insert into scheduler.runs (tenant, job, slot, at, started_by, host, version)
    select :tenant::text, :job::text, :slot::bigint, :now::timestamptz, :by::text, :host::text, :version::text
    where :run::bigint is null
    returning id
  )`;
export const RUN_ID = 'coalesce(:run::bigint, (select id from run))';

/** What a run of a job did. */
export interface JobResult {
  job: string;
  changed: Record<string, number>;
  failed: number;
  failures: Failed[];
  lateSeconds: number;
  unsent: number;
  workLeft: boolean;
  /** What stopped the whole job, and what it means for the exit code. */
  error?: string;
  errorCode?: ExitCode;
}

export const emptyResult = (job: string): JobResult => ({
  job,
  changed: {},
  failed: 0,
  failures: [],
  lateSeconds: 0,
  unsent: 0,
  workLeft: false,
});

/** Closes the record of a run: `:run` and what it did so far. Once it is committed, it stays. */
const FINISH_RUN = `
  update scheduler.runs set finished_at = greatest(clock_timestamp(), started_at), failed = :failed::integer, changed = :changed::jsonb,
    late_by = make_interval(secs => :late::double precision), unsent = :unsent::integer, work_left = :left::boolean,
    error = :error::text
  where id = :run::bigint and (finished_at is null or xmin = pg_current_xact_id()::xid)`;

export const FINISHING = `finished as (${FINISH_RUN}), answered as (${answerBy(':run::bigint')})`;

export const finished = (run: string | null, result: JobResult) => ({
  run,
  changed: JSON.stringify(result.changed),
  failed: result.failed,
  late: result.lateSeconds,
  unsent: result.unsent,
  left: result.workLeft,
  error: result.error ?? null,
});

/** Start and finish of a run that is recorded at its end. A clock may go backwards. */
const BEGUN_AND_ENDED = 'now(), greatest(now(), clock_timestamp())';

/** The record of a job that was stopped before its first batch. */
export const RECORD_STOPPED = `
  with stopped as (
    insert into scheduler.runs
      (tenant, job, slot, at, started_by, host, version, started_at, finished_at, work_left, error)
    values (:tenant::text, :job::text, :slot::bigint, :now::timestamptz, :by::text, :host::text, :version::text,
      ${BEGUN_AND_ENDED}, :left::boolean, :error::text)
    returning id
  )
  ${answerBy('(select id from stopped)')}`;

/** Jobs that recordIdle is given by their names and tenants. */
export const namesWhere = (isIdle: string) => `
    select tenant, null::text[], array_agg(name order by n)
    from unnest(:names::text[], :tenants::text[]) with ordinality as j (name, tenant, n) where ${isIdle}
    group by tenant`;

/** The record of all jobs that had nothing to do, given as a query in SQL. Null for a tenant: all but those "apart". */
export const recordIdle = (found: string) => `
  insert into scheduler.runs (tenant, apart, idle, slot, at, started_at, finished_at, started_by, host, version)
  select tenant, apart, idle, :slot::bigint, :now::timestamptz, ${BEGUN_AND_ENDED}, :by::text, :host::text, :version::text
  from (${found}) as found (tenant, apart, idle)`;

/** A job that somebody asked for has a record of its own. Expects SQL that tells whether a job had nothing to do. */
export const recordRequested = (isIdle: (job: string) => string) => `
  asked as materialized (
    select * from json_to_recordset(:requests::json) as asked (tenant text, job text, by text, "upTo" bigint) where ${isIdle('asked.job')}
  ),
  done as (
    insert into scheduler.runs (tenant, job, slot, at, started_at, finished_at, started_by, host, version)
    select tenant, job, :slot::bigint, :now::timestamptz, ${BEGUN_AND_ENDED}, by, :host::text, :version::text from asked
    returning id, job
  ),
  answered_idle as (${answerIdle('asked')})`;
