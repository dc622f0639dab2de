import { statfsSync } from 'node:fs';
import { freemem, tmpdir } from 'node:os';
import { type Server, startServer } from '../../src/embedded/server.ts';
import { cheapestClone, POSTGRES } from './harness.ts';

const MEMORY = '/dev/shm';
/** Five times what the slow tests take at most. */
const ENOUGH_MEMORY = 3e9;

/**
 * In memory where there is plenty: each test makes and drops a database of 500 files, which costs 15 times as much on an ext4
 * without a journal (it keeps away from inodes deleted just now), and that was half of the whole run. A timed test goes by a disk.
 */
export function place(isTimed = false): string {
  if (isTimed || freemem() < ENOUGH_MEMORY) return tmpdir();
  try {
    const { bavail, bsize } = statfsSync(MEMORY);
    return bavail * bsize < ENOUGH_MEMORY ? tmpdir() : MEMORY;
  } catch {
    return tmpdir();
  }
}

/** The server that all tests share. */
export const startTestServer = (dir: string): Promise<Server> =>
  startServer({
    dir,
    tcp: true,
    ...POSTGRES,
    // The tests kill runners and cut no power: no need to wait for the disk.
    settings: { fsync: 'off', max_connections: '200' },
  });

/** What tests are told of it; nothing that names another database reaches them. */
export async function environmentOf(server: Server, dir: string): Promise<Record<string, string | undefined>> {
  const told = {
    ...{ TEST_SERVER: server.url, TEST_SERVER_TCP: server.tcpUrl, TEST_SERVER_DIR: dir },
    TEST_CLONE: await cheapestClone(server.url),
  };
  const kept = Object.entries(process.env).filter(([name]) => !/^(PG|SCHEDULER_|DATABASE_URL$|ENABLE_)/.test(name));
  return { ...Object.fromEntries(kept), ...told };
}
