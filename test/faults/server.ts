import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { removeServer, type Server, startServer, stopServer } from '../../src/embedded/server.ts';
import { makeTemplate, POSTGRES } from '../support/harness.ts';

/** A server of a test's own, which it may stop, kill and start again. */
export interface OwnServer extends AsyncDisposable {
  url: string;
  dir: string;
  pid(): number;
  /** "fast" ends all sessions, "immediate" does not even do that, and the next start has to recover. */
  stop(how: 'fast' | 'immediate'): Promise<void>;
  start(settings?: Record<string, string>): Promise<void>;
}

export async function ownServer(settings: Record<string, string> = {}): Promise<OwnServer> {
  // Beside the one that all share: see place() in test/run.ts.
  const dir = mkdtempSync(join(dirname(process.env.TEST_SERVER_DIR!), 'sch-own-'));
  const launch = (more: Record<string, string> = {}) =>
    startServer({ dir, ...POSTGRES, settings: { fsync: 'off', ...settings, ...more } });
  let running: Server = await launch();
  await makeTemplate(running.url);
  const pid = () => Number.parseInt(readFileSync(join(dir, 'data', 'postmaster.pid'), 'utf8'), 10);
  return {
    get url() {
      return running.url;
    },
    dir,
    pid,
    async stop(how) {
      if (how === 'fast') return void (await stopServer(dir));
      const gone = pid();
      process.kill(gone, 'SIGQUIT');
      while (isAlive(gone)) await new Promise((resolve) => setTimeout(resolve, 20));
    },
    async start(more) {
      running = await launch(more);
    },
    async [Symbol.asyncDispose]() {
      await removeServer(dir);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function isAlive(pid: number): boolean {
  try {
    // A process that has ended and that nobody has asked about is none any more.
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** A folder that holds no more than so many megabytes, or why there can be none here. */
export async function tinyDisk(megabytes: number, owner: { uid: number; gid: number }) {
  const folder = mkdtempSync(join(tmpdir(), 'sch-tiny-'));
  const run = promisify(execFile);
  try {
    await run('mount', [
      '-t',
      'tmpfs',
      '-o',
      `size=${megabytes}m,uid=${owner.uid},gid=${owner.gid},mode=700`,
      'tmpfs',
      folder,
    ]);
  } catch (error) {
    rmSync(folder, { recursive: true });
    return (
      String((error as Error).message)
        .split('\n')
        .at(-2) ?? 'mount failed'
    );
  }
  return {
    folder,
    async [Symbol.asyncDispose]() {
      await run('umount', ['-l', folder]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
