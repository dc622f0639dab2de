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

/** The parser of a whole number from 1 on, with a unit or without. */
const count = (most: number, unit: RegExp) => (text: string) => {
  const digits = text.replace(unit, '');
  const value = Number(digits);
  return /^\d+$/.test(digits) && value >= 1 && value <= most ? value : undefined;
};

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
  retentionDays: {
    env: 'SCHEDULER_RETENTION',
    fallback: '90',
    valid: 'a number of days from 1 to 36500, such as "90 days"',
    parse: count(36_500, /\s*d(ays?)?$/i),
  },
  connectTimeout: {
    env: 'PGCONNECT_TIMEOUT',
    fallback: '10',
    valid: 'a number of seconds from 1 to 3600',
    parse: count(3600, /s$/),
  },
  logLevel: {
    env: 'SCHEDULER_LOG_LEVEL',
    // Nothing but trouble is said where nobody watches: cron mails whatever it reads.
    fallback: isatty(2) ? 'info' : 'warn',
    valid: LOG_LEVELS.join(', '),
    parse: (text: string) => LOG_LEVELS.find((level) => level === text.toLowerCase()),
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

const VALID_URL = 'postgresql://user:password@host:5432/database';

/** Where the database is: a URL, or else libpq's own variables, which pg reads itself. */
interface Connection {
  url?: string;
  /** The URL in parts, with the certificates that it names. */
  client?: ReturnType<typeof toClientConfig>;
  /** Prisma's ?schema=…, which PostgreSQL calls the search path. */
  schema?: string;
  /** How the server has to prove itself: pg would answer any question of it, also one for the password in clear text. */
  demand?: 'scram' | 'binding';
}

/** Options of libpq that pg passes over: heeded here or refused, and never in silence. Each with the values that change nothing. */
const PASSED_OVER: Record<string, { env: string; harmless: RegExp; instead: string }> = {
  hostaddr: { env: 'PGHOSTADDR', harmless: /^$/, instead: 'put the address into the host' },
  service: { env: 'PGSERVICE', harmless: /^$/, instead: 'write out what the service stands for' },
  target_session_attrs: {
    ...{ env: 'PGTARGETSESSIONATTRS', harmless: /^(any)?$/, instead: 'name the primary as the host' },
  },
  channel_binding: { env: 'PGCHANNELBINDING', harmless: /^(prefer|disable|require)?$/, instead: 'valid: require' },
  require_auth: { env: 'PGREQUIREAUTH', harmless: /^(scram-sha-256)?$/, instead: 'valid: scram-sha-256' },
};

function readDemand(env: Environment, url: URLSearchParams | undefined, faults: string[]): Connection['demand'] {
  const given = (name: string) => url?.get(name) ?? env[PASSED_OVER[name]!.env]?.trim() ?? '';
  for (const [name, { env: variable, harmless, instead }] of Object.entries(PASSED_OVER)) {
    const value = given(name);
    const source = url?.has(name) ? `"${name}" in the URL` : variable;
    if (!harmless.test(value)) faults.push(`${source} is "${value}", which cannot be heeded here: ${instead}.`);
  }
  if (given('channel_binding') === 'require') return 'binding';
  return given('require_auth') ? 'scram' : undefined;
}

/** A file of settings may set these, and nothing that changes how Node or the system runs. */
const OURS = /^(SCHEDULER_|PG|ENABLE_|DATABASE_URL$|TZ$)/;

/** For a program of the operator's that we start: without what opens the database and the gateways. */
export const environmentForOthers = (): Environment =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !OURS.test(name) || name === 'TZ'));

type Environment = Record<string, string | undefined>;
type JobVariables = Record<string, Variable<string | boolean>>;

export function readEnvironment(envFile?: string): Environment {
  if (!envFile) return process.env;
  let text: string;
  try {
    text = readFileSync(envFile, 'utf8');
  } catch (error) {
    throw usageError(`The file "${envFile}" of --env-file cannot be read: ${(error as Error).message}.`);
  }
  // As with Node's own --env-file, what the environment already says wins. pg reads PG* from process.env itself.
  for (const [name, value] of Object.entries(parseEnv(text))) if (OURS.test(name)) process.env[name] ??= value;
  return process.env;
}

/** Every variable that the program reads itself; libpq's are for pg. */
export const allVariables = (jobVariables: JobVariables): Pick<Variable<unknown>, 'env' | 'fallback' | 'valid'>[] => [
  ...Object.values(VARIABLES),
  ...Object.values(jobVariables),
];

/** Reads every setting, and names every fault at once. */
export function readSettings(
  env: Environment,
  jobVariables: JobVariables,
  given: { databaseUrl?: string | undefined },
): Settings {
  const faults: string[] = [];
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
  const connection = readConnection(env, given.databaseUrl, faults);
  if (faults.length > 0) throw configurationError(faults.join('\n'));
  return { ...settings, job, connection };
}

/** Why a variable, or an option in its place, is refused. */
export const refusal = ({ secret, valid }: Variable<unknown>, name: string, text: string | undefined) =>
  `${name} is ${secret ? 'not usable' : `"${text}"`}; valid: ${valid}.`;

function readConnection(env: Environment, given: string | undefined, faults: string[]): Connection {
  const text = given ?? env.DATABASE_URL?.trim();
  const demand = readDemand(
    env,
    text?.includes('?') ? new URLSearchParams(text.replace(/^[^?]*/, '')) : undefined,
    faults,
  );
  const demanded = demand && { demand };
  if (!text) {
    if (!['PGHOST', 'PGDATABASE', 'PGUSER', 'PGPORT'].some((name) => env[name])) {
      faults.push(
        "No database is named. Give --database-url, or set DATABASE_URL, or libpq's PGHOST, PGDATABASE, PGUSER …; to try things out, use --embedded.",
      );
    }
    return { ...demanded };
  }
  const source = given ? '--database-url' : 'DATABASE_URL';
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(text)?.[0];
  try {
    if (!scheme) throw new URIError();
    if (!/^postgres(ql)?:/i.test(scheme)) {
      faults.push(`${source} begins with "${scheme}"; valid: ${VALID_URL}.`);
      return {};
    }
    // sslmode means what libpq means by it, as everywhere else in the operator's environment.
    const parsed = parse(text, { useLibpqCompat: !/[?&]uselibpqcompat=/.test(text) });
    const { schema } = parsed;
    return {
      url: text,
      client: toClientConfig(parsed),
      ...demanded,
      ...(typeof schema === 'string' && schema && { schema }),
    };
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
  return (
    text
      // Up to the last "@" of the line, or to its end: a password may hold anything, also what should have been written as %20 or %40.
      .replace(/([a-z][a-z0-9+.-]*:\/\/[^/:@\s]*):.*@/gi, '$1:***@')
      .replace(/([?&]password=)[^&\n]*/gi, '$1***')
  );
}
