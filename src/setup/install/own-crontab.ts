// The crontab of a user who is not root. Between two marks are our lines; all others belong to the user.

import { configurationError } from '../../base/errors.ts';
import { cronLines } from './files.ts';
import type { Installation } from './plan.ts';
import { run } from './run.ts';

const BEGIN = '# BEGIN scheduler: made by "scheduler install", which replaces these lines.';
const END = '# END scheduler';

export function ownCrontab(plan: Installation): string {
  return `${BEGIN}\n${cronLines(plan, '')}${END}\n`;
}

export function installOwn(plan: Installation): string[] {
  const before = readOwnCrontab();
  writeOwnCrontab(`${withoutBlock(before)}${ownCrontab(plan)}`);
  return [`${withoutBlock(before) === before ? 'Added it to' : 'Replaced it in'} your crontab: see "crontab -l".`];
}

export function uninstallOwn(): string[] {
  const before = readOwnCrontab();
  const after = withoutBlock(before);
  if (after === before) return ['Your crontab has no lines of "scheduler install".'];
  writeOwnCrontab(after);
  return ['Took the lines of "scheduler install" out of your crontab.'];
}

const readOwnCrontab = () => tableIn(run('crontab', ['-l']));

/** What "crontab -l" answered. */
export function tableIn({ status, stdout, stderr, error }: Omit<ReturnType<typeof run>, 'pid' | 'output' | 'signal'>) {
  if (status === 0) return stdout;
  // There is no exit code for "no crontab". If any other error passed for it, we would overwrite a crontab.
  if (/^no crontab for/m.test(stderr)) return '';
  throw configurationError(`"crontab -l" failed: ${error?.message ?? stderr.trim()}. Install cron, or use --systemd.`);
}

function writeOwnCrontab(text: string): void {
  const { status, stderr } = run('crontab', ['-'], text);
  if (status !== 0) throw configurationError(`"crontab -" refused the new crontab: ${stderr.trim()}.`);
}

export function withoutBlock(text: string): string {
  const lines = text.split('\n');
  const begin = lines.indexOf(BEGIN);
  const end = lines.indexOf(END, begin);
  if (begin === -1 || end === -1) return text === '' || text.endsWith('\n') ? text : `${text}\n`;
  return [...lines.slice(0, begin), ...lines.slice(end + 1)].join('\n');
}
