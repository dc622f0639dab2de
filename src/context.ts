import { showTimesIn } from './base/calendar.ts';
import { type LogFormat, readEnvironment, readSettings, type Settings, type Variable } from './base/config.ts';
import { EXIT, OperatorError } from './base/errors.ts';
import { Log } from './base/log.ts';
import { beQuiet, withoutColor } from './base/output.ts';
import { Database } from './db/client.ts';
import type { Job } from './job/define.ts';
import { loadJobs } from './jobs/index.ts';

/** The options of every command. */
export interface CommonOptions {
  databaseUrl?: string;
  tenant?: string;
  envFile?: string | undefined;
  embedded?: boolean;
  color?: boolean;
  debug?: boolean;
  quiet?: boolean;
  logFormat?: LogFormat;
  tz?: string;
}

export interface Context {
  settings: Settings;
  log: Log;
  db: Database;
  jobs: Job[];
}

/** Settings, log and database for one command. */
export async function withContext<T>(options: CommonOptions, work: (context: Context) => Promise<T>): Promise<T> {
  if (options.color === false) withoutColor();
  if (options.quiet) beQuiet();
  if (options.tz !== undefined) await showTimesIn(options.tz);
  const jobs = await loadJobs();
  const databaseUrl = options.embedded ? await runningEmbeddedUrl() : options.databaseUrl;
  const settings = readSettings(readEnvironment(options.envFile), jobVariables(jobs), {
    databaseUrl,
    tenant: options.tenant,
  });
  const level = options.debug ? 'debug' : settings.logLevel;
  const isTold = options.quiet && ['debug', 'info'].includes(level) ? 'warn' : level;
  const log = new Log(isTold, options.logFormat ?? settings.logFormat);
  return connected({ settings, log, jobs }, work);
}

/** Whatever happens, the connection is closed and the log is out. */
export async function connected<T>(
  { settings, log, jobs }: Omit<Context, 'db'>,
  work: (context: Context) => Promise<T>,
): Promise<T> {
  const db = new Database(settings, log);
  try {
    return await work({ settings, log, db, jobs });
  } finally {
    await db.close();
    await log.flush();
  }
}

export function jobVariables(jobs: Job[]): Record<string, Variable<string | boolean>> {
  return Object.assign({}, ...jobs.map((job) => job.settings ?? {}));
}

export async function runningEmbeddedUrl(): Promise<string> {
  const url = await askEmbedded(({ serverUrl, defaultDir }) => serverUrl(defaultDir()));
  if (!url)
    throw new OperatorError(
      EXIT.unreachable,
      'No embedded server is running. Start it with "scheduler embedded start".',
    );
  return url;
}

type Embedded = typeof import('./embedded/server.ts');

/** The embedded server knows nothing of exit codes, but its errors are for the operator, too. */
export async function askEmbedded<T>(work: (embedded: Embedded) => T | Promise<T>): Promise<T> {
  const embedded = await import('./embedded/server.ts');
  try {
    return await work(embedded);
  } catch (error) {
    if ((error as Error)?.constructor !== Error) throw error;
    throw new OperatorError(EXIT.configuration, (error as Error).message, { cause: error });
  }
}
