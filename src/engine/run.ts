import type { Settings } from '../base/config.ts';
import { EXIT, type ExitCode, OperatorError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Stop, StopReason } from '../base/stop.ts';
import { type Database, sqlState, type Transaction, type Values } from '../db/client.ts';
import type { Job } from '../job/define.ts';
import { isPaused, whyPaused } from '../store/controls.ts';
import { checkLevel, explainSchemaError, whatFits } from '../store/migrate.ts';
import { ANYTHING_EXPIRED, prune } from '../store/retention.ts';
import { beginRun, finishRun, type JobResult, readStanding, recordUnlessDue, type Standing } from '../store/runs.ts';
import { firstDue, probe } from './statement.ts';
import { sweep } from './sweep.ts';

export interface Request {
  jobs: Job[];
  /** Set when a person asks for these jobs: then neither cadence nor the switch in the environment holds them back. */
  by?: string;
  /** An admin's explicit command outranks a pause. */
  evenIfPaused?: boolean;
  dryRun: boolean;
  at?: string;
  /** Rows per transaction; none: as many as suit the backlog. */
  batchSize?: number | undefined;
  timeoutSeconds: number;
  /** One line per row, however many there are. */
  debug: boolean;
  stop: Stop;
  /** A connection for the lock that outlives the run. */
  guard?: Database;
  /** One of the passes between two ticks: it is known that something is due, and old history can wait for the tick. */
  between?: boolean;
}

export interface RunResult {
  /** Somebody else holds the lock and does the work. */
  locked: boolean;
  now: string;
  jobs: JobResult[];
  skipped: { job: string; why: string }[];
  stopped?: StopReason;
  exitCode: ExitCode;
}

interface Context {
  db: Database;
  settings: Settings;
  log: Log;
  request: Request;
}

interface Planned {
  job: Job;
  now: string;
  slot: string | null;
  idType: string;
  anyFailures: boolean;
}

// The lock's transaction idles while the work goes on elsewhere; a bound just beyond the deadline still frees it when
// the machine that held it has vanished without a word.
const LOCK_MARGIN_SECONDS = 60;

/** One pass over everything whose time has come: lock, look, pass, record. */
export async function run(db: Database, settings: Settings, log: Log, request: Request): Promise<RunResult> {
  const context = { db, settings, log, request };
  const deadline = setTimeout(() => {
    request.stop.request('deadline');
  }, request.timeoutSeconds * 1000);
  try {
    return request.dryRun ? await rehearse(context) : await withLock(context);
  } catch (error) {
    throw explainFault(error);
  } finally {
    clearTimeout(deadline);
  }
}

export const explainFault = (error: unknown) => interruption('The run', error) ?? explainSchemaError(error);

/** The same pass in one transaction that is rolled back. It takes no lock: it must not keep a real tick from its work. */
function rehearse(context: Context): Promise<RunResult> {
  return context.db.rehearse(() =>
    context.db.transaction(async (tx) => {
      const standing = await look(context, tx, false);
      return passAll(context, standing);
    }),
  );
}

/**
 * What a statement with parameters saw PostgreSQL keeps until the connection's next statement. The lock's connection asks nothing more
 * while the run works: every version of a row that it replaces would have to stay, and be read again by each batch.
 */
const LET_GO = 'select';

/** An idle run needs only the connection that holds the lock; work is done on a second one while the first one waits. */
async function withLock(context: Context): Promise<RunResult> {
  const { db, settings, request } = context;
  const guard = request.guard ?? db.another('scheduler lock');
  let probing = !request.between && !request.debug;
  let result: RunResult | undefined;
  const attempt = () =>
    guard.transaction(
      async (tx) => {
        // Only the commit of the lock's own transaction failed: the work is done and recorded.
        if (result) return result;
        const standing = await look(context, tx, !settings.withoutLock);
        if (!standing[0]?.locked)
          return { locked: true, now: standing[0]?.now ?? '', jobs: [], skipped: [], exitCode: EXIT.done };
        if (probing) {
          const idle = await idleRun(context, tx, standing);
          if (idle) return idle;
        }
        await tx.query(LET_GO);
        result = await passAll(context, standing);
        return result;
      },
      // Where nearly every payment is completed and few are not provisioned, PostgreSQL expects some that are both, and would
      // read the table to find none.
      { idleTimeout: `${request.timeoutSeconds + LOCK_MARGIN_SECONDS}s`, inIndexOrder: true },
    );
  try {
    return await attempt().catch((error) => {
      // One job's broken or locked table must not hide the others: without the common question, each job meets its own error.
      if (!(error instanceof ProbeFailed)) throw error;
      probing = false;
      return attempt();
    });
  } finally {
    if (guard !== request.guard) await guard.close();
  }
}

class ProbeFailed extends Error {}

async function look({ request }: Context, tx: Transaction, lock: boolean): Promise<Standing[]> {
  const standing = await readStanding(tx, request.jobs, { at: request.at, lock });
  checkLevel(standing[0]?.level ?? 0);
  return standing;
}

/** Which jobs a run may do now. */
export function plan(
  { settings, request }: Pick<Context, 'settings' | 'request'>,
  standing: Standing[],
): { planned: Planned[]; skipped: RunResult['skipped'] } {
  const planned: Planned[] = [];
  const skipped: RunResult['skipped'] = [];
  const byHand = request.by !== undefined;
  for (const job of request.jobs) {
    const state = standing.find((row) => row.job === job.name)!;
    const why = reasonToSkip();
    if (why) skipped.push({ job: job.name, why });
    else {
      const { now, anyFailures } = state;
      planned.push({ job, now, slot: byHand ? null : state.slot, idType: state.idType!, anyFailures });
    }

    function reasonToSkip(): string | undefined {
      if (state.missing.length > 0) return `not installed: ${state.missing.join(', ')} missing`;
      if (!byHand && job.switch && settings.job[job.switch] === false)
        return `switched off by ${job.settings![job.switch]!.env}`;
      if (isPaused(state.control) && !request.evenIfPaused) return whyPaused(state.control!);
      if (!byHand && !request.dryRun && state.slotTaken)
        return `already done in this slot of ${job.everyMinutes} minutes`;
      return undefined;
    }
  }
  return { planned, skipped };
}

/** What a run amounts to for which nothing is due, recorded; undefined when something is. */
async function idleRun(context: Context, tx: Transaction, standing: Standing[]): Promise<RunResult | undefined> {
  const { settings, log, request } = context;
  const { planned, skipped } = plan(context, standing);
  const { now, anyFailures } = standing[0]!;
  const result = { locked: false, now, jobs: planned.map(({ job }) => emptyResult(job.name)), skipped };
  if (planned.length > 0 && (await isAnythingDue())) return undefined;
  for (const { job } of planned) {
    log.write(job.lines.started);
    for (const line of job.lines.finished({}, [], 0)) log.write(line);
  }
  return { ...result, exitCode: EXIT.done };

  async function isAnythingDue(): Promise<boolean> {
    const due = probe(
      planned.map(({ job }) => job),
      anyFailures,
    );
    try {
      const answer = await recordUnlessDue(tx, request.by === undefined ? `${due} or ${ANYTHING_EXPIRED}` : due, {
        ...parameters(settings, now),
        retention: settings.retentionDays,
        runs: planned.map(({ job, slot }) => ({ job: job.name, slot })),
        by: request.by ?? null,
      });
      return answer.due;
    } catch (error) {
      if (isOfOneJob(error)) throw new ProbeFailed('', { cause: error });
      throw error;
    }
  }
}

/** What a question about all jobs met may be the fault of one of them, such as a locked table; not what would meet any statement. */
export const isOfOneJob = (error: unknown) => /^(?!08|25006|40|53|55(?!P03)|57)/.test(sqlState(error) ?? '08');

export const parameters = (settings: Settings, now: string) => ({
  ...settings.job,
  now,
  zone: settings.timezone,
  dbZone: settings.dbTimezone,
});

async function passAll(context: Context, standing: Standing[]): Promise<RunResult> {
  const { db, settings, request } = context;
  const { planned, skipped } = plan(context, standing);
  const now = standing[0]!.now;
  const jobs: JobResult[] = [];
  for (const each of planned) jobs.push(await passJob(context, each));
  if (request.by === undefined && !request.between && !request.stop.reason)
    await prune(db, settings, now, request.stop);
  const result: RunResult = { locked: false, now, jobs, skipped, exitCode: exitCode(jobs) };
  if (request.stop.reason && jobs.some((job) => job.workLeft)) result.stopped = request.stop.reason;
  return result;
}

export function exitCode(jobs: JobResult[]): ExitCode {
  const worst = jobs.find((job) => job.errorCode !== undefined)?.errorCode;
  if (worst !== undefined) return worst;
  if (jobs.some((job) => job.workLeft)) return EXIT.stopped;
  return jobs.some((job) => job.failed > 0) ? EXIT.rowsFailed : EXIT.done;
}

const emptyResult = (job: string): JobResult => ({
  job,
  changed: {},
  failed: 0,
  failures: [],
  lateSeconds: 0,
  unsent: 0,
  workLeft: false,
});

async function passJob(context: Context, planned: Planned): Promise<JobResult> {
  const { db, log, request } = context;
  const { job, now, slot, idType, anyFailures } = planned;
  const result = emptyResult(job.name);
  if (request.stop.reason) return { ...result, workLeft: true };
  let id: string | undefined;
  let surveyed: number | undefined;
  try {
    id = await db.transaction((tx) => beginRun(tx, { job, slot, now, by: request.by ?? null }));
    if (id === undefined) return result; // another runner has done this slot in the meantime
    log.write(job.lines.started);
    surveyed = await survey(context, planned);
    const values = parameters(context.settings, now);
    const next = (from: number) => nextRule(context, job, from, values, anyFailures || result.failed > 0);
    for (let n = await next(0); n < job.rules.length; n = await next(n + 1))
      await sweep(db, { ...request, log, job, rule: job.rules[n]!, idType, values, run: id, result });
  } catch (error) {
    if (isForAllJobs(error)) throw error;
    const explained = jobError(job, error);
    result.error = explained.message;
    result.errorCode = explained.exitCode;
    log.error(explained.message, request.debug ? { stack: (error as Error).stack } : undefined);
  }
  if (id !== undefined) await db.transaction((tx) => finishRun(tx, id, result));
  if (!result.error)
    for (const line of job.lines.finished(result.changed, result.failures, result.failed, surveyed)) log.write(line);
  return result;
}

/**
 * The next rule that has anything due, from one on. It is asked when all before it are done, as these may have made it so; and
 * because a question costs the server much less than a change that finds nothing to change. A rule that cannot be asked
 * meets its error by itself.
 */
async function nextRule(
  { db, request }: Context,
  job: Job,
  from: number,
  values: Values,
  anyFailures: boolean,
): Promise<number> {
  if (from === job.rules.length || request.stop.reason) return from;
  const question = `select ${firstDue(job, from, anyFailures)} as rule`;
  try {
    const [answer] = await db.transaction((tx) => tx.query<{ rule: number | null }>(question, values), {
      inIndexOrder: true,
    });
    return answer!.rule ?? job.rules.length;
  } catch (error) {
    if (isOfOneJob(error)) return from;
    throw error;
  }
}

// So many rows are a day's reading.
const SURVEYED = 10_000;

/** With --debug, one line for everything that the job watches, due or not. */
async function survey({ db, settings, log, request }: Context, { job, now }: Planned): Promise<number | undefined> {
  if (!job.survey || !request.debug) return undefined;
  const rows = await db.query(`${job.survey} limit ${SURVEYED}`, parameters(settings, now));
  for (const row of rows) log.write(job.lines.surveyed!(row));
  return rows.length;
}

function jobError(job: Job, error: unknown): OperatorError {
  if (error instanceof OperatorError) return error;
  const state = sqlState(error) ?? '';
  const message = (error as Error).message;
  if (state.startsWith('42')) {
    const explained = state === '42501' ? explainSchemaError(error) : undefined;
    return explained instanceof OperatorError
      ? explained
      : new OperatorError(EXIT.configuration, `The tables of ${job.name} do not fit: ${message}. ${whatFits(error)}`);
  }
  return (
    interruption(job.name, error) ??
    new OperatorError(
      EXIT.defect,
      `${job.name} stopped on an unexpected error: ${message}. Please report it with what --debug prints.`,
    )
  );
}

const READ_ONLY = '25006';

/** The next job would fare no better. */
const isForAllJobs = (error: unknown) =>
  sqlState(error) === READ_ONLY || (error instanceof OperatorError && error.exitCode === EXIT.unreachable);

/** What the database does to anybody for a while: a standby, a full disk, a statement that lasts too long. */
function interruption(what: string, error: unknown): OperatorError | undefined {
  const state = sqlState(error) ?? '';
  const { message } = error as Error;
  if (state === READ_ONLY) {
    return new OperatorError(
      EXIT.stopped,
      `The database takes no changes: ${message}. It is a standby, or set to be read-only. Should that last, name the primary; the next run goes on.`,
    );
  }
  if (!/^(40|53|55|57)/.test(state)) return undefined;
  return new OperatorError(EXIT.stopped, `${what} was interrupted by the database: ${message}. The next run goes on.`);
}
