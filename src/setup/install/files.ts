// The files that start a tick every minute: those of deploy/, with the paths of this machine.

import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../base/version.ts';
import { forShell, type Installation, isRoot, PLAIN } from './plan.ts';

export interface File {
  path: string;
  text: string;
}

type Named = Pick<Installation, 'name'>;
const [TABLES, UNITS] = ['/etc/cron.d', '/etc/systemd/system'];
export const tablePath = ({ name }: Named): string => join(TABLES, name);
export const timerOf = ({ name }: Named): string => `${name}.timer`;
export const unitPaths = ({ name }: Named): string[] =>
  ['service', 'timer'].map((kind) => join(UNITS, `${name}.${kind}`));

// The first line of every file. A file without it is not ours to change.
export const MADE = '# Made by "scheduler install"; what is changed here is lost when it is run again.';

// The files of deploy/ work as they are. These paths in them differ from machine to machine.
const COMMAND = '/usr/local/bin/scheduler';
const ENV_FILE = '/etc/scheduler.env';

/** What "install" has put in place on this machine, under any name. */
export const inPlace = (): string[] =>
  [TABLES, UNITS]
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((file) => join(folder, file)))
    .filter((path) => /\/scheduler(-[\w-]+)?(\.timer)?$/.test(path) && readFileSync(path, 'utf8').startsWith(MADE));

const template = (name: string) => readFileSync(join(ROOT, `deploy/${name}`), 'utf8');

export function cronTable(plan: Installation): File {
  return { path: tablePath(plan), text: `${MADE}\n${cronLines(plan, `${plan.user ?? 'scheduler'} `)}` };
}

/** In /etc/cron.d, the name of the user stands before the command. */
export function cronLines({ node, launcher, envFile }: Installation, user: string): string {
  return template('crontab')
    .replace(/^(\* \* \* \* \* )scheduler /m, (_, minute: string) => minute + user)
    .replaceAll(COMMAND, () => `${forCron(node)} ${forCron(launcher)}`)
    .replaceAll(ENV_FILE, () => forCron(envFile));
}

export function units({ name, node, launcher, envFile, user }: Installation): File[] {
  let service = template('scheduler.service')
    .replaceAll(COMMAND, () => `${forSystemd(node)} ${forSystemd(launcher)}`)
    .replaceAll(ENV_FILE, () => envFile.replaceAll('%', '%%'));
  if (user !== undefined) {
    service = service.replace(/^#.*\nDynamicUser=yes\nUser=.*$/m, () => `User=${user}`);
  }
  if ([node, launcher].some((path) => /^\/(home|root|run\/user)\//.test(realpathSync(path)))) {
    service = service.replace('ProtectHome=yes', 'ProtectHome=read-only');
  }
  const texts = [service, template('scheduler.timer')];
  return unitPaths({ name }).map((path, n) => ({ path, text: `${MADE}\n${texts[n]}` }));
}

/** Quotes for the shell that cron starts. Cron itself turns a percent sign into a line break. */
const forCron = (word: string): string => forShell(word).replaceAll('%', '\\%');

function forSystemd(word: string): string {
  if (PLAIN.test(word)) return word;
  return `"${word.replace(/["\\]/g, '\\$&').replaceAll('%', '%%').replaceAll('$', '$$$$')}"`;
}

export function envFileAdvice({ envFile, user, way }: Installation): string {
  const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
  const owner = way === 'cron' && isRoot() ? ` -o ${user ?? 'scheduler'}` : '';
  return [
    `${envFile} is not there yet. Make it, so that only its owner may read it:`,
    `  install -m 600${owner} /dev/null ${forShell(envFile)}`,
    'and put the settings into it:',
    ...template('scheduler.env')
      .replace(/^(SCHEDULER_TIMEZONE=).*$/m, (_, name: string) => name + timeZone)
      .trimEnd()
      .split('\n')
      .map((line) => `  ${line}`),
  ].join('\n');
}
