import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { database, type TestDatabase } from '../support/harness.ts';
import { type Machine, machine } from './machine.ts';

// Debian's own cron, started as its service would start it, with the package installed from its tarball.

const TABLE = '/etc/cron.d/scheduler';
const LATEST_MS = 5 * 60_000;

const settingsOf = (db: TestDatabase) => `DATABASE_URL=${db.tcpUrl}\n`;

/** Keeps every mail that cron sends in a file of its own. */
const FAKE_SENDMAIL = `#!/bin/sh
cat > "$(mktemp /var/mails/XXXXXX)"
`;

async function withCron(): Promise<Machine> {
  const made = await machine();
  await made.install('cron');
  await made.installPackage();
  await made.must('mkdir -m 1777 /var/mails; useradd --system --create-home scheduler; useradd --create-home alice');
  await made.put('/usr/sbin/sendmail', FAKE_SENDMAIL, '755');
  return made;
}

async function forOwner(m: Machine, path: string, text: string, user: string) {
  await m.put(path, text, '600');
  await m.must(`chown ${user} ${path}`);
}

test('cron ticks each minute, silently, as a user without rights; what goes wrong is mailed', async () => {
  await using db = await database();
  await using m = await withCron();
  await forOwner(m, '/etc/scheduler.env', settingsOf(db), 'scheduler');
  await forOwner(m, '/etc/broken.env', 'DATABASE_URL=postgresql://u:hunter2@127.0.0.1:1/d\n', 'alice');
  const out = await m.must('scheduler install --cron --write --user scheduler');
  assert.equal(out, `Wrote ${TABLE}.\nCron notices within a minute.\n`);
  const line = (await m.must(`cat ${TABLE}`)).replaceAll('/etc/scheduler.env', '/etc/broken.env');
  await m.put('/etc/cron.d/broken', line.replace('* scheduler ', '* alice '));
  await db.insert('packages', {
    name: 'Weekend Special',
    enable_schedule: true,
    scheduled_activation_time: new Date(Date.now() + 70_000),
    validity: '2 hours',
  });
  assert.equal((await db.one('select status from packages')).status, 'inactive');

  m.start('exec cron -f');
  const ticks = () =>
    db.query(`select slot, changed, error, at - date_trunc('minute', at) < '10 seconds' as prompt
      from scheduler.runs where (job = 'packages' or 'packages' = any(idle)) and finished_at is not null order by slot`);
  for (const deadline = Date.now() + LATEST_MS; (await ticks()).length < 3 && Date.now() < deadline; ) await sleep(500);

  const runs = await ticks();
  assert.equal(runs.length, 3);
  assert.deepEqual(
    runs.map(({ slot }) => Number(slot) - Number(runs[0]!.slot)),
    [0, 1, 2],
    'one slot a minute, none left out',
  );
  for (const run of runs) assert.deepEqual([run.error, run.prompt], [null, true]);
  assert.equal((await db.one('select status from packages')).status, 'active');
  assert.deepEqual(
    runs.flatMap(({ changed }) => Object.entries(changed)),
    [['activate', 1]],
  );

  await sleep(2000); // the last mail
  const mails = (await m.must('cd /var/mails && tail -n +1 -- *')).split(/^==> .* <==$/m).slice(1);
  assert.ok(mails.length >= 2, 'each failing tick is mailed');
  for (const mail of mails) {
    assert.match(mail, /^To: alice$/m, `the tick that changed something said nothing: ${mail}`);
    assert.match(
      mail,
      /\n\nscheduler: The database at postgresql:\/\/u:\*\*\*@127\.0\.0\.1:1\/d cannot be reached: .*\n/,
    );
    assert.doesNotMatch(mail, /hunter2/);
  }
});

test('root installs a table for cron, which is replaced but never written over another', async () => {
  await using db = await database();
  await using m = await withCron();
  const refused = async (args: string, code: number, said: RegExp) => {
    const result = await m.run(`scheduler install ${args}`);
    assert.equal(result.code, code, result.err);
    assert.match(result.err, said);
    assert.equal((await m.run(`test -e ${TABLE}`)).code, 1);
  };
  const install = '--cron --write --user scheduler';
  await refused('--cron --write', 2, /Say with --user whom the ticks shall run as/);
  await refused(install, 78, /The settings are to be in \/etc\/scheduler\.env, which is not there\./);
  await m.put('/etc/scheduler.env', settingsOf(db), '600');
  await refused(install, 78, /scheduler may not read \/etc\/scheduler\.env: "chown scheduler/);
  await m.must('chown scheduler /etc/scheduler.env');
  await refused('--cron --write --user nosuch', 78, /There is no user nosuch here\./);
  await m.must('chmod 700 "$(npm root -g)/duetick"');
  await refused(install, 78, /scheduler may not enter all folders of .*scheduler/);
  await m.must('chmod 755 "$(npm root -g)/duetick"');

  const printed = (await m.must('scheduler install --cron')).split('\n\n')[0];
  assert.match(await m.must(`scheduler install ${install}`), /^Wrote /);
  assert.equal((await m.must(`cat ${TABLE}`)).trimEnd(), printed, 'what is printed is what is written');
  assert.equal(await m.must(`stat -c '%a %U' ${TABLE}`), '644 root\n', 'as cron demands');
  assert.match(await m.must(`scheduler install ${install}`), /was as it should be/);
  const byRoot = 'scheduler install --cron --write --user root';
  const open = '"$(npm root -g)/duetick/dist"';
  await m.must(`chmod o+w ${open}`);
  for (const [undo, path, fault] of [
    ['chown root /etc/scheduler.env', '/etc/scheduler.env', 'belongs to the user with the id'],
    [`chmod o-w ${open}`, 'duetick/dist', 'may be written by other users'],
  ]) {
    const { code, err } = await m.run(byRoot);
    assert.equal(code, 78, err);
    assert.match(err, new RegExp(`Root would run what \\S*${path} leads to, and it ${fault}`));
    await m.must(undo!);
  }
  assert.match(await m.must(byRoot), /^Replaced /);
  assert.match(await m.must(`cat ${TABLE}`), /^\* \* \* \* \* root \//m);
  await m.must('chmod 644 /etc/scheduler.env');
  assert.match(await m.must(`scheduler install ${install}`), /Note that everybody may read the password/);

  assert.equal(await m.must('scheduler install --cron --remove'), `Removed ${TABLE}.\n`);
  assert.match(await m.must('scheduler install --cron --remove'), /Nothing is installed/);
  await m.put(TABLE, '# mine\n');
  for (const args of [install, '--cron --remove']) {
    const { code, err } = await m.run(`scheduler install ${args}`);
    assert.equal(code, 78);
    assert.match(err, /was not made by "scheduler install"/);
    assert.equal(await m.must(`cat ${TABLE}`), '# mine\n');
  }
  assert.match(await m.must(`scheduler install ${install} --force`), /^Replaced /);
});

test('two installations have files of their own, and each is removed by its name', async () => {
  await using db = await database();
  await using m = await withCron();
  await m.put('/etc/cron.d/scheduler-mine', '# somebody else made it\n');
  for (const name of ['', '-shop']) {
    await forOwner(m, `/etc/scheduler${name}.env`, settingsOf(db), 'scheduler');
    const option = name && ' --name shop';
    assert.match(
      await m.must(`scheduler install --cron --write --user scheduler${option}`),
      new RegExp(`^Wrote ${TABLE}${name}\\.`),
    );
  }
  assert.match(await m.must(`cat ${TABLE}-shop`), /tick --env-file \/etc\/scheduler-shop\.env/);
  const printed = await m.must('scheduler install --cron --name shop');
  assert.match(printed, new RegExp(`^# In place on this machine: ${TABLE}, ${TABLE}-shop$`, 'm'));
  assert.equal(await m.must('scheduler install --cron --remove --name shop'), `Removed ${TABLE}-shop.\n`);
  assert.match(await m.must(`cat ${TABLE}`), /scheduler\.env/);

  const alice = { user: 'alice' };
  await m.must('mkdir -m 700 ~/.config && : > ~/.config/scheduler.env && : > ~/.config/scheduler-shop.env', alice);
  await m.must('scheduler install --cron --write && scheduler install --cron --write --name shop', alice);
  const lines = async () => (await m.must('crontab -l', alice)).match(/^\* .*$/gm)!.length;
  assert.equal(await lines(), 2);
  await m.must('scheduler install --cron --remove', alice);
  assert.equal(await lines(), 1);
  assert.match(await m.must('crontab -l', alice), /scheduler-shop\.env/);
});

test('the logrotate snippet rotates a log that ticks were sent to', async () => {
  await using m = await withCron();
  await m.install('logrotate');
  await m.must(
    'cp "$(npm root -g)/duetick/deploy/logrotate" /etc/logrotate.d/scheduler; chmod 644 /etc/logrotate.d/scheduler',
  );
  await m.must('echo something > /var/log/scheduler.log');
  const { code, err } = await m.run('logrotate --force /etc/logrotate.d/scheduler');
  assert.deepEqual([code, err], [0, '']);
  assert.equal(
    await m.must(`cd /var/log && stat -c '%n %a %U %s' scheduler.log*`),
    'scheduler.log 640 scheduler 0\nscheduler.log.1 644 root 10\n',
  );
});

test('everybody else gets one block of lines in their own crontab, replaced and removed without a trace', async () => {
  await using m = await withCron();
  const alice = { user: 'alice' };
  const crontab = () => m.must('crontab -l', alice);
  await m.must('mkdir -m 700 ~/.config && : > ~/.config/scheduler.env', alice);
  assert.match(await m.must('scheduler install --cron --write', alice), /^Added it to your crontab/);
  assert.match(await m.must('scheduler install --cron --remove', alice), /^Took the lines/);
  assert.equal(await crontab(), '');

  const before = 'MAILTO=alice@example.org\n5 4 * * * echo hello\n';
  await m.must('crontab -', { ...alice, input: before });
  await m.must('scheduler install --cron --write', alice);
  await m.must('crontab -', { ...alice, input: `${await crontab()}6 5 * * * echo after\n` });
  const again = await m
    .must(`scheduler install --cron --write --env-file '/home/alice/50% of $it.env'`, alice)
    .catch((error) => error.message);
  assert.match(again, /which is not there/);
  await m.must(`: > '/home/alice/50% of $it.env'`);
  const replaced = await m.must(`scheduler install --cron --write --env-file '/home/alice/50% of $it.env'`, alice);
  assert.match(replaced, /^Replaced it in your crontab/);
  const lines = (await crontab()).split('\n').filter((line) => /^[^#]/.test(line));
  assert.equal(lines.length, 4);
  assert.match(
    lines[3]!,
    /^\* \* \* \* \* \/\S+ \/\S+ tick --env-file '\/home\/alice\/50\\% of \$it\.env' >\/dev\/null$/,
  );
  await m.must('scheduler install --cron --remove', alice);
  assert.equal(await crontab(), `${before}6 5 * * * echo after\n`);
  const { code, err } = await m.run('scheduler install --systemd --write', alice);
  assert.equal(code, 2);
  assert.match(err, /run it as root, with sudo/);
});
