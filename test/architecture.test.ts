import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, normalize } from 'node:path/posix';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

/** The house's direction: a way down, never up. Read as text, so that a type imported from above counts too. */

const ROOT = fileURLToPath(new URL('..', import.meta.url));

// From the top down. A file of src that is named nowhere is part of the engine, between the commands and the jobs.
const LAYERS = [
  ['bin/'],
  ['src/cli.ts', 'src/cron.ts'],
  ['src/commands/'],
  ['src/context.ts', 'src/engine.ts'],
  ['src/jobs.ts', 'src/jobs/', 'src/samples.ts', 'src/samples/'],
  // What the jobs of one business have in common.
  ['src/business/'],
  [
    'src/job.ts',
    'src/events.ts',
    'src/runs.ts',
    'src/failures.ts',
    'src/controls.ts',
    'src/history.ts',
    'src/gateways/',
  ],
  ['src/db.ts', 'src/calendar.ts', 'src/output.ts', 'src/embedded.ts'],
  ['src/config.ts', 'src/log.ts', 'src/errors.ts', 'src/version.ts'],
];
const ENGINE = LAYERS.findIndex((layer) => layer.includes('src/engine.ts'));

const layerOf = (file: string) => {
  const named = LAYERS.findIndex((layer) =>
    layer.some((place) => file === place || (place.endsWith('/') && file.startsWith(place))),
  );
  return named === -1 ? ENGINE : named;
};

interface Source {
  file: string;
  text: string;
  imports: Import[];
}

interface Import {
  /** A path from the root, or a package's name. */
  from: string;
  typeOnly: boolean;
}

const sources: Source[] = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => {
    const file = join('src', name);
    const text = readFileSync(join(ROOT, file), 'utf8');
    return { file, text, imports: importsOf(file, text) };
  });

function importsOf(file: string, text: string): Import[] {
  const statements = text.matchAll(/^(?:import|export)\s+(type\s)?[^;]*?from\s+'([^']+)'|^import\s+()'([^']+)'/gm);
  const calls = text.matchAll(/\bimport\(\s*['`]([^'`]+)['`]/g);
  const found = [
    ...[...statements].map(([, type, from, , bare]) => ({ from: (from ?? bare)!, typeOnly: type !== undefined })),
    ...[...calls].map(([, from]) => ({ from: from!, typeOnly: false })),
  ];
  return found.map(({ from, typeOnly }) => ({
    from: from.startsWith('.') ? normalize(join(file, '..', from)) : from,
    typeOnly,
  }));
}

const inside = ({ from }: Import) => from.startsWith('src/');
const job = ({ file }: Source) => file.startsWith('src/jobs/') || file.startsWith('src/business/');

test('imports are found however they are written', () => {
  const text = `import { a } from './a.ts';\nimport type { B } from './b.ts';\nimport {\n  c,\n} from '../c.ts';\nimport pg from 'pg';\n
export { d } from './d.ts';\nimport './e.ts';\nasync () => await import('./f.ts');\nimport(\`./g/\${x}.ts\`);\n`;
  const found = importsOf('src/x/y.ts', text).map(({ from, typeOnly }) => (typeOnly ? `type ${from}` : from));
  assert.deepEqual(found.sort(), [
    ...['pg', 'src/c.ts', 'src/x/a.ts', 'src/x/d.ts', 'src/x/e.ts', 'src/x/f.ts', 'src/x/g/${x}.ts', 'type src/x/b.ts'],
  ]);
  assert.ok(sources.length > 30);
  assert.ok(sources.flatMap((source) => source.imports).filter(inside).length > 100);
});

test('every import goes down, or stays on its floor', () => {
  const upwards = sources.flatMap((source) =>
    source.imports
      .filter(inside)
      .filter(({ from }) => layerOf(from) < layerOf(source.file))
      .map(({ from }) => `${source.file} imports ${from}`),
  );
  assert.deepEqual(upwards, []);
});

test('nothing imports the program itself', () => {
  for (const { file, imports } of sources) {
    assert.ok(!imports.some(({ from }) => from === 'src/cli.ts' || from.startsWith('bin/')), file);
  }
});

test('no two files need each other when they run', () => {
  const edges = new Map(
    sources.map(({ file, imports }) => [
      file,
      imports.filter((each) => inside(each) && !each.typeOnly).map(({ from }) => from),
    ]),
  );
  const done = new Set<string>();
  const visit = (file: string, path: string[]) => {
    // An SMS provider answers in the words of sms.ts, which in turn asks the providers: they are one thing in four files.
    if (path.includes(file)) assert.fail(`a circle: ${[...path.slice(path.indexOf(file)), file].join(' → ')}`);
    if (done.has(file)) return;
    for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of edges.keys()) visit(file, []);
});

test('jobs import neither each other nor the engine', () => {
  const allowed = /^src\/(job|config|events|calendar|db)\.ts$|^src\/(gateways|business)\//;
  for (const { file, imports } of sources.filter(job)) {
    for (const { from } of imports) assert.match(from, allowed, `${file} imports ${from}`);
  }
});

test('jobs touch no clock, environment or console', () => {
  const clock = /\bDate[.(]|\bperformance\.|\bset(Timeout|Interval|Immediate)\b/;
  const clockInSql =
    /\b(now|clock_timestamp|statement_timestamp|timeofday)\(\)|\bcurrent_(date|time|timestamp)\b|\blocaltime/i;
  const world = /\bprocess\.|\bconsole\.|\bglobalThis\b|\bfetch\(|\brequire\(/;
  for (const { file, text } of sources.filter(job)) {
    const code = text.replace(/\/\*.*?\*\/|^\s*\*.*$|^\s*\/\/.*$/gm, '');
    for (const forbidden of [clock, clockInSql, world]) assert.doesNotMatch(code, forbidden, file);
  }
});

test('each of the libraries, the environment and the standard streams has one owner', () => {
  const users = (uses: (source: Source) => boolean) =>
    sources
      .filter(uses)
      .map(({ file }) => file)
      .sort();
  const importing = (name: RegExp) => users(({ imports }) => imports.some(({ from }) => name.test(from)));
  const mentioning = (text: RegExp) => users((source) => text.test(source.text));
  assert.deepEqual(importing(/^pg$/), ['src/db.ts']);
  assert.deepEqual(importing(/^pg-connection-string$/), ['src/config.ts']);
  assert.deepEqual(importing(/^luxon$/), ['src/calendar.ts']);
  assert.deepEqual(importing(/^pino$/), ['src/log.ts']);
  assert.deepEqual(importing(/^postgres-migrations$/), ['src/schema.ts']);
  assert.ok(importing(/^commander$/).every((file) => file === 'src/cli.ts' || file.startsWith('src/commands/')));
  assert.deepEqual(mentioning(/process\.stdout/), ['src/output.ts']);
  assert.deepEqual(mentioning(/process\.stderr/), ['src/log.ts', 'src/report.ts']);
  // Besides the settings: whether colors are wanted, and who is behind sudo.
  assert.deepEqual(mentioning(/process\.env/), ['src/config.ts', 'src/controls.ts', 'src/output.ts']);
});
