// The folder of a server: `data` (the cluster, with its socket and its TCP password) and `log`.

import { lstatSync, mkdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { User } from './process.ts';

/** macOS allows 103 bytes for the path of a socket, Linux 107. */
const LONGEST_SOCKET_PATH = 103;

/** One server for each user. Systems that clean their temporary folder by age may remove it after days without use. */
export function defaultDir(): string {
  const dir = join(tmpdir(), `scheduler-pg-${ownUid()}`);
  isOwnFolder(dir);
  return dir;
}

/** Makes the folder if it is missing, and answers its real path. */
export function prepareFolder(dir: string): string {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  isOwnFolder(dir);
  const home = realpathSync(dir);
  const socket = join(home, 'data', '.s.PGSQL.65535');
  if (Buffer.byteLength(socket) > LONGEST_SOCKET_PATH) {
    throw new Error(`${home} is too long a path for a PostgreSQL socket: choose a shorter folder, or set TMPDIR=/tmp.`);
  }
  return home;
}

/** False when there is none. Anybody can make a folder in /tmp under our name and wait for us to trust it. */
export function isOwnFolder(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return false;
  if (!found.isDirectory() || found.uid !== ownUid()) {
    throw new Error(
      `${path} is not a folder of yours, so it is not safe to use: remove it or set TMPDIR to another folder.`,
    );
  }
  return true;
}

/** Whether we made the file or folder of this name. */
export const isOurs = (name: string) => name === 'data' || name === 'log' || name.startsWith('new-');

export const ownUid = (): number => process.getuid?.() ?? 0;

/** PostgreSQL refuses to run as root. Root starts it as the user who owns the cluster, or will own it. */
export function serverUser(home: string): User {
  if (process.getuid?.() !== 0) return undefined;
  const owner = statSync(join(home, 'data'), { throwIfNoEntry: false });
  if (owner) return { uid: owner.uid, gid: owner.gid };
  const users = readFileSync('/etc/passwd', 'utf8');
  const found = /^postgres:[^:]*:(\d+):(\d+):/m.exec(users) ?? /^nobody:[^:]*:(\d+):(\d+):/m.exec(users);
  if (!found)
    throw new Error(
      'PostgreSQL does not run as root, and this system has no user postgres or nobody: run as another user.',
    );
  return { uid: Number(found[1]), gid: Number(found[2]) };
}
