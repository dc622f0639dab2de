import assert from 'node:assert/strict';
import { chmodSync, chownSync, lchownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { refuseUnlessRoots } from '../../src/setup/install/trusted.ts';

/** What "scheduler install" has root run. The command itself would change this machine: it is tried in test/debian. */

/** A program with its files, reached by a link in another folder. */
function installation(): Disposable & { at: (name: string) => string } {
  const folder = mkdtempSync(join(tmpdir(), 'sch-trusted-'));
  const at = (name: string) => join(folder, name);
  for (const name of ['lib', 'lib/app', 'lib/app/bin', 'lib/app/dist', 'bin', 'etc']) mkdirSync(at(name));
  for (const name of ['lib/app/bin/scheduler.js', 'lib/app/dist/tick.cjs', 'etc/env']) {
    writeFileSync(at(name), '');
    chmodSync(at(name), 0o644);
  }
  symlinkSync('../lib/app/bin/scheduler.js', at('bin/scheduler'));
  return { at, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}

const PARTS = [
  'bin',
  'lib',
  'lib/app',
  'lib/app/bin/scheduler.js',
  'lib/app/dist',
  'lib/app/dist/tick.cjs',
  'etc',
  'etc/env',
];

test('root runs nothing that somebody else can write to, nor through a folder where they can', () => {
  for (const part of [undefined, ...PARTS]) {
    using app = installation();
    const check = () => refuseUnlessRoots([app.at('bin/scheduler'), app.at('etc/env'), app.at('lib/app')]);
    if (part === undefined) {
      check();
      continue;
    }
    chmodSync(app.at(part), 0o757);
    assert.throws(
      check,
      (error: Error) => error.message.includes(`${app.at(part)} leads to, and it may be written by`),
      part,
    );
    // A file in a folder like /tmp is its owner's all the same.
    chmodSync(app.at(part), 0o1777);
    if (['bin', 'lib', 'lib/app', 'etc'].includes(part)) check();
  }
});

test('root runs nothing of another owner, links included', { skip: process.getuid?.() !== 0 }, () => {
  for (const part of [...PARTS, 'bin/scheduler']) {
    using app = installation();
    (part === 'bin/scheduler' ? lchownSync : chownSync)(app.at(part), 4711, 0);
    assert.throws(
      () => refuseUnlessRoots([app.at('bin/scheduler'), app.at('etc/env'), app.at('lib/app')]),
      (error: Error) => error.message.includes(`${app.at(part)} leads to, and it belongs to the user with the id 4711`),
      part,
    );
  }
});
