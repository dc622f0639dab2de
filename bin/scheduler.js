#!/bin/sh
':' //; set -- --v8-pool-size=1 -- "$0" "$@"; [ -x "${0%/*}/node" ] && exec "${0%/*}/node" "$@"; command -v node >/dev/null && exec node "$@"; for node in "$(cat "$(dirname "$(readlink -f "$0")")/../dist/node-path" 2>/dev/null)" /usr/local/bin/node; do [ -x "$node" ] && exec "$node" "$@"; done; echo 'scheduler: Node.js was not found: not beside this command, not in PATH, not in /usr/local/bin. Install it, or set PATH in the crontab.' >&2; exit 78

// The launcher: built code when there is any, else the sources. It relies on no environment and no working directory. Node
// starts four threads to compile and to collect garbage; for a run of a tenth of a second they cost a fifth of its time.
const { existsSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const { dirname, join } = require('node:path');
const { Script } = require('node:vm');

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 12)) {
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
// As cron and systemd start it, with no more than a file of settings, it needs a part of the program only.
const isPlain = argv[2] === 'tick' && (argv.length === 3 || (argv.length === 5 && argv[3] === '--env-file'));
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

/**
 * Compiling takes a fifth of an idle tick, so V8's compiled code is kept beside the program. Nowhere else: only somebody who may
 * write the program itself may write there.
 */
function runBuilt() {
  const source = readFileSync(built, 'latin1');
  // The first line names the build. V8 itself compares no more than the length of a source with its compiled code.
  const kept = join(root, 'dist', `${source.slice(3, 19)}-${process.version}-${process.arch}.code`);
  let cachedData;
  try {
    cachedData = readFileSync(kept);
  } catch {}
  const script = new Script(source, { filename: built, cachedData });
  const program = { exports: {} };
  // Nothing else of "node:module" is needed, and asking for it by name would load it all.
  script.runInThisContext()(program.exports, module.constructor.createRequire(built), program, built, dirname(built));
  if (!isPlain || script.cachedDataRejected === false) return;
  // A run that found no database has compiled nearly all that it needs: an image is built where there is none.
  process.on('exit', (code) => {
    if (code !== 0 && code !== 69) return;
    try {
      writeFileSync(`${kept}.${process.pid}`, script.createCachedData());
      renameSync(`${kept}.${process.pid}`, kept);
    } catch {} // It only saves time.
  });
}
