import { spawn } from 'node:child_process';
import { type CliOptions, LAUNCHER, type TestDatabase } from './harness.ts';

export interface Screen {
  code: number | null;
  /** All that was written to the terminal, with what moves its cursor. */
  written: string;
}

/** Stands for what erases the line at hand. */
export const ERASED = '‹erased›';

const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The real command on a terminal of that width. */
export function onTerminal(
  db: TestDatabase,
  args: string[],
  { columns = 80, env = {}, started }: CliOptions & { columns?: number } = {},
): Promise<Screen> {
  const command = `stty cols ${columns} rows 24; exec ${[LAUNCHER, ...args].map(quoted).join(' ')}`;
  return new Promise((resolve, reject) => {
    const child = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
      cwd: '/',
      env: { PATH: process.env.PATH, TERM: 'xterm', SHELL: '/bin/sh', DATABASE_URL: db.programUrl, ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    started?.(child);
    let written = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      written += text;
    });
    child.on('error', reject);
    child.on('close', (code) =>
      resolve({ code, written: written.replaceAll('\r\n', '\n').replaceAll('\r\x1b[2K', ERASED) }),
    );
  });
}

/** The lines that a command answers there. One that goes on for ever is ended. */
export async function screen(db: TestDatabase, args: string[], columns: number): Promise<string[]> {
  const { written } = await onTerminal(db, args, {
    ...{ columns, env: { NO_COLOR: '1', SCHEDULER_LOG_LEVEL: 'silent' } },
    started: (child) => {
      if (args[0] === 'listen') setTimeout(() => child.kill('SIGTERM'), 2000);
    },
  });
  return written.replaceAll(ERASED, '').trimEnd().split('\n');
}
