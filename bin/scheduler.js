#!/bin/sh
':' //; [ -x "${0%/*}/node" ] && exec "${0%/*}/node" -- "$0" "$@"; command -v node >/dev/null && exec node -- "$0" "$@"; for node in "$(cat "$(dirname "$(readlink -f "$0")")/../dist/node-path" 2>/dev/null)" /usr/local/bin/node; do [ -x "$node" ] && exec "$node" -- "$0" "$@"; done; echo 'scheduler: Node.js was not found: not beside this command, not in PATH, not in /usr/local/bin. Install it, or set PATH in the crontab.' >&2; exit 78

// The launcher: built code when there is any, else the sources. It relies on no environment and no working directory.
const { closeSync, existsSync, fstatSync, mkdirSync, openSync, readSync, renameSync, writeFileSync } = require('node:fs');
const { dirname, join } = require('node:path');
const { Script } = require('node:vm');

if (Number.parseInt(process.versions.node, 10) < 20) {
  process.stderr.write(`scheduler: Node.js ${process.versions.node} is too old; it needs 20.12 or later.\n`);
  process.exit(78);
}

// The first process of a container does not even hear a signal that nobody listens to: neither before a run does, nor in a
// command that never does. Elsewhere such a signal ends the process by itself.
if (process.pid === 1) {
  for (const signal of ['SIGTERM', 'SIGINT'])
    process.on(signal, () => process.listenerCount(signal) === 1 && process.exit(75));
}

const root = dirname(__dirname);
const { argv } = process;
const isTick = argv[2] === 'tick';
// As cron and systemd start it, with no more than a file of settings, it needs a part of the program only.
const isPlain = isTick && (argv.length === 3 || (argv.length === 5 && argv[3] === '--env-file'));
const built = join(root, 'dist', isPlain ? 'tick.cjs' : 'scheduler.cjs');
const sources = join(root, 'src', 'cli.ts');

if (existsSync(built)) {
  runBuilt();
} else if (existsSync(sources) && existsSync(join(root, 'node_modules', 'tsx'))) {
  import('tsx/esm/api').then(({ register }) => {
    register();
    return import(require('node:url').pathToFileURL(sources).href);
  });
} else {
  process.stderr.write(`scheduler: it is not installed yet: run "npm install" in ${root}.\n`);
  process.exit(78);
}

/** Compiling the program takes as long as an idle tick has to run, so V8's compiled code is kept beside it. */
function runBuilt() {
  // For the source, and then for its compiled code: touching fresh memory costs more than reading.
  const room = Buffer.allocUnsafeSlow(1 << 19);
  const source = read(built, room).toString('latin1');
  // The first line names the build: V8 itself only compares the length of a source with its compiled code.
  const name = `${source.slice(3, 19)}-${process.version}-${process.arch}.code`;
  const home = process.env.XDG_CACHE_HOME || (process.env.HOME && join(process.env.HOME, '.cache'));
  const places = [join(root, 'dist'), ...(home ? [join(home, 'duetick')] : [])].map((folder) => join(folder, name));
  const script = new Script(source, { filename: built, cachedData: firstReadable(places, room) });
  const program = { exports: {} };
  // Of "node:module", which asking for it by name would load, nothing else is needed.
  const { createRequire } = module.constructor;
  script.runInThisContext()(program.exports, createRequire(built), program, built, dirname(built));
  if (script.cachedDataRejected !== false && isTick) {
    // A run that found no database has compiled nearly all that it needs: an image is built where there is none.
    process.on('exit', (code) => (code === 0 || code === 69) && keep(places, script.createCachedData()));
  }
}

function firstReadable(files, room) {
  for (const file of files) {
    try {
      return read(file, room);
    } catch {}
  }
  return undefined;
}

function read(file, room) {
  const open = openSync(file);
  try {
    const { size } = fstatSync(open);
    const space = size > room.length ? Buffer.allocUnsafeSlow(size) : room;
    return space.subarray(0, readSync(open, space, 0, size, 0));
  } finally {
    closeSync(open);
  }
}

/** In the first folder that may be written to. It only saves time: failing is no fault. */
function keep(files, code) {
  for (const file of files) {
    try {
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      writeFileSync(`${file}.${process.pid}`, code, { mode: 0o644 });
      renameSync(`${file}.${process.pid}`, file);
      return;
    } catch {}
  }
}
