// The server that runs: find it, stop it, and clear what a dead one left.

import { existsSync, realpathSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DATABASE } from './cluster.ts';
import { isOwnFolder } from './folder.ts';
import { codeOf, readIfThere, run } from './process.ts';

export interface Server {
  /** Over the socket, which only this user may enter: no password. For node-postgres and psql alike. */
  url: string;
  /** Over 127.0.0.1, with a password. Set if the server was started with `tcp`. */
  tcpUrl?: string;
  dir: string;
}

interface Postmaster {
  pid: number;
  port: number;
  tcp: boolean;
  ready: boolean;
}

/** Recovery after a crash and a checkpoint before a stop take a while on a slow disk. */
export const PATIENCE_MS = 60_000;
export const POLL_MS = 20;

/** Undefined when it does not run. */
export async function serverUrl(dir: string): Promise<string | undefined> {
  return isOwnFolder(dir) ? (await findServer(realpathSync(dir)))?.url : undefined;
}

export async function findServer(home: string): Promise<Server | undefined> {
  const data = join(home, 'data');
  const found = await findPostmaster(data);
  if (!found?.ready) return undefined;
  const server = { url: databaseUrl('postgres', encodeURIComponent(data), found.port), dir: home };
  if (!found.tcp) return server;
  const password = await fs.readFile(join(data, 'password'), 'utf8');
  return { ...server, tcpUrl: databaseUrl(`postgres:${password}`, '127.0.0.1', found.port) };
}

/** The URL names port and sslmode. Otherwise a PGPORT or PGSSLMODE in the client's environment would fill them in. */
function databaseUrl(user: string, host: string, port: number): string {
  return `postgresql://${user}@${host}:${port}/${DATABASE}?sslmode=disable`;
}

/** False when it did not run. */
export async function stopServer(dir: string): Promise<boolean> {
  if (!isOwnFolder(dir)) return false;
  const data = join(realpathSync(dir), 'data');
  const found = await findPostmaster(data);
  if (!found) return false;
  signal(found.pid, 'SIGINT'); // PostgreSQL's "fast" shutdown: sessions end, nothing is lost
  const deadline = Date.now() + PATIENCE_MS;
  while ((await findPostmaster(data))?.pid === found.pid) {
    if (Date.now() > deadline) {
      throw new Error(`The PostgreSQL server in ${dir} (process ${found.pid}) does not stop: see ${join(dir, 'log')}.`);
    }
    await sleep(POLL_MS);
  }
  return true;
}

/** The content of postmaster.pid, if its process is alive and still that postmaster. */
export async function findPostmaster(data: string): Promise<Postmaster | undefined> {
  const lines = (await readIfThere(join(data, 'postmaster.pid'))).split('\n');
  const pid = Number(lines[0]);
  if (!(pid > 0 && (await isPostmaster(pid, data)))) return undefined;
  return { pid, port: Number(lines[3]), tcp: Boolean(lines[5]), ready: lines[7]?.trim() === 'ready' };
}

/** After a crash or a reboot, any process may have the pid. A postmaster has its data directory as an argument. */
async function isPostmaster(pid: number, data: string): Promise<boolean> {
  if (existsSync('/proc/self/cmdline')) {
    return (await readIfThere(`/proc/${pid}/cmdline`)).split('\0').includes(data);
  }
  return (await run('/bin/ps', ['-o', 'command=', '-p', String(pid)], undefined)).output.includes(` ${data} `);
}

/** PostgreSQL takes over from a dead pid by itself, but not if another process has that number by now. */
export async function clearStalePid(data: string): Promise<void> {
  const pid = Number.parseInt(await readIfThere(join(data, 'postmaster.pid')), 10);
  if (!(pid > 0 && signal(pid, 0)) || (await findPostmaster(data))) return;
  for (const name of await fs.readdir(data)) {
    if (name === 'postmaster.pid' || name.startsWith('.s.PGSQL.')) await fs.rm(join(data, name), { force: true });
  }
}

/** False when there is no such process. */
function signal(pid: number, name: 'SIGINT' | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}
