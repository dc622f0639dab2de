import { hostname } from 'node:os';
import type { ExitCode } from '../base/errors.ts';
import { VERSION } from '../base/version.ts';
import type { Transaction, Values } from '../db/client.ts';
import { type Job, tableOf } from '../job/define.ts';
import type { Control } from './controls.ts';
import { LATEST_CONTROLS, latestControl } from './controls.ts';

/** What a run finds when it starts: one row per job. */
export interface Standing {
  job: string;
  now: string;
  level: number;
  locked: boolean;
  slot: string;
  slotTaken: boolean;
  control: Control | null;
  /** Tables and columns that the job needs and this database does not have. */
  missing: string[];
  idType: string | null;
  /** Whether any row of any job has failed and not succeeded since. */
  anyFailures: boolean;
}

// Any number will do, as long as nothing else in the database takes it: "schedule" in ASCII.
export const LOCK_KEY = '8314034311083879525';

/** The tables and columns of a job that are not there, of those found. */
export const missingFrom = (job: Job, find: (table: string) => string[] | undefined): string[] =>
  Object.entries(job.tables).flatMap(([table, names]) => {
    const present = find(table);
    return present ? names.filter((name) => !present.includes(name)).map((name) => `${table}.${name}`) : [table];
  });

interface Found {
  now: string;
  minute: string;
  locked: boolean;
  level: number;
  taken: string[];
  anyFailures: boolean;
  controls: (Control & { job: string | null; id: number })[];
  tables: Record<string, { idType: string | null; columns: string[] | null }>;
}

/**
 * One round trip tells everything a run must know before it begins. The lock belongs to the transaction that asks: it is
 * gone when its holder is, also behind a pooler, and there is nothing to unlock by hand.
 */
export async function readStanding(
  tx: Transaction,
  jobs: Job[],
  options: { at?: string | undefined; lock: boolean },
): Promise<Standing[]> {
  const seldom = jobs.filter((job) => !isEveryTick(job));
  const [found] = await tx.query<Found>(
    `with run as materialized (
       select coalesce(:at::timestamptz, now()) as now, ${options.lock ? `pg_try_advisory_xact_lock(${LOCK_KEY})` : 'true'} as locked
     )
     select now::text as now, floor(extract(epoch from now) / 60)::bigint::text as minute, locked,
       (select coalesce(max(id), 0) from scheduler.migrations) as level,
       array(
         select j.name from unnest(:seldom::text[], :every::bigint[]) as j (name, every)
         where exists (
           select from scheduler.runs r
           where r.job = j.name and r.slot = floor(extract(epoch from now) / 60 / j.every)::bigint
             and r.finished_at is not null and not r.work_left
         )
       ) as taken,
       exists (select from scheduler.failures) as "anyFailures",
       (select coalesce(json_agg(c), '[]') from (${LATEST_CONTROLS}) as c) as controls,
       (
         select json_object_agg(name, (
           select json_build_object(
             'idType', max(format_type(atttypid, null)) filter (where attname = 'id'), 'columns', json_agg(attname)
           )
           from pg_attribute where attrelid = to_regclass(name) and attnum > 0 and not attisdropped
         )) from unnest(:tables::text[]) as name
       ) as tables
     from run`,
    {
      at: options.at ?? null,
      seldom: seldom.map((job) => job.name),
      every: seldom.map((job) => job.everyMinutes),
      tables: [...new Set(jobs.flatMap((job) => Object.keys(job.tables)))],
    },
  );
  return jobs.map((job) => standingOf(job, found!));
}

function standingOf(job: Job, { now, minute, locked, level, taken, anyFailures, controls, tables }: Found): Standing {
  const missing = missingFrom(job, (table) => tables[table]?.columns ?? undefined);
  const slot = String(BigInt(minute) / BigInt(job.everyMinutes));
  const control = latestControl(controls, job.name);
  return {
    ...{ job: job.name, now, level, locked, slot, missing, control, anyFailures },
    slotTaken: taken.includes(job.name),
    idType: tables[tableOf(job)]?.idType ?? null,
  };
}

export interface LastRun {
  job: string;
  nextCheck: string;
  lastTick: string | null;
  /** Since the last tick, or since somebody started the job: a start has a tick ahead of it. Null: never either. */
  silentSeconds: number | null;
  /** The latest one, whoever started it. */
  run: {
    at: string;
    by: string | null;
    finishedAt: string | null;
    changed: Record<string, number>;
    failed: number;
    lateSeconds: number;
    workLeft: boolean;
    error: string | null;
  } | null;
  failing: number;
  quarantined: number;
}

export function readLastRuns(tx: Transaction, jobs: Job[], standing: Standing[]): Promise<LastRun[]> {
  return tx.query<LastRun>(
    `select j.name as job,
       scheduler.iso(to_timestamp((floor(extract(epoch from clock_timestamp()) / 60 / j.every) + 1) * 60 * j.every)) as "nextCheck",
       scheduler.iso(tick.started_at) as "lastTick",
       extract(epoch from clock_timestamp() - greatest(tick.started_at, j.started))::double precision as "silentSeconds",
       (
         select json_build_object(
           'at', scheduler.iso(r.started_at), 'by', r.started_by, 'finishedAt', scheduler.iso(r.finished_at), 'changed', r.changed,
           'failed', r.failed, 'lateSeconds', extract(epoch from r.late_by), 'workLeft', r.work_left, 'error', r.error
         )
         from (
           select tick.*
           union all
           (select * from scheduler.runs where job = j.name and slot is null order by id desc limit 1)
         ) as r
         where r.id is not null order by r.started_at desc limit 1
       ) as run,
       (select count(*) from scheduler.failures f where f.job = j.name and f.quarantined_at is null)::integer as failing,
       (select count(*) from scheduler.failures f where f.job = j.name and f.quarantined_at is not null)::integer as quarantined
     from json_to_recordset(:jobs::json) as j (name text, every integer, started timestamptz)
     left join lateral (
       select * from scheduler.runs where job = j.name and slot is not null order by slot desc limit 1
     ) as tick on true`,
    {
      jobs: JSON.stringify(
        jobs.map(({ name, everyMinutes }) => {
          const control = standing.find(({ job }) => job === name)?.control;
          return { name, every: everyMinutes, started: control?.action === 'start' ? control.at : null };
        }),
      ),
    },
  );
}

const IDENTITY = { host: hostname(), version: VERSION };

/** What a pass did. */
export interface JobResult {
  job: string;
  changed: Record<string, number>;
  failed: number;
  failures: { id: string; rule: string; error: string }[];
  lateSeconds: number;
  unsent: number;
  workLeft: boolean;
  /** What stopped the whole job, and what it means for the exit code. */
  error?: string;
  errorCode?: ExitCode;
}

/** The shortest cadence is the tick's own: whoever ticks twice in a minute means it, and the second look is cheap. */
const isEveryTick = (job: Job) => job.everyMinutes === 1;

/**
 * Claims the job's slot. No row: somebody else has done this slot already. A run that never finished (it was killed) or
 * that left work gives its slot to the next.
 */
export async function beginRun(
  tx: Transaction,
  run: { job: Job; slot: string | null; now: string; by: string | null },
) {
  const rows = await tx.query<{ id: string }>(
    `insert into scheduler.runs as r (job, slot, at, started_by, host, version)
     values (:job::text, :slot::bigint, :now::timestamptz, :by::text, :host::text, :version::text)
     on conflict (job, slot) do update set started_at = clock_timestamp(), host = excluded.host
     where :again::boolean or r.finished_at is null or r.work_left
     returning id::text`,
    { ...run, ...IDENTITY, job: run.job.name, again: isEveryTick(run.job) },
  );
  return rows[0]?.id;
}

/** Adds to what an earlier look in the same slot did. */
export async function finishRun(tx: Transaction, id: string, result: JobResult): Promise<void> {
  await tx.query(
    `update scheduler.runs set finished_at = clock_timestamp(), failed = failed + :failed::integer,
       changed = (
         select coalesce(jsonb_object_agg(key, rows), '{}') from (
           select key, sum(value::bigint) as rows
           from (select * from jsonb_each_text(changed) union all select * from jsonb_each_text(:changed::jsonb)) as each
           group by key
         ) as sums
       ),
       late_by = greatest(late_by, make_interval(secs => :late::double precision)), unsent = unsent + :unsent::integer,
       work_left = :left::boolean, error = :error::text
     where id = :id::bigint`,
    {
      id,
      changed: JSON.stringify(result.changed),
      failed: result.failed,
      late: result.lateSeconds,
      unsent: result.unsent,
      left: result.workLeft,
      error: result.error ?? null,
    },
  );
}

/**
 * Asks whether anything is due, and where nothing is records so for all runs: in one statement, as most runs need no
 * other.
 */
export async function recordUnlessDue(
  tx: Transaction,
  question: string,
  run: { now: string; runs: { job: string; slot: string | null }[]; by: string | null } & Values,
): Promise<{ due: boolean }> {
  const [answer] = await tx.query<{ due: boolean }>(
    `with answer as materialized (select (${question}) as due),
     recorded as (
       insert into scheduler.runs as r (job, slot, at, finished_at, started_by, host, version)
       select job, slot, :now::timestamptz, clock_timestamp(), :by::text, :host::text, :version::text
       from json_to_recordset(:runs::json) as idle (job text, slot bigint)
       where not (select due from answer)
       on conflict (job, slot) do update set finished_at = excluded.finished_at, work_left = false
       where r.finished_at is null or r.work_left
     )
     select due from answer`,
    { ...run, ...IDENTITY, runs: JSON.stringify(run.runs) },
  );
  return answer!;
}
