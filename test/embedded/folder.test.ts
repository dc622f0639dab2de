import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isOurs, isOwnFolder, prepareFolder } from '../../src/embedded/folder.ts';

test('a server lies in a folder of one’s own, with a path that a socket can have', () => {
  const home = mkdtempSync(join(tmpdir(), 'sch-'));
  try {
    writeFileSync(join(home, 'file'), '');
    assert.equal(isOwnFolder(join(home, 'nowhere')), false);
    assert.equal(isOwnFolder(home), true);
    assert.throws(() => isOwnFolder(join(home, 'file')), /not a folder of yours/);
    const fits = join(home, 'x'.repeat(103 - '/data/.s.PGSQL.65535'.length - home.length - 1));
    assert.equal(prepareFolder(fits), fits);
    mkdirSync(`${fits}x`);
    assert.throws(() => prepareFolder(`${fits}x`), /too long a path/);
    assert.deepEqual(['data', 'log', 'new-1', 'mine'].map(isOurs), [true, true, true, false]);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});
