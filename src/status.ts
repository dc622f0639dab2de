import type { Settings } from './config.ts';
import { type Control, isPaused, whyPaused } from './controls.ts';
import type { Database } from './db.ts';
import type { Job } from './job.ts';
import { type LastRun, readLastRuns, readStanding, type Standing } from './runs.ts';

/** Whether the scheduler does its work, as far as the database can tell: ticks leave runs behind, and people controls. */

export interface SchedulerState {
  isRunning: boolean;
  intervalMinutes: number;
  nextCheck: string | null;
}

export interface JobStatus {
  job: string;
  state: 'running' | 'paused' | 'no tick' | 'not installed' | 'switched off';
  /** Why it is not running. */
  why: string | null;
  intervalMinutes: number;
  nextCheck: string | null;
  paused: Control | null;
  lastTick: string | null;
  lastRun: LastRun['run'];
  failing: number;
  quarantined: number;
}

export interface Status {
  scheduler: SchedulerState;
  message: string;
  jobs: JobStatus[];
}

export async function readStatus(db: Database, settings: Settings, jobs: Job[]): Promise<Status> {
  const { standing, last } = await db.transaction(async (tx) => {
    const standing = await readStanding(tx, jobs, { lock: false });
    return { standing, last: await readLastRuns(tx, jobs, standing) };
  });
  const states = jobs.map((job) =>
    jobStatus(job, settings, standing.find((row) => row.job === job.name)!, last.find((row) => row.job === job.name)!),
  );
  return { scheduler: schedulerState(states), message: message(states), jobs: states };
}

// One tick may come late and one may be missed by a restart; a third means that nobody calls.
const INTERVALS_OF_SILENCE = 3;

function jobStatus(job: Job, settings: Settings, standing: Standing, last: LastRun): JobStatus {
  const paused = isPaused(standing.control) ? standing.control : null;
  const off = job.switch && settings.job[job.switch] === false ? job.settings![job.switch]!.env : undefined;
  const silent = last.silentSeconds === null || last.silentSeconds > INTERVALS_OF_SILENCE * 60 * job.everyMinutes;
  const [state, why]: [JobStatus['state'], string | null] =
    standing.missing.length > 0
      ? ['not installed', `${standing.missing.join(', ')} missing`]
      : off
        ? ['switched off', `by ${off}`]
        : paused
          ? ['paused', whyPaused(paused)]
          : silent
            ? ['no tick', last.lastTick ? `none has come since ${last.lastTick}` : 'none has ever come']
            : ['running', null];
  return {
    job: job.name,
    state,
    why,
    intervalMinutes: job.everyMinutes,
    nextCheck: state === 'running' ? last.nextCheck : null,
    paused,
    lastTick: last.lastTick,
    lastRun: last.run,
    failing: last.failing,
    quarantined: last.quarantined,
  };
}

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
    const ticks = jobs.flatMap(({ lastTick }) => lastTick ?? []).sort();
    const silence = ticks.length > 0 ? `no tick has come since ${ticks.at(-1)}` : 'no tick has ever come';
    return `Scheduler is not running: ${silence}; check that cron or the timer calls "scheduler tick"`;
  }
  const paused = first('paused');
  if (paused) return `Scheduler was ${paused.why}`;
  return 'Scheduler has nothing to do: every job is either not installed or switched off';
}
