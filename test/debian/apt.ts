import { spawn } from 'node:child_process';
import { accessSync, chmodSync, constants, lstatSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// Programs that npm does not have. Nothing is installed as a service: Debian's packages are unpacked into a folder, once.

export interface Programs {
  /** What the folder is called. */
  name: string;
  packages: string[];
  /** Paths that must be there for it to be complete. */
  needed: string[];
}

/** The folder below which the programs are: installed, unpacked before, or unpacked now. */
export async function findPrograms(programs: Programs): Promise<string> {
  if (isComplete('/', programs)) return '/';
  const cache = join(tmpdir(), `scheduler-${programs.name}-${process.getuid?.() ?? 0}`);
  const found = lstatSync(cache, { throwIfNoEntry: false });
  if (found && found.uid !== process.getuid?.()) {
    throw new Error(`${cache} is not a folder of yours: remove it, or set TMPDIR to another folder.`);
  }
  if (isComplete(cache, programs)) return cache;
  await unpack(cache, programs);
  if (isComplete(cache, programs)) return cache;
  throw new Error(`Debian's packages ${programs.packages.join(', ')} do not hold what was looked for in ${cache}.`);
}

/** Where the unpacked programs find their libraries, some in a folder of their own. */
export function libraryPath(root: string, own?: string): string {
  if (root === '/') return '';
  return ['usr/lib', 'lib']
    .map((folder) => join(root, folder))
    .flatMap((folder) => [folder, ...(own ? [join(folder, own)] : []), ...platformFolders(folder)])
    .join(':');
}

/** Debian's folder for the processor's architecture, such as x86_64-linux-gnu. */
function platformFolders(folder: string): string[] {
  const names = lstatSync(folder, { throwIfNoEntry: false }) ? readdirSync(folder) : [];
  return names.filter((name) => /-linux-/.test(name)).map((name) => join(folder, name));
}

const isComplete = (root: string, { needed }: Programs) =>
  needed.every((path) => {
    try {
      accessSync(join(root, path), constants.R_OK);
      return true;
    } catch {
      return false;
    }
  });

async function unpack(into: string, programs: Programs): Promise<void> {
  const folder = await mkdtemp(`${into}-`);
  try {
    await download(folder, programs.packages).catch(async () => {
      // Package lists that are missing or older than the archive.
      await command('apt-get', ['update'], folder).catch(() => {});
      await download(folder, programs.packages);
    });
    mkdirSync(join(folder, 'root'));
    for (const file of readdirSync(folder).filter((name) => name.endsWith('.deb'))) {
      await command('dpkg', ['-x', file, 'root'], folder);
    }
    chmodSync(join(folder, 'root'), 0o755); // servers give up root, and still read their libraries
    // Another test may have put it there meanwhile, and uses it. An incomplete one is a remnant of an older list of packages.
    if (!isComplete(into, programs) && lstatSync(into, { throwIfNoEntry: false }))
      renameSync(into, join(folder, 'remnant'));
    renameSync(join(folder, 'root'), into);
  } catch (error) {
    if (isComplete(into, programs)) return; // another test was faster
    throw new Error(
      `These tests need ${programs.packages[0]}, which is neither installed here nor could be fetched: ` +
        `${(error as Error).message}. Install ${programs.packages.join(' ')}, or run them as root on Debian or Ubuntu with a network.`,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A package that is installed already, such as libpq5, is used where it is. */
async function download(folder: string, packages: string[]): Promise<void> {
  const plan = await command('apt-get', ['install', '--simulate', '--no-install-recommends', ...packages], folder);
  const missing = [...plan.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name!);
  await command(
    'apt-get',
    ['download', '-o', 'APT::Sandbox::User=root', ...new Set([...packages, ...missing])],
    folder,
  );
}

function command(program: string, args: string[], cwd: string): Promise<string> {
  return new Promise((done, fail) => {
    const child = spawn(program, args, {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('error', (error) => fail(new Error(`${program} cannot be run (${error.message})`)));
    child.on('close', (code) =>
      code === 0 ? done(output) : fail(new Error(`"${program} ${args[0]}" said: ${lastLines(output)}`)),
    );
  });
}

export function lastLines(text: string): string {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter(Boolean).slice(-6).join(' | ') || 'nothing';
}
