import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../src/base/version.ts';
import { cli } from '../support/harness.ts';

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

test('the manual page names every setting', () => {
  const text = page();
  for (const name of ['SCHEDULER_TIMEZONE', 'SCHEDULER_RETENTION', 'SCHEDULER_SMS_URL', 'DATABASE_URL', 'PGHOST']) {
    assert.match(text, new RegExp(`^\\.BR? ${name}`, 'm'));
  }
});
