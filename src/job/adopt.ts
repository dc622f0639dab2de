import { configurationError } from '../base/errors.ts';
import type { Transaction } from '../db/client.ts';
import { named, PIN, SCHEMAS } from '../db/search-path.ts';
import { addColumns, columnsToAdd, comment, definition, NOW } from './add-columns.ts';
import type { Job, Table } from './define.ts';
import { quoteName, quoteText } from './expressions.ts';
import { ensureIndex, ensureOnce, ensureUnique, indexesOf, type Making, type Zones } from './indexes.ts';
import { markParts } from './parts.ts';
import { MADE, MADE_FOR_ITSELF, marked, type Report } from './steps.ts';
import {
  type Catalog,
  type Found,
  isRecognised,
  keyOf,
  missingColumns,
  qualified,
  readCatalog,
  storedName,
  tableNames,
  tablesOf,
} from './tables.ts';
import { hasWords, type Lacking, lackingWords } from './words.ts';
import { namesOf } from './writing.ts';

/** Tables that have moved are not where they were. */
const REMEMBER = `
  with gone as (
    delete from scheduler.adopted a where not exists (
      select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = a.schema and c.relname = a.name
    )
  )
  insert into scheduler.adopted (name, schema)
  select name, schema from json_to_recordset(:adopted::json) as found (name name, schema name)
  on conflict do nothing`;

interface Adopting extends Making {
  job: Job;
  zones: Zones;
  /** The tables of the job and those whose columns they refer to, as they are by now. */
  catalog: () => Promise<Catalog>;
  /** A file says which tables they are: "apply" has checked that they fit, and builds the indexes. */
  isLaid: boolean;
}

/** Why a job cannot be installed. */
export interface Obstacle {
  table: string;
  /**
   * "other": what has the name is something else, or lacks these columns, which are never added. "words": an enum type lacks these.
   * "rest": of another program's tables, which come all together, some are there and not this one.
   */
  is: 'absent' | 'other' | 'words' | 'rest';
  columns: string[];
  words: Lacking[];
}

/**
 * Makes the tables of a job fit: missing columns and indexes. Tables of a business are made only if `create` says so. Where a
 * table is not there, or is something else, nothing is put beside it, and the answer says so. Everything happens as the owner
 * of the table, so that what its owner put there, a trigger say, gains nothing when a superuser migrates.
 */
export async function adopt(
  tx: Transaction,
  job: Job,
  { create, zones, report, laid }: { create: boolean; zones: Zones; report: Report; laid?: Catalog },
): Promise<Obstacle[]> {
  const columns = tablesOf(job).flatMap((table) => Object.values(table.columns));
  const names = [...new Set([...tableNames([job]), ...columns.flatMap(({ like }) => like?.table ?? [])])];
  const adopting = { tx, job, zones, report, catalog: () => readCatalog(tx, names, laid), isLaid: laid !== undefined };
  const obstacles = laid ? [] : await obstaclesTo(adopting, create);
  if (obstacles.length > 0) return obstacles;
  for (const table of tablesOf(job)) await adoptTable(adopting, table);
  const catalog = await adopting.catalog();
  if (!laid) await rememberPlaces(adopting, catalog);
  for (const { name } of tablesOf(job)) await asOwner(tx, catalog[name]!, () => markParts(tx, catalog[name]!));
  const begin = job.begin?.(namesOf(job, catalog, { dbZone: zones.dbZone }));
  if (begin) await tx.query(begin, { ...zones, tenant: catalog[job.table.name]!.schema, now: NOW });
  return [];
}

/** Where they are, and their indexes. */
async function rememberPlaces(adopting: Adopting, catalog: Catalog): Promise<void> {
  const { tx, job, zones } = adopting;
  await tx.query(REMEMBER, {
    adopted: JSON.stringify(tablesOf(job).map(({ name }) => ({ name, schema: catalog[name]!.schema }))),
  });
  for (const table of tablesOf(job)) {
    const found = catalog[table.name]!;
    await asOwner(tx, found, async () => {
      for (const index of indexesOf(job, table, catalog, zones)) await ensureIndex(adopting, found, index);
    });
  }
}

async function obstaclesTo({ tx, job, catalog }: Adopting, create: boolean): Promise<Obstacle[]> {
  const all: Obstacle[] = [];
  const note = (table: string, is: Obstacle['is'], { columns = [], words = [] }: Partial<Obstacle> = {}) =>
    all.push({ table, is, columns, words });
  const present = await catalog();
  for (const table of tablesOf(job)) {
    const { name, unless = [] } = table;
    const found = present[name];
    const mayMake = create || (table.ours && table !== job.table);
    if (found) {
      const { words, columns } = await lackingFrom(tx, job, table, found);
      if (words.length > 0) note(name, 'words', { words });
      else if (columns) note(name, 'other', { columns });
    } else if (await isTaken(tx, [name])) note(name, 'other');
    else if (await isTaken(tx, unless)) note(name, 'rest');
    else if (!mayMake) note(name, 'absent');
  }
  return all;
}

/** The words or the columns for want of which a table does not fit. Without any: it fits. */
async function lackingFrom(
  tx: Transaction,
  job: Job,
  table: Table,
  found: Found,
): Promise<{ words: Lacking[]; columns?: string[] }> {
  const missing = missingColumns(table, found);
  const isAlike = isRecognised(table, found);
  const words = isAlike ? await lackingWords(tx, table, found) : [];
  const isOurs = isAlike && words.length === 0;
  const never = missing.filter((column) => !isOurs || table.columns[column]!.newTableOnly);
  // A table of another job may be something else, as long as it has what this one needs.
  if ((isOurs || table !== job.table) && never.length === 0) return { words: [] };
  if (isOurs || words.length > 0 || table !== job.table) return { words, columns: never };
  return { words, columns: table.recognisedBy.filter((column) => !Object.hasOwn(found.columns, column)) };
}

async function adoptTable(adopting: Adopting, table: Table): Promise<void> {
  const { tx, job, zones, isLaid } = adopting;
  const catalog = await adopting.catalog();
  const found = catalog[table.name];
  if (!found) {
    await create(adopting, table, catalog);
    if (table.begin) await tx.query(table.begin(namesOf(job, await adopting.catalog(), { dbZone: zones.dbZone })));
  } else if (isLaid || (isRecognised(table, found) && (await hasWords(tx, table, found)))) {
    if (!isLaid) refuseWithoutKey(table, found);
    await asOwner(tx, found, async () => {
      await addColumns(adopting, table, found, catalog, columnsToAdd(table, found, isLaid));
      for (const column of table.once ?? []) await ensureOnce(adopting, found, storedName(table, column));
      for (const column of table.unique ?? []) await ensureUnique(adopting, found, storedName(table, column));
    });
  }
}

/** Before anything is added: the job could not name a row of it. */
function refuseWithoutKey(table: Table, found: Found): void {
  const key = keyOf(table);
  if (Object.hasOwn(found.columns, key) || table.columns[key]?.kind !== 'key') return;
  const on = qualified(table.name, found);
  throw configurationError(
    `The table ${on} has no column ${key}, by which its rows are told apart. Add one ("alter table ${on} add column ${quoteName(key)} bigint generated by default as identity primary key"), then run "scheduler migrate" again.`,
  );
}

/** A view of that name, say, or the schema of another program that somebody has loaded in part. */
async function isTaken(tx: Transaction, names: string[]): Promise<boolean> {
  const [row] = await tx.query<{ taken: boolean }>(
    `select bool_or(${named('wanted')} is not null) as taken from unnest(:names::text[]) as wanted`,
    { names },
  );
  return row!.taken;
}

async function create(adopting: Adopting, table: Table, catalog: Catalog): Promise<void> {
  const { tx, report } = adopting;
  const schema = await schemaHere(tx);
  const name = qualified(table.name, { schema });
  const before = await tablesIn(tx, schema);
  if (table.make) {
    await tx.query(`select set_config('search_path', ${quoteText(quoteName(schema))}, true)`);
    await tx.query(table.make);
    await tx.query(PIN);
  } else {
    const key = (table.primaryKey ?? [keyOf(table)]).map(quoteName).join(', ');
    const lines = Object.keys(table.columns).map((column) => definition(adopting.job, table, column, catalog, true));
    await tx.query(`create table ${name} (${[...lines, `primary key (${key})`].join(',\n  ')})`);
  }
  // Another program's tables come all together.
  for (const made of await tablesIn(tx, schema)) {
    if (before.includes(made)) continue;
    report({ does: 'make', what: 'table', name: `${schema}.${made}` });
    const words = marked(table.comment, table.ours ? MADE_FOR_ITSELF : MADE);
    await tx.query(`comment on table ${qualified(made, { schema })} is ${quoteText(words)}`);
  }
  for (const column of Object.keys(table.columns)) await comment(tx, name, column, table.columns[column]!.comment);
  if (!table.make)
    for (const column of table.once ?? []) await ensureOnce(adopting, { schema, name: table.name }, column);
}

async function tablesIn(tx: Transaction, schema: string): Promise<string[]> {
  const rows = await tx.query<{ name: string }>(
    `select relname::text as name from pg_class
     where relnamespace = to_regnamespace(quote_ident(:schema::text)) and relkind in ('r', 'p') order by relname`,
    { schema },
  );
  return rows.map(({ name }) => name);
}

async function schemaHere(tx: Transaction): Promise<string> {
  const [here] = await tx.query<{ schema: string | null }>(`select (${SCHEMAS})[1] as schema`);
  if (here!.schema) return here!.schema;
  throw configurationError('The search path of this connection names no schema in which a table could be made.');
}

/** To name functions of ours in an index its maker needs a right on our schema; to write rows nobody does. */
export async function asOwner(
  tx: Transaction,
  { owner }: Pick<Found, 'owner'>,
  work: () => Promise<void>,
): Promise<void> {
  const [who] = await tx.query<{ isOwner: boolean; may: boolean; mayName: boolean }>(
    `select current_user = :owner::text as "isOwner", pg_has_role(:owner::text, 'member') as may,
       coalesce(has_schema_privilege(:owner::text, to_regnamespace('scheduler')::oid, 'usage'), true) as "mayName"`,
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
