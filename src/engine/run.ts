import type { Settings } from '../base/config.ts';
import { EXIT, type ExitCode } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Stop, StopReason } from '../base/stop.ts';
import type { Database, Transaction } from '../db/client.ts';
import type { Installed } from '../job/compile.ts';
import { refuseElsewhere } from '../store/adopted.ts';
import { releaseMended } from '../store/failures.ts';
import { keepKnown } from '../store/known-jobs.ts';
import { lockHolder } from '../store/lock.ts';
import { checkLevel } from '../store/migrate.ts';
import { REFUSE, type Requested } from '../store/requests.ts';
import { prune } from '../store/retention.ts';
import { IDENTITY, type JobResult } from '../store/runs.ts';
import { type Found, readStanding, type Wanted } from '../store/standing.ts';
import type { RecordsIdle } from './ask.ts';
import { explainFault } from './faults.ts';
import { Pass, QuestionFailed } from './pass.ts';
import { type Asked, type Plan, plan } from './plan.ts';
import type { Heed, Run } from './records.ts';
import { asInBatch, isReached } from './statements.ts';

/** What somebody wants done. */
export interface Request extends Asked {
  jobs: Wanted;
  /** Work that is done before anything else in the transaction of a dry run. */
  before?: (tx: Transaction) => Promise<void>;
  /** A job ends when it has changed so many rows. */
  most?: number;
  dryRun: boolean;
  progress?: Heed | undefined;
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
  /** One of the passes between two ticks leaves no record of idle jobs. One of many tenants does, unless all its jobs are idle. */
  recordsIdle?: RecordsIdle;
}

export interface RunResult {
  /** Somebody else holds the lock and does the work. */
  locked: boolean;
  /** Nothing was due when it began. */
  idle: boolean;
  now: string;
  jobs: JobResult[];
  skipped: Plan['skipped'];
  stopped?: StopReason;
  exitCode: ExitCode;
}

export interface Context {
  db: Database;
  settings: Settings;
  log: Log;
  request: Request;
}

const BATCH = 1000;

/** Two processors are what the smallest servers have. */
const CONNECTIONS = 2;

// The lock's transaction idles while the work goes on elsewhere; a bound just beyond the deadline still frees it when
// the machine that held it has vanished without a word.
const LOCK_MARGIN_SECONDS = 60;

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
    request.progress?.(undefined, 0);
  }
}

/** The same pass in one transaction that is rolled back. It takes no lock: it must not keep a real tick from its work. */
const rehearse = (context: Context): Promise<RunResult> =>
  context.db.rehearse(async () => {
    const { before } = context.request;
    if (before) await context.db.transaction(before);
    return (await onePass(context)).result;
  });

/** One pass without the lock, and what it found when it began. */
export async function onePass(context: Context): Promise<{ result: RunResult; found: Found; planned: Installed[] }> {
  const { db, settings, request } = context;
  const found = await db.transaction((tx) => look(context, tx, false));
  const { planned } = plan(settings, request, found.jobs, requestsFor(request, found));
  return { result: await prepare(context, found)(undefined), found, planned };
}

/** An idle run needs only the connection that holds the lock; work is done on a second one while the first one waits. */
async function withLock(context: Context): Promise<RunResult> {
  const { db, request } = context;
  const guard = request.guard ?? db.another('scheduler lock');
  // Work that was done before the lock's connection broke is not forgotten.
  let work: ReturnType<typeof prepare> | undefined;
  let result: RunResult | undefined;
  let apart = false;
  const attempt = () =>
    guard.transaction(
      async (tx) => {
        if (result) return result;
        const found = await look(context, tx, true);
        if (!found.locked && !(await isHeldByStranger(context, tx)))
          return { locked: true, idle: false, now: found.now, jobs: [], skipped: [], exitCode: EXIT.done };
        if (request.by === undefined && request.jobs.names === 'all') await keepKnown(db, context.settings, found);
        work ??= prepare(context, found);
        result = await work(apart ? undefined : tx);
        return result;
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

/** It only saves work: where somebody has it who should not, the run goes on without it. */
async function isHeldByStranger({ log }: Context, tx: Transaction): Promise<boolean> {
  const stranger = (await lockHolder(tx))?.stranger;
  if (stranger) log.error(stranger);
  return Boolean(stranger);
}

async function look({ settings, request }: Context, tx: Transaction, lock: boolean): Promise<Found> {
  const found = await readStanding(tx, request.jobs, {
    ...{ at: request.at, lock, dbZone: settings.dbTimezone },
  });
  checkLevel(found.level);
  refuseElsewhere(found.elsewhere);
  return found;
}

/** Ticks do what was requested; a person who asks for a job has said which. */
const requestsFor = ({ by, rehearsal }: Request, { requests }: Found) =>
  by === undefined && !rehearsal ? requests : [];

/** Waiting would not help these. A pass of some jobs leaves requests of the others alone. */
const refusalsOf = ({ jobs: { names } }: Request, requests: Requested[], { planned, skipped }: Plan) =>
  requests.flatMap(({ job, upTo }) => {
    const why = skipped.find((each) => each.job === job)?.why;
    const isMissing = names === 'all' && !planned.some((each) => each.job.name === job);
    return why || isMissing ? [{ job, upTo, why: why ?? 'there is no such job any more' }] : [];
  });

/** The values that SQL may refer to. */
export const parameters = (settings: Settings, now: string) => ({
  ...{ ...settings.job, now },
  ...{ zone: settings.timezone, dbZone: settings.dbTimezone },
});

/** The work of a run with what it found. It asks on the connection of the lock; with none, each job is asked by itself. */
function prepare({ db, settings, log, request }: Context, found: Found) {
  const { by, stop, debug, dryRun, most, batchSize = BATCH, connections = CONNECTIONS } = request;
  const requests = requestsFor(request, found);
  const { planned, skipped } = plan(settings, request, found.jobs, requests);
  // A dry run answers none, as it must not hold those of a real one.
  const answered = dryRun ? [] : requests;
  const running: Run = {
    ...{
      db,
      log,
      stop,
      debug,
      dryRun,
      batchSize,
      connections,
      most,
      rehearsal: request.rehearsal,
      progress: request.progress,
      queue: { full: false },
      requests: new Map(answered.map((each) => [each.job, each])),
    },
    values: {
      ...{ ...parameters(settings, found.now), ...IDENTITY, homes: found.homes, retention: settings.retentionDays },
      ...{ by: by ?? null, slot: by === undefined ? found.minute : null },
    },
  };
  const pass = new Pass(running, planned, found.anyFailures, request.recordsIdle ?? 'always');
  return async (asking: Transaction | undefined): Promise<RunResult> => {
    running.asking = asking;
    for (const refusal of refusalsOf(request, answered, { planned, skipped }))
      await db.query(REFUSE, { ...running.values, ...refusal });
    if (found.anyToCompare) await releaseAllMended(running, planned);
    await pass.run();
    if (pass.expired && by === undefined && !stop.reason) {
      await prune(db, settings, stop).catch((error) => {
        const { message } = explainFault(error) as Error;
        log.error(`The tick is done, but old history was not forgotten: ${message}`);
      });
    }
    const jobs = planned.map(({ job }) => pass.resultOf(job));
    return {
      ...{ locked: false, idle: pass.wasIdle, now: found.now, jobs, skipped, exitCode: exitCode(jobs) },
      ...(stop.reason && jobs.some((job) => job.workLeft) && { stopped: stop.reason }),
    };
  };
}

/** Before it is asked what is due, and apart from the lock's transaction: that would hold what a batch changes. */
async function releaseAllMended({ db, log, values }: Run, jobs: Installed[]): Promise<void> {
  for (const rule of jobs.flatMap(({ rules }) => rules)) {
    const released = (isDue: string) => releaseMended(db, rule, values, isDue);
    const count = (await released(asInBatch(rule, [isReached(rule)]))) ?? (await released(isReached(rule))) ?? 0;
    if (count > 0) log.info(`${rule.job}: rows in quarantine were mended and are tried again`, { count });
  }
}

export function exitCode(jobs: JobResult[]): ExitCode {
  const worst = jobs.find((job) => job.errorCode !== undefined)?.errorCode;
  if (worst !== undefined) return worst;
  if (jobs.some((job) => job.workLeft)) return EXIT.stopped;
  return jobs.some((job) => job.failed > 0) ? EXIT.rowsFailed : EXIT.done;
}
