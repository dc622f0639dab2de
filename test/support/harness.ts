import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { readSettings } from '../../src/base/config.ts';
import { Log } from '../../src/base/log.ts';
import { Stop } from '../../src/base/stop.ts';
import { jobVariables } from '../../src/context.ts';
import { Database } from '../../src/db/client.ts';
import { type Request, type RunResult, run } from '../../src/engine/run.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import { lockOf } from '../../src/store/lock.ts';
import { migrate } from '../../src/store/migrate.ts';
import { all, only } from '../../src/store/standing.ts';
import { layEverything } from './laid.ts';
import { ITS_ROWS, SCHEMA, setPath, takeItsRows } from './schema.ts';

/** Everything a test needs: a database of its own on a real server, rows to put in, ticks at any time, the real command. */

export const LAUNCHER = process.env.TEST_LAUNCHER ?? fileURLToPath(new URL('../../bin/scheduler.js', import.meta.url));
const TEMPLATE = 'scheduler_template';
/** For a server of a test's own: the PostgreSQL that the tests are run on. */
export const POSTGRES = process.env.TEST_POSTGRES ? { binaries: process.env.TEST_POSTGRES } : {};

// biome-ignore lint/suspicious/noExplicitAny: a test reads columns of any table by name
type Row = Record<string, any>;

export interface TestDatabase extends AsyncDisposable {
  url: string;
  /** The same over TCP, for proxies and poolers. */
  tcpUrl: string;
  /**
   * The program's own way there: through the pooler, in a run of the tests that has one. The command
   * "listen" needs a session for LISTEN, so it goes by `url` all the same.
   */
  programUrl: string;
  name: string;
  query<T extends Row = Row>(sql: string, values?: unknown[]): Promise<T[]>;
  one<T extends Row = Row>(sql: string, values?: unknown[]): Promise<T>;
  /** Inserts a row and answers it as stored. */
  insert(table: string, row: Row): Promise<Row>;
  /** A tick inside this process, at that time. */
  tick(at?: string, options?: TickOptions): Promise<RunResult>;
  /** The real command, as cron would start it: an empty environment but for the database. */
  cli(args: string[], options?: CliOptions): Promise<Finished>;
  /** Makes the tables of these jobs, too: of all of them, unless a test is about what an application has alone. */
  migrate(env?: Record<string, string>, create?: string[]): Promise<void>;
  events(): Promise<Row[]>;
}

export interface TickOptions extends Partial<Request> {
  env?: Record<string, string>;
  /** Only these jobs. */
  only?: string[];
  /** Another way to the same database, through a proxy for instance. */
  url?: string;
}

export interface CliOptions {
  env?: Record<string, string>;
  cwd?: string;
  input?: string;
  timeoutMs?: number;
  /** To send it signals. */
  started?: (child: ChildProcess) => void;
}

export interface Finished {
  code: number | null;
  out: string;
  err: string;
}

const server = () => {
  const url = process.env.TEST_SERVER;
  if (!url) throw new Error('Run the tests with "npm test": it starts the server they need.');
  return url;
};

const within = (url: string, database: string) => url.replace(/\/scheduler(\?|$)/, `/${database}$1`);

async function admin(sql: string, url = server()): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/** Files are copied in a third of the time that it takes to log each page of them: PostgreSQL 15 leaves the choice, 14 copies. */
export async function cheapestClone(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query(`select current_setting('server_version_num')::integer as version`);
    return rows[0].version >= 150_000 ? 'strategy file_copy' : '';
  } finally {
    await client.end();
  }
}

/** A database with all migrations applied, for the others to be cloned from. */
export async function makeTemplate(url: string): Promise<void> {
  await admin(`drop database if exists ${TEMPLATE} with (force)`, url);
  await admin(`create database ${TEMPLATE}`, url);
  await setPath(within(url, TEMPLATE), TEMPLATE, { isNew: true });
  await migrateAt(within(url, TEMPLATE));
  await takeItsRows(within(url, TEMPLATE));
  if (process.env.TEST_LAID) await layEverything(within(url, TEMPLATE), await loadJobs());
}

async function migrateAt(url: string, env: Record<string, string> = {}, create?: string[]): Promise<void> {
  const jobs = await loadJobs();
  const settings = readSettings(env, jobVariables(jobs), { databaseUrl: url });
  const db = new Database(settings, new Log('silent'));
  try {
    await migrate({ db, settings, jobs, create: create ?? jobs.map(({ name }) => name), report: () => {} });
  } finally {
    await db.close();
  }
}

export interface DatabaseOptions {
  /** One that was never migrated. */
  empty?: boolean;
  /** One in which every run gets the lock, or that of these tenants: what is done once must not depend on it. */
  withoutLock?: boolean | string[];
  /** On this server instead of the one that all tests share: one that a test may stop, or that has settings of its own. */
  server?: { url: string; tcpUrl?: string };
}

/** Holds the lock as a role without any right, for which no run waits. */
async function strangerWithLock(url: string, name: string, tenants: string[]): Promise<AsyncDisposable> {
  const role = `stranger_${name}`;
  await admin(`create role ${role} login`, url);
  const client = new pg.Client({ connectionString: url.replace('postgres@', `${role}@`) });
  await client.connect();
  for (const tenant of tenants) await client.query(`select pg_advisory_lock(${lockOf('$1')})`, [tenant]);
  return {
    async [Symbol.asyncDispose]() {
      await client.end();
      await admin(`drop role ${role}`, url);
    },
  };
}

/** Dropped when the test is over: `await using db = await database()`. */
export async function database(options: DatabaseOptions = {}): Promise<TestDatabase> {
  const { url: place, tcpUrl: tcpPlace } = options.server ?? { url: server(), tcpUrl: process.env.TEST_SERVER_TCP };
  const name = `t_${randomBytes(6).toString('hex')}`;
  const from = options.empty ? '' : `template ${TEMPLATE}`;
  await admin(`create database ${name} ${from} ${process.env.TEST_CLONE ?? ''}`, place);
  const url = within(place, name);
  await setPath(url, name, { isNew: Boolean(options.empty) });
  let client: pg.Client | undefined;
  const session = async () => {
    if (client) return client;
    const opened = new pg.Client({ connectionString: url });
    opened.on('error', () => {
      client = undefined;
    });
    await opened.connect();
    await opened.query(`set timezone = 'UTC'; ${ITS_ROWS}`);
    client = opened;
    return opened;
  };
  const query = async <T extends Row>(sql: string, values?: unknown[]) =>
    (await (await session()).query<T>(sql, values)).rows;
  await session();
  const stranger = options.withoutLock
    ? await strangerWithLock(url, name, options.withoutLock === true ? [SCHEMA] : options.withoutLock)
    : undefined;
  const pooler = options.server ? undefined : process.env.TEST_POOLER;
  const programUrl = pooler ? within(pooler, name) : url;

  const one = async <T extends Row>(sql: string, values?: unknown[]) => {
    const rows = await query<T>(sql, values);
    if (rows.length !== 1) throw new Error(`expected one row, found ${rows.length}: ${sql}`);
    return rows[0]!;
  };
  return {
    url,
    tcpUrl: within(tcpPlace ?? '', name),
    programUrl,
    name,
    query,
    one,
    insert: (table, row) => {
      const columns = Object.keys(row);
      return one(
        `insert into ${table} (${columns.map((c) => `"${c}"`).join(', ')}) values (${columns.map((_, n) => `$${n + 1}`).join(', ')}) returning *`,
        Object.values(row),
      );
    },
    tick: (at, { env = {}, only, url: way = programUrl, ...request } = {}) => tickAt(way, at, env, only, request),
    cli: (args, options) => cli(args, { ...options, env: { DATABASE_URL: programUrl, ...options?.env } }),
    migrate: (env, create) => migrateAt(programUrl, env, create),
    events: () => query('select * from scheduler.events order by id'),
    async [Symbol.asyncDispose]() {
      await client?.end();
      await stranger?.[Symbol.asyncDispose]();
      await admin(`drop database ${name} with (force)`, place);
    },
  };
}

/** A second connection, as the application has one. */
export async function application(db: TestDatabase) {
  const client = new pg.Client({ connectionString: db.url });
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

async function tickAt(
  url: string,
  at: string | undefined,
  env: Record<string, string>,
  names: string[] | undefined,
  request: Partial<Request>,
) {
  const jobs = await loadJobs();
  const settings = readSettings(env, jobVariables(jobs), { databaseUrl: url });
  const log = new Log('silent');
  const db = new Database(settings, log);
  try {
    return await run(db, settings, log, {
      jobs: names ? only(jobs, names) : all(jobs),
      ...(at !== undefined && { at }),
      dryRun: false,
      timeoutSeconds: 120,
      debug: false,
      stop: new Stop(),
      // A test that asks for a batch size counts on one batch after the other.
      ...(request.batchSize !== undefined && { connections: 1 }),
      ...request,
    });
  } finally {
    await db.close();
  }
}

/** What a process said, and how it ended. */
export function finished(child: ChildProcessByStdio<Writable | null, Readable, Readable>): Promise<Finished> {
  return new Promise((resolve, reject) => {
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    child.stderr.on('data', (chunk) => {
      err += chunk;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
  });
}

/** Starts the launcher itself, not through a shell; nothing of this process's environment reaches it. */
export function cli(
  args: string[],
  { env = {}, cwd = '/', input, timeoutMs = 60_000, started }: CliOptions = {},
): Promise<Finished> {
  const child = spawn(LAUNCHER, args, { cwd, env: { PATH: '/usr/bin:/bin', HOME: '/', ...env }, timeout: timeoutMs });
  started?.(child);
  child.stdin.end(input ?? '');
  return finished(child);
}
