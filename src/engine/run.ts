import type { Settings } from '../base/config.ts';
import { EXIT, type ExitCode } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Stop, StopReason } from '../base/stop.ts';
import type { Database, Transaction } from '../db/client.ts';
import type { Installed } from '../job/compile.ts';
import type { Job } from '../job/define.ts';
import { checkLevel } from '../store/migrate.ts';
import { prune } from '../store/retention.ts';
import { type Found, IDENTITY, type JobResult, readStanding } from '../store/runs.ts';
import { isOfOneJob } from './ask.ts';
import { explainFault } from './faults.ts';
import { Pass } from './pass.ts';
import { type Planned, plan, type Skipped } from './plan.ts';
import type { Run } from './records.ts';
import { BATCH } from './sweep.ts';

/** What somebody wants done. */
export interface Request {
  jobs: Job[];
  /** Set when a person asks for these jobs: then neither cadence nor the switch in the environment holds them back. */
  by?: string;
  /** An admin's explicit command outranks a pause. */
  evenIfPaused?: boolean;
  dryRun: boolean;
  at?: string;
  /** Rows per transaction. */
  batchSize?: number | undefined;
  /** A backlog is shared by so many. */
  connections?: number | undefined;
  timeoutSeconds: number;
  /** One line per row, however many there are. */
  debug: boolean;
  stop: Stop;
  /** A connection for the lock that outlives the run. */
  guard?: Database;
  /** One of the passes between two ticks: it leaves no record of idle jobs, and old history to the tick. */
  between?: boolean;
}

export interface RunResult {
  /** Somebody else holds the lock and does the work. */
  locked: boolean;
  now: string;
  jobs: JobResult[];
  skipped: Skipped[];
  stopped?: StopReason;
  exitCode: ExitCode;
}

interface Context {
  db: Database;
  settings: Settings;
  log: Log;
  request: Request;
}

// The lock's transaction idles while the work goes on elsewhere; a bound just beyond the deadline still frees it when
// the machine that held it has vanished without a word.
const LOCK_MARGIN_SECONDS = 60;

/** Two processors are what the smallest servers have. */
const CONNECTIONS = 2;

/** One pass over everything whose time has come: lock, look, ask, work, record. */
export async function run(db: Database, settings: Settings, log: Log, request: Request): Promise<RunResult> {
  const context = { db, settings, log, request };
  const deadline = setTimeout(() => request.stop.request('deadline'), request.timeoutSeconds * 1000);
  try {
    return request.dryRun ? await rehearse(context) : await withLock(context);
  } catch (error) {
    throw explainFault(error);
  } finally {
    clearTimeout(deadline);
  }
}

/** The same pass in one transaction that is rolled back. It takes no lock: it must not keep a real tick from its work. */
function rehearse(context: Context): Promise<RunResult> {
  return context.db.rehearse(() =>
    context.db.transaction(async (tx) => {
      const work = new Work(context, await look(context, tx, false));
      return work.run(undefined);
    }),
  );
}

/** An idle run needs only the connection that holds the lock; work is done on a second one while the first one waits. */
async function withLock(context: Context): Promise<RunResult> {
  const { db, request } = context;
  const guard = request.guard ?? db.another('scheduler lock');
  // The log tells what was done before the lock's connection broke.
  let work: Work | undefined;
  let apart = false;
  const attempt = () =>
    guard.transaction(
      async (tx) => {
        if (work?.result) return work.result;
        const found = await look(context, tx, true);
        if (!found.locked) return { locked: true, now: found.now, jobs: [], skipped: [], exitCode: EXIT.done };
        work ??= new Work(context, found);
        return work.run(apart ? undefined : tx);
      },
      { idleTimeout: `${request.timeoutSeconds + LOCK_MARGIN_SECONDS}s`, inIndexOrder: true },
    );
  try {
    return await attempt().catch((error) => {
      // One job's broken or locked table must not hide the others: asked apart, each job meets its own error.
      if (!(error instanceof QuestionFailed)) throw error;
      apart = true;
      return attempt();
    });
  } finally {
    if (guard !== request.guard) await guard.close();
  }
}

class QuestionFailed extends Error {}

async function look({ settings, request }: Context, tx: Transaction, lock: boolean): Promise<Found> {
  const found = await readStanding(tx, request.jobs, { at: request.at, lock, dbZone: settings.dbTimezone });
  checkLevel(found.level);
  return found;
}

/** The values that SQL may refer to. */
export const parameters = (settings: Settings, { now, tenant }: { now: string; tenant: string }) => ({
  ...settings.job,
  now,
  tenant,
  zone: settings.timezone,
  dbZone: settings.dbTimezone,
});

/** What a run does with what it found. */
class Work {
  readonly #context: Context;
  readonly #found: Found;
  readonly #planned: Planned[];
  readonly #skipped: Skipped[];
  readonly #pass: Pass;
  #tx: Transaction | undefined;
  /** There when everything is done and recorded. */
  result: RunResult | undefined;

  constructor(context: Context, found: Found) {
    const { db, settings, log, request } = context;
    this.#context = context;
    this.#found = found;
    const { planned, skipped } = plan(settings, request, found.jobs);
    this.#planned = planned;
    this.#skipped = skipped;
    const running: Run = {
      ...{ db, log, queue: { full: false }, stop: request.stop },
      ...{ debug: request.debug, dryRun: request.dryRun },
      batchSize: request.batchSize ?? BATCH,
      connections: request.connections ?? CONNECTIONS,
      values: {
        ...parameters(settings, found),
        ...{ retention: settings.retentionDays, by: request.by ?? null, ...IDENTITY },
        slot: request.by === undefined ? found.minute : null,
      },
      // That this connection is lost is noticed by the next question.
      letGo: async () => void (await this.#tx?.query('select').catch(() => {})),
    };
    this.#pass = new Pass(running, installedOf(planned), found.anyFailures, {
      isTick: request.by === undefined && !request.between,
      records: !request.between,
    });
  }

  /** Asks on the connection of the lock; with none, each job by itself. */
  async run(tx: Transaction | undefined): Promise<RunResult> {
    const { db, settings, request } = this.#context;
    this.#tx = tx;
    try {
      await this.#pass.run(tx);
    } catch (error) {
      if (tx && this.#pass.isAsking && isOfOneJob(error)) throw new QuestionFailed('', { cause: error });
      throw error;
    }
    const { now } = this.#found;
    if (this.#pass.expired && !request.stop.reason) await prune(db, settings, now, request.stop);
    const jobs = this.#planned.map(({ job }) => this.#pass.resultOf(job));
    this.result = { locked: false, now, jobs, skipped: this.#skipped, exitCode: exitCode(jobs) };
    if (request.stop.reason && jobs.some((job) => job.workLeft)) this.result.stopped = request.stop.reason;
    return this.result;
  }
}

const installedOf = (planned: Planned[]): Installed[] => planned.map(({ installed }) => installed);

export function exitCode(jobs: JobResult[]): ExitCode {
  const worst = jobs.find((job) => job.errorCode !== undefined)?.errorCode;
  if (worst !== undefined) return worst;
  if (jobs.some((job) => job.workLeft)) return EXIT.stopped;
  return jobs.some((job) => job.failed > 0) ? EXIT.rowsFailed : EXIT.done;
}
