// The plan of an installation, as the options of "scheduler install" give it.

import { homedir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { usageError } from '../../base/errors.ts';

type Way = 'cron' | 'systemd';

export interface Installation {
  way: Way;
  /** The user that the ticks run as. Undefined: for cron the owner of the crontab, for systemd a user of its own. */
  user: string | undefined;
  envFile: string;
  node: string;
  launcher: string;
  force: boolean;
}

export const isRoot = () => process.getuid?.() === 0;

export function needRoot(way: Way): void {
  if (!isRoot()) throw usageError(`install --${way} changes the system: run it as root, with sudo.`);
}

export function planInstallation(
  way: Way,
  given: { user?: string; envFile?: string | undefined; force?: boolean },
): Installation {
  if (given.user !== undefined && !/^[a-z_][a-z0-9_.-]*$/i.test(given.user)) {
    throw usageError(`--user is "${given.user}", which is not the name of a user.`);
  }
  if (!isRoot() && way === 'cron' && given.user !== undefined && given.user !== userInfo().username) {
    throw usageError(`--user ${given.user} is for root: everybody else has a crontab of their own only.`);
  }
  const home = isRoot() || way === 'systemd' ? '/etc' : join(homedir(), '.config');
  const plan = {
    way,
    user: given.user,
    envFile: resolve(given.envFile ?? join(home, 'scheduler.env')),
    node: process.execPath,
    launcher: resolve(process.argv[1]!),
    force: given.force === true,
  };
  for (const path of [plan.envFile, plan.node, plan.launcher]) {
    if (/[\r\n]/.test(path))
      throw usageError(`No crontab or unit can hold a path with a line break: ${JSON.stringify(path)}.`);
  }
  return plan;
}
