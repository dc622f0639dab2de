import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../src/base/version.ts';
import { database, finished } from './support/harness.ts';

/** What "npm install" of the published package brings. */

const listed = (folder: string) =>
  readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true }).flatMap((file) =>
    file.isFile() ? relative(ROOT, join(file.parentPath, file.name)) : [],
  );

test('the package holds the program, its migrations, its documentation and the files to deploy it, and nothing else', () => {
  const json = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{ files }] = JSON.parse(json) as [{ files: { path: string }[] }];
  const expected = [
    ...[
      'LICENSE',
      'README.md',
      'package.json',
      'bin/package.json',
      'bin/scheduler.js',
      'dist/scheduler.cjs',
      'dist/scheduler.1',
    ],
    ...['dist/luxon.cjs', 'dist/pino.cjs', 'dist/postgres-migrations.cjs', 'dist/tick.cjs'],
    'dist/migrations/0_create-migrations-table.sql',
    ...listed('migrations'),
    ...listed('docs'),
    ...listed('deploy/examples'),
    ...['roles.sql', 'crontab', 'scheduler.service', 'scheduler.timer', 'scheduler.env'].map(
      (name) => `deploy/${name}`,
    ),
    ...['Containerfile', 'cronjob.yaml', 'logrotate', 'alerts.yml', 'grafana.json'].map((name) => `deploy/${name}`),
  ];
  assert.deepEqual(files.map(({ path }) => path).sort(), expected.sort());
});

test('the package brings every library that it needs, so that npm has no version to choose', async () => {
  await using db = await database({ empty: true });
  const folder = mkdtempSync(join(tmpdir(), 'sch-package-'));
  try {
    const pack = ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder];
    const tarball = execFileSync('npm', pack, { cwd: ROOT, encoding: 'utf8' }).trim();
    execFileSync('tar', ['-xzf', join(folder, tarball), '-C', folder]);
    const at = (name: string) => join(folder, 'package', name);
    assert.equal(JSON.parse(readFileSync(at('package.json'), 'utf8')).dependencies, undefined);
    for (const args of [['migrate'], ['tick', '--debug'], ['tick', '--dry-run', '--at', '2026-03-01T10:00']]) {
      const child = spawn(process.execPath, [at('bin/scheduler.js'), ...args], {
        cwd: folder,
        env: { DATABASE_URL: db.url },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const { code, err } = await finished(child);
      assert.equal(code, 0, err);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
