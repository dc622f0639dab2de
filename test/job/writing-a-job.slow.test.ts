import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../src/base/version.ts';
import { database } from '../support/harness.ts';
import { readPage } from '../support/markdown.ts';
import { play, shell } from '../support/playing.ts';

/** docs/writing-a-job.md: the job that it writes is put into a copy of the project, built, run and tested there. */

const page = readPage('docs/writing-a-job.md');

test('the job of docs/writing-a-job.md is one file and its test, and does what the page says', async () => {
  const copy = mkdtempSync(join(tmpdir(), 'sch-docs-job-'));
  try {
    for (const name of [
      'bin',
      'src',
      'migrations',
      'deploy',
      'test',
      'docs',
      'README.md',
      'package.json',
      'tsconfig.json',
      'biome.json',
    ])
      cpSync(join(ROOT, name), join(copy, name), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
    const files = page.blocks.flatMap(({ file, text }) => (file ? [{ file, text }] : []));
    assert.deepEqual(
      files.map(({ file }) => dirname(file)),
      ['src/jobs', 'test/jobs'],
    );
    for (const { file, text } of files) writeFileSync(join(copy, file), text);
    const ok = async (command: string) => {
      const { code, out, err } = await shell(command, {}, copy, copy);
      assert.equal(code, 0, `${command}\n${out}${err}`);
      return out;
    };
    await ok('npx tsc');
    await ok(`npx biome check ${files.map(({ file }) => file).join(' ')}`);

    await using db = await database();
    symlinkSync(join(copy, 'bin/scheduler.js'), join(copy, 'scheduler'));
    let printed = '';
    for (const section of page.sections) {
      const stage = {
        db,
        env: { DATABASE_URL: db.url },
        codes: { 'scheduler reminders': 1, 'scheduler tick': 1 },
        cwd: copy,
        path: copy,
      };
      printed += await play(section, stage);
    }
    assert.deepEqual(await db.query(`select title from reminders where reminded_at is not null`), [
      { title: 'Water the plants' },
    ]);
    const events = await db.query(`select type, channels, entity_id from scheduler.events where job = 'reminders'`);
    assert.deepEqual(events, [{ type: 'reminder.due', channels: ['private-reminders', 'user.7'], entity_id: '1' }]);
    for (const word of ['it has no title', 'reminder.due', 'it was not yet told', '# pass 1'])
      assert.ok(printed.includes(word), `${word}: ${printed}`);
    assert.match(await ok('bin/scheduler.js --help'), /reminders +tell reminders whose time has come/);
    assert.ok(readdirSync(join(copy, 'test/jobs')).includes('reminders.test.ts'));
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
});
