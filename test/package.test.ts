import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../src/base/version.ts';

/** What "npm install" of the published package brings. */

const listed = (folder: string) => readdirSync(join(ROOT, `${folder}/`)).map((name) => `${folder}/${name}`);

test('the package holds the program, its migrations, its documentation and the files to deploy it, and nothing else', () => {
  const json = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{ files }] = JSON.parse(json) as [{ files: { path: string }[] }];
  const expected = [
    ...['README.md', 'package.json', 'bin/package.json', 'bin/scheduler.js', 'dist/scheduler.cjs', 'dist/scheduler.1'],
    ...['dist/luxon.cjs', 'dist/pino.cjs', 'dist/tick.cjs'],
    ...listed('migrations'),
    ...listed('docs'),
    ...['roles.sql', 'crontab', 'scheduler.service', 'scheduler.timer', 'scheduler.env'].map(
      (name) => `deploy/${name}`,
    ),
    ...['Containerfile', 'cronjob.yaml', 'logrotate', 'alerts.yml', 'grafana.json'].map((name) => `deploy/${name}`),
  ];
  assert.deepEqual(files.map(({ path }) => path).sort(), expected.sort());
});
