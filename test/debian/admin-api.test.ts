import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { servePhp, speakToAdminApi } from '../support/admin-api.ts';
import { database } from '../support/harness.ts';
import { findPrograms, libraryPath } from './apt.ts';

const PHP = { name: 'php', packages: ['php-cli', 'php-pgsql'], needed: ['usr/lib/php'] };

test('admin-api.md: the handler in PHP, with the PHP of Debian', async () => {
  const root = await findPrograms(PHP);
  const one = (folder: string, name: RegExp) =>
    join(root, folder, readdirSync(join(root, folder)).find((each) => name.test(each))!);
  const extensions = ['pdo', 'pdo_pgsql'].flatMap((name) => ['-d', `extension=${name}`]);
  const options = ['-n', '-d', `extension_dir=${one('usr/lib/php', /^\d{8}/)}`, ...extensions];
  await using db = await database();
  await speakToAdminApi(db, servePhp(one('usr/bin', /^php\d/), options, { LD_LIBRARY_PATH: libraryPath(root) }));
});
