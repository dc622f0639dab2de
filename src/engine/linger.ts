import { setTimeout as sleep } from 'node:timers/promises';
import type { Settings } from '../base/config.ts';
import { EXIT, OperatorError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { Stop } from '../base/stop.ts';
import type { Database } from '../db/client.ts';
import type { Job } from '../job/define.ts';
import { checkLevel } from '../store/migrate.ts';
import { type JobResult, readStanding } from '../store/runs.ts';
import { sum, total } from './batch.ts';
import { exitCode, explainFault, isOfOneJob, parameters, plan, type Request, type RunResult, run } from './run.ts';
import { soonest } from './soonest.ts';
import { FAILURES_SHOWN } from './sweep.ts';

/**
 * A tick that stays: it looks once a second what comes due, sleeps until then, and passes for the jobs that have something
 * to do. The lock is held while it passes only, so that the next minute's tick need not wait for it.
 */

// A row that is written meanwhile is noticed by the next look.
const LOOK_MS = 1000;

// Whoever holds the lock is most often done in a moment, and may end then: what comes due next is this run's.
const LOCKED_MS = 250;

/** A run that lasts so many seconds from the start of the process; passes that did something are told of, and ticks after the first. */
export const lingering =
  (seconds: number, tell: (pass: RunResult) => Promise<void>): typeof run =>
  async (db, settings, log, request) => {
    const guard = db.another('scheduler lock');
    try {
      return await new Lingering(db, guard, settings, log, request, seconds, tell).run();
    } finally {
      await guard.close();
    }
  };

interface Look {
  minute: string;
  due: Job[];
  /** How long until the next one is. */
  waitMs: number;
}

class Lingering {
  readonly #db: Database;
  readonly #guard: Database;
  readonly #settings: Settings;
  readonly #log: Log;
  readonly #request: Request;
  readonly #seconds: number;
  readonly #tell: (pass: RunResult) => Promise<void>;
  /** The minute whose tick has been done. */
  #minute: string | undefined;
  /** Jobs that were stopped by an error, which they would meet again each second. The next tick tries them. */
  readonly #stopped = new Set<string>();
  /** The last pass found something due, and did none of it. */
  #inVain = false;
  #sum: RunResult | undefined;
  /** What the database does to everybody for a while. */
  #fault: OperatorError | undefined;

  constructor(
    db: Database,
    guard: Database,
    settings: Settings,
    log: Log,
    request: Request,
    seconds: number,
    tell: (pass: RunResult) => Promise<void>,
  ) {
    this.#db = db;
    this.#guard = guard;
    this.#settings = settings;
    this.#log = log;
    this.#request = request;
    this.#seconds = seconds;
    this.#tell = tell;
  }

  async run(): Promise<RunResult> {
    const { stop } = this.#request;
    do {
      const waitMs = Math.min(await this.#step(), this.#leftMs());
      if (waitMs > 0) await sleep(waitMs, undefined, { signal: stop.signal }).catch(() => {});
    } while (!stop.reason && this.#leftMs() > 0);
    if (!this.#sum) throw this.#fault!;
    if (!this.#fault) return this.#sum;
    this.#log.error(this.#fault.message);
    return { ...this.#sum, exitCode: this.#fault.exitCode };
  }

  #leftMs(): number {
    return this.#seconds * 1000 - performance.now();
  }

  /** Looks, does what is due, and answers how long there is nothing to do. A database that is away may come back. */
  async #step(): Promise<number> {
    try {
      const { minute, due, waitMs } = await this.#look();
      const wait = minute === this.#minute ? await this.#between(due, waitMs) : await this.#tick(minute);
      this.#fault = undefined;
      return wait;
    } catch (error) {
      const known = explainFault(error);
      if (!(known instanceof OperatorError) || !isPassing(known)) throw known;
      if (!this.#fault) this.#log.warn(`${known.message} This run tries again every second.`);
      this.#fault = known;
      return LOOK_MS;
    }
  }

  /** The first pass of each minute is a tick like any other, and recorded as one. */
  async #tick(minute: string): Promise<number> {
    this.#stopped.clear();
    const pass = await this.#pass(this.#request.jobs, false);
    const pauseMs = pauseAfter(pass);
    if (pauseMs === 0) this.#minute = minute;
    return pauseMs;
  }

  async #between(due: Job[], waitMs: number): Promise<number> {
    if (due.length === 0) {
      this.#inVain = false;
      return waitMs;
    }
    const pass = await this.#pass(due, true);
    const pauseMs = pauseAfter(pass);
    if (pauseMs > 0) return pauseMs;
    // Another run may have done it meanwhile. What is due after another look is held by somebody.
    const isHeld = !didSomething(pass) && this.#inVain;
    this.#inVain = !didSomething(pass);
    // What was done may have made something else due.
    return isHeld ? LOOK_MS : 0;
  }

  async #look(): Promise<Look> {
    // A connection whose other end has vanished keeps silent for much longer than this run is to last.
    const over = setTimeout(() => this.#guard.abandon(), Math.max(0, this.#leftMs()) + LOOK_MS);
    try {
      return await this.#lookNow();
    } finally {
      clearTimeout(over);
    }
  }

  #lookNow(): Promise<Look> {
    return this.#guard.transaction(
      async (tx) => {
        const { jobs } = this.#request;
        const standing = await readStanding(tx, jobs, { lock: false });
        const { now, level, anyFailures } = standing[0]!;
        checkLevel(level);
        const minutely = jobs.filter((job) => job.everyMinutes === 1);
        const minute = standing.find(({ job }) => job === minutely[0]!.name)!.slot;
        const { planned } = plan({ settings: this.#settings, request: this.#request }, standing);
        const mine = planned
          .map(({ job }) => job)
          .filter((job) => minutely.includes(job) && !this.#stopped.has(job.name));
        if (minute !== this.#minute || mine.length === 0) return { minute, due: [], waitMs: LOOK_MS };
        try {
          const coming = await tx.query<{ job: string; seconds: number }>(
            soonest(mine, anyFailures),
            parameters(this.#settings, now),
          );
          const due = coming.filter(({ seconds }) => seconds === 0).map(({ job }) => job);
          for (const { job } of this.#sum?.jobs.filter(isUnfinished) ?? []) due.push(job);
          return {
            minute,
            due: mine.filter(({ name }) => due.includes(name)),
            waitMs: Math.min(LOOK_MS, ...coming.map(({ seconds }) => Math.ceil(seconds * 1000))),
          };
        } catch (error) {
          if (!isOfOneJob(error)) throw error;
          // Each job meets its own error, and the next look leaves out the one that does.
          return { minute, due: mine, waitMs: 0 };
        }
      },
      // The next look is the next attempt.
      { inIndexOrder: true, attempts: 1 },
    );
  }

  async #pass(jobs: Job[], between: boolean): Promise<RunResult> {
    const { stop, timeoutSeconds } = this.#request;
    // The deadline of one pass is not the end of the others; and none of them makes the whole last longer than it may.
    const own = new Stop();
    const heed = () => own.request('signal');
    if (stop.reason) heed();
    stop.signal.addEventListener('abort', heed);
    const leftMs = Math.max(timeoutSeconds, this.#seconds) * 1000 - performance.now();
    try {
      const pass = await run(this.#db, this.#settings, this.#log, {
        ...this.#request,
        jobs,
        between,
        guard: this.#guard,
        stop: own,
        timeoutSeconds: Math.max(1, Math.min(timeoutSeconds, Math.ceil(leftMs / 1000))),
      });
      for (const { job, errorCode } of pass.jobs) {
        if (errorCode !== undefined) this.#stopped.add(job);
      }
      this.#sum = add(this.#sum, pass);
      if (didSomething(pass) || (!between && this.#minute !== undefined)) await this.#tell(pass);
      return pass;
    } finally {
      stop.signal.removeEventListener('abort', heed);
    }
  }
}

const isPassing = ({ exitCode }: OperatorError) => exitCode === EXIT.unreachable || exitCode === EXIT.stopped;

/** Until its next pass says otherwise. */
const isUnfinished = ({ workLeft }: JobResult) => workLeft;

/** Another run has the work, and may die; or the deadline ended this pass. The next look goes on. */
const pauseAfter = ({ locked, jobs }: RunResult) => (locked ? LOCKED_MS : jobs.some(isUnfinished) ? LOOK_MS : 0);

const didSomething = ({ jobs }: RunResult) => jobs.some(({ changed, failed }) => total(changed) > 0 || failed > 0);

/** All passes as one. What a job failed to do may have been done by a later pass, so its last one tells how it ended. */
function add(before: RunResult | undefined, pass: RunResult): RunResult {
  if (!before || before.locked) return pass;
  if (pass.locked) return before;
  const jobs = [
    ...before.jobs.map((earlier) =>
      addJob(
        earlier,
        pass.jobs.find(({ job }) => job === earlier.job),
      ),
    ),
    ...pass.jobs.filter(({ job }) => !before.jobs.some((earlier) => earlier.job === job)),
  ];
  const skipped = [
    ...before.skipped.filter(({ job }) => !pass.skipped.some((later) => later.job === job)),
    ...pass.skipped,
  ];
  const stopped = jobs.some((job) => job.workLeft) ? (pass.stopped ?? before.stopped) : undefined;
  return { locked: false, now: before.now, jobs, skipped, ...(stopped && { stopped }), exitCode: exitCode(jobs) };
}

const addJob = (earlier: JobResult, later: JobResult | undefined): JobResult =>
  later
    ? {
        ...later,
        changed: sum([earlier.changed, later.changed]),
        failed: earlier.failed + later.failed,
        failures: [...earlier.failures, ...later.failures].slice(0, FAILURES_SHOWN),
        lateSeconds: Math.max(earlier.lateSeconds, later.lateSeconds),
        unsent: earlier.unsent + later.unsent,
      }
    : earlier;
