import { readFileSync } from 'node:fs';
import { isatty } from 'node:tty';
import { spanInSeconds } from './calendar.ts';
import { type Connection, type Environment, readConnection, withTimeoutOf } from './connection.ts';
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

export const LOG_FORMATS = ['text', 'json'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export function flag(env: string, fallback: boolean): Variable<boolean> {
  return {
    env,
    fallback: String(fallback),
    valid: 'true or false',
    parse: (text) => {
      if (/^(true|1|yes|on)$/i.test(text)) return true;
      return /^(false|0|no|off)$/i.test(text) ? false : undefined;
    },
  };
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

/** The parser of a span of time, in whole units from 1 on. */
const span = (most: number, unit: 's' | 'd') => (text: string) => {
  const value = (spanInSeconds(text, unit) ?? 0) / (unit === 'd' ? 86_400 : 1);
  return Number.isInteger(value) && value >= 1 && value <= most ? value : undefined;
};

export const METRICS_FILE: Variable<string> = {
  env: 'SCHEDULER_METRICS_FILE',
  fallback: '',
  // Cron starts in a home directory, and the collector reads no other name.
  valid: 'an absolute path that ends in ".prom"',
  parse: (text) => (text === '' || /^\/.*[^/]\.prom$/.test(text) ? text : undefined),
};

export const LOG_FORMAT: Variable<LogFormat> = {
  env: 'SCHEDULER_LOG_FORMAT',
  fallback: isatty(2) ? 'text' : 'json',
  valid: LOG_FORMATS.join(', '),
  parse: (text) => LOG_FORMATS.find((format) => format === text.toLowerCase()),
};

export const isQuery = (text: string): boolean => /^\s*(\(|(select|with|values|table)\s)/i.test(text);

export const TENANTS: Variable<string> = {
  env: 'SCHEDULER_TENANTS',
  fallback: '',
  valid: "schemas such as ts_1, patterns such as 'ts_*', or a query that answers schemas",
  parse: (text) => (isQuery(text) || /^[^"';]*$/.test(text) ? text : undefined),
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
  retentionDays: {
    env: 'SCHEDULER_RETENTION',
    fallback: '90',
    valid: 'a number of days from 1 to 36500, such as "90 days" or 12w',
    parse: span(36_500, 'd'),
  },
  connectTimeout: {
    env: 'PGCONNECT_TIMEOUT',
    fallback: '10',
    valid: 'a number of seconds from 1 to 3600, or 2m',
    parse: span(3600, 's'),
  },
  logLevel: {
    env: 'SCHEDULER_LOG_LEVEL',
    // Nothing but trouble is said where nobody watches: cron mails whatever it reads.
    fallback: isatty(2) ? 'info' : 'warn',
    valid: LOG_LEVELS.join(', '),
    parse: (text: string) => LOG_LEVELS.find((level) => level === text.toLowerCase()),
  },
  logFormat: LOG_FORMAT,
  tenants: TENANTS,
  tenantOwners: {
    env: 'SCHEDULER_TENANT_OWNERS',
    fallback: '',
    valid: 'roles, with commas between them',
    parse: (text: string) => text.split(',').flatMap((name) => name.trim() || []),
  },
  metricsFile: METRICS_FILE,
  pingUrl: PING_URL,
};

type Value<V extends Variable<unknown>> = Exclude<ReturnType<V['parse']>, undefined>;
export type Settings = { [K in keyof typeof VARIABLES]: Value<(typeof VARIABLES)[K]> } & {
  /** The settings of the jobs, by the names that their SQL has for them. */
  job: Record<string, string | boolean>;
  connection: Connection;
};

/** A file of settings may set these, and nothing that changes how Node or the system runs. */
const OURS = /^(SCHEDULER_|PG|ENABLE_|DATABASE_URL$|TZ$)/;

/** For a program of the operator's that we start: without what opens the database and the gateways. */
export const environmentForOthers = (): Environment =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !OURS.test(name) || name === 'TZ'));

type JobVariables = Record<string, Variable<string | boolean>>;

export function readEnvironment(envFile?: string): Environment {
  if (!envFile) return process.env;
  let text: string;
  try {
    text = readFileSync(envFile, 'utf8');
  } catch (error) {
    throw usageError(`The file "${envFile}" of --env-file cannot be read: ${(error as Error).message}.`);
  }
  // A variable of the environment wins. pg reads PG* from process.env itself.
  for (const [name, value] of Object.entries(parseEnv(text))) if (OURS.test(name)) process.env[name] ??= value;
  return process.env;
}

const ASSIGNMENT =
  /^[ \t]*(?:export[ \t]+)?([\w.]+)[ \t]*=[ \t]*(?:'([^']*)'|"((?:\\.|[^"\\])*)"|([^\r\n]*?))[ \t]*(?:(?<=[ \t])#[^\r\n]*)?$/gms;

/**
 * The file as a shell reads it; systemd reads it nearly the same way. Node's own reader loses the first line to a byte order
 * mark, and cuts a password at a "#".
 */
export function parseEnv(text: string): Environment {
  const lines = text.replace(/^\ufeff/, '').replaceAll('\r\n', '\n');
  const found = [...lines.matchAll(ASSIGNMENT)].map(([, name, single, double, bare]) => {
    const unescaped = double?.replace(/\\(.)/gs, (both, each) =>
      each === 'n' ? '\n' : /["\\$`]/.test(each) ? each : both,
    );
    return [name!, single ?? unescaped ?? bare!];
  });
  return Object.fromEntries(found);
}

/** Every variable that the program reads itself; libpq's are for pg. */
export const allVariables = (jobVariables: JobVariables): Pick<Variable<unknown>, 'env' | 'fallback' | 'valid'>[] => [
  ...Object.values(VARIABLES),
  ...Object.values(jobVariables),
];

/** Reads every setting, and names every fault at once. */
export function readSettings(
  given: Environment,
  jobVariables: JobVariables,
  { databaseUrl, tenant }: { databaseUrl?: string | undefined; tenant?: string | undefined },
): Settings {
  const faults: string[] = [];
  const env = withTimeoutOf(databaseUrl ?? given.DATABASE_URL?.trim(), given);
  const read = (variable: Variable<unknown>) => {
    const text = env[variable.env]?.trim();
    const value = variable.parse(text || variable.fallback);
    if (value === undefined) faults.push(refusal(variable, variable.env, text));
    return value;
  };
  const readAll = (variables: Record<string, Variable<unknown>>) =>
    Object.fromEntries(Object.entries(variables).map(([name, variable]) => [name, read(variable)]));

  const settings = readAll(VARIABLES) as Omit<Settings, 'job' | 'connection'>;
  const job = readAll(jobVariables) as Settings['job'];

  const known = allVariables(jobVariables).map((variable) => variable.env);
  for (const name of Object.keys(env)) {
    if (name.startsWith('SCHEDULER_') && !known.includes(name)) {
      faults.push(`${name} is not a setting; valid: ${known.join(', ')}.`);
    }
  }
  const connection = readConnection(env, databaseUrl, faults);
  if (faults.length > 0) throw configurationError(faults.join('\n'));
  return { ...settings, job, connection: { ...connection, ...(tenant !== undefined && { schema: tenant }) } };
}

/** Why a variable, or an option in its place, is refused. */
export const refusal = ({ secret, valid }: Variable<unknown>, name: string, text: string | undefined) =>
  `${name} is ${secret ? 'not usable' : `"${text}"`}; valid: ${valid}.`;
