// Makes a cluster: initdb, then a database in it. It is made aside and renamed into place when it is complete.

import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { isOurs } from './folder.ts';
import { type Finished, lastLines, run, type User, unless } from './process.ts';

export const DATABASE = 'scheduler';

export async function createCluster(home: string, bin: string, user: User): Promise<void> {
  const others = (await fs.readdir(home)).filter((name) => !isOurs(name));
  if (others.length > 0) {
    throw new Error(
      `${home} holds other files (${others[0]}), so no PostgreSQL server is made there: choose an empty folder.`,
    );
  }
  if (user) await fs.chmod(home, 0o711); // the server's user passes through, nobody lists it
  const fresh = await fs.mkdtemp(join(home, 'new-'));
  const password = `${fresh}.password`;
  try {
    await fs.writeFile(password, randomBytes(18).toString('base64url'), { mode: 0o600 });
    if (user) for (const path of [fresh, password]) await fs.chown(path, user.uid, user.gid);
    const how = ['--no-sync', '--encoding=UTF8', '--locale=C', '--auth-local=trust', '--auth-host=scram-sha-256'];
    const initdb = ['-D', fresh, '-U', 'postgres', `--pwfile=${password}`, ...how];
    refuseFailure(home, await run(join(bin, 'initdb'), initdb, user));
    const single = ['--single', '-F', '-c', 'exit_on_error=on', '-D', fresh, 'postgres'];
    refuseFailure(home, await run(join(bin, 'postgres'), single, user, `create database ${DATABASE}\n`));
    await fs.rename(password, join(fresh, 'password'));
    await fs.rename(fresh, join(home, 'data')).catch(unless('ENOTEMPTY', 'EEXIST')); // another start was faster
  } finally {
    for (const path of [fresh, password]) await fs.rm(path, { recursive: true, force: true });
  }
}

function refuseFailure(home: string, { code, output }: Finished): void {
  if (code === 0) return;
  throw new Error(
    `No PostgreSQL server could be made in ${home}, try TMPDIR=/tmp or a database of your own: ${lastLines(output)}`,
  );
}
