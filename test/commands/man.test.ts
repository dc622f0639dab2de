import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { allVariables } from '../../src/base/config.ts';
import { ROOT } from '../../src/base/version.ts';
import { jobVariables } from '../../src/context.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import { CONCEPTS, SETTINGS } from '../../src/setup/manual-words.ts';
import { cli } from '../support/harness.ts';
import { readPage } from '../support/markdown.ts';

const page = () => readFileSync(join(ROOT, 'dist/scheduler.1'), 'utf8');
/** As a reader sees it: without what roff takes for itself. */
const words = (text: string) => text.replace(/\\f[BIR]/g, '').replaceAll('\\-', '-');

test('the manual page has every command with every option, argument, example and exit code that --help has', async () => {
  const text = words(page());
  const { out } = await cli(['--help']);
  const commands = [...out.matchAll(/^ {2}([a-z][a-z-]+)(?: .*)? {2}\S/gm)].map(([, name]) => name!);
  assert.ok(commands.length > 20, out);
  for (const name of commands) {
    const help = (await cli([name, '--help'])).out;
    const start = text.search(new RegExp(`^\\.B ${name}( |$)`, 'm'));
    assert.ok(start > 0, name);
    const entry = text.slice(start, text.indexOf('.EE', start));
    const alike = /^Its options are those of (\S+)\.$/m.exec(entry)?.[1];
    const first = alike === undefined ? -1 : text.search(new RegExp(`^\\.B ${alike}( |$)`, 'm'));
    const inherited = alike === undefined ? '' : text.slice(first, text.indexOf('.EE', first));
    const everywhere = text.slice(text.indexOf('.SH OPTIONS'), text.indexOf('.SH COMMANDS'));
    for (const [, option] of help.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)) {
      assert.ok((entry + inherited + everywhere).includes(option!), `${name} ${option}`);
    }
    for (const [, example] of help.matchAll(/^ {2}\$ (.*)$/gm)) {
      assert.ok(entry.includes(example!.replaceAll("'", '\\(aq').replaceAll('~', '\\(ti')), example);
    }
    for (const [, code] of help.matchAll(/^ {1,2}(\d+) {2}/gm)) assert.match(text, new RegExp(`^\\.B ${code}$`, 'm'));
  }
});

test('"scheduler man" prints the manual page that the package brings', async () => {
  assert.deepEqual(await cli(['man']), { code: 0, out: page(), err: '' });
});

test('the manual page says what each setting means, and the page of reference names the same settings', async () => {
  const text = words(page()).replaceAll('\\(aq', "'");
  const settings = allVariables(jobVariables(await loadJobs())).map(({ env }) => env);
  assert.deepEqual(Object.keys(SETTINGS).sort(), settings.sort());
  for (const name of settings)
    assert.ok(text.replaceAll('\n', ' ').includes(`.B ${name} ${SETTINGS[name]!.slice(0, 40)}`), name);
  for (const name of ['DATABASE_URL', 'PGHOST']) assert.match(text, new RegExp(`^\\.BR? ${name}`, 'm'));
  const rows = readPage('docs/reference.md').text.match(/^\| `[A-Z].*? \|/gm)!;
  const named = rows.flatMap((row) => [...row.matchAll(/`(\w+)`/g)].map(([, name]) => name!));
  assert.deepEqual(named.sort(), settings.sort());
});

test('the manual page explains concepts by words of the glossary', () => {
  const text = words(page());
  const glossary = readPage('docs/architecture.md').text;
  for (const concept of ['tick', 'due time', 'lateness', 'slot', 'retry', 'quarantine', 'tenant'])
    assert.match(text, new RegExp(`^\\.B ${concept}\\n`, 'm'), concept);
  for (const concept of Object.keys(CONCEPTS)) assert.match(glossary, new RegExp(`^\\| ${concept} \\|`, 'm'), concept);
});
