import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { database } from '../support/harness.ts';
import { type Machine, machine } from './machine.ts';

// The units, judged by systemd's own tools, and run by a systemd of their own.

let m: Machine;
before(async () => {
  m = await machine();
  await m.install('systemd');
  await m.installPackage();
  await m.put('/etc/scheduler.env', 'DATABASE_URL=postgresql://u:hunter2@127.0.0.1:1/d\n', '600');
});
after(() => m[Symbol.asyncDispose]());

const UNITS = '/etc/systemd/system/scheduler.service /etc/systemd/system/scheduler.timer';
const LATEST_MS = 4 * 60_000;

test('the installed units are right and tight: systemd-analyze has nothing to say, and little exposure to measure', async () => {
  const said = await m.must('scheduler install --systemd --write');
  assert.match(
    said,
    /^Wrote \/etc\/systemd\/system\/scheduler\.service\.\nWrote .*scheduler\.timer\.\nSystemd does not run here\./,
  );
  const { code, out, err } = await m.run(`systemd-analyze verify ${UNITS}`);
  assert.deepEqual([code, out, err], [0, '', '']);
  const judged = await m.must('systemd-analyze security --offline=true /etc/systemd/system/scheduler.service');
  const exposure = Number(/Overall exposure level for scheduler\.service: ([\d.]+)/.exec(judged)![1]);
  assert.ok(exposure < 2, judged);
  assert.match(await m.must('systemd-analyze calendar minutely'), /Normalized form: \*-\*-\* \*:\*:00$/m);
  assert.match(await m.must('scheduler install --systemd --remove'), /^Removed .*service\.\nRemoved .*timer\.\n$/);
});

test('systemd ticks each minute, as a user that exists for as long, and tells a failure from a deadline', async () => {
  await using db = await database();
  await m.boot();
  await m.put('/etc/scheduler.env', `DATABASE_URL=${db.tcpUrl}\n`, '600');
  await db.insert('packages', {
    name: 'Weekend Special',
    enable_schedule: true,
    scheduled_activation_time: new Date(Date.now() + 65_000),
    validity: '2 hours',
  });
  const said = await m.must('scheduler install --systemd --write');
  assert.match(said, /Ran "systemctl daemon-reload" and "systemctl enable --now scheduler\.timer"\.$/m);
  const ticks = () =>
    db.query(`select slot, error, at - date_trunc('minute', at) < '5 seconds' as prompt
      from scheduler.runs where (job = 'packages' or 'packages' = any(idle)) and finished_at is not null order by slot`);
  for (const deadline = Date.now() + LATEST_MS; (await ticks()).length < 3 && Date.now() < deadline; ) await sleep(500);
  const runs = await ticks();
  assert.deepEqual(
    runs.map(({ slot, ...run }) => ({ ...run, slot: Number(slot) - Number(runs[0]!.slot) })),
    [0, 1, 2].map((slot) => ({ slot, error: null, prompt: true })),
    await m.must('journalctl -u scheduler --no-pager | tail -20'),
  );
  assert.equal((await db.one('select status from packages')).status, 'active');

  const quiet = await m.must('journalctl -u scheduler.service -o cat --no-pager');
  assert.match(
    quiet,
    /^job +transition +rows +late by up to\npackages +activate +1 .*\n$/,
    'the journal has what changed',
  );

  const result = async () => (await m.must('systemctl show -P Result scheduler.service')).trim();
  const start = async () => (await m.run('systemctl start scheduler.service')).code;
  await m.must('systemctl stop scheduler.timer');
  assert.deepEqual([await start(), await result()], [0, 'success']);
  const changed = async (settings: string) => {
    await m.put('/etc/systemd/system/scheduler.service.d/changed.conf', `[Service]\n${settings}\n`);
    await m.must('systemctl daemon-reload');
    return [await start(), await result()];
  };
  const ending = (code: number) => changed(`ExecStart=\nExecStart=/bin/sh -c 'exit ${code}'`);
  await m.must('mkdir /etc/systemd/system/scheduler.service.d');
  assert.deepEqual(await ending(75), [0, 'success']);
  assert.deepEqual(await ending(1), [1, 'exit-code']);
  // What the unit says of its one weak point.
  const [denied] = await changed('MemoryDenyWriteExecute=yes');
  assert.equal(denied, 1);
  const launcher = (await m.must('realpath "$(command -v scheduler)"')).trim();
  const jitless = `ExecStart=\nExecStart=${process.execPath} --jitless --no-expose-wasm ${launcher} tick`;
  assert.deepEqual(await changed(`MemoryDenyWriteExecute=yes\n${jitless}`), [0, 'success']);
  await m.must('rm -r /etc/systemd/system/scheduler.service.d && systemctl daemon-reload');

  await m.put('/etc/scheduler.env', 'DATABASE_URL=postgresql://u:hunter2@127.0.0.1:1/d\n', '600');
  assert.deepEqual([await start(), await result()], [1, 'exit-code']);
  const journal = await m.must('journalctl -u scheduler.service --no-pager');
  assert.match(journal, /scheduler: The database at postgresql:\/\/u:\*\*\*@127\.0\.0\.1:1\/d cannot be reached/);
  assert.doesNotMatch(journal, /hunter2/);
  assert.match(await m.must('scheduler install --systemd --remove'), /^Removed .*service\.\nRemoved .*timer\.\n$/);
  assert.equal((await m.run('systemctl is-enabled scheduler.timer')).code === 0, false);
});
