import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { due, startTick, tick } from '../support/due-packages.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { onTerminal } from '../support/terminal.ts';

/** Another terminal says of a run at work on what it works, since when and how far it is. */

const SLOW = `create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.2); return new; end $$;
  create trigger slow before update on packages for each row execute function slow()`;

const atWork = async (db: TestDatabase) => JSON.parse((await db.cli(['status', '--json'])).out).atWork;

test('status tells on which job a run is at work, since when, and how many rows it has done', async () => {
  await using db = await database();
  await due(db, 60);
  assert.equal(await atWork(db), null);
  await db.query(SLOW);
  const { child, ended } = await startTick(db, ['--batch-size', '5']);
  const work = await atWork(db);
  assert.match(
    (await db.cli(['status'])).out,
    /^A run is at work on packages since \S+ \S+Z: \d+ rows done, \d+ rows due\.$/m,
  );
  assert.equal(work.job, 'packages');
  assert.ok(work.done >= 5 && work.done < 60, String(work.done));
  assert.ok(Math.abs(Date.now() - Date.parse(work.since)) < 20_000, work.since);
  assert.deepEqual((await db.one('select scheduler.status() as told')).told.atWork.job, 'packages');
  child.kill('SIGKILL');
  await ended;
  await db.query('drop trigger slow on packages');
});

test('a run that was killed is not at work, also while another one is', async () => {
  await using db = await database();
  await due(db, 30);
  await db.query(SLOW);
  const { child, ended } = await startTick(db, ['--batch-size', '5']);
  child.kill('SIGKILL');
  await ended;
  await db.query('drop trigger slow on packages');
  await tick(db);
  assert.equal(await atWork(db), null);
});

test('status --watch looks again, and shows the run that began meanwhile', async () => {
  await using db = await database();
  await due(db, 60);
  await db.query(SLOW);
  let watching: ChildProcess | undefined;
  const watched = onTerminal(db, ['status', '--watch'], {
    env: { NO_COLOR: '1' },
    started: (child) => {
      watching = child;
    },
  });
  const { child, ended } = await startTick(db, ['--batch-size', '5']);
  await sleep(4500);
  watching!.kill('SIGTERM');
  child.kill('SIGKILL');
  await ended;
  await db.query('drop trigger slow on packages');
  const screens = (await watched).written.split('\x1b[H\x1b[2J').slice(1);
  assert.ok(screens.length >= 2, String(screens.length));
  assert.match(screens.at(-1)!, /A run is at work on packages since .*: \d+ rows done, /);
});
