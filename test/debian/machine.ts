import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT } from '../../src/base/version.ts';
import type { Finished } from '../support/harness.ts';

// A throwaway copy of this machine: its files under an overlay in memory, its own mounts and processes, the same network.
// Packages are installed and daemons run in it as they would be anywhere, and nothing of that is left when it goes.

export interface Machine extends AsyncDisposable {
  /** A script of sh, as root, with next to no environment. */
  run(script: string, options?: RunOptions): Promise<Finished>;
  /** The same; anything but success fails the test. Answers what it printed. */
  must(script: string, options?: RunOptions): Promise<string>;
  /** Runs until the machine goes. */
  start(script: string): void;
  /** Debian's packages. */
  install(...packages: string[]): Promise<void>;
  /** This project as npm would publish it, for everybody: the checkout cannot be seen from inside. */
  installPackage(): Promise<void>;
  put(path: string, text: string, mode?: string): Promise<void>;
  /** Systemd, with its journal and nothing else; what runs afterwards runs beside it. */
  boot(): Promise<void>;
}

interface RunOptions {
  user?: string;
  input?: string;
  env?: Record<string, string>;
}

const CHECKOUT = ROOT;
const PATH = `${dirname(process.execPath)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
const PATIENCE_MS = 20_000;

/** How the machine around it reaches npm's registry; cron and systemd know nothing of it. */
export const NETWORK = Object.fromEntries(
  Object.entries(process.env).filter(([name]) =>
    /^(NODE_EXTRA_CA_CERTS|SSL_CERT_\w+|npm_config_(registry|cafile)|(https?|no)_proxy)$/i.test(name),
  ),
) as Record<string, string>;

// No service may be started or stopped by a package that is installed: only what a test starts itself runs.
const SETUP = `
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount --rbind /dev dev
mount -t proc proc proc
mount -t tmpfs -o mode=1777 tmpfs tmp
# Its own checkout is not to be seen there; one in /tmp no longer is.
[ ! -d ".$2" ] || mount -t tmpfs tmpfs ".$2"
printf '#!/bin/sh\\nexit 101\\n' > usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d
: > tmp/.ready
pivot_root . mnt
cd /
umount -l /mnt
exec sleep infinity`;

// It gets devices, a /run and a tree of control groups of its own, and may not change the kernel's settings, which are
// those of the machine around it.
const BOOT = `
read go
exec unshare --pid --fork --cgroup --mount --propagation private --kill-child sh -c '
set -e
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs tmpfs /sys
mkdir -p /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
umount -R /dev
mount -t tmpfs -o mode=755 tmpfs /dev
mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/zero c 1 5; mknod -m 666 /dev/full c 1 7
mknod -m 666 /dev/random c 1 8; mknod -m 666 /dev/urandom c 1 9; mknod -m 666 /dev/tty c 5 0
mkdir /dev/shm /dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
: >/dev/console
rm -rf /lib/systemd/system/*.wants /etc/systemd/system/*.wants /usr/lib/systemd/system/*.wants
ln -sf /lib/systemd/system/timers.target /etc/systemd/system/default.target
mkdir -p /etc/systemd/system/timers.target.wants
ln -sf /lib/systemd/system/systemd-journald.service /etc/systemd/system/timers.target.wants/
export container=test
exec /lib/systemd/systemd --system'`;

export async function machine(): Promise<Machine> {
  if (process.getuid?.() !== 0)
    throw new Error('These tests make a machine inside this one: run them as root, on Debian.');
  const folder = mkdtempSync(join(tmpdir(), 'sch-debian-'));
  const holder = spawn(
    'setpriv',
    [
      // However the test ends, the machine goes with it.
      '--pdeathsig=KILL',
      'unshare',
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      '--propagation',
      'private',
      'sh',
      '-c',
      SETUP,
      'sh',
      folder,
      CHECKOUT,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let init = await readyInside(holder);
  let groups = '';
  const enter = (script: string, { user, env = {} }: RunOptions = {}) =>
    spawn(
      'nsenter',
      [
        ...[`--target=${init}`, '--mount', '--pid', '--cgroup', '--root', '--wd'],
        ...['env', '-i', `PATH=${PATH}`, 'LC_ALL=C.UTF-8'],
        ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
        ...(user === undefined ? ['HOME=/root', 'sh', '-c', script] : ['su', '-s', '/bin/sh', '-c', script, user]),
      ],
      { cwd: '/' },
    );

  const made: Machine = {
    run: (script, options) => finished(enter(script, options), options?.input),
    async must(script, options) {
      const { code, out, err } = await made.run(script, options);
      if (code !== 0)
        throw new Error(`"${script.slice(0, 200)}" ended with ${code}: ${(err || out).trim().slice(-2000)}`);
      return out;
    },
    start: (script) => void enter(script).unref(),
    async install(...packages) {
      const get = `DEBIAN_FRONTEND=noninteractive apt-get -o APT::Sandbox::User=root install -y --no-install-recommends ${packages.join(' ')}`;
      const { code } = await made.run(get);
      // Lists of packages that are missing or older than the archive.
      if (code !== 0) await made.must(`apt-get -o APT::Sandbox::User=root update && ${get}`);
    },
    async installPackage() {
      const tarball = await pack(folder);
      await copyFile(tarball, `/proc/${init}/root/tmp/package.tgz`);
      rmSync(tarball);
      await made.must('npm install --global --omit=dev --omit=optional --no-audit --no-fund /tmp/package.tgz', {
        env: NETWORK,
      });
    },
    async put(path, text, mode = '644') {
      await made.must(`cat > '${path}' && chmod ${mode} '${path}'`, { input: text });
    },
    async boot() {
      groups = mkdtempSync(join(controlGroups(), 'sch-debian-'));
      const starting = enter(BOOT);
      const shell = await childOf(starting.pid!);
      writeFileSync(join(groups, 'cgroup.procs'), shell);
      starting.stdin.write('go\n');
      init = await childOf(Number(shell));
      for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(100)) {
        const { out, err } = await made.run('systemctl is-system-running');
        if (out.trim() === 'running') return;
        if (Date.now() > deadline) throw new Error(`Systemd does not come up: ${out}${err}`);
      }
    },
    async [Symbol.asyncDispose]() {
      const gone = new Promise((resolve) => holder.once('close', resolve));
      holder.kill('SIGKILL');
      await gone;
      if (groups) await removeControlGroups(groups);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return made;
}

/** The process number, seen from outside, of the one that keeps the machine alive. */
async function readyInside(holder: ChildProcess): Promise<string> {
  let said = '';
  holder.stderr!.setEncoding('utf8').on('data', (text) => (said += text));
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; await sleep(20)) {
    if (holder.exitCode !== null) throw new Error(`No machine can be made inside this one: ${said.trim()}`);
    const init = childrenOf(holder.pid!)[0];
    if (init && isReady(init)) return init;
  }
  throw new Error('The machine inside this one was not made in time.');
}

async function childOf(pid: number): Promise<string> {
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; await sleep(10)) {
    const [child] = childrenOf(pid);
    if (child) return child;
  }
  throw new Error(`Process ${pid} has started nothing.`);
}

function childrenOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  } catch {
    return [];
  }
}

/** It does nothing but wait once there is nothing left to set up. */
function isReady(init: string): boolean {
  try {
    return existsSync(`/proc/${init}/root/tmp/.ready`) && readFileSync(`/proc/${init}/comm`, 'utf8') === 'sleep\n';
  } catch {
    return false;
  }
}

function controlGroups(): string {
  const mounted = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .find(([, , kind]) => kind === 'cgroup2');
  if (!mounted) throw new Error('Systemd needs the control groups of version 2, which are not mounted here.');
  return mounted[1]!;
}

/** The processes in them have been killed, and are gone in a moment. */
async function removeControlGroups(top: string): Promise<void> {
  const below = readdirSync(top, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name));
  for (const each of [top, ...below].sort((a, b) => b.length - a.length)) {
    for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(20)) {
      try {
        rmdirSync(each);
        break;
      } catch (error) {
        if (Date.now() > deadline) throw error;
      }
    }
  }
}

async function pack(into: string): Promise<string> {
  const { code, out, err } = await finished(
    spawn('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', into], { cwd: CHECKOUT }),
  );
  if (code !== 0) throw new Error(`"npm pack" failed: ${err}`);
  return join(into, out.trim());
}

function finished(child: ChildProcess, input?: string): Promise<Finished> {
  return new Promise((resolve, reject) => {
    let out = '';
    let err = '';
    child.stdout!.setEncoding('utf8').on('data', (text) => (out += text));
    child.stderr!.setEncoding('utf8').on('data', (text) => (err += text));
    child.stdin!.on('error', () => {}); // it may read nothing
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
    child.stdin!.end(input ?? '');
  });
}
