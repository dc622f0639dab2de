// The crontab of a user who is not root. Between two marks are our lines; all others belong to the user.

import { configurationError } from '../../base/errors.ts';
import { cronLines } from './files.ts';
import type { Installation } from './plan.ts';
import { run } from './run.ts';

type Named = Pick<Installation, 'name'>;
const begin = ({ name }: Named) => `# BEGIN ${name}: made by "scheduler install", which replaces these lines.`;
const end = ({ name }: Named) => `# END ${name}`;

export function ownCrontab(plan: Installation): string {
  return `${begin(plan)}\n${cronLines(plan, '')}${end(plan)}\n`;
}

export function installOwn(plan: Installation): string[] {
  const before = readOwnCrontab();
  const others = withoutBlock(before, plan);
  writeOwnCrontab(`${others}${ownCrontab(plan)}`);
  return [`${others === before ? 'Added it to' : 'Replaced it in'} your crontab: see "crontab -l".`];
}

export function uninstallOwn(plan: Installation): string[] {
  const before = readOwnCrontab();
  const after = withoutBlock(before, plan);
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

export function withoutBlock(text: string, plan: Named): string {
  const lines = text.split('\n');
  const first = lines.indexOf(begin(plan));
  const last = lines.indexOf(end(plan), first);
  if (first === -1 || last === -1) return text === '' || text.endsWith('\n') ? text : `${text}\n`;
  return [...lines.slice(0, first), ...lines.slice(last + 1)].join('\n');
}
