// Starts a postmaster in a folder, and waits until it takes connections.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCluster } from './cluster.ts';
import { serverUser } from './folder.ts';
import { ENV, lastLines, readIfThere, type User } from './process.ts';
import { findPrograms } from './programs.ts';
import { clearStalePid, findPostmaster, findServer, PATIENCE_MS, POLL_MS, type Server } from './running.ts';

const SOCKET_PORT = 5432;

/** A free port may be taken before the server gets it. After a crash, orphaned backends hold the cluster for a moment. */
const ATTEMPTS = 3;
const BETWEEN_ATTEMPTS_MS = 300;

/** The log is cut at a start, and never later: a trial server writes little. */
const LONGEST_LOG = 1_000_000;

const SETTINGS = {
  unix_socket_directories: '.',
  unix_socket_permissions: '0700',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_checkpoints: 'off',
  shared_buffers: '64MB',
};

export interface StartOptions {
  tcp?: boolean;
  /** Server settings. They last for this start only. */
  settings?: Record<string, string>;
  /** A package that brings PostgreSQL's programs, or its folder: for another major version. */
  binaries?: string;
}

export async function launch(home: string, { tcp, settings, binaries }: StartOptions): Promise<Server> {
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

/** Settings go as arguments: there is no file to edit and no shell to quote for. */
async function spawnPostmaster(home: string, bin: string, user: User, settings: Record<string, string>) {
  const path = join(home, 'log');
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LONGEST_LOG) await fs.truncate(path);
  const log = await fs.open(path, 'a', 0o600);
  try {
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const postmaster = spawn(join(bin, 'postgres'), ['-D', join(home, 'data'), ...args], {
      ...{ ...user, cwd: '/', env: ENV, detached: true },
      stdio: ['ignore', log.fd, log.fd],
    });
    postmaster.on('error', () => {}); // a process without a pid, which untilReady notices
    postmaster.unref();
    return postmaster;
  } finally {
    await log.close();
  }
}

/** Answers our server, or that of a start which was faster. Undefined: neither came up. */
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

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  await once(probe.close(), 'close');
  return port;
}
