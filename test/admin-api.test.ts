import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { handler, servePhp, speakToAdminApi } from './support/admin-api.ts';
import { database } from './support/harness.ts';
import { readPage } from './support/markdown.ts';
import { play } from './support/playing.ts';

/** docs/admin-api.md, as it stands there. */

test('admin-api.md: the SQL of the page', async () => {
  await using db = await database();
  for (const section of readPage('docs/admin-api.md').sections) await play(section, { db, env: {} });
});

test('admin-api.md: the handler in TypeScript', async () => {
  await using db = await database();
  await speakToAdminApi(db, () => ({ command: process.execPath, args: ['--import', 'tsx', handler('admin-api.ts')] }));
});

const php = process.env.PATH!.split(':').some((place) => existsSync(join(place, 'php')));

// test/debian/admin-api.test.ts brings PHP along.
test('admin-api.md: the handler in PHP', { skip: !php && 'PHP is not installed' }, async () => {
  await using db = await database();
  await speakToAdminApi(db, servePhp());
});
