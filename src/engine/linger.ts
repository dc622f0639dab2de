import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT, type ExitCode, OperatorError } from '../base/errors.ts';
import { Stop } from '../base/stop.ts';
import type { Database, Transaction } from '../db/client.ts';
import { refuseElsewhere } from '../store/adopted.ts';
import { checkLevel } from '../store/migrate.ts';
import type { JobResult } from '../store/runs.ts';
import { isEveryTick, only, readStanding, type Wanted } from '../store/standing.ts';
import { isOfOneJob, soonest } from './ask.ts';
import { total } from './batch.ts';
import { explainFault } from './faults.ts';
import { plan } from './plan.ts';
import { type Context, exitCode, parameters, type RunResult, run } from './run.ts';

/**
 * A tick that stays: it looks once a second what comes due, sleeps until then, and passes for the jobs that have something
 * to do. The lock is held while it passes only, so that the next minute's tick need not wait for it.
 */

// A row that is written meanwhile is noticed by the next look.
const LOOK_MS = 1000;

// The holder of the lock is most often done in a moment, and may end then: what comes due next is this run's.
const LOCKED_MS = 250;

interface Lingering extends Context {
  /** From the start of the process. */
  seconds: number;
  /** Is told of each tick, and of each pass between two that did something. */
  report: (pass: RunResult) => Promise<void>;
}

/** Answers the exit code of the whole. */
export const linger = (lingering: Lingering): Promise<ExitCode> => new Stay(lingering).run();

/** What is due, and how long until something else is. */
type Look = { minute: string; due: string[]; waitMs: number };

class Stay {
  readonly #guard: Database;
  readonly #with: Lingering;
  /** The minute whose tick has been done. */
  #minute: string | undefined;
  /** How each job's last pass ended. */
  readonly #last = new Map<string, JobResult>();
  #anyFailed = false;
  #reported = false;
  /** The last pass that found the lock taken. */
  #waiting: RunResult | undefined;
  /** Jobs that were stopped by an error, which they would meet again each second. The next tick tries them. */
  readonly #stopped = new Set<string>();
  /** The last pass found something due, and did none of it. */
  #inVain = false;
  /** What the database does to everybody for a while. */
  #fault: OperatorError | undefined;

  constructor(lingering: Lingering) {
    this.#with = lingering;
    this.#guard = lingering.db.another('scheduler lock');
  }

  async run(): Promise<ExitCode> {
    const { log, request, report } = this.#with;
    try {
      do {
        const waitMs = Math.min(await this.#step(), this.#leftMs());
        if (waitMs > 0) await sleep(waitMs, undefined, { signal: request.stop.signal }).catch(() => {});
      } while (!this.#isOver());
      if (this.#fault && !this.#reported) throw this.#fault;
      if (this.#fault) log.error(this.#fault.message);
      if (!this.#reported && this.#waiting) await report(this.#waiting);
    } finally {
      await this.#guard.close();
    }
    const code = this.#fault?.exitCode ?? exitCode([...this.#last.values()]);
    return code === EXIT.done && this.#anyFailed ? EXIT.rowsFailed : code;
  }

  #leftMs(): number {
    return this.#with.seconds * 1000 - performance.now();
  }

  #isOver(): boolean {
    return this.#with.request.stop.reason !== undefined || this.#leftMs() <= 0;
  }

  /** Looks, does what is due, and answers how long there is nothing to do. A database that is away may come back. */
  async #step(): Promise<number> {
    try {
      const waitMs = await this.#work(await this.#look());
      this.#fault = undefined;
      return waitMs;
    } catch (error) {
      const known = explainFault(error);
      if (!(known instanceof OperatorError) || !isPassing(known)) throw known;
      if (!this.#fault) this.#with.log.warn(`${known.message} This run tries again every second.`);
      this.#fault = known;
      return LOOK_MS;
    }
  }

  /** The first pass of each minute is a tick like any other, and recorded as one. */
  async #work({ minute, due, waitMs }: Look): Promise<number> {
    const isTick = minute !== this.#minute;
    const wasInVain = this.#inVain;
    if (isTick) {
      this.#stopped.clear();
    } else if (due.length === 0) {
      this.#inVain = false;
      return waitMs;
    }
    const pass = await this.#pass(
      isTick ? this.#with.request.jobs : only(this.#with.request.jobs.builtIn, due),
      !isTick,
    );
    // Another run has the work, and may die; or the deadline ended this pass. The next look goes on.
    if (pass.locked) return LOCKED_MS;
    if (pass.jobs.some(({ workLeft }) => workLeft)) return LOOK_MS;
    if (isTick) {
      this.#minute = minute;
      return 0;
    }
    // Another run may have done it meanwhile. Rows that are due after another look are held by somebody.
    this.#inVain = !didSomething(pass);
    // The pass may have made something else due.
    return this.#inVain && wasInVain ? LOOK_MS : 0;
  }

  async #look(): Promise<Look> {
    // A connection whose other end has vanished keeps silent for much longer than this run is to last.
    const over = setTimeout(() => this.#guard.abandon(), Math.max(0, this.#leftMs()) + LOOK_MS);
    try {
      // The next look is the next attempt.
      return await this.#guard.transaction((tx) => this.#lookNow(tx), { inIndexOrder: true, attempts: 1 });
    } finally {
      clearTimeout(over);
    }
  }

  async #lookNow(tx: Transaction): Promise<Look> {
    const { settings, request } = this.#with;
    const found = await readStanding(tx, request.jobs, { lock: false, dbZone: settings.dbTimezone });
    const { minute } = found;
    checkLevel(found.level);
    refuseElsewhere(found.elsewhere);
    if (minute !== this.#minute) return { minute, due: [], waitMs: LOOK_MS };
    const requested = found.requests
      .map(({ job }) => job)
      .filter((name) => found.jobs.some(({ job }) => job.name === name));
    if (requested.length > 0) return { minute, due: requested, waitMs: LOOK_MS };
    const { planned } = plan(settings, request, found.jobs, []);
    const watched = planned.filter(({ job }) => isEveryTick(job) && !this.#stopped.has(job.name));
    if (watched.length === 0) return { minute, due: [], waitMs: LOOK_MS };
    const jobs = watched.map(({ job }) => job.name);
    try {
      const question = soonest(watched, found.anyFailures);
      const coming = await tx.query<{ job: string; seconds: number }>(question, parameters(settings, found.now));
      const isDue = (name: string) =>
        coming.some(({ job, seconds }) => job === name && seconds === 0) || this.#last.get(name)?.workLeft === true;
      const waitMs = Math.min(LOOK_MS, ...coming.map(({ seconds }) => Math.ceil(seconds * 1000)));
      return { minute, due: jobs.filter(isDue), waitMs };
    } catch (error) {
      if (!isOfOneJob(error)) throw error;
      // Each job meets its own error, and the next look leaves out the one that does.
      return { minute, due: jobs, waitMs: 0 };
    }
  }

  async #pass(jobs: Wanted, between: boolean): Promise<RunResult> {
    const { db, settings, log, request, seconds } = this.#with;
    const { stop, timeoutSeconds } = request;
    // The deadline of one pass is not the end of the others; and none of them makes the whole last longer than it may.
    const own = new Stop();
    const heed = () => own.request('signal');
    if (stop.reason) heed();
    stop.signal.addEventListener('abort', heed);
    const leftMs = Math.max(timeoutSeconds, seconds) * 1000 - performance.now();
    try {
      const pass = await run(db, settings, log, {
        ...{ ...request, jobs, ...(between && { recordsIdle: 'never' as const }), guard: this.#guard, stop: own },
        timeoutSeconds: Math.max(1, Math.min(timeoutSeconds, Math.ceil(leftMs / 1000))),
      });
      await this.#note(pass, between);
      return pass;
    } finally {
      stop.signal.removeEventListener('abort', heed);
    }
  }

  async #note(pass: RunResult, between: boolean): Promise<void> {
    for (const result of pass.jobs) {
      this.#last.set(result.job, result);
      this.#anyFailed ||= result.failed > 0;
      if (result.errorCode !== undefined) this.#stopped.add(result.job);
    }
    // It asks again and again, until it gets the lock or its time is over.
    if (pass.locked) this.#waiting = pass;
    if (pass.locked || (between && !didSomething(pass))) return;
    this.#reported = true;
    // The next pass goes on with the work that this one had to leave.
    const { stopped, ...rest } = pass;
    await this.#with.report(stopped && this.#isOver() ? pass : rest);
  }
}

const isPassing = ({ exitCode }: OperatorError) => exitCode === EXIT.unreachable || exitCode === EXIT.stopped;

const didSomething = ({ jobs }: RunResult) => jobs.some(({ changed, failed }) => total(changed) > 0 || failed > 0);
