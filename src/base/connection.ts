import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { ConnectionOptions } from 'node:tls';
import { parse, type toClientConfig } from 'pg-connection-string';

export type Environment = Record<string, string | undefined>;

/** Where the database is, and the way there: from a URL, and from libpq's variables for what the URL leaves out. */
export interface Connection {
  url?: string;
  client: ReturnType<typeof toClientConfig>;
  /** TLS, or false for none: what sslmode allows, in the order in which it is tried. */
  ways: (ConnectionOptions | false)[];
  /** Prisma's ?schema=…, or --tenant: the schema of the one tenant that is meant. */
  schema?: string;
  /** How the server has to prove itself: pg would answer any question of it, also one for the password in clear text. */
  demand?: 'scram' | 'binding';
}

const VALID_URL = 'postgresql://user:password@host:5432/database';

interface Option {
  env?: string;
  /** Other values are refused. */
  fits: RegExp;
  instead: string;
}

const option = (env: string, fits = /^/, instead = ''): Option => ({ env, fits, instead });
const fixed = (env: string, fits: RegExp, instead: string): Option =>
  option(env, fits, `which cannot be heeded here: ${instead}`);

/** Each option of a libpq URL and its variable. A value that would change something is heeded or refused, and never passed over. */
const OPTIONS: Record<string, Option> = {
  host: option('PGHOST', /^[^,]*$/, 'valid: one host, the primary'),
  port: option(
    'PGPORT',
    /^([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])?$/,
    'valid: one port, such as 5432',
  ),
  dbname: option('PGDATABASE'),
  user: option('PGUSER'),
  options: option('PGOPTIONS'),
  connect_timeout: option('PGCONNECT_TIMEOUT'),
  sslmode: option(
    'PGSSLMODE',
    /^(|disable|allow|prefer|require|no-verify|verify-ca|verify-full)$/,
    'valid: disable, allow, prefer, require, verify-ca, verify-full',
  ),
  sslrootcert: option('PGSSLROOTCERT'),
  sslcert: option('PGSSLCERT'),
  sslkey: option('PGSSLKEY'),
  sslnegotiation: option('PGSSLNEGOTIATION', /^(postgres|direct)?$/, 'valid: postgres, direct'),
  channel_binding: fixed('PGCHANNELBINDING', /^(prefer|disable|require)?$/, 'valid: require'),
  require_auth: fixed('PGREQUIREAUTH', /^(scram-sha-256)?$/, 'valid: scram-sha-256'),
  hostaddr: fixed('PGHOSTADDR', /^$/, 'put the address into the host'),
  service: fixed('PGSERVICE', /^$/, 'write out what the service stands for'),
  target_session_attrs: fixed('PGTARGETSESSIONATTRS', /^(any)?$/, 'name the primary as the host'),
  client_encoding: fixed('PGCLIENTENCODING', /^(auto|utf-?8|unicode)?$/i, 'valid: UTF8'),
  gssencmode: fixed('PGGSSENCMODE', /^(disable|allow|prefer)?$/, 'use sslmode=require'),
  requiressl: fixed('PGREQUIRESSL', /^0?$/, 'use sslmode=require'),
  sslcrl: fixed('PGSSLCRL', /^$/, 'leave it out'),
  sslcrldir: fixed('PGSSLCRLDIR', /^$/, 'leave it out'),
  sslcertmode: fixed('PGSSLCERTMODE', /^(allow)?$/, 'leave it out'),
  sslsni: fixed('PGSSLSNI', /^1?$/, 'leave it out'),
  requirepeer: fixed('PGREQUIREPEER', /^$/, 'leave it out'),
  ssl_min_protocol_version: fixed('PGSSLMINPROTOCOLVERSION', /^(TLSv1(\.[12])?)?$/, 'valid: TLSv1.2'),
  ssl_max_protocol_version: fixed('PGSSLMAXPROTOCOLVERSION', /^(TLSv1\.3)?$/, 'valid: TLSv1.3'),
  min_protocol_version: fixed('PGMINPROTOCOLVERSION', /^(3\.0)?$/, 'valid: 3.0'),
  max_protocol_version: fixed('PGMAXPROTOCOLVERSION', /^(3\.\d|latest)?$/, 'valid: latest'),
  replication: { fits: /^(false|off|no|0)?$/, instead: 'which cannot be heeded here: leave it out' },
  passfile: { fits: /^$/, instead: 'which cannot be heeded here: set PGPASSFILE' },
  ssl: { fits: /^(true|1|0|false)?$/, instead: 'valid: true; or write sslmode' },
  uselibpqcompat: { fits: /^(true)?$/, instead: 'which cannot be heeded here: sslmode means what it means to libpq' },
};

/**
 * These change nothing that is done. Our connections are short, have bounds and a name of their own, and know no GSSAPI; the
 * last line is about the pools of Prisma, Rails and others, which read the same URL.
 */
const OF_NO_CONSEQUENCE = new RegExp(
  `^(${[
    ...['application_name', 'fallback_application_name', 'keepalives.*', 'tcp_user_timeout', 'load_balance_hosts'],
    ...['sslcompression', 'krbsrvname', 'gsslib', 'gssdelegation', 'schema', 'password'],
    ...['pgbouncer', 'connection_limit', 'pool\\w*', 'socket_timeout', 'statement_cache_size', 'prepared_statements'],
  ].join('|')})$`,
);

/** If one is there twice, the last one counts. */
const optionsOf = (url: string | undefined): Map<string, string> =>
  new Map(new URLSearchParams(url?.includes('?') ? url.replace(/^[^?]*/, '') : ''));

/** The environment as a URL with its own time to connect has it. */
export function withTimeoutOf(url: string | undefined, env: Environment): Environment {
  const seconds = optionsOf(url).get('connect_timeout');
  return seconds ? { ...env, PGCONNECT_TIMEOUT: seconds } : env;
}

export function readConnection(env: Environment, given: string | undefined, faults: string[]): Connection {
  const nowhere: Connection = { client: {}, ways: [false] };
  const url = given ?? env.DATABASE_URL?.trim();
  const source = given ? '--database-url' : 'DATABASE_URL';
  if (!url && !['PGHOST', 'PGDATABASE', 'PGUSER', 'PGPORT'].some((name) => env[name])) {
    faults.push(
      "No database is named. Give --database-url, or set DATABASE_URL, or libpq's PGHOST, PGDATABASE, PGUSER …; to try things out, use --embedded.",
    );
  }
  const options = optionsOf(url);
  const parts = url ? partsOf(url, source, faults) : {};
  if (!parts) return nowhere;
  const value = (name: string): string =>
    options.get(name) ||
    parts[name === 'dbname' ? 'database' : name]?.toString() ||
    env[OPTIONS[name]?.env ?? '']?.trim() ||
    '';
  checkOptions(env, options, value, faults);
  if (faults.length > 0) return nowhere;

  const client = {
    ...{ host: value('host'), port: Number(value('port')), database: value('dbname'), options: value('options') },
    ...{ user: value('user') || systemUser(), password: options.get('password') ?? parts.password },
    sslnegotiation: value('sslnegotiation'),
  };
  const schema = options.get('schema');
  const binding = value('channel_binding') === 'require';
  const demand = binding ? 'binding' : value('require_auth') ? 'scram' : undefined;
  return {
    ...(url && { url }),
    client: Object.fromEntries(Object.entries(client).filter(([, each]) => each)),
    ways: encryption(value, faults),
    ...(schema && { schema }),
    ...(demand && { demand }),
  };
}

/** User, password, host, port and database, as they stand before the options of a URL. */
function partsOf(url: string, source: string, faults: string[]): Record<string, unknown> | undefined {
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(url)?.[0];
  if (scheme && !/^postgres(ql)?:/i.test(scheme))
    faults.push(`${source} begins with "${scheme}"; valid: ${VALID_URL}.`);
  else {
    try {
      if (scheme) return { ...parse(url.replace(/[?].*$/s, '')) };
    } catch {} // Its message is about JavaScript.
    faults.push(`${source} is not a URL; valid: ${VALID_URL}.`);
  }
  return undefined;
}

function checkOptions(
  env: Environment,
  options: Map<string, string>,
  value: (name: string) => string,
  faults: string[],
): void {
  for (const [name, { env: variable, fits, instead }] of Object.entries(OPTIONS)) {
    const source = options.has(name) || !env[variable ?? ''] ? `"${name}" in the URL` : variable;
    if (!fits.test(value(name)))
      faults.push(`${source} is "${value(name)}"; ${instead}.`.replace('; which', ', which'));
  }
  for (const name of options.keys()) {
    if (!(name in OPTIONS || OF_NO_CONSEQUENCE.test(name)))
      faults.push(`"${name}" in the URL is not heeded here: take it out, or check how it is spelt.`);
  }
}

/** As libpq does it: "prefer" and "allow" say what is tried first, and only "verify-ca" and "verify-full" look at the certificate. */
function encryption(value: (name: string) => string, faults: string[]): Connection['ways'] {
  const read = (name: string) => {
    const path = value(name);
    if (!path || path === 'system') return undefined;
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      faults.push(`${name} is "${path}", which cannot be read: ${(error as NodeJS.ErrnoException).code}.`);
      return undefined;
    }
  };
  const files = Object.entries({ ca: read('sslrootcert'), cert: read('sslcert'), key: read('sslkey') });
  const tls: ConnectionOptions = Object.fromEntries(files.filter(([, text]) => text !== undefined));
  const byFiles = ['sslrootcert', 'sslcert', 'sslkey'].some(value) || /^(true|1)$/.test(value('ssl'));
  const mode = value('sslmode') || (byFiles ? 'verify-full' : 'disable');
  if (mode === 'verify-ca' && !tls.ca)
    faults.push('sslmode is "verify-ca", which needs sslrootcert: the certificates to believe.');
  if (value('sslnegotiation') === 'direct' && !/^(require|verify)/.test(mode))
    faults.push('sslnegotiation is "direct", which needs encryption: write sslmode=require as well.');
  const unnamed = { ...tls, checkServerIdentity: () => undefined };
  const blind = { ...tls, rejectUnauthorized: false };
  const all: Record<string, Connection['ways']> = {
    ...{ disable: [false], allow: [false, blind], prefer: [blind, false], 'no-verify': [blind] },
    // A CA that is named is asked, as libpq does it.
    ...{ require: [tls.ca ? unnamed : blind], 'verify-ca': [unnamed], 'verify-full': [tls] },
  };
  // A socket of this machine is never encrypted.
  return value('host').startsWith('/') ? [false] : all[mode]!;
}

/** Cron sets LOGNAME only. A container may run as a number that has no name. */
export function systemUser(): string {
  const { USER, LOGNAME } = process.env;
  try {
    return USER || LOGNAME || userInfo().username;
  } catch {
    return '';
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
