import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import type { Job } from '../../src/job/define.ts';
import { tableNames, tablesOf } from '../../src/job/tables.ts';
import { cli } from './harness.ts';
import { LAID_SCHEMA as SCHEMA } from './schema.ts';

/**
 * A database in which every table lies in another schema, under another name, with other names for all columns. The jobs are laid
 * over them by a file. Views of the old names let a test go on as if nothing were different.
 */

const placed = (table: string) => `the ${table}`;
const named = (column: string) => `a ${column}`;
const q = (name: string) => `"${name.replaceAll('"', '""')}"`;

export async function layEverything(url: string, jobs: Job[]): Promise<void> {
  let yaml: string;
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`create schema ${q(SCHEMA)}`);
    const present = new Set<string>();
    for (const table of tableNames(jobs)) {
      const { rows } = await client.query<{ name: string }>(
        `select attname as name from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum`,
        [table],
      );
      await client.query(`alter table ${table} rename to ${q(placed(table))}`);
      await client.query(`alter table ${q(placed(table))} set schema ${q(SCHEMA)}`);
      const place = `${q(SCHEMA)}.${q(placed(table))}`;
      for (const { name } of rows) await client.query(`alter table ${place} rename ${q(name)} to ${q(named(name))}`);
      for (const { name } of rows) present.add(`${table}.${name}`);
      const columns = rows.map(({ name }) => `${q(named(name))} as ${q(name)}`);
      await client.query(`create view ${table} as select ${columns.join(', ')} from ${place}`);
    }
    // An application has none of the indexes that "scheduler migrate" makes.
    const { rows: made } = await client.query<{ name: string }>(
      `select format('%I.%I', schemaname, indexname) as name from pg_indexes where schemaname = $1 and indexname ~ '_(once|to_[a-z_]+)$'`,
      [SCHEMA],
    );
    if (made.length > 0) await client.query(`drop index ${made.map(({ name }) => name).join(', ')}`);
    yaml = yamlOf(jobs, (table, column) => present.has(`${table}.${column}`));
  } finally {
    await client.end();
  }
  const folder = mkdtempSync(join(tmpdir(), 'laid-'));
  try {
    const file = join(folder, 'scheduler.yaml');
    writeFileSync(file, yaml);
    const { code, out, err } = await cli(['apply', file], { env: { DATABASE_URL: url } });
    if (code !== 0) throw new Error(`apply ended with ${code}: ${out}${err}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function yamlOf(jobs: Job[], isPresent: (table: string, column: string) => boolean): string {
  const uses = Object.fromEntries(
    jobs.map((job) => {
      const [main, ...others] = tablesOf(job).map((table) => {
        return [
          table.name,
          {
            table: `${q(SCHEMA)}.${q(placed(table.name))}`,
            columns: Object.fromEntries(
              Object.keys(table.columns)
                .filter((name) => isPresent(table.name, name))
                .map((name) => [name, q(named(name))]),
            ),
          },
        ] as const;
      });
      const tables = others.length > 0 ? { tables: Object.fromEntries(others) } : {};
      return [job.name, { uses: job.name, ...main![1], ...tables }];
    }),
  );
  // JSON is YAML.
  return JSON.stringify({ jobs: uses }, null, 2);
}
