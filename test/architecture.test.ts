import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, normalize } from 'node:path/posix';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

/** The house's direction: a way down, never up. Read as text, so that a type imported from above counts too. */

const ROOT = fileURLToPath(new URL('..', import.meta.url));

// From the top down. Each floor may use those below it. Every file of src belongs to exactly one of these places.
const FLOORS = [
  ['bin/'],
  ['src/cli.ts', 'src/tick.ts'],
  ['src/commands/'],
  ['src/setup/', 'src/monitor/'],
  ['src/context.ts'],
  ['src/own/'],
  ['src/inspect/'],
  ['src/engine/'],
  ['src/store/'],
  ['src/jobs/'],
  ['src/job/'],
  ['src/db/', 'src/net/', 'src/embedded/'],
  ['src/base/'],
];

const isIn = (place: string, file: string) => file === place || (place.endsWith('/') && file.startsWith(place));
const floorOf = (file: string): number => {
  const floor = FLOORS.findIndex((places) => places.some((place) => isIn(place, file)));
  assert.notEqual(floor, -1, `${file} is in no known folder`);
  return floor;
};
const placeOf = (file: string): string => FLOORS.flat().find((place) => isIn(place, file))!;

interface Source {
  file: string;
  text: string;
  /** Paths from the root, or names of packages. */
  imports: string[];
}

const sources: Source[] = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => {
    const file = join('src', name);
    const text = readFileSync(join(ROOT, file), 'utf8');
    return { file, text, imports: importsOf(file, text) };
  });

function importsOf(file: string, text: string): string[] {
  const statements = text.matchAll(/^(?:import|export)\s[^;]*?from\s+'([^']+)'|^import\s+'([^']+)'/gm);
  const calls = text.matchAll(/\bimport\(\s*['`]([^'`]+)['`]/g);
  return [...statements, ...calls]
    .map(([, from, bare]) => (from ?? bare)!)
    .map((from) => (from.startsWith('.') ? normalize(join(file, '..', from)) : from));
}

const inside = (from: string) => from.startsWith('src/');
const job = ({ file }: Source) => file.startsWith('src/jobs/') && file !== 'src/jobs/index.ts';

/** Files that speak to routers and SMS gateways need clocks and sockets. */
const gateway = ({ file }: Pick<Source, 'file'>) => /^src\/jobs\/\w+\/(sms|radius)\//.test(file);

test('imports are found however they are written', () => {
  const text = `import { a } from './a.ts';\nimport type { B } from './b.ts';\nimport {\n  c,\n} from '../c.ts';\nimport pg from 'pg';\n
export { d } from './d.ts';\nimport './e.ts';\nasync () => await import('./f.ts');\nimport(\`./g/\${x}.ts\`);\n`;
  assert.deepEqual(importsOf('src/x/y.ts', text).sort(), [
    ...['pg', 'src/c.ts', 'src/x/a.ts', 'src/x/b.ts', 'src/x/d.ts', 'src/x/e.ts', 'src/x/f.ts', 'src/x/g/${x}.ts'],
  ]);
  assert.ok(sources.length > 30);
  assert.ok(sources.flatMap((source) => source.imports).filter(inside).length > 100);
});

test('every import goes down a floor, or stays in its folder', () => {
  const wrong = sources.flatMap((source) =>
    source.imports
      .filter(inside)
      .filter((from) =>
        floorOf(from) === floorOf(source.file)
          ? placeOf(from) !== placeOf(source.file)
          : floorOf(from) < floorOf(source.file),
      )
      .map((from) => `${source.file} imports ${from}`),
  );
  assert.deepEqual(wrong, []);
});

test('the top of src holds few files', () => {
  const top = sources.map(({ file }) => file).filter((file) => !file.slice('src/'.length).includes('/'));
  assert.deepEqual(top, ['src/cli.ts', 'src/context.ts', 'src/tick.ts']);
});

test('nothing imports the program itself', () => {
  for (const { file, imports } of sources) {
    assert.ok(!imports.some((from) => from === 'src/cli.ts' || from.startsWith('bin/')), file);
  }
});

test('no two files need each other', () => {
  const edges = new Map(sources.map(({ file, imports }) => [file, imports.filter(inside)]));
  const done = new Set<string>();
  const visit = (file: string, path: string[]) => {
    if (path.includes(file)) assert.fail(`a circle: ${[...path.slice(path.indexOf(file)), file].join(' → ')}`);
    if (done.has(file)) return;
    for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of edges.keys()) visit(file, []);
});

test('a job imports what a job is, its own folder and what speaks to the network', () => {
  for (const { file, imports } of sources.filter(job)) {
    const [business] = /^src\/jobs\/[\w-]+\//.exec(file) ?? ['src/jobs/nothing/'];
    for (const from of imports.filter(inside)) {
      const allowed = ['src/job/', 'src/net/', business, ...(gateway({ file }) ? ['src/base/'] : [])];
      assert.ok(
        allowed.some((place) => from.startsWith(place)),
        `${file} imports ${from}`,
      );
    }
  }
});

test('jobs touch no clock, environment or console', () => {
  const clock = /\bDate[.(]|\bperformance\.|\bset(Timeout|Interval|Immediate)\b/;
  const clockInSql =
    /\b(now|clock_timestamp|statement_timestamp|timeofday)\(\)|\bcurrent_(date|time|timestamp)\b|\blocaltime/i;
  const world = /\bprocess\.|\bconsole\.|\bglobalThis\b|\bfetch\(|\brequire\(/;
  for (const { file, text } of sources.filter(job).filter((source) => !gateway(source))) {
    // A default is for rows that the application inserts.
    const code = text.replace(/\/\*.*?\*\/|^\s*\*.*$|^\s*\/\/.*$|default: 'now\(\)'/gm, '');
    for (const forbidden of [clock, clockInSql, world]) assert.doesNotMatch(code, forbidden, file);
  }
});

test('each of the libraries, the environment and the standard streams has one owner', () => {
  const users = (uses: (source: Source) => boolean) =>
    sources
      .filter(uses)
      .map(({ file }) => file)
      .sort();
  const importing = (name: RegExp) => users(({ imports }) => imports.some((from) => name.test(from)));
  const mentioning = (text: RegExp) => users((source) => text.test(source.text));
  assert.deepEqual(
    importing(/^pg$/),
    ['bounds', 'client', 'demands', 'search-path'].map((name) => `src/db/${name}.ts`),
  );
  assert.deepEqual(importing(/^pg-connection-string$/), ['src/base/connection.ts']);
  assert.deepEqual(importing(/^luxon$/), ['src/base/calendar.ts']);
  assert.deepEqual(importing(/^pino$/), ['src/base/log.ts']);
  assert.deepEqual(importing(/^postgres-migrations$/), ['src/store/migrate.ts']);
  assert.ok(importing(/^commander$/).every((file) => file === 'src/cli.ts' || file.startsWith('src/commands/')));
  assert.deepEqual(mentioning(/process\.stdout/), ['src/base/output.ts']);
  assert.deepEqual(
    mentioning(/process\.stderr/),
    ['log', 'report', 'status-line'].map((name) => `src/base/${name}.ts`),
  );
  // Besides the settings: who this is, whether colors are wanted, and who is behind sudo.
  assert.deepEqual(mentioning(/process\.env/), [
    ...['src/base/config.ts', 'src/base/connection.ts', 'src/base/output.ts', 'src/store/controls.ts'],
  ]);
});
