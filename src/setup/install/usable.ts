// Checks before the first tick. A tick would meet the same faults, but every minute, and in a mail that nobody may read.

import { existsSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { configurationError, usageError } from '../../base/errors.ts';
import { ROOT } from '../../base/version.ts';
import { asCommand, type Installation, isRoot, needRoot } from './plan.ts';
import { run } from './run.ts';
import { refuseUnlessRoots } from './trusted.ts';

export function refuseUnlessUsable(plan: Installation): void {
  const { way, user, envFile, launcher } = plan;
  if (way === 'systemd') needRoot(way);
  if (/\/_npx\//.test(realpathSync(launcher))) {
    throw configurationError(
      `${launcher} lies in npx's cache, which npm empties: install the package with "npm install --global" first.`,
    );
  }
  if (way === 'cron' && isRoot() && user === undefined) {
    throw usageError(
      'Say with --user whom the ticks shall run as; root need not be. One for this alone: "useradd --system --create-home scheduler".',
    );
  }
  if (!existsSync(envFile)) {
    throw configurationError(
      `The settings are to be in ${envFile}, which is not there. "${asCommand(plan)}" prints what to put into it; --env-file names another one.`,
    );
  }
  if (isRoot()) refuseUnlessReadable(plan);
}

function refuseUnlessReadable({ way, user, envFile, node, launcher }: Installation): void {
  const reader = user === undefined ? NOBODY : lookUp(user);
  if (reader.uid === 0) refuseUnlessRoots([node, launcher, envFile, ROOT]);
  for (const path of [node, launcher]) {
    if (!mayReach(path, reader)) {
      throw configurationError(
        `${user ?? 'The user that systemd makes'} may not enter all folders of ${path}: install it for everybody, or name another --user.`,
      );
    }
  }
  // Systemd reads the file itself, as root.
  if (way === 'cron' && !mayReach(envFile, reader)) {
    throw configurationError(`${user} may not read ${envFile}: "chown ${user} ${envFile}" lets them.`);
  }
}

const NOBODY = { uid: -1, gids: [] as number[] };

function lookUp(user: string): typeof NOBODY {
  const ids = (flag: string) => {
    const { status, stdout } = run('id', [flag, user]);
    if (status !== 0)
      throw configurationError(`There is no user ${user} here. Make one: "useradd --system --create-home ${user}".`);
    return stdout.trim().split(' ').map(Number);
  };
  return { uid: ids('-u')[0]!, gids: ids('-G') };
}

function mayReach(path: string, { uid, gids }: typeof NOBODY): boolean {
  if (uid === 0) return true;
  const may = (each: string, right: number) => {
    const { mode, uid: owner, gid } = statSync(each);
    return ((mode >> (owner === uid ? 6 : gids.includes(gid) ? 3 : 0)) & right) !== 0;
  };
  const real = realpathSync(path);
  if (!may(real, 4)) return false;
  let folder = real;
  do {
    folder = dirname(folder);
    if (!may(folder, 1)) return false;
  } while (folder !== '/');
  return true;
}
