import assert from 'node:assert/strict';
import { test } from 'node:test';
import { active, count, due, eachOnce, later, START, tick } from '../support/due-packages.ts';
import { database } from '../support/harness.ts';
import { SCHEMA } from '../support/schema.ts';

/** However many run at the same time. */

test('twenty runners at once without the lock do each transition of each row once', async () => {
  await using db = await database({ withoutLock: true });
  await due(db, 300);
  await db.query(`update packages set repeats = 'daily'`);
  const crowd = (at: string) => Promise.all(Array.from({ length: 20 }, () => tick(db, at, { batchSize: 7 })));
  await crowd(START);
  await eachOnce(db, 'activate', 300);
  const results = await crowd(later(120));
  await eachOnce(db, 'deactivate', 300);
  await eachOnce(db, 'repeat', 300);
  assert.equal(
    await count(db, `packages where scheduled_activation_time = '${later(1440)}' and status = 'inactive'`),
    300,
  );
  assert.ok(results.every(({ exitCode, locked }) => exitCode === 0 && !locked));
});

test('twelve processes without the lock do each transition of each row once', async () => {
  await using db = await database({ withoutLock: true });
  await due(db, 200);
  const args = ['tick', '--at', START, '--batch-size', '7'];
  const runs = await Promise.all(Array.from({ length: 12 }, () => db.cli(args)));
  for (const { code, err } of runs) {
    assert.equal(code, 0, err);
    assert.match(
      err,
      /^\{"level":"error",[^\n]*of the role \\"stranger_[^\n]*\n$/,
      'it says who holds the lock, and nothing else',
    );
  }
  await eachOnce(db, 'activate', 200);
});

test('twenty runners at once with the lock: one does the work, the others say so', async () => {
  await using db = await database();
  await due(db, 100);
  const results = await Promise.all(Array.from({ length: 20 }, () => tick(db, START, { batchSize: 5 })));
  assert.ok(results.some(({ locked }) => locked));
  await eachOnce(db, 'activate', 100);
});

test('when somebody else holds the lock, the run says so in one line and ends well', async () => {
  await using db = await database();
  await due(db, 1);
  await db.query(`select pg_advisory_lock(hashtextextended('${SCHEMA}', 8314034311083879525))`);
  const { code, out, err } = await db.cli(['tick']);
  assert.equal(code, 0);
  assert.equal(out, '');
  assert.match(JSON.parse(err).msg, /Another run holds the lock/);
  assert.equal(await active(db), 0);
  await db.query('select pg_advisory_unlock_all()');
  await tick(db);
  assert.equal(await active(db), 1);
});

test('with --json a tick answers also when nothing is due, and when it finds the lock taken', async () => {
  await using db = await database();
  const idle = JSON.parse((await db.cli(['tick', '--json'])).out);
  assert.match(idle.now, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.deepEqual([idle.locked, idle.dryRun, idle.exitCode], [false, false, 0]);
  assert.ok(
    idle.jobs.length > 5 && idle.jobs.every(({ changed }: { changed: object }) => Object.keys(changed).length === 0),
  );
  await db.query(`select pg_advisory_lock(hashtextextended('${SCHEMA}', 8314034311083879525))`);
  assert.equal(JSON.parse((await db.cli(['tick', '--json'])).out).locked, true);
});
