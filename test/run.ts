// Starts one real PostgreSQL server for all tests, makes the template their databases are cloned from, runs them, and
// leaves nothing behind. Arguments: files or folders to run (default: "fast", that suite), and options of node --test.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { removeServer } from '../src/embedded/server.ts';
import { makeTemplate } from './support/harness.ts';
import { startPgBouncer } from './support/pgbouncer.ts';
import { environmentOf, place, startTestServer } from './support/server.ts';

const HERE = import.meta.dirname;
// Suites by name. The slow suite is every *.slow.test.ts; the others on request are folders.
const FAST = 'fast';
const SLOW = 'slow';
const ON_REQUEST = ['hotspot', 'speed', 'debian', 'faults'].map((folder) => join(HERE, folder));

// Roles and settings that each test gives its own database are what doctor looks at; a pooler keeps connections from before.
// Its words on a pooler are tested in test/debian/pgbouncer.test.ts.
const NOT_POOLED = ['doctor.test.ts'];

/** The fast suite once more, through a pooler or with its tables in another schema. */
const isOtherWay = Boolean(process.env.TEST_POOLER || process.env.TEST_SCHEMA);

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
    .filter(({ name }) => !isOtherWay || !name.endsWith('.slow.test.ts'))
    .filter(({ name }) => !process.env.TEST_POOLER || !NOT_POOLED.includes(name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

const dir = mkdtempSync(join(place(isTimed), 'sch-'));
let code = 1;
try {
  const server = await startTestServer(dir);
  await makeTemplate(server.url);
  // One connection for the lock and one for the work of each of the twenty runners that some tests start.
  await using pooler = process.env.TEST_POOLER
    ? await startPgBouncer(server.tcpUrl!, { settings: { default_pool_size: 50, max_client_conn: 1000 } })
    : undefined;
  const environment = await environmentOf(server, dir);
  if (pooler) Object.assign(environment, { TEST_POOLER: pooler.url });
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
