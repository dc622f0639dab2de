import { configurationError } from '../base/errors.ts';
import type { Transaction } from '../db/client.ts';
import type { Column } from './columns.ts';
import type { Job, Table } from './define.ts';
import { quoteName, quoteText } from './expressions.ts';
import { ensureIndex, ensureOnce, ensureUnique, indexesOf, type Report, type Zones } from './indexes.ts';
import { CATALOG, type Catalog, type Found, keyOf, missingFrom, namesOf, qualified, tablesOf } from './tables.ts';

/** What PostgreSQL reads as the instant of the transaction. */
const NOW = 'now';

export async function readCatalog(tx: Transaction, tables: string[]): Promise<Catalog> {
  const [row] = await tx.query<{ catalog: Catalog }>(`select ${CATALOG} as catalog`, { tables });
  return row!.catalog;
}

/**
 * Makes the tables of a job, or makes tables of that kind fit: missing columns and indexes. A table of the name that is
 * something else is left alone. Everything happens as the owner of the table, so that what its owner put there, a trigger
 * say, gains nothing when a superuser migrates.
 */
export async function adopt(tx: Transaction, job: Job, zones: Zones, report: Report): Promise<void> {
  const tables = tablesOf(job);
  for (const table of tables) {
    const fits = await adoptTable(tx, job, table, zones, report);
    // Nothing is put beside a table that is something else.
    if (!fits && table === job.table) return;
  }
  const catalog = await readCatalog(
    tx,
    tables.map(({ name }) => name),
  );
  if (missingFrom(job, catalog).length > 0) return;
  const named = namesOf(job, catalog, zones.dbZone, new Map());
  for (const table of tables) {
    await asOwner(tx, catalog[table.name]!, async () => {
      for (const index of indexesOf(job, table, named, zones))
        await ensureIndex(tx, table, catalog[table.name]!, index, report);
    });
  }
  if (job.begin) await tx.query(job.begin(named), { ...zones, tenant: await schemaHere(tx), now: NOW });
}

async function adoptTable(tx: Transaction, job: Job, table: Table, zones: Zones, report: Report): Promise<boolean> {
  const related = Object.values(table.columns).flatMap(({ like }) => like?.table ?? []);
  const names = [...new Set([table.name, ...related, ...tablesOf(job).map(({ name }) => name)])];
  const catalog = await readCatalog(tx, names);
  const before = catalog[table.name];
  if (!before && (await isTaken(tx, [table.name, ...(table.unless ?? [])]))) return false;
  if (!before) await create(tx, table, catalog, report);
  else if (!isRecognised(table, before) || !(await hasWords(tx, table, before))) return false;
  else await asOwner(tx, before, () => addColumns(tx, table, before, catalog, zones, report));
  if (!before && table.begin) {
    const after = await readCatalog(tx, names);
    await tx.query(table.begin(namesOf(job, after, zones.dbZone, new Map())));
  }
  return true;
}

/** A view of that name, say, or the schema of another program that somebody has loaded in part. */
async function isTaken(tx: Transaction, names: string[]): Promise<boolean> {
  const [row] = await tx.query<{ taken: boolean }>(
    'select bool_or(to_regclass(quote_ident(name)) is not null) as taken from unnest(:names::text[]) as name',
    { names },
  );
  return row!.taken;
}

const isRecognised = (table: Table, found: Found) => table.recognisedBy.every((name) => name in found.columns);

/** An enum type of the application may lack a word that the job writes. */
async function hasWords(tx: Transaction, table: Table, { oid }: Found): Promise<boolean> {
  const wanted = Object.entries(table.columns).flatMap(([name, { words }]) =>
    (words ?? []).map((word) => ({ name, word })),
  );
  const [row] = await tx.query<{ lacking: boolean }>(
    `select exists (
       select from json_to_recordset(:wanted::json) as w (name text, word text)
       join pg_attribute a on a.attrelid = :oid::oid and a.attname = w.name
       join pg_type t on t.oid = a.atttypid and t.typtype = 'e'
       where not exists (select from pg_enum e where e.enumtypid = t.oid and e.enumlabel = w.word)
     ) as lacking`,
    { wanted: JSON.stringify(wanted), oid },
  );
  return !row!.lacking;
}

/** The type of a column: that of the column it is like, or of the instants that the table has already. */
function typeOf(table: Table, column: Column, catalog: Catalog): string {
  if (column.like) return catalog[column.like.table]?.columns[column.like.column] ?? column.type;
  if (column.kind !== 'instant') return column.type;
  const found = catalog[table.name];
  const known = Object.keys(table.columns).filter((name) => table.columns[name]!.kind === 'instant');
  return known.map((name) => found?.columns[name]).find((type) => type?.startsWith('timestamp')) ?? column.type;
}

function definition(table: Table, name: string, catalog: Catalog, isNew: boolean): string {
  const column = table.columns[name]!;
  const plain = !isNew && !column.safeToAdd;
  return [
    quoteName(name),
    typeOf(table, column, catalog),
    column.notNull && !plain ? 'not null' : '',
    column.default !== undefined && !plain ? `default ${column.default}` : '',
    column.unique && isNew ? 'unique' : '',
    column.check && isNew ? `check (${column.check})` : '',
  ]
    .filter(Boolean)
    .join(' ');
}

async function create(tx: Transaction, table: Table, catalog: Catalog, report: Report): Promise<void> {
  const schema = await schemaHere(tx);
  const name = `${quoteName(schema)}.${quoteName(table.name)}`;
  if (table.make) {
    await tx.query(`select set_config('search_path', ${quoteText(quoteName(schema))}, true)`);
    await tx.query(table.make);
  } else {
    const key = table.primaryKey ?? [keyOf(table)];
    const lines = Object.keys(table.columns).map((column) => definition(table, column, catalog, true));
    await tx.query(
      `create table ${name} (${[...lines, `primary key (${key.map(quoteName).join(', ')})`].join(',\n  ')})`,
    );
    for (const column of table.once ?? []) await ensureOnce(tx, table, { schema }, column, report);
  }
  report(`made the table ${schema}.${table.name}`);
  await comment(tx, table, name, Object.keys(table.columns));
}

async function schemaHere(tx: Transaction): Promise<string> {
  const [here] = await tx.query<{ schema: string | null }>('select current_schema() as schema');
  if (here!.schema) return here!.schema;
  throw configurationError('The search path of this connection names no schema in which a table could be made.');
}

async function addColumns(
  tx: Transaction,
  table: Table,
  found: Found,
  catalog: Catalog,
  zones: Zones,
  report: Report,
): Promise<void> {
  const name = qualified(table.name, found);
  const missing = Object.keys(table.columns).filter(
    (column) =>
      !(column in found.columns) && !table.columns[column]!.newTableOnly && table.columns[column]!.kind !== 'key',
  );
  if (missing.length > 0) {
    const added = missing.map((column) => `add column ${definition(table, column, catalog, false)}`);
    await tx.query(`alter table ${name} ${added.join(', ')}`);
    for (const column of missing) report(`added the column ${found.schema}.${table.name}.${column}`);
    await comment(tx, table, name, missing);
    const began = missing.filter((column) => table.columns[column]!.began);
    if (began.length > 0) await beginColumns(tx, table, name, began, zones);
  }
  for (const column of table.once ?? []) await ensureOnce(tx, table, found, column, report);
  for (const column of table.unique ?? []) await ensureUnique(tx, table, found, column, report);
}

/** What happened before the job came is not its to do again. */
async function beginColumns(tx: Transaction, table: Table, name: string, columns: string[], { dbZone }: Zones) {
  const set = columns.map((column) => `${quoteName(column)} = ${table.columns[column]!.began}`);
  const has = columns.map((column) => `(${table.columns[column]!.began}) is not null`);
  await tx.query(`update ${name} as t set ${set.join(', ')} where ${has.join(' or ')}`, { dbZone, now: NOW });
}

async function comment(tx: Transaction, table: Table, name: string, columns: string[]): Promise<void> {
  if (table.comment && columns.length === Object.keys(table.columns).length)
    await tx.query(`comment on table ${name} is ${quoteText(table.comment)}`);
  for (const column of columns) {
    const text = table.columns[column]!.comment;
    if (text) await tx.query(`comment on column ${name}.${quoteName(column)} is ${quoteText(text)}`);
  }
}

/** To name functions of ours in an index its maker needs a right on our schema; to write rows nobody does. */
async function asOwner(tx: Transaction, { owner }: Found, work: () => Promise<void>): Promise<void> {
  const [who] = await tx.query<{ isOwner: boolean; may: boolean; mayName: boolean }>(
    `select current_user = :owner::text as "isOwner", pg_has_role(:owner::text, 'member') as may,
       has_schema_privilege(:owner::text, 'scheduler', 'usage') as "mayName"`,
    { owner },
  );
  const { isOwner, may, mayName } = who!;
  if (isOwner || !may) return work();
  const role = quoteName(owner);
  if (!mayName) await tx.query(`grant usage on schema scheduler to ${role}`);
  await tx.query(`set local role ${role}`);
  await work();
  await tx.query('reset role');
  if (!mayName) await tx.query(`revoke usage on schema scheduler from ${role}`);
}
