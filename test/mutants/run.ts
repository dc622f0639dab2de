// Puts each mistake of the list into a copy of the program, and runs the tests that should notice it. It prints the mistakes that
// no test noticed. Arguments: a part of a file's name, for its mutants only; --jobs, how many are tried at once.
import { spawn } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { removeServer } from '../../src/embedded/server.ts';
import { environmentOf, place, startTestServer } from '../support/server.ts';
import { MUTANTS } from './list.ts';
import type { Mutant } from './mutant.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NOT_COPIED = ['node_modules', 'dist', '.git'];
/** Many times what a test file takes: a mistake may make a loop endless. */
const PATIENCE_MS = 300_000;

/** A cheap one, to know that tests can be run here at all. */
const UNCHANGED = ['test/db/bind.test.ts'];

/** What decides how a database is migrated. The indexes of rules are of no consequence for a result. */
const MIGRATES = /^migrations|^src\/(job|db)\/|tables\.ts$|migrate\.ts$/;

/** A test that starts the real command needs it built: from the sources it is slow. */
const STARTS = /\bcli\(|LAUNCHER|startLingering/;

const { values, positionals } = parseArgs({
  options: { jobs: { type: 'string', default: '2' } },
  allowPositionals: true,
});
const say = (line: string) => process.stdout.write(`${line}\n`);
const stopped = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stopped.abort());

const [filter = ''] = positionals;
const chosen = MUTANTS.filter(({ file, reason }) => file.includes(filter) && reason === undefined);
const waiting = [...chosen];
const survivors: Mutant[] = [];
const givenUp = (error: unknown) => {
  stopped.abort();
  throw error;
};
const lanes = Array.from({ length: Number(values.jobs) }, () => lane().catch(givenUp));
for (const end of await Promise.allSettled(lanes)) if (end.status === 'rejected') throw end.reason;
const tried = chosen.length - waiting.length;
for (const mutant of survivors) say(`survived  ${inShort(mutant)}  (${mutant.tests.join(' ')})`);
say(`${tried} of ${MUTANTS.length} mutants tried, ${tried - survivors.length} noticed, ${survivors.length} survived`);
process.exitCode = survivors.length > 0 || waiting.length > 0 ? 1 : 0;

/** A copy of the program, and a server for its tests. Two lanes share none: tests make roles, which all databases have. */
interface Lane {
  tree: string;
  env: NodeJS.ProcessEnv;
  /** The databases of the tests are cloned from one that the program as it is has made. */
  isUnchanged: boolean;
}

/** Tries one mutant after the other. */
async function lane(): Promise<void> {
  const home = mkdtempSync(join(place(), 'sch-mutants-'));
  const [tree, dir] = [join(home, 'tree'), join(home, 'server')];
  try {
    chmodSync(home, 0o711); // the server's user passes through
    cpSync(ROOT, tree, { recursive: true, filter: (path) => !NOT_COPIED.includes(basename(path)) });
    symlinkSync(join(ROOT, 'node_modules'), join(tree, 'node_modules'));
    const env = {
      ...(await environmentOf(await startTestServer(dir), dir)),
      TEST_FIRST_FAILURE: join(home, 'failure'),
    };
    const lane: Lane = { tree, env, isUnchanged: false };
    if (!(await passes(lane, UNCHANGED, true)))
      throw new Error('The program as it is fails, too: run "npm test" first.');
    for (let mutant = waiting.shift(); mutant; mutant = waiting.shift()) {
      const by = await noticedBy(mutant, lane);
      if (stopped.signal.aborted) return void waiting.push(mutant);
      if (by === undefined) survivors.push(mutant);
      say(`${by === undefined ? 'SURVIVED' : 'noticed '}  ${inShort(mutant)}${by === undefined ? '' : `  by: ${by}`}`);
    }
  } finally {
    await removeServer(dir);
    rmSync(home, { recursive: true, force: true });
  }
}

/** The name of the test that noticed it, if any did. */
async function noticedBy(mutant: Mutant, lane: Lane): Promise<string | undefined> {
  const { file, text, replacement, tests } = mutant;
  const path = join(lane.tree, file);
  const failure = lane.env.TEST_FIRST_FAILURE!;
  const before = readFileSync(path, 'utf8');
  if (before.split(text).length !== 2) throw new Error(`${inShort(mutant)}: the text must be there exactly once.`);
  rmSync(failure, { force: true });
  const migrates = MIGRATES.test(file);
  try {
    if (!migrates && !lane.isUnchanged) await makeTemplate(lane);
    writeFileSync(
      path,
      before.replace(text, () => replacement),
    );
    if (await passes(lane, tests, migrates)) return undefined;
    return existsSync(failure) ? readFileSync(failure, 'utf8') : 'what is done before the first test';
  } finally {
    writeFileSync(path, before);
    lane.isUnchanged = !migrates;
  }
}

function makeTemplate({ tree, env }: Lane): Promise<boolean> {
  return succeeds(['--import', 'tsx', 'test/mutants/template.ts'], tree, env);
}

async function passes(lane: Lane, tests: string[], migrates: boolean): Promise<boolean> {
  const { tree, env } = lane;
  if (migrates && !(await makeTemplate(lane))) return false;
  rmSync(join(tree, 'dist'), { recursive: true, force: true });
  for (const test of tests) {
    const [file, words] = test.split('#') as [string, string?];
    const isBuilt = existsSync(join(tree, 'dist')) || !STARTS.test(readFileSync(join(tree, file), 'utf8'));
    if (!isBuilt && !(await succeeds(['deploy/build.js'], tree, env))) return false;
    const options = words === undefined ? [] : [`--test-name-pattern=${words}`];
    const all = ['--import', 'tsx', '--import', './test/mutants/stop.ts', ...options, file];
    if (!(await succeeds(all, tree, env))) return false;
  }
  return true;
}

/** Whether Node runs this and ends with 0, in good time. The processes that it started end with it. */
function succeeds(args: string[], cwd: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  const child = spawn(process.execPath, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: 'ignore',
    detached: true,
  });
  const kill = () => process.kill(-child.pid!, 'SIGKILL');
  const signal = AbortSignal.any([AbortSignal.timeout(PATIENCE_MS), stopped.signal]);
  signal.addEventListener('abort', kill);
  return new Promise((resolve) =>
    child.on('exit', (code) => {
      signal.removeEventListener('abort', kill);
      resolve(code === 0);
    }),
  );
}

function inShort({ file, text, replacement }: Mutant): string {
  const one = (words: string) => words.replace(/\s+/g, ' ').slice(0, 70);
  return `${file}: ${one(text)}  →  ${one(replacement) || '(nothing)'}`;
}
