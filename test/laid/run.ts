// Runs the tests of the jobs, and those of ids of every type, with every table in another schema and every table and column under another name.
// Those that look at plans and indexes by name, or at how migrating adopts a table, are about the usual names.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';

const JOBS = join(import.meta.dirname, '../jobs');
const OF_USUAL_NAMES = /(?:slow|adoption|plans|private)\.test\.ts$/;

const namesIn = (folder: string) =>
  readdirSync(folder, { withFileTypes: true, recursive: true }).map((entry) => join(entry.parentPath, entry.name));

/** The names of some tests; none: all. */
const wanted = process.argv.slice(2);
const files = [...namesIn(JOBS), join(JOBS, '../job/ids.test.ts')]
  .filter((file) => file.endsWith('.test.ts') && !OF_USUAL_NAMES.test(file))
  .filter((file) => wanted.length === 0 || wanted.some((name) => basename(file) === `${name}.test.ts`));
const reporter = `--test-reporter=${join(import.meta.dirname, 'reporter.mjs')}`;
const { status } = spawnSync(
  process.execPath,
  ['--import', 'tsx', join(import.meta.dirname, '../run.ts'), reporter, ...files.sort()],
  { stdio: 'inherit', env: { ...process.env, TEST_LAID: '1' } },
);
process.exit(status ?? 1);
