import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  lstatSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { cli, database } from '../support/harness.ts';

/** What somebody else may have put where the program reads and writes. */

function folder(): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), 'sch-files-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

for (const [what, put] of Object.entries({
  'a link to a file of root': (file: string, secret: string) => symlinkSync(secret, file),
  'a pipe': (file: string) => execFileSync('mkfifo', [file]),
  'a file without end': (file: string) => {
    writeFileSync(file, '');
    truncateSync(file, 50 * 2 ** 30);
  },
})) {
  test(`where the metrics file is ${what}, it is replaced, unread`, async () => {
    await using db = await database();
    using place = folder();
    const [file, secret] = [join(place.path, 'scheduler.prom'), join(place.path, 'secret')];
    writeFileSync(secret, 'scheduler_ticks_total{exit_code="0"} 41\n', { mode: 0o600 });
    put(file, secret);
    const { code, err } = await db.cli(['tick', '--metrics-file', file]);
    assert.deepEqual([code, err], [0, '']);
    assert.ok(lstatSync(file).isFile());
    assert.match(readFileSync(file, 'utf8'), /^scheduler_ticks_total\{exit_code="0"\} 1$/m);
    assert.equal(statSync(secret).mode & 0o777, 0o600);
  });
}

test('a file of settings sets what is ours, and nothing that changes how Node runs', async () => {
  await using db = await database();
  using place = folder();
  const file = join(place.path, 'env');
  writeFileSync(
    file,
    `DATABASE_URL=${db.url}\nSCHEDULER_LOG_LEVEL=debug\nNODE_OPTIONS=--require=/nowhere.js\nNODE_EXTRA_CA_CERTS=/nowhere\nHTTP_PROXY=http://evil\n`,
  );
  const { code, err } = await cli(['tick', '--env-file', file]);
  assert.equal(code, 0, err);
  assert.match(err, /"level":"debug"|started/);
  assert.doesNotMatch(err, /nowhere/);
});
