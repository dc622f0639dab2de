import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { removeServer } from '../../src/embedded/server.ts';
import { cli, finished, LAUNCHER } from '../support/harness.ts';

let place: string;
const env = () => ({ TMPDIR: place });

before(async () => {
  place = await mkdtemp(join(tmpdir(), 'demo-'));
  await chmod(place, 0o755); // started by root, the server runs as another user
});
after(async () => {
  for (const name of await readdir(place)) if (/^scheduler-pg-\d+$/.test(name)) await removeServer(join(place, name));
  await rm(place, { recursive: true });
});

/** Command lines of processes that have to do with this test's folder. */
async function processes(): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (line.includes(place)) found.push(line.replaceAll('\0', ' '));
  }
  return found;
}

/** Copies of the server's programs are kept, as every start would make them again; nothing else is. */
const left = async () => (await readdir(place)).filter((name) => !/^scheduler-pg-\d+-\d/.test(name));

async function nothingIsLeft(): Promise<void> {
  for (let waited = 0; (await processes()).length > 0 && waited < 5000; waited += 50) await sleep(50);
  assert.deepEqual(await processes(), []);
  assert.deepEqual(await left(), []);
}

test('the demo shows the rows before and after a tick and what a listener heard, within 15 seconds', async () => {
  const began = Date.now();
  const { code, out, err } = await cli(['demo'], { env: env() });
  assert.equal(err, '');
  assert.equal(code, 0);
  assert.ok(Date.now() - began < 15_000, `${Date.now() - began} ms`);

  const [intro, beforehand, tick, afterwards, heard, failed, next, ...more] = out.split(
    /\n(?=Before:|scheduler tick\n|After:|What a listener heard|What could not be done|What to try next)/,
  );
  assert.equal(more.length, 0);
  assert.match(intro!, /on a real PostgreSQL server/);
  assert.match(beforehand!, /Weekend Special +inactive/);
  assert.match(beforehand!, /Spa Day +off/);
  assert.match(tick!, /packages +activate +1 +\d/);
  assert.match(tick!, /packages +failed +1/);
  assert.match(tick!, /special-packages +deactivate +1/);
  assert.match(afterwards!, /Weekend Special +inactive → active/);
  assert.match(afterwards!, /Lunch Hour +active → inactive/);
  assert.match(afterwards!, /Morning Coffee +active → inactive +\w+ \d\d:\d\d → \w+ \d\d:\d\d/);
  assert.match(afterwards!, /Night Owl +inactive {2}/);
  assert.match(afterwards!, /Spa Day +off → on/);
  assert.match(heard!, /package\.status\.changed +Package 'Weekend Special' status changed from inactive to active/);
  assert.match(heard!, /package\.schedule\.missed/);
  assert.match(failed!, /packages \d+: validity 'banana' is not a count and a unit/);
  assert.match(next!, /scheduler migrate/);
  const long = out.split('\n').filter((line) => line.length > 100);
  assert.deepEqual(long, [], 'lines of up to 100 characters');
  // A bare "scheduler tick" does not work from cron, which has next to no environment.
  assert.match(out, /^scheduler install --cron /m);
  assert.doesNotMatch(out, /\* \* \* \* \*/);
  await nothingIsLeft();
});

test('interrupted, it leaves nothing running and nothing behind', async () => {
  for (const [signal, moment] of [
    ['SIGINT', /A few seconds/],
    ['SIGTERM', /Before:/],
    ['SIGHUP', /scheduler tick/],
  ] as const) {
    let seen = '';
    const started = (child: ChildProcess) =>
      child.stdout!.on('data', (chunk) => {
        seen += chunk;
        if (moment.test(seen)) child.kill(signal);
      });
    const { code, out, err } = await cli(['demo'], { env: env(), started });
    if (!/What to try next/.test(out)) {
      assert.equal(code, 75, err);
      assert.equal(err, 'scheduler: The demo was interrupted.\n');
    }
    await nothingIsLeft();
  }
});

test('a reader that goes away leaves nothing behind either', async () => {
  const options = { cwd: '/', env: { PATH: '/usr/bin:/bin', ...env() } as NodeJS.ProcessEnv };
  const { err } = await finished(spawn('/bin/sh', ['-c', `'${LAUNCHER}' demo | head -2`], options));
  assert.equal(err, '');
  await nothingIsLeft();
});

test('with --keep the embedded server stays, filled in, for every command with --embedded', async () => {
  assert.equal((await cli(['demo', '--keep'], { env: env() })).code, 0);
  const status = await cli(['status', '--embedded', '--json'], { env: env() });
  assert.equal(status.code, 0, status.err);
  assert.equal(JSON.parse(status.out).scheduler.isRunning, true);
  const failures = await cli(['failures', '--embedded'], { env: env() });
  assert.match(failures.out, /banana/);
  assert.match((await cli(['events', '--embedded'], { env: env() })).out, /package\.status\.changed/);
  const tomorrow = await cli(['tick', '--dry-run', '--embedded', '--at', '2099-01-01', '--json'], { env: env() });
  assert.equal(tomorrow.code, 1, tomorrow.err);
  assert.match((await cli(['embedded', 'url'], { env: env() })).out, /^postgresql:\/\//);

  const again = await cli(['demo', '--keep'], { env: env() });
  assert.equal(again.code, 0, again.err);
  assert.match(again.out, /Weekend Special +inactive → active/);

  assert.equal((await cli(['embedded', 'stop'], { env: env() })).code, 0);
  assert.deepEqual(await processes(), []);
});

test('--keep does not touch data that no demo put on the embedded server', async () => {
  for (const name of await left()) await removeServer(join(place, name));
  const { out } = await cli(['embedded', 'start'], { env: env() });
  assert.match(out, /postgresql:\/\//);
  assert.equal((await cli(['migrate', '--embedded', '--create', 'all'], { env: env() })).code, 0);
  const { code, err } = await cli(['demo', '--keep'], { env: env() });
  assert.equal(code, 78);
  assert.match(err, /holds data that no demo put there, so it is left alone/);
  assert.equal((await cli(['status', '--embedded'], { env: env() })).code, 0);
});

test('a limit of the embedded server is told in a sentence, not as a defect', async () => {
  const { code, err } = await cli(['embedded', 'start'], { env: { TMPDIR: join(place, 'x'.repeat(100)) } });
  assert.equal(code, 78);
  assert.match(err, /too long a path for a PostgreSQL socket/);
});
