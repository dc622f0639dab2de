import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT, VERSION } from '../../src/base/version.ts';
import type { Finished } from '../support/harness.ts';
import { database } from '../support/harness.ts';
import { type Machine, machine, NETWORK } from './machine.ts';

// The Containerfile as it is, built by an engine and run as Kubernetes would. Only the images that it starts from cannot be
// fetched everywhere: under their names there is a minimal Debian, and the same with this machine's Node and npm.

const CONTAINERFILE = readFileSync(join(ROOT, 'deploy/Containerfile'), 'utf8');
const [NODE, DEBIAN] = [...CONTAINERFILE.matchAll(/^FROM (\S+)/gm)].map(([, name]) => name!) as [string, string];
const RELEASE = /^debian:(\w+)-slim$/.exec(DEBIAN)![1]!;
const IMAGE = /docker build -f deploy\/Containerfile -t (\S+) \./.exec(CONTAINERFILE)![1]!;

// Layers lie in memory: one overlay over another is not to be had. Control groups are left out, and the network is this one.
const SETTINGS = `
mkdir -p /tmp/layers /tmp/engine /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cat >/etc/containers/storage.conf <<END
[storage]
driver = "overlay"
runroot = "/tmp/engine"
graphroot = "/tmp/layers"
END
cat >/etc/containers/containers.conf <<END
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
[containers]
netns = "host"
cgroups = "disabled"
END`;

/** Expects the names of both images, and what a step needs to reach npm's registry as NAME=value lines. */
const BASE_IMAGES = `set -e
debootstrap --variant=minbase ${RELEASE} /tmp/debian >/dev/null
c=$(buildah from scratch)
buildah add -q $c /tmp/debian / >/dev/null
rm -r /tmp/debian
buildah commit -q --rm $c docker.io/library/${DEBIAN}
c=$(buildah from --pull-never docker.io/library/${DEBIAN})
root=$(buildah mount $c)
npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
mkdir -p $root/usr/local/lib/node_modules
cp "$(readlink -f "$(command -v node)")" $root/usr/local/bin/node
cp -a "$npm" $root/usr/local/lib/node_modules/npm
ln -s ../lib/node_modules/npm/bin/npm-cli.js $root/usr/local/bin/npm
cp -a /etc/ssl $root/etc/
buildah config --env npm_config_registry="$(npm config get registry)" $c
env | grep -E "^($NETWORK)=" | while IFS='=' read -r name value; do
  [ ! -f "$value" ] || { mkdir -p "$root$(dirname "$value")" && cp -L "$value" "$root$value"; }
  buildah config --env "$name=$value" $c
done
buildah umount $c >/dev/null
buildah commit -q --rm $c docker.io/library/${NODE}`;

let m: Machine;
before(
  async () => {
    m = await machine();
    await m.install('debootstrap', 'buildah', 'podman', 'crun');
    await m.must(SETTINGS);
    await m.must(BASE_IMAGES, { env: { ...BUILDING, ...NETWORK, NETWORK: Object.keys(NETWORK).join('|') || 'none' } });
    // What COPY . . takes: the files under version control, as .dockerignore leaves out the rest.
    const files = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT });
    const archive = execFileSync('tar', ['--null', '-T', '-', '-cz'], { cwd: ROOT, input: files });
    await m.must('mkdir /tmp/context && base64 -d | tar -xz -C /tmp/context', { input: archive.toString('base64') });
    await m.must(`cd /tmp/context && buildah bud --pull-never --network host -f deploy/Containerfile -t ${IMAGE} .`, {
      env: BUILDING,
    });
  },
  { timeout: 420_000 },
);
after(() => m[Symbol.asyncDispose]());

const BUILDING = { BUILDAH_ISOLATION: 'chroot' };
// As deploy/cronjob.yaml has it.
const TIGHT = '--rm --read-only --cap-drop=all --security-opt=no-new-privileges';
const start = (args: string, env: Record<string, string> = {}, options = ''): Promise<Finished> =>
  m.run(
    `podman run ${TIGHT} ${Object.keys(env)
      .map((name) => `--env ${name}`)
      .join(' ')} ${options} ${IMAGE} ${args}`,
    { env },
  );

test('the image ticks, on a file system that nobody can write to, as nobody in particular', async () => {
  await using db = await database();
  const settings = { DATABASE_URL: db.tcpUrl };
  await db.insert('packages', {
    ...{ name: 'x', enable_schedule: true, scheduled_activation_time: new Date(), validity: '1 hour' },
  });
  const tick = await start('', settings);
  assert.deepEqual([tick.code, tick.err], [0, '']);
  assert.match(tick.out, /activate/);
  assert.deepEqual(await start('', settings), { code: 0, out: '', err: '' });
  assert.deepEqual(await start('--version'), { code: 0, out: `${VERSION}\n`, err: '' });
  assert.equal((await start('')).code, 78);
  assert.equal((await start('', { DATABASE_URL: 'postgresql://u@127.0.0.1:1/d' })).code, 69);
  assert.equal((await start('-c "id -u; id -g"', {}, '--entrypoint sh')).out, '10001\n10001\n');
});

test('the image holds what a tick needs, its code compiled ahead, and nothing else', async () => {
  const inside = async (script: string) => (await start(`-c '${script}'`, {}, '--entrypoint sh')).out;
  const modules = '/opt/scheduler/node_modules';
  // The first line of the program names the build that the compiled code is of.
  const dist = `${modules}/duetick/dist`;
  assert.match(await inside(`ls ${dist}/$(head -c 19 ${dist}/tick.cjs | tail -c 16)-*`), /\.code$/m);
  // Every library is built into the program.
  assert.equal((await inside(`ls ${modules}`)).trim(), 'duetick');
  assert.equal((await inside('command -v npm npx')).trim(), '');
  const kilobytes = Number((await inside('du -sk /opt/scheduler')).split('\t')[0]);
  assert.ok(kilobytes < 16 * 1024, `${kilobytes} kB beside Node`);
});

test('SIGTERM ends the first process of a container within two seconds, whatever it waits for', async () => {
  // It takes connections and says nothing.
  await using silent = createServer((connection) => connection.on('error', () => {}).resume());
  await new Promise<void>((listening) => silent.listen(0, '127.0.0.1', listening));
  const { port } = silent.address() as { port: number };
  const settings = { DATABASE_URL: `postgresql://u@127.0.0.1:${port}/d`, PGCONNECT_TIMEOUT: '60' };
  for (const command of ['tick', 'doctor']) {
    const connected = new Promise((done) => silent.once('connection', done));
    const running = start(command, settings, `--name of-${command}`);
    await Promise.race([connected, running.then((early) => assert.fail(JSON.stringify(early)))]);
    await sleep(200);
    const begun = performance.now();
    await m.must(`podman kill --signal TERM of-${command}`);
    const { code } = await running;
    assert.equal(code, 75, command);
    assert.ok(performance.now() - begun < 3000, `${command} took ${performance.now() - begun} ms`);
  }
});
