import type { Transaction } from '../db/client.ts';
import { install } from './compile.ts';
import type { Job, Table } from './define.ts';
import { quoteName } from './expressions.ts';
import {
  type Catalog,
  type Found,
  keyOf,
  missingFrom,
  placeOf,
  readCatalog,
  storedName,
  tableNames,
  tablesOf,
} from './tables.ts';
import { refusedWords } from './words.ts';
import { TIMES } from './writing.ts';

/** What would make a job's rows fail, found before a tick meets it. */

export interface Refusal {
  sentence: string;
  advice: string;
  /** The same as lines to copy. */
  remedy: string[];
}

export async function refusals(tx: Transaction, job: Job): Promise<Refusal[]> {
  const catalog = await readCatalog(tx, tableNames([job]));
  const words = (await refusedWords(tx, job, catalog)).map(({ sentence, remedy }) => ({
    sentence,
    advice: `Let the check allow that, for instance: ${remedy}`,
    remedy: [remedy],
  }));
  return missingFrom(job, catalog).length > 0 ? words : [...words, ...unfilledOf(job, catalog)];
}

function unfilledOf(job: Job, catalog: Catalog): Refusal[] {
  const { rights, writes } = install(job, catalog, 'UTC');
  return tablesOf(job).flatMap((table) => {
    if (!rights.get(table.name)?.has('insert')) return [];
    const found = catalog[table.name]!;
    return unfilled(table, found, writes.get(table.name)!).map((column) => {
      const advice = `Give it a default, or say in a jobs file with "uses: ${job.name}", under "insert", what it is`;
      return {
        sentence: `a row that the job inserts into ${found.schema}.${found.name} has no ${quoteName(column)}, which is not null and has no default`,
        advice: `${advice}.`,
        remedy: [`-- ${advice}:`, `-- alter table ${placeOf(found)} alter column ${quoteName(column)} set default …;`],
      };
    });
  });
}

/** Columns that must have a value, and get none from a job that inserts rows. */
export function unfilled(table: Table, { notNull }: Found, writes: Set<string>): string[] {
  const given = new Set([...writes, ...TIMES, keyOf(table)].map((name) => storedName(table, name)));
  return Object.keys(notNull).filter((column) => !notNull[column] && !given.has(column));
}
