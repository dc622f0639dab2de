import { inWords, isFuture, parseInstant, readable, toIso } from '../base/calendar.ts';
import { EXIT, type ExitCode, usageError } from '../base/errors.ts';
import { isTerminal, print, printJson, printTable } from '../base/output.ts';
import { commandFor } from '../base/paste.ts';
import { eraseLine } from '../base/status-line.ts';
import { Stop } from '../base/stop.ts';
import type { Context } from '../context.ts';
import { type Request, type RunResult, run } from '../engine/run.ts';
import { watched } from '../monitor/watch.ts';
import { whoami } from '../store/controls.ts';
import type { JobResult } from '../store/runs.ts';
import { all, only } from '../store/standing.ts';
import type { Options } from './command.ts';
import { watchProgress } from './progress.ts';
import { meantTenants, tenantsFor } from './tenants.ts';

/** A pass of the engine as somebody asks for it: with options, stopped by signals, and telling what it did. */
export interface PassOptions extends Options {
  dryRun?: boolean;
  at?: string;
  batchSize?: number;
  connections?: number;
  timeout: number;
}

export interface TickOptions extends PassOptions {
  linger?: number;
  metricsFile?: string;
  pingUrl?: string;
  tenants?: string;
}

export const TIMEOUT_SECONDS = 120;

/** All jobs, for those who watch. */
export function tick(context: Context, options: TickOptions): Promise<ExitCode> {
  const { linger: seconds, metricsFile, pingUrl } = { ...context.settings, ...options };
  const tenants = meantTenants(options, context.settings.tenants);
  const watchers = options.dryRun ? {} : { metricsFile, pingUrl };
  if (tenants !== undefined) {
    if (seconds !== undefined) throw usageError('A tick of many tenants does not linger: leave out --linger.');
    return watched(context, { ...watchers, ofTenants: true }, false, (tellWatchers) =>
      ofTenants(context, options, tenants, tellWatchers),
    );
  }
  return watched(context, watchers, seconds !== undefined, async (tellWatchers) => {
    const report = async (pass: RunResult) => {
      tell(context, options, pass, false);
      await tellWatchers(pass);
    };
    if (seconds === undefined) {
      const result = await runPass(context, options, { jobs: all(context.jobs) });
      await report(result);
      return result.exitCode;
    }
    const { linger } = await import('../engine/linger.ts');
    return withRequest(context, options, { jobs: all(context.jobs) }, (request) =>
      linger({ ...context, request, seconds, report }),
    );
  });
}

/** All jobs of many tenants. */
async function ofTenants(
  context: Context,
  options: PassOptions,
  text: string,
  tellWatchers: (pass: RunResult) => Promise<void>,
): Promise<ExitCode> {
  const { tickTenants } = await import('../engine/tenants.ts');
  const names = await tenantsFor(context, text, context.jobs);
  const result = await withRequest(context, options, { jobs: all(context.jobs) }, (request) =>
    tickTenants({ ...context, request }, names),
  );
  for (const each of result.tenants) await tellWatchers(each);
  const { tenants, left, stopped } = result;
  if (left.length > 0)
    context.log.warn(
      `Stopped by the ${stopped} before ${left.length} of ${names.length} tenants had their turn; the next run goes on.`,
    );
  const inIso = tenants.map((each) => ({ ...each, now: toIso(each.now) }));
  if (options.json) printJson({ dryRun: options.dryRun === true, ...result, tenants: inIso });
  else if (tenants.some(didAnything)) {
    if (options.dryRun) print('Dry run: a run would do this now. Nothing was changed.');
    printTable(
      ['tenant', ...CHANGES],
      tenants.flatMap(({ tenant, jobs }) => changesOf(jobs).map((row) => [tenant ?? '', ...row])),
    );
  } else if (isTerminal())
    print(options.dryRun ? 'Nothing would change.' : `Nothing was due for ${names.length} tenants.`);
  return result.exitCode;
}

/** One job, as a person asks for it. */
export async function pass(context: Context, options: PassOptions, name: string): Promise<ExitCode> {
  const result = await runPass(context, options, { jobs: only(context.jobs, [name]), by: whoami() });
  tell(context, options, result, true);
  return result.exitCode;
}

type Asked = Pick<Request, 'jobs' | 'by' | 'evenIfPaused'>;

export const runPass = (context: Context, options: PassOptions, asked: Asked): Promise<RunResult> =>
  withRequest(context, options, asked, (request) => run(context.db, context.settings, context.log, request));

/** What the command line asks for, with its signals heeded while the work lasts. */
async function withRequest<T>(
  context: Context,
  options: PassOptions,
  asked: Asked,
  work: (request: Request) => Promise<T>,
): Promise<T> {
  const { settings, log } = context;
  const at = options.at === undefined ? undefined : await parseInstant(options.at, '--at', settings.timezone, log.info);
  if (at !== undefined && !options.dryRun && isFuture(at)) {
    throw usageError(
      `--at ${options.at} lies in the future (${readable(at)}): that is for --dry-run only, as a run would do what is not due yet.`,
    );
  }
  const stop = new Stop();
  const release = heedSignals(stop, context);
  const progress = watchProgress(context, at);
  try {
    return await work({
      ...{ ...asked, ...(at !== undefined && { at }), stop },
      ...{ dryRun: options.dryRun === true, debug: options.debug === true, timeoutSeconds: options.timeout },
      ...{ batchSize: options.batchSize, connections: options.connections, progress: progress?.heed },
    });
  } finally {
    progress?.end();
    release();
  }
}

// A batch ends in a fraction of this; a statement that waits for somebody else's lock does not.
const GRACE_MS = 1500;

/** The first signal ends the run after the batch at hand; the second, or a batch that lasts, ends it at once. */
function heedSignals(stop: Stop, { db, log }: Context): () => void {
  const end = () => {
    log.warn('Stopped by the signal in the middle of a batch, which is undone; the next run does its rows.');
    eraseLine();
    db.abandon();
    process.exitCode = EXIT.stopped;
    void log.flush().then(() => process.exit(EXIT.stopped));
  };
  let grace: NodeJS.Timeout | undefined;
  const heed = () => {
    if (stop.reason === 'signal') return end();
    stop.request('signal');
    log.info('The run ends after the batch at hand; a second signal ends it at once.');
    grace = setTimeout(end, GRACE_MS).unref();
  };
  process.on('SIGTERM', heed).on('SIGINT', heed);
  // The rest is short then, and must not be cut off: the answer, the record for a monitor.
  return () => {
    clearTimeout(grace);
    process.off('SIGTERM', heed).off('SIGINT', heed).on('SIGTERM', finish).on('SIGINT', finish);
  };
}

const finish = () => {};

function tell({ log, db }: Context, options: PassOptions, result: RunResult, byHand: boolean): void {
  if (result.locked) log.warn('Another run holds the lock and does the work; this one ends.');
  if (result.stopped)
    log.warn(
      `Stopped by the ${result.stopped} with work left; ${options.dryRun ? 'a run would do more than this' : 'the next run goes on'}.`,
    );
  for (const { job, why, powerless } of result.skipped)
    log.write({ level: byHand || powerless ? 'warn' : 'debug', message: `${job} was skipped: ${why}` });

  if (options.json) {
    printJson({ dryRun: options.dryRun === true, ...result, now: toIso(result.now) });
  } else if (didAnything(result)) {
    if (options.dryRun) print('Dry run: a run would do this now. Nothing was changed.');
    printChanges(result.jobs);
  } else if (isTerminal() && !result.locked && !result.stopped && result.jobs.every(({ error }) => !error)) {
    if (result.jobs.length > 0) print(options.dryRun ? 'Nothing would change.' : 'Nothing was due.');
    else if (!byHand) print(`No job could run; ${commandFor(db.tenant, 'status')} says why.`);
  }
}

/** What the jobs of a run changed, a line per transition. */
export const printChanges = (jobs: JobResult[]) => printTable(CHANGES, changesOf(jobs));

const CHANGES = ['job', 'transition', 'rows', 'late by up to'];

const changesOf = (jobs: JobResult[]) =>
  jobs.flatMap(({ job, changed, failed, lateSeconds }) => [
    ...Object.entries(changed).map(([transition, count]) => [job, transition, count, inWords(lateSeconds)]),
    ...(failed > 0 ? [[job, 'failed', failed, '']] : []),
  ]);

const didAnything = ({ jobs }: Pick<RunResult, 'jobs'>) =>
  jobs.some(({ changed, failed }) => Object.keys(changed).length > 0 || failed > 0);
