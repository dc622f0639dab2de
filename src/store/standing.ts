import { configurationError } from '../base/errors.ts';
import type { Transaction } from '../db/client.ts';
import { named, TENANT } from '../db/search-path.ts';
import { type Installed, install } from '../job/compile.ts';
import type { Job } from '../job/define.ts';
import { CATALOG, type Catalog, missingFrom, tableNames } from '../job/tables.ts';
import { ELSEWHERE, type Elsewhere } from './adopted.ts';
import { LATEST_CONTROLS, type Latest, latestControl, type Word } from './controls.ts';
import { ANY_FAILURES, anyToCompare } from './failures.ts';
import { LOCK } from './lock.ts';
import { catalogOf, FORMAT, isKept, jobOf, LATEST_JOBS, OWN_JOBS, type OwnAnswer } from './own-jobs.ts';
import { type Requested, requestsOf } from './requests.ts';

/** What a job finds when a run starts. */
export interface Standing {
  job: Job;
  /** Its rules, compiled for the tables that were found; none where something is missing. */
  installed: Installed | undefined;
  /** Tables and columns that the job needs and this database does not have. */
  missing: string[];
  /** A run has done the job in this window of its cadence. */
  slotTaken: boolean;
  control: Latest | null;
  /** The role that has written it, and has less power than this one: then it is not run. */
  powerless?: string | null;
  /** The built-in job that a file lays over other tables. */
  uses?: string;
}

export const whyPowerless = (role: string): string =>
  `written by the role "${role}", whose SQL a superuser does not run: tick as another role`;
export const isPowerless = (why: string): boolean => why.startsWith('written by the role');

const MISSING = ' missing';
export const isMissing = (why: string): boolean => why.endsWith(MISSING);

/** Why a job is not installed. */
export const whyMissing = ({ job, missing }: Standing): string => {
  const all = missing.join(', ');
  if (!job.isLaid && !job.table.quoted) return `${all}${MISSING}`;
  return `${missing.length === 1 ? `the table ${all} is` : `the tables ${all} are`} gone; run "scheduler apply" with your files`;
};

/** What a run finds when it starts. */
export interface Found {
  now: string;
  /** The schema in which tables are looked for first. */
  tenant: string;
  /** The minute it stands for. */
  minute: string;
  level: number;
  elsewhere: Elsewhere | null;
  locked: boolean;
  /** Whether any row of any job has failed and not succeeded since. */
  anyFailures: boolean;
  /** Whether it is time to see if a row in quarantine was mended. */
  anyToCompare: boolean;
  /** The jobs as scheduler.known_jobs has them. */
  known: string | null;
  requests: Requested[];
  jobs: Standing[];
}

interface Answer {
  now: string;
  tenant: string;
  minute: string;
  locked: boolean;
  level: number;
  elsewhere: Elsewhere | null;
  taken: string[];
  anyFailures: boolean;
  anyToCompare: boolean;
  known: string | null;
  requests: Requested[];
  controls: Word[];
  catalog: Catalog;
  own: OwnAnswer[];
}

/** A schema that an edition before this one made has another first migration. */
const FIRST_MIGRATION = 'scheduler';
export const FORMER_EDITION = -1;
export const LEVEL_FOUND = `(
  select case when bool_or(id = 1 and name <> '${FIRST_MIGRATION}') then ${FORMER_EDITION} else coalesce(max(id), 0) end
  from scheduler.migrations
)`;

/** The jobs that somebody asks for, of those that are built in and those of your own. */
export interface Wanted {
  builtIn: Job[];
  names: 'all' | string[];
  /** A tick of many tenants does the jobs that belong to none of them once, and not with each. */
  of?: 'a tenant' | 'no tenant';
}

export const all = (builtIn: Job[]): Wanted => ({ builtIn, names: 'all' });
export const only = (builtIn: Job[], names: string[]): Wanted => ({ builtIn, names });

/**
 * One round trip tells everything a run must know before it begins. The lock belongs to the transaction that asks: it is
 * gone when its holder is, also behind a pooler, and there is nothing to unlock by hand.
 */
export async function readStanding(
  tx: Transaction,
  { builtIn, names, of }: Wanted,
  options: { at?: string | undefined; lock: boolean; dbZone: string },
): Promise<Found> {
  const isAsked = (name: string) => of !== 'no tenant' && (names === 'all' || names.includes(name));
  const asked = builtIn.filter(({ name }) => isAsked(name));
  const seldom = asked.filter((job) => !isEveryTick(job));
  const [found] = await tx.query<Answer>(
    `with run as materialized (
       select coalesce(:at::timestamptz, now()) as now, ${options.lock ? `pg_try_advisory_xact_lock(${LOCK})` : 'true'} as locked
     ),
     minute as materialized (select floor(extract(epoch from now) / 60)::bigint as minute from run)
     select now::text as now, minute::text as minute, locked, ${TENANT} as tenant, ${LEVEL_FOUND} as level,
       ${ELSEWHERE} as elsewhere,
       array(
         select j.name from (
           select asked.name, every, n.nspname::text
           from unnest(:seldom::text[], :every::bigint[], :mains::text[]) as asked (name, every, main)
           join pg_class main on main.oid = ${named('asked.main')} join pg_namespace n on n.oid = main.relnamespace
           union all
           select name, every::bigint, compiled -> 'found' ->> 'schema'
           from (${LATEST_JOBS}) as own cross join lateral (select compiled -> 'job' ->> 'everyMinutes' as every) as of
           where every ~ '^[0-9]{1,9}$'
         ) as j (name, every, tenant)
         where j.every > 1 and exists (
           select from scheduler.runs r
           where r.slot between minute - minute % j.every and minute and (r.job = j.name or j.name = any(r.idle))
             and case when r.tenant is null then j.tenant <> all(r.apart) else r.tenant = j.tenant end
             and r.finished_at is not null and not r.work_left
         )
       ) as taken,
       ${ANY_FAILURES} as "anyFailures", ${anyToCompare('now')} as "anyToCompare",
       (select jobs::text from scheduler.known_jobs where tenant = ${TENANT}) as known, ${requestsOf(TENANT)} as requests,
       (select coalesce(json_agg(c), '[]') from (${LATEST_CONTROLS}) as c) as controls,
       ${CATALOG} as catalog, ${OWN_JOBS} as own
     from run cross join minute`,
    {
      at: options.at ?? null,
      seldom: seldom.map((job) => job.name),
      every: seldom.map((job) => job.everyMinutes),
      mains: seldom.map((job) => job.table.name),
      ...{ tables: tableNames(asked), oids: [] },
    },
  );
  // A built-in job that works on tables which a file names is not looked for by the names of its own.
  const used = found!.own.map(({ kept }) => kept?.uses?.job);
  const isWanted = (name: string, uses?: string) =>
    names === 'all' || names.includes(name) || (uses !== undefined && names.includes(uses));
  const jobs = [
    ...asked.filter(({ name }) => !used.includes(name)).map((job) => standingOf(job, found!, options.dbZone)),
    ...found!.own
      .filter(({ name, kept }) => isWanted(name, kept?.uses?.job))
      .filter(({ tenant }) => of === undefined || (tenant === null) === (of === 'no tenant'))
      .map((each) => standingOfOwn(each, found!, builtIn)),
  ];
  return { ...found!, ...(of === 'no tenant' && { elsewhere: null }), jobs };
}

function standingOfOwn(
  { name, format, kept, powerless }: OwnAnswer,
  { taken, controls }: Answer,
  builtIn: Job[],
): Standing {
  if (format !== FORMAT)
    throw configurationError(
      `The job "${name}" is kept in format ${format}, and this version knows format ${FORMAT}. Run "scheduler apply" with the files of your jobs once, or a newer version of the program.`,
    );
  if (!isKept(kept) || kept.job.name !== name)
    throw configurationError(
      `The job "${name}" is not as "scheduler apply" writes it: somebody has changed the table scheduler.jobs. Run "scheduler apply" with the files of your jobs, or "scheduler jobs remove ${name}".`,
    );
  const job = jobOf(kept, builtIn);
  if (!job)
    throw configurationError(
      `The job "${name}" uses "${kept.uses!.job}", which is no built-in job of this version: run "scheduler apply" with files that fit it.`,
    );
  const uses = kept.uses && { uses: kept.uses.job };
  const standing = {
    job,
    ...uses,
    missing: [],
    control: latestControl(controls, name, kept.found.schema),
    slotTaken: taken.includes(name),
  };
  return { ...standing, powerless, installed: install(job, catalogOf(kept), kept.dbZone) };
}

function standingOf(job: Job, { taken, controls, catalog }: Answer, dbZone: string): Standing {
  const missing = missingFrom(job, catalog);
  const tenant = catalog[job.table.name]?.schema;
  return {
    ...{ job, missing, control: latestControl(controls, job.name, tenant), slotTaken: taken.includes(job.name) },
    installed: missing.length === 0 ? install(job, catalog, dbZone) : undefined,
  };
}

/** The shortest cadence is the tick's own: whoever ticks twice in a minute means it, and the second look is cheap. */
export const isEveryTick = (job: Job) => job.everyMinutes === 1;

/** When a tick looks at the rows of a job again: now, or when the next slot begins, if this one is done. */
export function earliestOf({ job, slotTaken }: Standing, { minute }: Found, now: string): string {
  if (!slotTaken || isEveryTick(job)) return now;
  const slot = Math.floor(Number(minute) / job.everyMinutes);
  return new Date((slot + 1) * job.everyMinutes * 60_000).toISOString().replace('.000Z', 'Z');
}
