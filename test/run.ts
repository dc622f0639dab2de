// Starts one real PostgreSQL server for all tests, makes the template their databases are cloned from, runs them, and
// leaves nothing behind. Arguments: files or folders to run (default: "fast", that suite), and options of node --test.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { freemem, tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeServer, startServer } from '../src/embedded/server.ts';
import { cheapestClone, makeTemplate, POSTGRES } from './support/harness.ts';
import { startPgBouncer } from './support/pgbouncer.ts';

const HERE = import.meta.dirname;
// Suites by name. The slow suite is every *.slow.test.ts; the others on request are folders.
const FAST = 'fast';
const SLOW = 'slow';
const ON_REQUEST = ['hotspot', 'speed', 'debian', 'faults'].map((folder) => join(HERE, folder));

// Roles and settings that each test gives its own database are what doctor looks at; a pooler keeps connections from before.
// Its words on a pooler are tested in test/debian/pgbouncer.test.ts.
const NOT_POOLED = ['doctor.test.ts'];

const MEMORY = '/dev/shm';
/** Five times what the slow tests take at most. */
const ENOUGH_MEMORY = 3e9;

const given = process.argv.slice(2);
const options = given.filter((arg) => arg.startsWith('--'));
const named = given.filter((arg) => !arg.startsWith('--'));
const isTimed = named.some((path) => path.includes('speed'));
const files = named.length > 0 ? named.flatMap(expand) : expand(FAST);

function expand(path: string): string[] {
  if (path.endsWith('.ts')) return [path];
  const suite = path === FAST || path === SLOW;
  return readdirSync(suite ? HERE : path, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .filter((entry) => !suite || entry.name.endsWith('.slow.test.ts') === (path === SLOW))
    .filter((entry) => path !== FAST || !ON_REQUEST.includes(entry.parentPath))
    .filter(({ name }) => !process.env.TEST_POOLER || !(NOT_POOLED.includes(name) || name.endsWith('.slow.test.ts')))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/**
 * In memory where there is plenty: each test makes and drops a database of 500 files, which costs 15 times as much on an ext4
 * without a journal (it keeps away from inodes deleted just now), and that was half of the whole run. What is timed goes by a disk.
 */
function place(): string {
  if (isTimed || freemem() < ENOUGH_MEMORY) return tmpdir();
  try {
    const { bavail, bsize } = statfsSync(MEMORY);
    return bavail * bsize < ENOUGH_MEMORY ? tmpdir() : MEMORY;
  } catch {
    return tmpdir();
  }
}

const dir = mkdtempSync(join(place(), 'sch-'));
let code = 1;
try {
  const server = await startServer({
    dir,
    tcp: true,
    ...POSTGRES,
    // The tests kill runners and cut no power: no need to wait for the disk.
    settings: { fsync: 'off', max_connections: '200' },
  });
  await makeTemplate(server.url);
  // One connection for the lock and one for the work of each of the twenty runners that some tests start.
  await using pooler = process.env.TEST_POOLER
    ? await startPgBouncer(server.tcpUrl!, { settings: { default_pool_size: 50, max_client_conn: 1000 } })
    : undefined;
  const environment = {
    ...process.env,
    ...{ TEST_SERVER: server.url, TEST_SERVER_TCP: server.tcpUrl, TEST_SERVER_DIR: dir },
    TEST_CLONE: await cheapestClone(server.url),
  };
  if (pooler) Object.assign(environment, { TEST_POOLER: pooler.url });
  for (const name of Object.keys(environment)) {
    if (/^(PG|SCHEDULER_|DATABASE_URL$|ENABLE_)/.test(name)) delete (environment as Record<string, unknown>)[name];
  }
  code = await new Promise<number>((resolve) => {
    const node = spawn(
      process.execPath,
      ['--import', 'tsx', '--test', `--test-concurrency=${isTimed ? 1 : 4}`, ...options, ...files],
      {
        stdio: 'inherit',
        env: environment,
      },
    );
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => node.kill(signal));
    node.on('exit', (status) => resolve(status ?? 1));
  });
} finally {
  await removeServer(dir);
  rmSync(dir, { recursive: true, force: true });
}
process.exitCode = code;
