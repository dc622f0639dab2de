import { inWords } from '../base/calendar.ts';
import type { Settings } from '../base/config.ts';
import type { Database } from '../db/client.ts';
import type { Job } from '../job/define.ts';
import { isElsewhere } from '../store/adopted.ts';
import { type Control, isPaused, whyPaused } from '../store/controls.ts';
import { type LastRun, readLastRuns } from '../store/last-runs.ts';
import { isStranger, lockHolder, strangersLock } from '../store/lock.ts';
import { type Found, type Standing, type Wanted, whyPowerless } from '../store/runs.ts';
import { type Backlog, readBacklog } from './backlog.ts';
import { look, whyMissing } from './standing.ts';

/** Whether the scheduler does its work, as far as the database can tell: ticks leave runs behind, and people controls. */

export interface JobStatus extends Pick<LastRun, 'lastTick' | 'failing' | 'quarantined'> {
  job: string;
  state: 'running' | 'paused' | 'no tick' | 'not installed' | 'switched off';
  /** Why it is not running. */
  why: string | null;
  intervalMinutes: number;
  nextCheck: string | null;
  paused: Control | null;
  lastRun: LastRun['run'];
  /** What is due and not done. */
  backlog: Omit<Backlog, 'job'>;
}

interface SchedulerState extends Pick<JobStatus, 'intervalMinutes' | 'nextCheck'> {
  isRunning: boolean;
}

export interface Status {
  scheduler: SchedulerState;
  message: string;
  /** What a person has to look at, a sentence each; nothing else makes "status --check" fail. */
  attention: string[];
  jobs: JobStatus[];
}

export async function readStatus(db: Database, settings: Settings, jobs: Wanted): Promise<Status> {
  const { found, last, holder } = await db.transaction(async (tx) => {
    const found = await look(tx, jobs, { dbZone: settings.dbTimezone });
    return { found, last: await readLastRuns(tx, found.jobs), holder: await lockHolder(tx) };
  });
  const installed = found.jobs.flatMap((standing) => standing.installed ?? []);
  const backlogs = await readBacklog(db, settings, installed, found.now);
  const of = <T extends { job: string }>(rows: T[], job: Job) => rows.find((row) => row.job === job.name);
  const states = found.jobs.map((standing) =>
    jobStatus(settings, standing, of(last, standing.job)!, of(backlogs, standing.job)),
  );
  const [scheduler, sentences] = [schedulerState(states), attention(states, found)];
  if (holder && isStranger(holder)) sentences.push(strangersLock(holder));
  return { scheduler, message: message(states), attention: sentences, jobs: states };
}

/** A tick does it, if one comes. */
export const isOn = ({ state }: JobStatus): boolean => state === 'running' || state === 'no tick';

export const lastTickOf = (jobs: JobStatus[]): string | undefined =>
  jobs
    .flatMap(({ lastTick }) => lastTick ?? [])
    .sort()
    .at(-1);

const NOTHING_DUE = { rows: 0, more: false, since: null, seconds: null };

// One tick may come late and one may be missed by a restart; a third means that nobody calls.
const INTERVALS_OF_SILENCE = 3;

export function jobStatus(
  settings: Settings,
  standing: Standing,
  last: LastRun,
  { rows, more, since, seconds }: JobStatus['backlog'] = NOTHING_DUE,
): JobStatus {
  const { job } = standing;
  const paused = isPaused(standing.control) ? standing.control : null;
  const [state, why] = stateOf(settings, standing, paused, last);
  return {
    ...{ job: job.name, state, why, intervalMinutes: job.everyMinutes },
    ...{ nextCheck: state === 'running' ? last.nextCheck : null, paused, lastTick: last.lastTick, lastRun: last.run },
    ...{ failing: last.failing, quarantined: last.quarantined, backlog: { rows, more, since, seconds } },
  };
}

function stateOf(
  settings: Settings,
  standing: Standing,
  paused: Control | null,
  { lastTick, silentSeconds }: LastRun,
): [JobStatus['state'], why: string | null] {
  const { job, missing, powerless } = standing;
  if (missing.length > 0) return ['not installed', whyMissing(standing)];
  if (powerless) return ['not installed', whyPowerless(powerless)];
  if (job.switch && settings.job[job.switch] === false) return ['switched off', `by ${job.settings![job.switch]!.env}`];
  if (paused) return ['paused', whyPaused(paused)];
  if (silentSeconds !== null && silentSeconds <= INTERVALS_OF_SILENCE * 60 * job.everyMinutes) return ['running', null];
  return ['no tick', lastTick ? `none has come since ${lastTick}` : 'none has ever come'];
}

// Longer than any deployment or repair should take: whoever paused it may have forgotten.
const PAUSED_TOO_LONG_SECONDS = 24 * 3600;

// Two ticks may be lost to a restart or a slow batch; what is still waiting after this will not go away by itself.
const LATE_SECONDS = 600;

/** How long rows of a job may be due before they are late: one cadence, and one more minute. */
export const graceSeconds = ({ intervalMinutes }: JobStatus): number => (intervalMinutes + 1) * 60;

function attention(jobs: JobStatus[], { now, elsewhere, jobs: standing }: Found): string[] {
  const powerless = new Set(standing.flatMap((each) => (each.powerless ? [each.job.name] : [])));
  const found: string[] = elsewhere ? [isElsewhere(elsewhere)] : [];
  if (jobs.some(isOn) && runningOf(jobs).length === 0) found.push(`${message(jobs)}.`);
  const forgotten = new Set<string>();
  for (const each of jobs) {
    const { job, state, why, paused, lastTick, lastRun, failing, quarantined, backlog } = each;
    if (powerless.has(job)) found.push(`${job} is not run: it was ${why}.`);
    // An operator can say with "scheduler stop" that this is meant.
    else if (state === 'not installed' && lastTick && !paused) found.push(`${job} is no longer installed: ${why}.`);
    if (state === 'paused' && paused && Date.parse(now) - Date.parse(paused.at) > PAUSED_TOO_LONG_SECONDS * 1000) {
      // One word may have paused them all.
      if (!forgotten.has(paused.at)) found.push(`${job} was ${whyPaused(paused)}, which is more than a day ago.`);
      forgotten.add(paused.at);
    }
    if (quarantined > 0) found.push(`${job} has ${rows(quarantined)} in quarantine: see "scheduler failures".`);
    else if (failing > FAILING) found.push(`${job} has ${rows(failing)} that fail: see "scheduler failures".`);
    if (lastRun?.error) found.push(`${job} was stopped by an error: ${lastRun.error}`);
    if (isOn(each) && (backlog.seconds ?? 0) > Math.max(LATE_SECONDS, graceSeconds(each)))
      found.push(`${job} has ${rows(backlog.rows, backlog.more)} due, the oldest for ${inWords(backlog.seconds!)}.`);
  }
  return found;
}

// A few rows are tried again by themselves, and end in quarantine if that does not help; so many at once are no accident.
const FAILING = 100;

/** 1 → "1 row", 1000 → "1000 rows or more" where they were not all counted. */
export const rows = (count: number, more = false): string =>
  count === 1 ? '1 row' : `${count} rows${more ? ' or more' : ''}`;

/** A tick calls all jobs: where a more frequent one has heard none, a rarer one has only not missed it yet. */
function runningOf(jobs: JobStatus[]): JobStatus[] {
  const missedBy = Math.min(...jobs.filter(({ state }) => state === 'no tick').map((job) => job.intervalMinutes));
  return jobs.filter(({ state, intervalMinutes }) => state === 'running' && intervalMinutes <= missedBy);
}

/** Of one job or of all: running as long as one of them is. */
export function schedulerState(jobs: JobStatus[]): SchedulerState {
  const checks = runningOf(jobs).flatMap(({ nextCheck }) => nextCheck ?? []);
  return {
    isRunning: checks.length > 0,
    intervalMinutes: Math.min(...jobs.map((job) => job.intervalMinutes)),
    nextCheck: checks.sort()[0] ?? null,
  };
}

function message(jobs: JobStatus[]): string {
  const first = (state: JobStatus['state']) => jobs.find((job) => job.state === state);
  if (runningOf(jobs).length > 0) return 'Scheduler is running';
  if (first('no tick')) {
    const last = lastTickOf(jobs);
    const silence = last ? `no tick has come since ${last}` : 'no tick has ever come';
    return `Scheduler is not running: ${silence}; check that cron or the timer calls "scheduler tick"`;
  }
  const paused = first('paused');
  if (paused) return `Scheduler was ${paused.why}`;
  return 'Scheduler has nothing to do: every job is either not installed or switched off';
}
