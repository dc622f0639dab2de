import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../src/base/version.ts';
import { cli, LAUNCHER } from '../support/harness.ts';

// The installed files are tried in test/debian, on a machine that is thrown away.

const deploy = (name: string) => readFileSync(join(ROOT, `deploy/${name}`), 'utf8');

test('install prints the crontab of deploy/ with the paths of this machine, and changes nothing', async () => {
  const { code, out, err } = await cli(['install', '--cron', '--env-file', '/etc/hosts']);
  assert.deepEqual([code, err], [0, '']);
  const own = process.getuid?.() === 0 ? 'scheduler ' : '';
  const line = `* * * * * ${own}${process.execPath} ${LAUNCHER} tick --env-file /etc/hosts >/dev/null\n`;
  assert.ok(out.includes(line), out);
  for (const comment of deploy('crontab').match(/^#.*$/gm)!) assert.ok(out.includes(comment), comment);
  for (const each of out.split('\n')) assert.match(each, /^(#.*|\* .*)?$/, 'what is printed is a crontab');
});

test('install prints the units of deploy/ with the paths of this machine', async () => {
  const { code, out } = await cli(['install', '--systemd', '--env-file', '/etc/hosts']);
  assert.equal(code, 0);
  assert.ok(out.includes(`\nExecStart=${process.execPath} ${LAUNCHER} tick\n`), out);
  assert.ok(out.includes('\nEnvironmentFile=/etc/hosts\n'));
  assert.ok(out.includes('\nDynamicUser=yes\nUser=scheduler\n'));
  assert.ok(out.includes(deploy('scheduler.timer').trimEnd()));
  const named = await cli(['install', '--systemd', '--user', 'alice']);
  assert.match(named.out, /^User=alice$/m);
  assert.doesNotMatch(named.out, /DynamicUser/);
});

test('a path may contain characters that mean something to cron or systemd', async () => {
  const odd = '/etc/50% of $it "it\'s".env';
  const cron = (await cli(['install', '--cron', '--env-file', odd])).out;
  assert.ok(cron.includes(` --env-file '/etc/50\\% of $it "it'\\''s".env' >/dev/null\n`), cron);
  const units = (await cli(['install', '--systemd', '--env-file', odd])).out;
  assert.ok(units.includes(`\nEnvironmentFile=/etc/50%% of $it "it's".env\n`), units);
});

test('settings that are not there yet are explained, with the zone of this machine', async () => {
  const env = { TZ: 'Africa/Nairobi' };
  const { out } = await cli(['install', '--cron', '--env-file', '/nowhere/s.env'], { env });
  assert.match(out, /^# \/nowhere\/s\.env is not there yet\. Make it, so that only its owner may read it:$/m);
  assert.match(out, /^# {3}install -m 600 .*\/nowhere\/s\.env$/m);
  assert.match(out, /^# {3}DATABASE_URL=postgresql:/m);
  assert.match(out, /^# {3}SCHEDULER_TIMEZONE=Africa\/Nairobi$/m);
  for (const way of ['--cron', '--systemd']) {
    const refusal = await cli(['install', way, '--write', '--user', 'nobody', '--env-file', '/nowhere/s.env']);
    assert.notEqual(refusal.code, 0);
    assert.doesNotMatch(refusal.err, /defect/);
  }
});

test('the command that puts it in place has the options that were given', async () => {
  const user = process.getuid?.() === 0 ? 'alice' : userInfo().username;
  for (const way of ['--cron', '--systemd']) {
    const given = ['--name', 'shop', '--user', user, '--env-file', '/etc/a b.env'];
    const { out, err } = await cli(['install', way, ...given]);
    assert.equal(err, '');
    const command = `scheduler install ${way} --write --name shop --user ${user} --env-file '/etc/a b.env'`;
    assert.ok(out.includes(`\n# To put it in place: ${command}\n`), out);
  }
  const { out } = await cli(['install', '--cron']);
  assert.match(out, /^# To put it in place: scheduler install --cron --write$/m);
});

test('two installations on a machine have a name each, which their files and settings have, too', async () => {
  const { out } = await cli(['install', '--systemd', '--name', 'shop']);
  assert.match(out, /^# \/etc\/systemd\/system\/scheduler-shop\.service$/m);
  assert.match(out, /^# \/etc\/systemd\/system\/scheduler-shop\.timer$/m);
  assert.match(out, /^EnvironmentFile=\/etc\/scheduler-shop\.env$/m);
  const cron = (await cli(['install', '--cron', '--name', 'shop'])).out;
  assert.match(cron, /tick --env-file \/\S+\/scheduler-shop\.env >\/dev\/null$/m);
  assert.doesNotMatch(out + cron, /scheduler\.(env|service|timer)\b/);
});

test('install says what is wrong with how it was asked', async () => {
  const cases: [string[], RegExp][] = [
    [[], /install needs --cron or --systemd\./],
    [['--cron', '--systemd'], /'--cron' cannot be used with option '--systemd'/],
    [['--cron', '--write', '--remove'], /'--write' cannot be used with option '--remove'/],
    [['--cron', '--user', 'a b'], /--user is "a b", which is not the name of a user/],
    [['--cron', '--name', '../x'], /--name is "..\/x"; valid: up to 31 lower-case letters/],
    [['--cron', '--embedded'], /DATABASE_URL belongs into the file of --env-file/],
  ];
  for (const [args, said] of cases) {
    const { code, out, err } = await cli(['install', ...args]);
    assert.deepEqual([code, out], [2, '']);
    assert.match(err, said);
  }
});

/** The default of an option of "tick", as its help has it. */
async function deadline(): Promise<number> {
  const { out } = await cli(['tick', '--help']);
  return Number(/--timeout .*?default: (\d+)/s.exec(out)![1]);
}

test('whatever starts ticks gives them more time than their own deadline', async () => {
  const seconds = (name: string, pattern: RegExp) => Number(pattern.exec(deploy(name))![1]);
  const least = (await deadline()) + 10;
  assert.ok(seconds('scheduler.service', /^TimeoutStartSec=(\d+)$/m) > least);
  assert.ok(seconds('cronjob.yaml', /^ +activeDeadlineSeconds: (\d+)$/m) > least);
});

test('the CronJob starts one tick at a time, without rights, and never twice for a failure', () => {
  for (const line of [
    ...['concurrencyPolicy: Forbid', 'startingDeadlineSeconds: 50', 'restartPolicy: Never', 'backoffLimit: 0'],
    ...['runAsNonRoot: true', 'readOnlyRootFilesystem: true', 'allowPrivilegeEscalation: false', 'drop: ["ALL"]'],
    ...['automountServiceAccountToken: false', 'secretRef:', 'args: ["tick"]'],
  ]) {
    assert.match(deploy('cronjob.yaml'), new RegExp(`^ *(- )?${line.replace(/[[\]()]/g, '\\$&')}$`, 'm'));
  }
});
