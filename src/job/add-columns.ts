import type { Transaction } from '../db/client.ts';
import { IS_OPENED, OPENED } from '../db/search-path.ts';
import type { Job, Table } from './define.ts';
import { quoteName, quoteText, substitute } from './expressions.ts';
import type { Making, Zones } from './indexes.ts';
import { ADDED, marked } from './steps.ts';
import {
  type Catalog,
  columnsNeeded,
  columnsOf,
  type Found,
  physical,
  placeOf,
  storedName,
  tablesOf,
} from './tables.ts';

/** The columns of a job's tables, as they are made. */

/** What PostgreSQL reads as the instant of the transaction. */
export const NOW = 'now';

/** The type of a column: that of the column it is like, or of the instants that the table has already. */
export function typeOf(job: Job, { name, columns, ours }: Table, column: string, catalog: Catalog): string {
  const { kind, type, like } = columns[column]!;
  if (like) {
    const other = tablesOf(job).find((each) => each.name === like.table);
    const found = catalog[like.table];
    return found?.columns[other ? storedName(other, like.column) : like.column] ?? type;
  }
  if (kind !== 'instant') return type;
  const instants = Object.entries(columns).filter(([, each]) => each.kind === 'instant' && each.reads === undefined);
  const found = instants.map(([each, { is = each }]) => catalog[name]?.columns[is]);
  const there = found.find((each) => each?.startsWith('timestamp')) ?? type;
  // With seconds alone, what a queue of ours has due now is due after the next full second: a tick later.
  return ours ? there.replace(/\(\d\)/, '') : there;
}

export function definition(job: Job, table: Table, name: string, catalog: Catalog, isNew: boolean): string {
  const column = table.columns[name]!;
  const isPlain = !isNew && !column.safeToAdd;
  const parts = [
    quoteName(storedName(table, name)),
    typeOf(job, table, name, catalog),
    column.notNull && !isPlain && 'not null',
    column.default !== undefined && !isPlain && `default ${column.default}`,
    column.unique && isNew && 'unique',
    column.check && isNew && `check (${column.check})`,
  ];
  return parts.filter(Boolean).join(' ');
}

/** If a file lays the job over the table, only the columns that the job needs are missing. */
export function columnsToAdd(table: Table, found: Found, isLaid: boolean): string[] {
  const [all, there] = [isLaid ? columnsNeeded(table) : Object.keys(table.columns), columnsOf(table, found)];
  return all.filter((name) => {
    const { newTableOnly, kind } = table.columns[name]!;
    return !there.includes(name) && !newTableOnly && kind !== 'key';
  });
}

export async function addColumns(
  { tx, zones, report, job }: Making & { zones: Zones; job: Job },
  table: Table,
  found: Found,
  catalog: Catalog,
  missing: string[],
): Promise<void> {
  if (missing.length === 0) return;
  const place = placeOf(found);
  const added = missing.map((column) => `add column ${definition(job, table, column, catalog, false)}`);
  await tx.query(`alter table ${place} ${added.join(', ')}`);
  for (const column of missing) {
    const stored = storedName(table, column);
    report({ does: 'add', what: 'column', name: `${found.schema}.${found.name}.${stored}` });
    await comment(tx, place, stored, marked(table.columns[column]!.comment, ADDED));
  }
  await beginColumns(tx, table, found, missing, zones.dbZone);
}

/** SQL over the columns of a table, for what a new column begins with. Others that are new hold nothing then. */
export function beginOf(table: Table, found: Found, column: string, dbZone: string): string | undefined {
  const there = columnsOf(table, found);
  const value = (name: string) =>
    there.includes(name) ? physical(table, found, name, dbZone) : `null::${table.columns[name]!.type}`;
  const { began } = table.columns[column]!;
  return began && substitute(began, (name) => (Object.hasOwn(table.columns, name) ? value(name) : undefined));
}

/** The job does nothing again that happened before it came. To the application no row has changed, so its triggers are not asked. */
async function beginColumns(tx: Transaction, table: Table, found: Found, added: string[], dbZone: string) {
  const began = added.flatMap((column) => {
    const sql = beginOf(table, found, column, dbZone);
    return sql ? [{ set: `${quoteName(storedName(table, column))} = ${sql}`, has: `(${sql}) is not null` }] : [];
  });
  if (began.length === 0) return;
  const place = placeOf(found);
  const [set, has] = [began.map((each) => each.set).join(', '), began.map((each) => each.has).join(' or ')];
  const triggers = await tx.query<{ off: string; on: string }>(
    `select format('disable trigger %I', tgname) as off, format('enable %s trigger %I', case tgenabled when 'A' then 'always' end, tgname) as on
     from pg_trigger where tgrelid = :oid::oid and not tgisinternal and tgenabled in ('O', 'A')`,
    { oid: found.oid },
  );
  for (const { off } of triggers) await tx.query(`alter table ${place} ${off}`);
  await tx.query(`with ${OPENED} update ${place} as t set ${set} where ${IS_OPENED} and (${has})`, {
    dbZone,
    now: NOW,
  });
  for (const { on } of triggers) await tx.query(`alter table ${place} ${on}`);
}

export async function comment(tx: Transaction, place: string, column: string, text: string | undefined): Promise<void> {
  if (text) await tx.query(`comment on column ${place}.${quoteName(column)} is ${quoteText(text)}`);
}
