import assert from 'node:assert/strict';
import { test } from 'node:test';
import { due, START } from '../support/due-packages.ts';
import { database } from '../support/harness.ts';
import { ERASED, onTerminal } from '../support/terminal.ts';

/** A pass that takes longer than a second shows on a terminal how far it is. */

const SLOW = `create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.1); return new; end $$;
  create trigger slow before update on packages for each row execute function slow()`;

test('a pass of two seconds shows the job, the rule, the rows done and due, the pace and the time left', async () => {
  await using db = await database();
  await due(db, 60);
  await db.query(SLOW);
  const { code, written } = await onTerminal(db, ['packages', '--at', START, '--batch-size', '5']);
  assert.equal(code, 0, written);
  assert.match(written, /‹erased›packages, activate: \d+ of [56]\d rows, \d+ a second, \d+ s left/);
  // The line is gone before anything else is written, and at the end.
  for (const line of written.split('\n').slice(0, -1))
    assert.ok(!line.slice(line.lastIndexOf(ERASED)).includes('packages, activate:'), line);
  assert.match(written, /packages +activate +60/);
});

test('a short pass shows no progress, and neither does a quiet one', async () => {
  await using db = await database();
  await due(db, 1);
  const short = await onTerminal(db, ['packages', '--at', START]);
  assert.doesNotMatch(short.written, /‹erased›/);
  await due(db, 40);
  await db.query(SLOW);
  const quiet = await onTerminal(db, ['packages', '--at', START, '--batch-size', '5', '--quiet']);
  assert.deepEqual(quiet, { code: 0, written: '' });
});

test('a name that is too long for the terminal is cut, and its figures are not', async () => {
  await using db = await database();
  await due(db, 60);
  await db.query(SLOW);
  const { written } = await onTerminal(db, ['packages', '--at', START, '--batch-size', '5'], { columns: 48 });
  const lines = written.split(ERASED).filter((part) => part.includes(' a second, '));
  assert.match(lines[0]!, /^pack\S*…: \d+ of [56]\d rows, \d+ a second, \d+ s left/);
});

test('a signal in the middle of a long batch is answered, and the line is gone', async () => {
  await using db = await database();
  await due(db, 60);
  await db.query(SLOW);
  const { code, written } = await onTerminal(db, ['packages', '--at', START, '--log-format', 'text'], {
    started: ({ stdin }) => void setTimeout(() => stdin!.write('\x03'), 3000),
  });
  assert.equal(code, 75, written);
  assert.match(written, /INFO +The run ends after the batch at hand; a second signal ends it at once\./);
  assert.match(
    written,
    /WARN +Stopped by the signal in the middle of a batch, which is undone; the next run does its rows\.\n$/,
  );
});

test('a run says that nothing was due only if it could look', async () => {
  await using db = await database();
  assert.match((await onTerminal(db, ['tick'])).written, /Nothing was due\./);
  await db.cli(['stop', '--reason', 'stock-taking']);
  assert.equal((await onTerminal(db, ['tick'])).written, 'No job could run; "scheduler status" says why.\n');
  const { written } = await onTerminal(db, ['packages']);
  assert.match(written, /packages was skipped: .*stock-taking/);
  assert.doesNotMatch(written, /Nothing was due/);
});
