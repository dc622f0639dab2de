import { inWords } from '../base/calendar.ts';
import type { Settings } from '../base/config.ts';
import type { Database, Transaction } from '../db/client.ts';
import type { Installed } from '../job/compile.ts';
import { isElsewhere } from '../store/adopted.ts';
import type { Control } from '../store/controls.ts';
import type { Run } from '../store/history.ts';
import { knownJobs } from '../store/known-jobs.ts';
import { all, type Found, isMissing, type Wanted } from '../store/standing.ts';
import { type Backlog, readBacklog } from './backlog.ts';
import { look } from './standing.ts';

/** Whether the scheduler does its work, as scheduler.report() tells, and what is due, which only the jobs' expressions tell. */

export interface JobStatus {
  job: string;
  state: 'running' | 'paused' | 'no tick' | 'not installed' | 'switched off';
  /** Why it is not running. */
  why: string | null;
  intervalMinutes: number;
  nextCheck: string | null;
  paused: Control | null;
  lastTick: string | null;
  /** The latest one, whoever started it. */
  lastRun: Omit<Run, 'kind' | 'number' | 'job' | 'idle' | 'unsent' | 'host' | 'version'> | null;
  failing: number;
  quarantined: number;
  /** What is due and not done; null where its tables do not answer. */
  backlog: Omit<Backlog, 'job'> | null;
}

export interface Status {
  /** Running as long as one of the jobs is. */
  scheduler: Pick<JobStatus, 'intervalMinutes' | 'nextCheck'> & { isRunning: boolean };
  message: string;
  /** A run that works on a job now, and how many rows it has done so far. */
  atWork: { job: string; since: string; done: number } | null;
  /** What a person has to look at, a sentence each; nothing else makes "status --check" fail. */
  attention: string[];
  jobs: JobStatus[];
}

/** What a job last did to a row. */
export interface LastChange {
  job: string;
  secondsAgo: number;
  changed: Record<string, number>;
  lateSeconds: number;
}

interface Screen {
  status: Status;
  lastChanges: LastChange[];
}

/** As if there were no other jobs. */
export const readStatus = async (db: Database, settings: Settings, jobs: Wanted): Promise<Status> =>
  (await readThese(db, settings, jobs)).status;

/** One paused job is not a paused scheduler: whether that runs is told of all jobs. */
export async function readScreen(db: Database, settings: Settings, jobs: Wanted): Promise<Screen> {
  const screen = await readThese(db, settings, jobs);
  if (jobs.names === 'all') return screen;
  const { scheduler, message } = await readStatus(db, settings, all(jobs.builtIn));
  return { ...screen, status: { ...screen.status, scheduler, message } };
}

async function readThese(db: Database, settings: Settings, jobs: Wanted): Promise<Screen> {
  const { found, status } = await db.transaction(async (tx) => {
    const found = await look(tx, jobs, { dbZone: settings.dbTimezone });
    return { found, status: await reportOn(tx, settings, found) };
  });
  const installed = found.jobs.flatMap((standing) => standing.installed ?? []);
  const backlogs = await readBacklog(db, settings, installed, found.now);
  for (const { job } of installed) {
    const { job: _, ...backlog } = backlogs.find((each) => each.job === job.name) ?? {};
    status.jobs.find((each) => each.job === job.name)!.backlog = 'rows' in backlog ? backlog : null;
  }
  const elsewhere = found.elsewhere ? [isElsewhere(found.elsewhere)] : [];
  const attention = [...elsewhere, ...status.attention, ...status.jobs.flatMap(tooLate)];
  return { status: { ...status, attention }, lastChanges: await readLastChanges(db, installed) };
}

const readLastChanges = (db: Database, installed: Installed[]): Promise<LastChange[]> =>
  db.query<LastChange>(
    `select known.job, extract(epoch from now() - r.started_at)::double precision as "secondsAgo", r.changed,
       extract(epoch from r.late_by)::double precision as "lateSeconds"
     from json_to_recordset(:jobs::json) as known (tenant text, job text)
     cross join lateral (
       select * from scheduler.runs r
       where r.tenant = known.tenant and r.job = known.job and r.changed <> '{}' order by r.id desc limit 1
     ) as r`,
    { jobs: JSON.stringify(installed.map(({ tenant, job }) => ({ tenant, job: job.name }))) },
  );

const NOTHING_DUE = { rows: 0, more: false, since: null, seconds: null };

/** As if nothing were due. */
export async function reportOn(tx: Transaction, settings: Settings, found: Found): Promise<Status> {
  const [answer] = await tx.query<{ status: Status }>('select scheduler.report(:jobs::json, :tenant::text) as status', {
    jobs: knownJobs(settings, found),
    tenant: found.tenant,
  });
  const { status } = answer!;
  return { ...status, jobs: status.jobs.map((job) => ({ ...job, backlog: NOTHING_DUE })) };
}

/** A tick does it, if one comes. */
export const isOn = ({ state }: JobStatus): boolean => state === 'running' || state === 'no tick';

/** Most applications have the tables of a few built-in jobs, and no use for the others. */
export const isUnused = ({ why, lastTick }: JobStatus): boolean => why !== null && isMissing(why) && lastTick === null;

export const lastTickOf = (jobs: JobStatus[]): string | undefined =>
  jobs
    .flatMap(({ lastTick }) => lastTick ?? [])
    .sort()
    .at(-1);

// Two ticks may be lost to a restart or a slow batch; what is still waiting after this will not go away by itself.
const LATE_SECONDS = 600;

/** How long rows of a job may be due before they are late: one cadence, and one more minute. */
export const graceSeconds = ({ intervalMinutes }: JobStatus): number => (intervalMinutes + 1) * 60;

export const isLate = (status: JobStatus): boolean =>
  isOn(status) && (status.backlog?.seconds ?? 0) > Math.max(LATE_SECONDS, graceSeconds(status));

function tooLate(status: JobStatus): string[] {
  const { job, backlog } = status;
  if (!isLate(status) || !backlog) return [];
  return [`${job} has ${rows(backlog.rows, backlog.more)} due, the oldest for ${inWords(backlog.seconds!)}.`];
}

/** 1 → "1 row", 1000 → "1000 rows or more" where they were not all counted. */
export const rows = (count: number, more = false): string =>
  count === 1 ? '1 row' : `${count} rows${more ? ' or more' : ''}`;
