#!/bin/sh
':' //; for node in "$(dirname "$0")/node" "$(command -v node)" "$(cat "$(dirname "$(readlink -f "$0")")/../dist/node-path" 2>/dev/null)" /usr/local/bin/node; do [ -x "$node" ] && exec "$node" "$0" "$@"; done; echo 'scheduler: Node.js was not found: not beside this command, not in PATH, not in /usr/local/bin. Install it, or set PATH in the crontab.' >&2; exit 78

// The launcher: built code when there is any, else the sources. It relies on no environment and no working directory.
const { existsSync } = require('node:fs');
const { dirname, join } = require('node:path');

if (Number.parseInt(process.versions.node, 10) < 20) {
  process.stderr.write(`scheduler: Node.js ${process.versions.node} is too old; it needs 20.12 or later.\n`);
  process.exit(78);
}

const root = dirname(__dirname);
const built = join(root, 'dist', 'scheduler.cjs');
if (existsSync(built)) {
  require(built);
} else if (existsSync(join(root, 'src', 'cli.ts'))) {
  require('tsx/cjs/api').register();
  import(require('node:url').pathToFileURL(join(root, 'src', 'cli.ts')).href);
}
