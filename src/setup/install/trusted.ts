// Root runs nothing that somebody else can change.

import { lstatSync, readdirSync, readlinkSync, realpathSync, type Stats } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { configurationError } from '../../base/errors.ts';

/** Refuses what is not only root's to change: files, all that is in folders, and the way to each. */
export function refuseUnlessRoots(paths: string[]): void {
  const seen = new Map<string, Stats>();
  for (const path of paths) {
    passBy(path, seen);
    if (!seen.get(realpathSync(path))!.isDirectory()) continue;
    for (const name of readdirSync(path, { recursive: true, encoding: 'utf8' })) passBy(join(path, name), seen);
  }
  for (const [path, stats] of seen) {
    const fault = faultOf(stats);
    if (fault)
      throw configurationError(
        `Root would run what ${path} leads to, and it ${fault}. Make it root's alone: "chown root '${path}'; chmod go-w '${path}'". Or name another --user.`,
      );
  }
}

/** Notes a path, the folders on its way, and where links among them lead. */
function passBy(path: string, seen: Map<string, Stats>): void {
  if (seen.has(path)) return;
  const folder = dirname(path);
  if (folder !== path) passBy(folder, seen);
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (!stats) return;
  seen.set(path, stats);
  if (stats.isSymbolicLink()) passBy(resolve(realpathSync(folder), readlinkSync(path)), seen);
}

const [OTHERS_WRITE, GROUP_WRITES, STICKY] = [0o002, 0o020, 0o1000];

function faultOf(stats: Stats): string | undefined {
  const { uid, gid, mode } = stats;
  // The user of this process is root, unless a test runs it.
  if (uid !== 0 && uid !== process.getuid?.()) return `belongs to the user with the id ${uid}`;
  if (stats.isSymbolicLink()) return undefined;
  // In a folder such as /tmp, nobody touches what is another's.
  if (stats.isDirectory() && (mode & STICKY) !== 0) return undefined;
  const isOpen = (mode & OTHERS_WRITE) !== 0 || ((mode & GROUP_WRITES) !== 0 && gid !== 0);
  return isOpen ? 'may be written by other users' : undefined;
}
