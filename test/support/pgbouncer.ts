import { spawn } from 'node:child_process';
import { chownSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { findPrograms, lastLines, libraryPath } from '../debian/apt.ts';

/** A real PgBouncer on a free loopback port, before the server of that URL. */
export interface PgBouncer extends AsyncDisposable {
  /** The same database through the pooler. */
  url: string;
  /** The pooler's own console: SHOW POOLS, PAUSE, KILL … */
  adminUrl: string;
  /** Like `kill -9` with 'SIGKILL': server connections break. */
  stop(signal?: 'SIGTERM' | 'SIGINT' | 'SIGKILL'): Promise<void>;
  log(): string;
}

export interface PgBouncerOptions {
  mode?: 'transaction' | 'session' | 'statement';
  /** More lines of pgbouncer.ini's section [pgbouncer]. */
  settings?: Record<string, string | number>;
}

const PGBOUNCER = { name: 'pgbouncer', packages: ['pgbouncer'], needed: ['usr/sbin/pgbouncer'] };

// A port that was free a moment ago may be taken.
const ATTEMPTS = 3;
const PATIENCE_MS = 10_000;

/** Takes a URL over TCP, as `db.tcpUrl` is. Clients need no password; the server's is the pooler's secret. */
export async function startPgBouncer(url: string, options: PgBouncerOptions = {}): Promise<PgBouncer> {
  const root = await findPrograms(PGBOUNCER);
  for (let attempt = 1; ; attempt++) {
    const started = await start(root, url, options);
    if (typeof started !== 'string') return started;
    if (attempt >= ATTEMPTS || !/in use/i.test(started)) {
      throw new Error(`PgBouncer does not start: ${lastLines(started)}`);
    }
  }
}

async function start(root: string, url: string, options: PgBouncerOptions): Promise<PgBouncer | string> {
  const server = new URL(url);
  const user = unprivileged();
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), 'sch-pgbouncer-'));
  const ini = join(folder, 'pgbouncer.ini');
  await writeFile(ini, configuration(server, port, options), { mode: 0o600 });
  if (user) for (const path of [folder, ini]) chownSync(path, user.uid, user.gid);

  const child = spawn(join(root, 'usr/sbin/pgbouncer'), [ini], {
    ...user,
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC', LD_LIBRARY_PATH: libraryPath(root) },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const orphaned = () => child.kill('SIGKILL');
  process.once('exit', orphaned);
  const ended = new Promise<void>((done) => {
    child.on('error', (error) => {
      output += error.message;
      done();
    });
    child.on('close', () => done());
  });
  const stop: PgBouncer['stop'] = async (signal = 'SIGTERM') => {
    // Asked to end, PgBouncer may wait for its clients; SIGTERM ends this version at once, later ones when all have gone.
    child.kill(signal);
    const late = setTimeout(() => child.kill('SIGKILL'), 2000);
    await ended;
    clearTimeout(late);
    process.off('exit', orphaned);
    await rm(folder, { recursive: true, force: true });
  };

  const place = (database: string) => `postgresql://${server.username}@127.0.0.1:${port}/${database}?sslmode=disable`;
  const adminUrl = place('pgbouncer');
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await answers(adminUrl))) {
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > deadline) {
      await stop('SIGKILL');
      return output || 'no answer';
    }
    await sleep(20);
  }
  return {
    url: place(server.pathname.slice(1)),
    adminUrl,
    stop,
    log: () => output,
    [Symbol.asyncDispose]: () => stop(),
  };
}

function configuration(server: URL, port: number, { mode = 'transaction', settings = {} }: PgBouncerOptions): string {
  const quoted = (text: string) => `'${decodeURIComponent(text).replace(/'/g, "''")}'`;
  const place = { host: server.hostname, port: server.port, user: server.username, password: server.password };
  const all = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    auth_type: 'any',
    pool_mode: mode,
    server_tls_sslmode: 'disable',
    // Unlike a real one it forgives nothing: a client that needs more than transactions is to fail the test.
    ignore_startup_parameters: '',
    ...settings,
  };
  return `[databases]
* = ${Object.entries(place)
    .map(([name, value]) => `${name}=${quoted(value)}`)
    .join(' ')}

[pgbouncer]
${Object.entries(all)
  .map(([name, value]) => `${name} = ${value}`)
  .join('\n')}
`;
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 1000 });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('show version');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}

/** PgBouncer refuses to run as root. */
function unprivileged(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const nobody = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find(([name]) => name === 'nobody');
  return nobody && { uid: Number(nobody[2]), gid: Number(nobody[3]) };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}
