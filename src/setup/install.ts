import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { configurationError, usageError } from '../base/errors.ts';
import { ROOT } from '../base/version.ts';

/** What starts the ticks of this machine: the files of deploy/ with this machine's paths in place of theirs. */
export interface Installation {
  way: Way;
  /** Whom the ticks run as. None: for cron the owner of the crontab, for systemd a user of its own. */
  user: string | undefined;
  envFile: string;
  node: string;
  launcher: string;
  force: boolean;
}

export type Way = 'cron' | 'systemd';

interface File {
  path: string;
  text: string;
}

const CRON_TABLE = '/etc/cron.d/scheduler';
const UNITS = '/etc/systemd/system';
const TIMER = 'scheduler.timer';

// The first line of a file, or around the lines in somebody's crontab: what does not say so is not ours to change.
const MADE = '# Made by "scheduler install"; what is changed here is lost when it is run again.';
const BEGIN = '# BEGIN scheduler: made by "scheduler install", which replaces these lines.';
const END = '# END scheduler';

const isRoot = () => process.getuid?.() === 0;

export function planInstallation(way: Way, given: { user?: string; envFile?: string; force?: boolean }): Installation {
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

/** The files to be, and as comments what else is to be done. */
export function draft(plan: Installation): string {
  const parts =
    plan.way === 'cron'
      ? [isRoot() ? cronTable(plan).text : ownCrontab(plan)]
      : units(plan).map(({ path, text }) => `# ${path}\n${text}`);
  if (!existsSync(plan.envFile)) parts.push(commented(envFileAdvice(plan)));
  parts.push(commented(`To put it in place: scheduler install --${plan.way} --write`));
  return parts.map((part) => part.trimEnd()).join('\n\n');
}

/** Puts them where they act, and answers what it did, a sentence each. */
export function install(plan: Installation): string[] {
  refuseUnlessUsable(plan);
  const done = plan.way === 'systemd' ? installUnits(plan) : isRoot() ? installTable(plan) : installOwn(plan);
  return [...done, ...openSecrets(plan), ...otherWay(plan)];
}

export function uninstall({ way, force }: Installation): string[] {
  if (way === 'cron' && !isRoot()) {
    const before = readOwnCrontab();
    const after = withoutBlock(before);
    if (after === before) return ['Your crontab has no lines of "scheduler install".'];
    writeOwnCrontab(after);
    return ['Took the lines of "scheduler install" out of your crontab.'];
  }
  needRoot(way);
  const paths = way === 'cron' ? [CRON_TABLE] : ['scheduler.service', TIMER].map((name) => join(UNITS, name));
  const there = paths.filter((path) => existsSync(path));
  if (there.length === 0) return [`Nothing is installed: there is no ${paths.join(' and no ')}.`];
  for (const path of there) refuseForeign(path, force);
  if (way === 'systemd') systemctl(['disable', '--now', TIMER]);
  for (const path of there) rmSync(path);
  if (way === 'systemd') systemctl(['daemon-reload']);
  return there.map((path) => `Removed ${path}.`);
}

// ── The files

/** The files of deploy/ can be used as they are; these are the places in them that differ from machine to machine. */
const COMMAND = '/usr/local/bin/scheduler';
const ENV_FILE = '/etc/scheduler.env';

const template = (name: string) => readFileSync(join(ROOT, `deploy/${name}`), 'utf8');

function cronTable(plan: Installation): File {
  return { path: CRON_TABLE, text: `${MADE}\n${cronLines(plan, `${plan.user ?? 'scheduler'} `)}` };
}

function ownCrontab(plan: Installation): string {
  return `${BEGIN}\n${cronLines(plan, '')}${END}\n`;
}

function cronLines({ node, launcher, envFile }: Installation, user: string): string {
  return template('crontab')
    .replace(/^(\* \* \* \* \* )scheduler /m, (_, minute: string) => minute + user)
    .replaceAll(COMMAND, () => `${forCron(node)} ${forCron(launcher)}`)
    .replaceAll(ENV_FILE, () => forCron(envFile));
}

function units({ node, launcher, envFile, user }: Installation): File[] {
  let service = template('scheduler.service')
    .replaceAll(COMMAND, () => `${forSystemd(node)} ${forSystemd(launcher)}`)
    .replaceAll(ENV_FILE, () => envFile.replaceAll('%', '%%'));
  if (user !== undefined) {
    service = service.replace(/^#.*\nDynamicUser=yes\nUser=.*$/m, () => `User=${user}`);
  }
  if ([node, launcher].some((path) => /^\/(home|root|run\/user)\//.test(realpathSync(path)))) {
    service = service.replace('ProtectHome=yes', 'ProtectHome=read-only');
  }
  return [
    { path: join(UNITS, 'scheduler.service'), text: `${MADE}\n${service}` },
    { path: join(UNITS, TIMER), text: `${MADE}\n${template(TIMER)}` },
  ];
}

const PLAIN = /^[\w./+:@-]+$/;

/** For the shell that cron starts; cron itself makes a line break of a percent sign. */
function forCron(word: string): string {
  return PLAIN.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`.replaceAll('%', '\\%');
}

function forSystemd(word: string): string {
  if (PLAIN.test(word)) return word;
  return `"${word.replace(/["\\]/g, '\\$&').replaceAll('%', '%%').replaceAll('$', '$$$$')}"`;
}

function envFileAdvice({ envFile, user, way }: Installation): string {
  const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
  const owner = way === 'cron' && isRoot() ? ` -o ${user ?? 'scheduler'}` : '';
  return [
    `${envFile} is not there yet. Make it, so that only its owner may read it:`,
    `  install -m 600${owner} /dev/null ${forCron(envFile)}`,
    'and put the settings into it:',
    ...template('scheduler.env')
      .replace(/^(SCHEDULER_TIMEZONE=).*$/m, (_, name: string) => name + timeZone)
      .trimEnd()
      .split('\n')
      .map((line) => `  ${line}`),
  ].join('\n');
}

const commented = (text: string) => text.replace(/^/gm, '# ');

// ── Putting them in place

function installTable(plan: Installation): string[] {
  if (!existsSync(dirname(CRON_TABLE))) {
    throw configurationError(`There is no ${dirname(CRON_TABLE)} here: install cron first, or use --systemd.`);
  }
  return [write(cronTable(plan), plan.force), 'Cron notices within a minute.'];
}

function installOwn(plan: Installation): string[] {
  const before = readOwnCrontab();
  writeOwnCrontab(`${withoutBlock(before)}${ownCrontab(plan)}`);
  return [`${withoutBlock(before) === before ? 'Added it to' : 'Replaced it in'} your crontab: see "crontab -l".`];
}

function installUnits(plan: Installation): string[] {
  needRoot('systemd');
  const done = units(plan).map((file) => write(file, plan.force));
  const commands = [['daemon-reload'], ['enable', '--now', TIMER]];
  const ran = commands.every((args) => systemctl(args));
  const said = commands.map((args) => `"systemctl ${args.join(' ')}"`).join(' and ');
  return [...done, ran ? `Ran ${said}.` : `Systemd does not run here. Where it does, run ${said}.`];
}

/** False when systemd does not run here, as in a container or an image that is being made. */
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

/** Found otherwise, too, but by nobody who watches: every minute, in a mail that may reach nobody. */
function refuseUnlessUsable(plan: Installation): void {
  const { way, user, envFile, node, launcher } = plan;
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
      `The settings are to be in ${envFile}, which is not there. "scheduler install --${way}" without --write prints what to put into it; --env-file names another one.`,
    );
  }
  if (!isRoot()) return;
  const reader = user === undefined ? NOBODY : lookUp(user);
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

function needRoot(way: Way): void {
  if (!isRoot()) throw usageError(`install --${way} changes the system: run it as root, with sudo.`);
}

function openSecrets({ envFile }: Installation): string[] {
  const open = (statSync(envFile).mode & 0o004) !== 0;
  return open ? [`Note that everybody may read the password in ${envFile}: "chmod 600 ${envFile}" ends that.`] : [];
}

/** Twice a minute does no harm; but whoever stops one of them believes that all is still. */
function otherWay({ way }: Installation): string[] {
  const [there, name] = way === 'cron' ? [existsSync(join(UNITS, TIMER)), 'systemd'] : [existsSync(CRON_TABLE), 'cron'];
  return there ? [`Note that ${name} starts it as well: "scheduler install --${name} --remove" ends that.`] : [];
}

// ── Users

interface Reader {
  uid: number;
  gids: number[];
}

const NOBODY: Reader = { uid: -1, gids: [] };

function lookUp(user: string): Reader {
  const ids = (flag: string) => {
    const { status, stdout } = run('id', [flag, user]);
    if (status !== 0)
      throw configurationError(`There is no user ${user} here. Make one: "useradd --system --create-home ${user}".`);
    return stdout.trim().split(' ').map(Number);
  };
  return { uid: ids('-u')[0]!, gids: ids('-G') };
}

function mayReach(path: string, { uid, gids }: Reader): boolean {
  if (uid === 0) return true;
  const real = realpathSync(path);
  const folders: string[] = [];
  for (let folder = dirname(real); ; folder = dirname(folder)) {
    folders.push(folder);
    if (folder === '/') break;
  }
  const may = (each: string, right: number) => {
    const { mode, uid: owner, gid } = statSync(each);
    return ((mode >> (owner === uid ? 6 : gids.includes(gid) ? 3 : 0)) & right) !== 0;
  };
  return folders.every((folder) => may(folder, 1)) && may(real, 4);
}

// ── Somebody's own crontab

function readOwnCrontab(): string {
  const { status, stdout, stderr, error } = run('crontab', ['-l']);
  if (status === 0) return stdout;
  // It has no exit code for this; whatever else is wrong must not be taken for an empty one, and written over.
  if (/^no crontab for/m.test(stderr)) return '';
  throw configurationError(`"crontab -l" failed: ${error?.message ?? stderr.trim()}. Install cron, or use --systemd.`);
}

function writeOwnCrontab(text: string): void {
  const { status, stderr } = run('crontab', ['-'], text);
  if (status !== 0) throw configurationError(`"crontab -" refused the new crontab: ${stderr.trim()}.`);
}

function withoutBlock(text: string): string {
  const lines = text.split('\n');
  const begin = lines.indexOf(BEGIN);
  const end = lines.indexOf(END, begin);
  if (begin === -1 || end === -1) return text === '' || text.endsWith('\n') ? text : `${text}\n`;
  return [...lines.slice(0, begin), ...lines.slice(end + 1)].join('\n');
}

function run(program: string, args: string[], input?: string) {
  return spawnSync(program, args, {
    encoding: 'utf8',
    env: { PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C' },
    ...(input !== undefined && { input }),
  });
}
