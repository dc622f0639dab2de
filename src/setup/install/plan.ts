// The plan of an installation, as the options of "scheduler install" give it.

import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { systemUser } from '../../base/connection.ts';
import { usageError } from '../../base/errors.ts';

type Way = 'cron' | 'systemd';

export interface Installation {
  way: Way;
  /** The name of its files: "scheduler", or "scheduler-NAME" for one of several on a machine. */
  name: string;
  /** The options that were given, for the commands that it prints. */
  options: string[];
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

/** Words that neither a shell, nor cron, nor systemd reads as anything else. */
export const PLAIN = /^[\w./+:@-]+$/;

export const forShell = (word: string): string => (PLAIN.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

/** The same installation again, by hand. */
export const asCommand = ({ way, options }: Installation, ...more: string[]): string =>
  ['scheduler install', `--${way}`, ...more, ...options].join(' ');

interface Given {
  name?: string;
  user?: string;
  envFile?: string | undefined;
  force?: boolean;
}

export function planInstallation(way: Way, given: Given): Installation {
  if (given.name !== undefined && !/^[a-z0-9][a-z0-9_-]{0,30}$/.test(given.name)) {
    throw usageError(`--name is "${given.name}"; valid: up to 31 lower-case letters, digits, "-" and "_".`);
  }
  if (given.user !== undefined && !/^[a-z_][a-z0-9_.-]*$/i.test(given.user)) {
    throw usageError(`--user is "${given.user}", which is not the name of a user.`);
  }
  if (!isRoot() && way === 'cron' && given.user !== undefined && given.user !== systemUser()) {
    throw usageError(`--user ${given.user} is for root: everybody else has a crontab of their own only.`);
  }
  const home = isRoot() || way === 'systemd' ? '/etc' : join(homedir(), '.config');
  const name = given.name === undefined ? 'scheduler' : `scheduler-${given.name}`;
  const options = { '--name': given.name, '--user': given.user, '--env-file': given.envFile };
  const plan = {
    ...{ way, name, user: given.user },
    options: Object.entries(options).flatMap(([option, value]) => (value ? [option, forShell(value)] : [])),
    envFile: resolve(given.envFile ?? join(home, `${name}.env`)),
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
