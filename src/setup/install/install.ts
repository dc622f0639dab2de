// "scheduler install": shows the files, puts them in place, and takes them away again.

import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { configurationError } from '../../base/errors.ts';
import {
  CRON_TABLE,
  cronTable,
  envFileAdvice,
  type File,
  MADE,
  SERVICE_PATH,
  TIMER,
  TIMER_PATH,
  units,
} from './files.ts';
import { installOwn, ownCrontab, uninstallOwn } from './own-crontab.ts';
import { type Installation, isRoot, needRoot } from './plan.ts';
import { run } from './run.ts';
import { refuseUnlessUsable } from './usable.ts';

/** The files, and as comments what else you have to do. */
export function draft(plan: Installation): string {
  const parts =
    plan.way === 'cron'
      ? [isRoot() ? cronTable(plan).text : ownCrontab(plan)]
      : units(plan).map(({ path, text }) => `# ${path}\n${text}`);
  if (!existsSync(plan.envFile)) parts.push(commented(envFileAdvice(plan)));
  parts.push(commented(`To put it in place: scheduler install --${plan.way} --write`));
  return parts.map((part) => part.trimEnd()).join('\n\n');
}

const commented = (text: string) => text.replace(/^/gm, '# ');

/** Puts the files in place. Answers what it did, one sentence each. */
export function install(plan: Installation): string[] {
  refuseUnlessUsable(plan);
  const done = plan.way === 'systemd' ? installUnits(plan) : isRoot() ? installTable(plan) : installOwn(plan);
  return [...done, ...openSecrets(plan), ...otherWay(plan)];
}

export function uninstall({ way, force }: Installation): string[] {
  if (way === 'cron' && !isRoot()) return uninstallOwn();
  needRoot(way);
  const paths = way === 'cron' ? [CRON_TABLE] : [SERVICE_PATH, TIMER_PATH];
  const there = paths.filter((path) => existsSync(path));
  if (there.length === 0) return [`Nothing is installed: there is no ${paths.join(' and no ')}.`];
  for (const path of there) refuseForeign(path, force);
  if (way === 'systemd') systemctl(['disable', '--now', TIMER]);
  for (const path of there) rmSync(path);
  if (way === 'systemd') systemctl(['daemon-reload']);
  return there.map((path) => `Removed ${path}.`);
}

function installTable(plan: Installation): string[] {
  if (!existsSync(dirname(CRON_TABLE))) {
    throw configurationError(`There is no ${dirname(CRON_TABLE)} here: install cron first, or use --systemd.`);
  }
  return [write(cronTable(plan), plan.force), 'Cron notices within a minute.'];
}

function installUnits(plan: Installation): string[] {
  const done = units(plan).map((file) => write(file, plan.force));
  const commands = [['daemon-reload'], ['enable', '--now', TIMER]];
  const ran = commands.every((args) => systemctl(args));
  const said = commands.map((args) => `"systemctl ${args.join(' ')}"`).join(' and ');
  return [...done, ran ? `Ran ${said}.` : `Systemd does not run here. Where it does, run ${said}.`];
}

/** False when systemd does not run here, as in a container or while an image is built. */
function systemctl(args: string[]): boolean {
  if (!existsSync('/run/systemd/system')) return false;
  const { status, error, stderr } = run('systemctl', args);
  if (status !== 0) {
    throw configurationError(
      `"systemctl ${args.join(' ')}" failed: ${error?.message ?? stderr.trim()}. Run it by hand.`,
    );
  }
  return true;
}

function write({ path, text }: File, force: boolean): string {
  const known = existsSync(path);
  if (known) refuseForeign(path, force);
  if (known && readFileSync(path, 'utf8') === text) return `${path} was as it should be.`;
  // Cron reads no table that others may write to.
  writeFileSync(path, text, { mode: 0o644 });
  return `${known ? 'Replaced' : 'Wrote'} ${path}.`;
}

function refuseForeign(path: string, force: boolean): void {
  if (force || readFileSync(path, 'utf8').startsWith(MADE)) return;
  throw configurationError(`${path} was not made by "scheduler install". Look at it; --force goes over it.`);
}

function openSecrets({ envFile }: Installation): string[] {
  const open = (statSync(envFile).mode & 0o004) !== 0;
  return open ? [`Note that everybody may read the password in ${envFile}: "chmod 600 ${envFile}" ends that.`] : [];
}

/** Two ticks in a minute do no harm. But if you stop one of the two, you expect that nothing runs any more. */
function otherWay({ way }: Installation): string[] {
  const [there, name] = way === 'cron' ? [existsSync(TIMER_PATH), 'systemd'] : [existsSync(CRON_TABLE), 'cron'];
  return there ? [`Note that ${name} starts it as well: "scheduler install --${name} --remove" ends that.`] : [];
}
