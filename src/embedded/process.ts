// Run a program to its end, read a file that may be missing, tell errors apart.

import { spawn } from 'node:child_process';
import * as fs from 'node:fs/promises';

/** The user that a program runs as. Undefined: our own. */
export type User = { uid: number; gid: number } | undefined;

export interface Finished {
  code: number | null;
  output: string;
}

/** Nothing of ours: a PGDATA, PGPORT or LANG meant for another server would mislead. A given TZ spares initdb a search. */
export const ENV = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

/** Runs it in `/`, which every user may enter. */
export function run(program: string, args: string[], user: User, input = ''): Promise<Finished> {
  return new Promise((done) => {
    let output = '';
    const child = spawn(program, args, { ...user, cwd: '/', env: ENV });
    child.on('error', (error) => done({ code: null, output: error.message }));
    child.on('close', (code) => done({ code, output }));
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.stdin.on('error', () => {}).end(input); // a program that failed reads no more; its exit code says so
  });
}

export function lastLines(text: string): string {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter(Boolean).slice(-4).join(' | ') || 'no reason given';
}

export function readIfThere(path: string): Promise<string> {
  return fs.readFile(path, 'utf8').catch((error) => {
    unless('ENOENT', 'ESRCH')(error);
    return '';
  });
}

/** A handler that ignores these errors and throws the others. */
export function unless(...codes: string[]): (error: unknown) => void {
  return (error) => {
    if (!codes.includes(codeOf(error))) throw error;
  };
}

export const codeOf = (error: unknown) => String((error as NodeJS.ErrnoException).code);
