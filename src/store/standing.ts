import { configurationError, OperatorError } from '../base/errors.ts';
import { commandFor } from '../base/paste.ts';
import type { Values } from '../db/bind.ts';
import type { Transaction } from '../db/client.ts';
import { named, SCHEMAS, tenantOf } from '../db/search-path.ts';
import { type Installed, install } from '../job/compile.ts';
import type { Job } from '../job/define.ts';
import { type Catalog, catalogIn, missingFrom, tableNames } from '../job/tables.ts';
import { ELSEWHERE, type Elsewhere } from './adopted.ts';
import { type Latest, latestControl, latestControlsIn, type Word } from './controls.ts';
import { anyFailuresIn, anyToCompareIn } from './failures.ts';
import { LOCK } from './lock.ts';
import { catalogOf, FORMAT, isKept, jobOf, type Kept, latestJobsIn, type OwnAnswer, ownJobsIn } from './own-jobs.ts';
import { type Requested, requestsOf } from './requests.ts';

/** The state of a job when a run starts. */
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
  /** Its file names the schema of its table. */
  ofNoTenant: boolean;
}

export const whyPowerless = (role: string): string =>
  `written by the role "${role}", whose SQL a superuser does not run: tick as another role`;

const MISSING = ' missing';
export const isMissing = (why: string): boolean => why.endsWith(MISSING);

/** Why a job is not installed. */
export const whyMissing = ({ job, missing }: Standing): string => {
  const all = missing.join(', ');
  if (!job.isLaid && !job.table.quoted) return `${all}${MISSING}`;
  return `${missing.length === 1 ? `the table ${all} is` : `the tables ${all} are`} gone; run "scheduler apply" with your files`;
};

/** All that a run finds when it starts. */
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
  /** The run looked for jobs of these: the tenant, none, or both. */
  homes: string[];
  /** By home, its jobs as scheduler.known_jobs has them. */
  known: Record<string, string>;
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
  homes: string[];
  known: Record<string, string>;
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

/** A job that is to be compiled for the tables that were found. */
export interface Compiling {
  job: Job;
  catalog: Catalog;
  dbZone: string;
  /** The form in which a job of your own is kept. */
  kept?: Kept;
  /** The schema in which tables are looked for first. */
  tenant: string;
}

interface Reading {
  at?: string | undefined;
  dbZone: string;
  compile?: (compiling: Compiling) => Installed;
}

/** A job that belongs to no tenant has this in its place. */
export const NO_TENANT = '';

const homesIn = (schemas: string, of: Wanted['of']) => {
  const homes = [...(of === 'no tenant' ? [] : [tenantOf(schemas)]), ...(of === 'a tenant' ? [] : [`'${NO_TENANT}'`])];
  return `array[${homes.join(', ')}]::text[]`;
};

/** SQL for what stands of the tenants in these schemas. */
const whatStands = (schemas: string, homes: string, lock = false) => `
  with run as materialized (
    select coalesce(:at::timestamptz, now()) as now, ${lock ? `pg_try_advisory_xact_lock(${LOCK})` : 'true'} as locked
  ),
  minute as materialized (select floor(extract(epoch from now) / 60)::bigint as minute from run)
  select now::text as now, minute::text as minute, locked, ${tenantOf(schemas)} as tenant, ${LEVEL_FOUND} as level,
    ${ELSEWHERE} as elsewhere,
    array(
      select j.name from (
        select asked.name, every, n.nspname::text
        from unnest(:seldom::text[], :every::bigint[], :mains::text[]) as asked (name, every, main)
        join pg_class main on main.oid = ${named('asked.main', schemas)} join pg_namespace n on n.oid = main.relnamespace
        union all
        select name, every::bigint, compiled -> 'found' ->> 'schema'
        from (${latestJobsIn(schemas)}) as own cross join lateral (select compiled -> 'job' ->> 'everyMinutes' as every) as of
        where every ~ '^[0-9]{1,9}$'
      ) as j (name, every, tenant)
      where j.every > 1 and exists (
        select from scheduler.runs r
        where r.slot between minute - minute % j.every and minute and (r.job = j.name or j.name = any(r.idle))
          and case when r.tenant is null then j.tenant <> all(r.apart) else r.tenant = j.tenant end
          and r.finished_at is not null and not r.work_left
      )
    ) as taken,
    ${anyFailuresIn(schemas)} as "anyFailures", ${anyToCompareIn(schemas, 'now')} as "anyToCompare",
    ${homes} as homes,
    (select coalesce(json_object_agg(tenant, jobs::text), '{}') from scheduler.known_jobs where tenant = any(${homes})) as known,
    ${requestsOf(homes)} as requests,
    (select coalesce(json_agg(c), '[]') from (${latestControlsIn(schemas)}) as c) as controls,
    ${catalogIn(schemas)} as catalog, ${ownJobsIn(schemas)} as own
  from run cross join minute`;

const isAsked = ({ names, of }: Wanted, name: string) =>
  of !== 'no tenant' && (names === 'all' || names.includes(name));

function valuesOf(wanted: Wanted, at: string | undefined): Values {
  const asked = wanted.builtIn.filter(({ name }) => isAsked(wanted, name));
  const seldom = asked.filter((job) => !isEveryTick(job));
  return {
    at: at ?? null,
    seldom: seldom.map((job) => job.name),
    every: seldom.map((job) => job.everyMinutes),
    mains: seldom.map((job) => job.table.name),
    ...{ tables: tableNames(asked), oids: [] },
  };
}

/**
 * One round trip tells everything a run must know before it begins. The lock belongs to the transaction that asks: it is
 * gone when its holder is, also behind a pooler, and there is nothing to unlock by hand.
 */
export async function readStanding(
  tx: Transaction,
  wanted: Wanted,
  { lock, ...reading }: Reading & { lock: boolean },
): Promise<Found> {
  const [answer] = await tx.query<Answer>(
    whatStands(SCHEMAS, homesIn(SCHEMAS, wanted.of), lock),
    valuesOf(wanted, reading.at),
  );
  return foundOf(answer!, wanted, reading);
}

/** The same of many tenants, without the lock. Expects a transaction of one of them. A tenant's own run meets its errors. */
export async function readStandings(
  tx: Transaction,
  wanted: Wanted,
  tenants: string[],
  reading: Reading,
): Promise<Found[]> {
  const each =
    'cross join (select array[name]::name[] as schemas from unnest(:tenants::text[]) as tenant (name)) as here';
  const values = { ...valuesOf(wanted, reading.at), tenants };
  const answers = await tx.query<Answer>(
    `${whatStands('here.schemas', homesIn('here.schemas', wanted.of))} ${each}`,
    values,
  );
  return answers.flatMap((answer) => {
    try {
      return foundOf(answer, wanted, reading);
    } catch (error) {
      if (error instanceof OperatorError) return [];
      throw error;
    }
  });
}

const alone = ({ job, catalog, dbZone }: Compiling): Installed => install(job, catalog, dbZone);

function foundOf(answer: Answer, wanted: Wanted, { dbZone, compile = alone }: Reading): Found {
  const { builtIn, names, of } = wanted;
  const { tenant } = answer;
  // A built-in job that works on tables which a file names is not looked for by the names of its own.
  const used = answer.own.map(({ kept }) => kept?.uses?.job);
  const isWanted = (name: string, uses?: string) =>
    names === 'all' || names.includes(name) || (uses !== undefined && names.includes(uses));
  const jobs = [
    ...builtIn
      .filter(({ name }) => isAsked(wanted, name) && !used.includes(name))
      .map((job) => standingOf(job, answer, (catalog) => compile({ job, catalog, dbZone, tenant }))),
    ...answer.own
      .filter(({ name, kept }) => isWanted(name, kept?.uses?.job))
      .filter((each) => of === undefined || (each.tenant === null) === (of === 'no tenant'))
      .map((each) => standingOfOwn(each, answer, builtIn, compile)),
  ];
  return { ...answer, ...(of === 'no tenant' && { elsewhere: null }), jobs };
}

function standingOfOwn(
  { name, tenant: home, format, kept, powerless }: OwnAnswer,
  { taken, controls, tenant }: Answer,
  builtIn: Job[],
  compile: (compiling: Compiling) => Installed,
): Standing {
  if (format !== FORMAT)
    throw configurationError(
      `The job "${name}" is kept in format ${format}, and this version knows format ${FORMAT}. Run "scheduler apply" with the files of your jobs once, or a newer version of the program.`,
    );
  if (!isKept(kept) || kept.job.name !== name)
    throw configurationError(
      `The job "${name}" is not as "scheduler apply" writes it: somebody has changed the table scheduler.jobs. Run "scheduler apply" with the files of your jobs, or ${commandFor(home === 'public' ? null : home, `jobs remove ${name}`)}.`,
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
    ofNoTenant: home === null,
    missing: [],
    control: latestControl(controls, name, kept.found.schema),
    slotTaken: taken.includes(name),
  };
  const compiling = { job, catalog: catalogOf(kept), dbZone: kept.dbZone, kept, tenant };
  return { ...standing, powerless, installed: compile(compiling) };
}

function standingOf(
  job: Job,
  { taken, controls, catalog }: Answer,
  compile: (catalog: Catalog) => Installed,
): Standing {
  const missing = missingFrom(job, catalog);
  const tenant = catalog[job.table.name]?.schema;
  return {
    ...{ job, missing, control: latestControl(controls, job.name, tenant), slotTaken: taken.includes(job.name) },
    installed: missing.length === 0 ? compile(catalog) : undefined,
    ofNoTenant: false,
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
