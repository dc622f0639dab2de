import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ROOT } from '../../src/version.ts';
import type { Finished } from '../harness.ts';

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
}

interface RunOptions {
  user?: string;
  input?: string;
  env?: Record<string, string>;
}

const CHECKOUT = fileURLToPath(ROOT);
const PATH = `${dirname(process.execPath)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
const PATIENCE_MS = 20_000;

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
mount -t tmpfs tmpfs ".$2"
printf '#!/bin/sh\\nexit 101\\n' > usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d
: > tmp/.ready
exec sleep infinity`;

export async function machine(): Promise<Machine> {
  if (process.getuid?.() !== 0)
    throw new Error('These tests make a machine inside this one: run them as root, on Debian.');
  const folder = mkdtempSync(join(tmpdir(), 'sch-debian-'));
  const holder = spawn(
    'unshare',
    [
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
  const init = await readyInside(holder, folder);
  const inside = join(`/proc/${init}/root`, folder, 'root');
  const enter = (script: string, { user, env = {} }: RunOptions = {}) =>
    spawn(
      'nsenter',
      [
        `--target=${init}`,
        '--mount',
        '--pid',
        ...['chroot', join(folder, 'root'), 'env', '-i', `PATH=${PATH}`, 'LC_ALL=C.UTF-8'],
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
      await copyFile(tarball, join(inside, 'tmp/package.tgz'));
      rmSync(tarball);
      await made.must('npm install --global --omit=dev --omit=optional --no-audit --no-fund /tmp/package.tgz');
    },
    async put(path, text, mode = '644') {
      await made.must(`cat > '${path}' && chmod ${mode} '${path}'`, { input: text });
    },
    async [Symbol.asyncDispose]() {
      const gone = new Promise((resolve) => holder.once('close', resolve));
      holder.kill('SIGKILL');
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return made;
}

/** The process number, seen from outside, of the one that keeps the machine alive. */
async function readyInside(holder: ChildProcess, folder: string): Promise<string> {
  let said = '';
  holder.stderr!.setEncoding('utf8').on('data', (text) => (said += text));
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; await sleep(20)) {
    if (holder.exitCode !== null) throw new Error(`No machine can be made inside this one: ${said.trim()}`);
    const init = childrenOf(holder.pid!)[0];
    if (init && isReady(init, folder)) return init;
  }
  throw new Error('The machine inside this one was not made in time.');
}

function childrenOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  } catch {
    return [];
  }
}

function isReady(init: string, folder: string): boolean {
  try {
    return readdirSync(join(`/proc/${init}/root`, folder, 'root/tmp')).includes('.ready');
  } catch {
    return false;
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
