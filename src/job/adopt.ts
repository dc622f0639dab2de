import { configurationError } from '../base/errors.ts';
import type { Transaction } from '../db/client.ts';
import { IS_OPENED, named, OPENED, PIN, SCHEMAS } from '../db/search-path.ts';
import type { Job, Table } from './define.ts';
import { quoteName, quoteText } from './expressions.ts';
import { ensureIndex, ensureOnce, ensureUnique, indexesOf, type Making, type Zones } from './indexes.ts';
import {
  CATALOG,
  type Catalog,
  type Found,
  keyOf,
  missingFrom,
  namesOf,
  qualified,
  tableNames,
  tablesOf,
} from './tables.ts';

/** What PostgreSQL reads as the instant of the transaction. */
const NOW = 'now';

export async function readCatalog(tx: Transaction, tables: string[]): Promise<Catalog> {
  const [row] = await tx.query<{ catalog: Catalog }>(`select ${CATALOG} as catalog`, { tables });
  return row!.catalog;
}

const REMEMBER = `
  insert into scheduler.adopted as a (name, schema)
  select name, schema from json_to_recordset(:adopted::json) as found (name name, schema name)
  on conflict (name) do update set schema = excluded.schema where a.schema <> excluded.schema`;

interface Adopting extends Making {
  job: Job;
  zones: Zones;
  /** The tables of the job and those whose columns they refer to, as they are by now. */
  catalog: () => Promise<Catalog>;
}

/**
 * Makes the tables of a job, or makes tables of that kind fit: missing columns and indexes. A table of the name that is
 * something else is left alone. Everything happens as the owner of the table, so that what its owner put there, a trigger
 * say, gains nothing when a superuser migrates.
 */
export async function adopt(tx: Transaction, job: Job, zones: Zones, report: Making['report']): Promise<void> {
  const columns = tablesOf(job).flatMap((table) => Object.values(table.columns));
  const names = [...new Set([...tableNames([job]), ...columns.flatMap(({ like }) => like?.table ?? [])])];
  const adopting = { tx, job, zones, report, catalog: () => readCatalog(tx, names) };
  for (const table of tablesOf(job)) {
    const fits = await adoptTable(adopting, table);
    // Nothing is put beside a table that is something else.
    if (!fits && table === job.table) return;
  }
  const catalog = await adopting.catalog();
  if (missingFrom(job, catalog).length > 0) return;
  await tx.query(REMEMBER, {
    adopted: JSON.stringify(tablesOf(job).map(({ name }) => ({ name, schema: catalog[name]!.schema }))),
  });
  for (const table of tablesOf(job)) {
    const found = catalog[table.name]!;
    await asOwner(tx, found, async () => {
      for (const index of indexesOf(job, table, catalog, zones)) await ensureIndex(adopting, table, found, index);
    });
  }
  const begin = job.begin?.(namesOf(job, catalog, zones.dbZone));
  if (begin) await tx.query(begin, { ...zones, tenant: await schemaHere(tx), now: NOW });
}

/** Whether there is a table that fits afterwards, as far as it can be seen from its columns. */
async function adoptTable(adopting: Adopting, table: Table): Promise<boolean> {
  const { tx, job, zones } = adopting;
  const catalog = await adopting.catalog();
  const found = catalog[table.name];
  if (found) {
    const isRecognised = table.recognisedBy.every((name) => name in found.columns);
    if (!isRecognised || !(await hasWords(tx, table, found))) return false;
    await asOwner(tx, found, () => addColumns(adopting, table, found, catalog));
    return true;
  }
  if (await isTaken(tx, [table.name, ...(table.unless ?? [])])) return false;
  await create(adopting, table, catalog);
  if (table.begin) await tx.query(table.begin(namesOf(job, await adopting.catalog(), zones.dbZone)));
  return true;
}

/** A view of that name, say, or the schema of another program that somebody has loaded in part. */
async function isTaken(tx: Transaction, names: string[]): Promise<boolean> {
  const [row] = await tx.query<{ taken: boolean }>(
    `select bool_or(${named('wanted')} is not null) as taken from unnest(:names::text[]) as wanted`,
    { names },
  );
  return row!.taken;
}

/** An enum type of the application may lack a word that the job writes. */
async function hasWords(tx: Transaction, table: Table, { oid }: Found): Promise<boolean> {
  const wanted = Object.entries(table.columns).flatMap(([name, { words = [] }]) =>
    words.map((word) => ({ name, word })),
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
function typeOf({ name, columns }: Table, column: string, catalog: Catalog): string {
  const { kind, type, like } = columns[column]!;
  if (like) return catalog[like.table]?.columns[like.column] ?? type;
  if (kind !== 'instant') return type;
  const instants = Object.keys(columns).filter((each) => columns[each]!.kind === 'instant');
  const found = instants.map((each) => catalog[name]?.columns[each]);
  return found.find((each) => each?.startsWith('timestamp')) ?? type;
}

function definition(table: Table, name: string, catalog: Catalog, isNew: boolean): string {
  const column = table.columns[name]!;
  const isPlain = !isNew && !column.safeToAdd;
  const parts = [
    quoteName(name),
    typeOf(table, name, catalog),
    column.notNull && !isPlain && 'not null',
    column.default !== undefined && !isPlain && `default ${column.default}`,
    column.unique && isNew && 'unique',
    column.check && isNew && `check (${column.check})`,
  ];
  return parts.filter(Boolean).join(' ');
}

async function create(adopting: Adopting, table: Table, catalog: Catalog): Promise<void> {
  const { tx, report } = adopting;
  const schema = await schemaHere(tx);
  const name = qualified(table.name, { schema });
  if (table.make) {
    await tx.query(`select set_config('search_path', ${quoteText(quoteName(schema))}, true)`);
    await tx.query(table.make);
    await tx.query(PIN);
  } else {
    const key = (table.primaryKey ?? [keyOf(table)]).map(quoteName).join(', ');
    const lines = Object.keys(table.columns).map((column) => definition(table, column, catalog, true));
    await tx.query(`create table ${name} (${[...lines, `primary key (${key})`].join(',\n  ')})`);
    for (const column of table.once ?? []) await ensureOnce(adopting, table, { schema }, column);
  }
  report(`made the table ${schema}.${table.name}`);
  if (table.comment) await tx.query(`comment on table ${name} is ${quoteText(table.comment)}`);
  await comment(tx, table, name, Object.keys(table.columns));
}

async function schemaHere(tx: Transaction): Promise<string> {
  const [here] = await tx.query<{ schema: string | null }>(`select (${SCHEMAS})[1] as schema`);
  if (here!.schema) return here!.schema;
  throw configurationError('The search path of this connection names no schema in which a table could be made.');
}

async function addColumns(adopting: Adopting, table: Table, found: Found, catalog: Catalog): Promise<void> {
  const { tx, zones, report } = adopting;
  const { columns } = table;
  const name = qualified(table.name, found);
  const missing = Object.keys(columns).filter(
    (column) => !(column in found.columns) && !columns[column]!.newTableOnly && columns[column]!.kind !== 'key',
  );
  if (missing.length > 0) {
    const added = missing.map((column) => `add column ${definition(table, column, catalog, false)}`);
    await tx.query(`alter table ${name} ${added.join(', ')}`);
    for (const column of missing) report(`added the column ${found.schema}.${table.name}.${column}`);
    await comment(tx, table, name, missing);
    await beginColumns(tx, table, name, missing, zones);
  }
  for (const column of table.once ?? []) await ensureOnce(adopting, table, found, column);
  for (const column of table.unique ?? []) await ensureUnique(adopting, table, found, column);
}

/** The job does nothing again that happened before it came. */
async function beginColumns(tx: Transaction, table: Table, name: string, added: string[], { dbZone }: Zones) {
  const began = added.flatMap((column) => {
    const sql = table.columns[column]!.began;
    return sql ? [{ set: `${quoteName(column)} = ${sql}`, has: `(${sql}) is not null` }] : [];
  });
  if (began.length === 0) return;
  const [set, has] = [began.map((each) => each.set).join(', '), began.map((each) => each.has).join(' or ')];
  await tx.query(`with ${OPENED} update ${name} as t set ${set} where ${IS_OPENED} and (${has})`, { dbZone, now: NOW });
}

async function comment(tx: Transaction, table: Table, name: string, columns: string[]): Promise<void> {
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
