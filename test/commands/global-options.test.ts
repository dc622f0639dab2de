import assert from 'node:assert/strict';
import { test } from 'node:test';
import { due, START } from '../support/due-packages.ts';
import { cli, database } from '../support/harness.ts';

/** Options that every command takes. */

test('"help tick" prints what "tick --help" prints, and "help" alone what "--help" prints', async () => {
  for (const [words, options] of [
    [
      ['help', 'tick'],
      ['tick', '--help'],
    ],
    [['help'], ['--help']],
  ] as const) {
    const [one, other] = [await cli([...words]), await cli([...options])];
    assert.deepEqual(one, other);
    assert.equal(one.code, 0);
  }
});

test('"help" and "--help" know no command that is not there', async () => {
  for (const args of [
    ['help', 'statu'],
    ['statu', '--help'],
  ]) {
    const { code, out, err } = await cli(args);
    assert.deepEqual([code, out, err], [2, '', 'scheduler: unknown command \'statu\'; did you mean "status"?\n']);
  }
});

test('--tz shows times in a zone; JSON stays in UTC', async () => {
  await using db = await database();
  await due(db, 1);
  const shown = async (zone: string) => (await db.cli(['history', 'packages', '--tz', zone])).out;
  await db.cli(['packages', '--at', START]);
  assert.match(await shown('UTC'), /\d\dZ /);
  assert.match(await shown('Asia/Kolkata'), /\d\d\+05:30 /);
  const local = await db.cli(['history', 'packages', '--tz', 'local'], { env: { TZ: 'Africa/Nairobi' } });
  assert.match(local.out, /\d\d\+03:00 /);
  const json = await db.cli(['history', 'packages', '--json', '--tz', 'Asia/Kolkata']);
  assert.match(json.out, /"at":"[-0-9T:.]+Z"/);
  await db.cli(['stop', '--reason', 'stock-taking']);
  const { out } = await db.cli(['status', '--tz', 'Asia/Kolkata']);
  assert.match(out, /^Scheduler was stopped by .* at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+05:30: stock-taking/);
});

test('--quiet prints nothing on standard output, and says warnings and errors', async () => {
  await using db = await database();
  await due(db, 2);
  assert.deepEqual(await db.cli(['tick', '--at', START, '-q']), { code: 0, out: '', err: '' });
  assert.deepEqual(await db.cli(['status', '-q']), { code: 0, out: '', err: '' });
  await db.cli(['stop', 'packages', '--reason', 'stock-taking']);
  const { out, err } = await db.cli(['packages', '-q']);
  assert.equal(out, '');
  assert.match(err, /packages was skipped.*stock-taking/);
  assert.match((await db.cli(['nosuch', '-q'])).err, /unknown command/);
});

test('the log is sentences or JSON lines, by option or by setting', async () => {
  await using db = await database();
  await due(db, 1);
  const log = async (args: string[], env = {}) =>
    (await db.cli(['packages', '--at', START, '--dry-run', '--debug', ...args], { env })).err.split('\n')[0]!;
  assert.equal(JSON.parse(await log([])).msg, 'ProcessScheduledPackages job started');
  const sentence = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ INFO {2}ProcessScheduledPackages job started$/;
  assert.match(await log(['--log-format', 'text']), sentence);
  assert.match(await log([], { SCHEDULER_LOG_FORMAT: 'text' }), sentence);
  assert.equal(JSON.parse(await log(['--log-format', 'json'], { SCHEDULER_LOG_FORMAT: 'text' })).level, 'info');
  assert.match(await log(['--log-format', 'text', '--tz', 'Asia/Kolkata']), /^\S+ \S+\+05:30 INFO /);
});
