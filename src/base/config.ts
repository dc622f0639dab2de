import { readFileSync } from 'node:fs';
import { isatty } from 'node:tty';
import { parseEnv } from 'node:util';
import { parse, toClientConfig } from 'pg-connection-string';
import { configurationError, usageError } from './errors.ts';

/** One environment variable: how its text becomes a value, and what is valid. A parser answers undefined to what it refuses. */
export interface Variable<T> {
  env: string;
  fallback: string;
  valid: string;
  parse(text: string): T | undefined;
  /** A credential: what was given is never shown, not even when it is refused. */
  secret?: boolean;
}

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export function flag(env: string, fallback: boolean): Variable<boolean> {
  const words: Record<string, boolean> = {
    true: true,
    '1': true,
    yes: true,
    on: true,
    false: false,
    '0': false,
    no: false,
    off: false,
  };
  return { env, fallback: String(fallback), valid: 'true or false', parse: (text) => words[text.toLowerCase()] };
}

export function decimal(env: string, fallback: string): Variable<string> {
  return {
    env,
    fallback,
    valid: 'a number of at least 0, such as 2.50',
    parse: (text) => (/^\d{1,12}(\.\d{1,6})?$/.test(text) ? text : undefined),
  };
}

/** ICU knows the zone database; UTC needs no look-up, which keeps it out of an idle tick. */
export function isZone(name: string): boolean {
  if (name === 'UTC') return true;
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    return Boolean(new Intl.DateTimeFormat('en', { timeZone: name }));
  } catch {
    return false;
  }
}

function zone(env: string): Variable<string> {
  return {
    env,
    fallback: 'UTC',
    valid: 'a zone of the IANA database, such as UTC or Africa/Nairobi',
    parse: (text) => (isZone(text) ? text : undefined),
  };
}

function count(
  env: string,
  fallback: number,
  least: number,
  most: number,
  unit: RegExp,
  valid: string,
): Variable<number> {
  return {
    env,
    fallback: String(fallback),
    valid,
    parse: (text) => {
      const digits = text.replace(unit, '');
      const value = Number(digits);
      return /^\d+$/.test(digits) && value >= least && value <= most ? value : undefined;
    },
  };
}

export const METRICS_FILE: Variable<string> = {
  env: 'SCHEDULER_METRICS_FILE',
  fallback: '',
  // Cron starts in a home directory, and the collector reads no other name.
  valid: 'an absolute path that ends in ".prom"',
  parse: (text) => (text === '' || /^\/.*[^/]\.prom$/.test(text) ? text : undefined),
};

export const PING_URL: Variable<string> = {
  env: 'SCHEDULER_PING_URL',
  fallback: '',
  valid: 'a URL such as https://hc-ping.com/<uuid>',
  parse: (text) => (text === '' || (/^https?:\/\/[^/?#]/i.test(text) && URL.canParse(text)) ? text : undefined),
  secret: true,
};

const VARIABLES = {
  timezone: zone('SCHEDULER_TIMEZONE'),
  dbTimezone: zone('SCHEDULER_DB_TIMEZONE'),
  retentionDays: count(
    'SCHEDULER_RETENTION',
    90,
    1,
    36500,
    /\s*d(ays?)?$/i,
    'a number of days from 1 to 36500, such as "90 days"',
  ),
  connectTimeout: count('PGCONNECT_TIMEOUT', 10, 1, 3600, /s$/, 'a number of seconds from 1 to 3600'),
  logLevel: {
    env: 'SCHEDULER_LOG_LEVEL',
    // Nothing but trouble is said where nobody watches: cron mails whatever it reads.
    fallback: isatty(2) ? 'info' : 'warn',
    valid: LOG_LEVELS.join(', '),
    parse: (text: string) => LOG_LEVELS.find((level) => level === text.toLowerCase()),
  } satisfies Variable<LogLevel>,
  metricsFile: METRICS_FILE,
  pingUrl: PING_URL,
};

type Value<V> = V extends Variable<infer T> ? T : never;
export type Settings = { -readonly [K in keyof typeof VARIABLES]: Value<(typeof VARIABLES)[K]> } & {
  /** What the jobs asked for, by the name their SQL knows it under. */
  job: Record<string, string | boolean>;
  connection: Connection;
};

/** Where the database is: a URL, or libpq's own variables, which pg reads itself. */
const VALID_URL = 'postgresql://user:password@host:5432/database';

export interface Connection {
  url?: string;
  /** What the URL says, with the certificates that it names. */
  client?: ReturnType<typeof toClientConfig>;
  /** Prisma's ?schema=…, which PostgreSQL calls the search path. */
  schema?: string;
}

export type Environment = Record<string, string | undefined>;

export function readEnvironment(envFile?: string): Environment {
  if (!envFile) return process.env;
  let text: string;
  try {
    text = readFileSync(envFile, 'utf8');
  } catch (error) {
    throw usageError(`The file "${envFile}" of --env-file cannot be read: ${(error as Error).message}.`);
  }
  // As with Node's own --env-file, what the environment already says wins. pg reads PG* from process.env itself.
  for (const [name, value] of Object.entries(parseEnv(text))) process.env[name] ??= value;
  return process.env;
}

/** Every variable that the program reads itself; libpq's are for pg. */
export function allVariables(
  jobVariables: Record<string, Variable<string | boolean>>,
): Pick<Variable<unknown>, 'env' | 'fallback' | 'valid'>[] {
  return [...Object.values(VARIABLES), ...Object.values(jobVariables)].filter(({ env }) => !env.includes('_TEST_'));
}

/** Reads every setting, and names every fault at once. */
export function readSettings(
  env: Environment,
  jobVariables: Record<string, Variable<string | boolean>>,
  given: { databaseUrl?: string; embeddedUrl?: string; needsDatabase?: boolean } = {},
): Settings {
  const faults: string[] = [];
  const read = <T>(variable: Variable<T>): T => {
    const text = env[variable.env]?.trim();
    const value = variable.parse(text || variable.fallback);
    if (value === undefined) {
      faults.push(`${variable.env} is ${variable.secret ? 'not usable' : `"${text}"`}; valid: ${variable.valid}.`);
    }
    return value as T;
  };
  const readAll = <V extends Record<string, Variable<unknown>>>(variables: V) =>
    Object.fromEntries(Object.entries(variables).map(([name, variable]) => [name, read(variable)]));

  const settings = readAll(VARIABLES) as Omit<Settings, 'job' | 'connection'>;
  const job = readAll(jobVariables) as Settings['job'];

  const known = [...Object.values(VARIABLES), ...Object.values(jobVariables)].map((variable) => variable.env);
  for (const name of Object.keys(env)) {
    if (name.startsWith('SCHEDULER_') && !known.includes(name)) {
      faults.push(`${name} is not a setting; valid: ${known.filter((n) => !n.includes('_TEST_')).join(', ')}.`);
    }
  }
  const connection = readConnection(env, given, faults);
  if (faults.length > 0) throw configurationError(faults.join('\n'));
  return { ...settings, job, connection };
}

function readConnection(
  env: Environment,
  given: { databaseUrl?: string; embeddedUrl?: string; needsDatabase?: boolean },
  faults: string[],
): Connection {
  const text = given.embeddedUrl ?? given.databaseUrl ?? env.DATABASE_URL?.trim();
  if (!text) {
    const named = ['PGHOST', 'PGHOSTADDR', 'PGDATABASE', 'PGUSER', 'PGPORT'].some((name) => env[name]);
    if (!named && given.needsDatabase !== false) {
      faults.push(
        "No database is named. Give --database-url, or set DATABASE_URL, or libpq's PGHOST, PGDATABASE, PGUSER …; to try things out, use --embedded.",
      );
    }
    return {};
  }
  const source = given.databaseUrl ? '--database-url' : 'DATABASE_URL';
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(text)?.[0];
  if (scheme && !/^postgres(ql)?:/i.test(scheme)) {
    faults.push(`${source} begins with "${scheme}"; valid: ${VALID_URL}.`);
    return {};
  }
  try {
    if (!scheme) throw new URIError();
    // sslmode means what libpq means by it, as everywhere else in the operator's environment.
    const parsed = parse(text, { useLibpqCompat: !/[?&]uselibpqcompat=/.test(text) });
    const { schema } = parsed;
    return { url: text, client: toClientConfig(parsed), ...(typeof schema === 'string' && schema && { schema }) };
  } catch (error) {
    faults.push(
      error instanceof URIError || (error as NodeJS.ErrnoException).code === 'ERR_INVALID_URL'
        ? `${source} is not a URL; valid: ${VALID_URL}.`
        : `${source} cannot be used: ${withoutPassword((error as Error).message).replace(/\.$/, '')}.`,
    );
    return {};
  }
}

/** A text fit to be shown: every connection string in it without its password. */
export function withoutPassword(text: string): string {
  return text
    .replace(/([a-z][a-z0-9+.-]*:\/\/[^/:@\s]*):[^/\s]*@/gi, '$1:***@')
    .replace(/([?&]password=)[^&\s]*/gi, '$1***');
}
