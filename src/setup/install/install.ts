// "scheduler install": shows the files, puts them in place, and takes them away again.

import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { configurationError } from '../../base/errors.ts';
import { cronTable, envFileAdvice, type File, inPlace, MADE, tablePath, timerOf, unitPaths, units } from './files.ts';
import { installOwn, ownCrontab, uninstallOwn } from './own-crontab.ts';
import { asCommand, type Installation, isRoot, needRoot } from './plan.ts';
import { run } from './run.ts';
import { refuseUnlessUsable } from './usable.ts';

/** The files, and as comments what else you have to do. */
export function draft(plan: Installation): string {
  const parts =
    plan.way === 'cron'
      ? [isRoot() ? cronTable(plan).text : ownCrontab(plan)]
      : units(plan).map(({ path, text }) => `# ${path}\n${text}`);
  if (!existsSync(plan.envFile)) parts.push(commented(envFileAdvice(plan)));
  parts.push(commented(`To put it in place: ${asCommand(plan, '--write')}`));
  const others = inPlace();
  if (others.length > 0) parts.push(commented(`In place on this machine: ${others.join(', ')}`));
  return parts.map((part) => part.trimEnd()).join('\n\n');
}

const commented = (text: string) => text.replace(/^/gm, '# ');

/** Puts the files in place. Answers what it did, one sentence each. */
export function install(plan: Installation): string[] {
  refuseUnlessUsable(plan);
  const done = plan.way === 'systemd' ? installUnits(plan) : isRoot() ? installTable(plan) : installOwn(plan);
  return [...done, ...openSecrets(plan), ...otherWay(plan)];
}

export function uninstall(plan: Installation): string[] {
  const { way, force } = plan;
  if (way === 'cron' && !isRoot()) return uninstallOwn(plan);
  needRoot(way);
  const paths = way === 'cron' ? [tablePath(plan)] : unitPaths(plan);
  const there = paths.filter((path) => existsSync(path));
  if (there.length === 0) return [`Nothing is installed: there is no ${paths.join(' and no ')}.`];
  for (const path of there) refuseForeign(path, force);
  if (way === 'systemd') systemctl(['disable', '--now', timerOf(plan)]);
  for (const path of there) rmSync(path);
  if (way === 'systemd') systemctl(['daemon-reload']);
  return there.map((path) => `Removed ${path}.`);
}

function installTable(plan: Installation): string[] {
  const folder = dirname(tablePath(plan));
  if (!existsSync(folder)) {
    throw configurationError(`There is no ${folder} here: install cron first, or use --systemd.`);
  }
  return [write(cronTable(plan), plan.force), 'Cron notices within a minute.'];
}

function installUnits(plan: Installation): string[] {
  const done = units(plan).map((file) => write(file, plan.force));
  const commands = [['daemon-reload'], ['enable', '--now', timerOf(plan)]];
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
function otherWay(plan: Installation): string[] {
  const [path, way] =
    plan.way === 'cron' ? [unitPaths(plan)[1]!, 'systemd' as const] : [tablePath(plan), 'cron' as const];
  const remove = asCommand({ ...plan, way }, '--remove');
  return existsSync(path) ? [`Note that ${way} starts it as well: "${remove}" ends that.`] : [];
}
