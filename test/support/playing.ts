import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after } from 'node:test';
import { ROOT } from '../../src/base/version.ts';
import { type Finished, LAUNCHER, type TestDatabase } from './harness.ts';
import { commandsOf, type Section } from './markdown.ts';

/** The documentation's commands, run as its readers run them. */

// These cannot run here; every `scheduler …` in it is still held to commands and options that exist.
export const NOT_HERE: [RegExp, string][] = [
  [/^npm run bench/, 'takes an hour'],
  [/^npm (install|test)$/, 'installs into the checkout in which this runs, and is what runs this'],
  [/^bin\/scheduler\.js demo$/, 'starts a server of its own; test/setup/demo.slow.test.ts runs it'],
  [/^npm pack && sudo npm install/, 'installs on this machine; test/debian does so in a copy of one'],
  [/^export DATABASE_URL=/, 'an address to be replaced by the reader’s'],
  [
    /^(sudo|systemctl|journalctl) /,
    'changes or asks the init system of a real machine; test/debian does so in a copy of one',
  ],
  [/^\* \* \* \* \* /, 'a line for a crontab; test/debian has a real cron run it'],
];

export const isHere = (command: string) => !NOT_HERE.some(([pattern]) => pattern.test(command));
// Tools that a reader has or installs; without them, here, the commands that use them are passed over.
const TOOLS = ['psql', 'jq'];
const has = (tool: string) => process.env.PATH!.split(':').some((place) => existsSync(join(place, tool)));
export const isLacking = (command: string) =>
  TOOLS.some((tool) => new RegExp(`\\b${tool} `).test(command) && !has(tool));

// A listener goes on until somebody ends it.
const ended = (command: string) =>
  /^scheduler listen [^|]*$/.test(command) ? `timeout --foreground --preserve-status 4 ${command}` : command;

/** A folder in which "scheduler" is a command, and which holds what the package brings. */
export const folder = mkdtempSync(join(tmpdir(), 'sch-docs-'));
after(() => rmSync(folder, { recursive: true, force: true }));
mkdirSync(join(folder, 'bin'));
for (const name of ['scheduler', 'scheduler.js']) symlinkSync(LAUNCHER, join(folder, 'bin', name));
for (const name of ['deploy', 'node_modules', 'package.json']) symlinkSync(join(ROOT, name), join(folder, name));

/** A line as a shell runs it where the program is installed. */
export function shell(
  command: string,
  env: Record<string, string>,
  cwd = folder,
  path = join(folder, 'bin'),
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn('bash', ['-o', 'pipefail', '-c', command], {
      cwd,
      env: { HOME: folder, PATH: `${path}:${dirname(process.execPath)}:/usr/bin:/bin`, ...env },
      timeout: 120_000,
    });
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (err += chunk));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
    child.stdin.end();
  });
}

export interface Stage {
  db: TestDatabase;
  env: Record<string, string>;
  /** Commands that may end otherwise than with 0, by how they begin. */
  codes?: Record<string, number>;
  /** Another folder to be in, and another place of the command. */
  cwd?: string;
  path?: string;
}

/** Runs the blocks of a section as a reader would, and answers all that was printed. */
export async function play({ blocks }: Section, { db, env, codes = {}, cwd, path }: Stage): Promise<string> {
  let printed = '';
  for (const block of blocks) {
    if (block.file) continue;
    if (block.language === 'sql') printed += JSON.stringify(await db.query(block.text));
    if (block.language !== 'sh') continue;
    for (const command of commandsOf(block).filter((each) => isHere(each) && !isLacking(each))) {
      const { code, out, err } = await shell(ended(command), env, cwd, path);
      const [, expected = 0] = Object.entries(codes).find(([start]) => command.startsWith(start)) ?? [];
      assert.equal(code, expected, `${command}\n${out}${err}`);
      printed += out + err;
    }
  }
  return printed;
}
