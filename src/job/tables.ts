import { entryOf } from '../base/entry.ts';
import type { Transaction } from '../db/client.ts';
import { named, SCHEMAS } from '../db/search-path.ts';
import type { Job, Table } from './define.ts';
import { quoteName, quoteText, substitute } from './expressions.ts';

/** A table as it is in this database. */
export interface Found {
  oid: string;
  schema: string;
  /** Its name in the database, where the job's own is another one. */
  name: string;
  owner: string;
  /** The type of each column. For a domain it is the type below, as values are cast to that. */
  columns: Record<string, string>;
  /** The columns that are never null, and whether a row that does not name them gets a value. */
  notNull: Record<string, boolean>;
}

export type Catalog = Record<string, Found | null>;

/** SQL from `:tables` (names) to the catalog of those that these schemas hold, or that have these `:oids`, as JSON. */
export const catalogIn = (schemas = SCHEMAS): string => `(
  select coalesce(json_object_agg(wanted.name, found.entry), '{}')
  from unnest(:tables::text[], :oids::oid[]) as wanted (name, oid)
  left join lateral (
    select json_build_object(
      'oid', c.oid::text, 'schema', n.nspname, 'name', c.relname, 'owner', pg_get_userbyid(c.relowner),
      'columns', all_of.columns, 'notNull', coalesce(all_of.not_null, '{}')
    ) as entry
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    cross join lateral (
      select json_object_agg(a.attname, case when t.typbasetype = 0 then format_type(a.atttypid, a.atttypmod)
          else format_type(t.typbasetype, t.typtypmod) end) as columns,
        json_object_agg(a.attname, a.atthasdef or a.attidentity <> '') filter (where a.attnotnull) as not_null
      from pg_attribute a join pg_type t on t.oid = a.atttypid
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    ) as all_of
    where c.oid = case when wanted.oid is null then ${named('wanted.name', schemas)} else wanted.oid end and c.relkind in ('r', 'p')
  ) as found on true
)`;

/** Those that a file lays a job over are where it says. */
export async function readCatalog(tx: Transaction, tables: string[], laid: Catalog = {}): Promise<Catalog> {
  const oids = tables.map((name) => laid[name]?.oid ?? null);
  const [row] = await tx.query<{ catalog: Catalog }>(`select ${catalogIn()} as catalog`, { tables, oids });
  return row!.catalog;
}

export const tablesOf = (job: Job): Table[] => [job.table, ...Object.values(job.tables ?? {})];
export const tableNames = (jobs: Job[]): string[] => [...new Set(jobs.flatMap(tablesOf).map(({ name }) => name))];

/** The tables and columns that a job needs and this database does not have. */
export const missingFrom = (job: Job, catalog: Catalog): string[] =>
  tablesOf(job).flatMap((table) => {
    const found = catalog[table.name];
    return found ? missingColumns(table, found).map((column) => `${table.name}.${column}`) : [table.name];
  });

export const columnsNeeded = ({ columns, needs }: Table): string[] =>
  needs ?? Object.keys(columns).filter((column) => !columns[column]!.newTableOnly);

/** The columns that a job needs of a table, and that it does not have. */
export function missingColumns(table: Table, found: Found): string[] {
  const there = columnsOf(table, found);
  return columnsNeeded(table).filter((column) => !there.includes(column));
}

export const isRecognised = (table: Table, found: Found): boolean =>
  table.recognisedBy.every((name) => Object.hasOwn(found.columns, name));

const FAMILIES = [
  /^boolean/,
  /^(text|character|citext)/,
  /^(smallint|integer|bigint|numeric|real|double)/,
  /^timestamp/,
  /^date/,
  /^time( |\(|$)/,
  /^interval/,
  /^json/,
];
export const familyOf = (type: string) => FAMILIES.findIndex((each) => each.test(type));

/** Columns whose type is of another family than the job's. A type of the application's own may do. */
export const misfits = ({ columns }: Table, found: Found): { column: string; type: string; wanted: string }[] =>
  Object.entries(columns).flatMap(([column, { kind, type: wanted, like, isId }]) => {
    const type = found.columns[column];
    if (!type || kind === 'key' || like || isId || familyOf(type) === -1 || familyOf(wanted) === -1) return [];
    const fits = familyOf(type) === familyOf(wanted) || (kind === 'day' && type.startsWith('timestamp'));
    return fits ? [] : [{ column, type, wanted }];
  });

export const keyOf = (table: Table): string => table.key ?? 'id';
export const qualified = (name: string, { schema }: Pick<Found, 'schema'>): string =>
  `${quoteName(schema)}.${quoteName(name)}`;
export const placeOf = (found: Pick<Found, 'schema' | 'name'>): string => qualified(found.name, found);

/** What a column is in this database: an instant is a timestamptz and a day a date, however they are stored. */
export function physical(table: Table, found: Found, name: string, dbZone: string, alias = ''): string {
  const { kind, reads, absent } = table.columns[name] ?? {};
  if (absent !== undefined) return `null::${absent}`;
  if (reads !== undefined) return ofAlias(reads, alias);
  const stored = storedName(table, name);
  const column = `${alias}${quoteName(stored)}`;
  const is = found.columns[stored] ?? '';
  if (!is.startsWith('timestamp') || (kind !== 'instant' && kind !== 'day')) return column;
  const hasZone = !is.includes('without');
  const inZone = `${column} at time zone ${quoteText(dbZone)}`;
  if (kind === 'instant') return hasZone ? column : `(${inZone})`;
  return hasZone ? `((${inZone})::date)` : `(${column}::date)`;
}

/** An expression that somebody wrote on the columns of the table, each in quotes. */
const ofAlias = (sql: string, alias: string) =>
  `(${substitute(sql, (name, isQuoted) => (isQuoted ? `${alias}${quoteName(name)}` : undefined))})`;

/** The name in the database of a column of the definition. */
export const storedName = (table: Table, name: string): string => entryOf(table.columns, name)?.is ?? name;

/** The name of an index that lets no two rows have the same value. */
export const onceName = ({ name }: Pick<Found, 'name'>, column: string): string => `${name}_${column}_once`;

export const storedKey = (table: Table): string => storedName(table, keyOf(table));

/** Every column that the definition knows and the table has, or has something instead. */
export const columnsOf = (table: Table, found: Found): string[] =>
  Object.keys(table.columns).filter((name) => {
    const { reads, absent } = table.columns[name]!;
    return (absent ?? reads) !== undefined || Object.hasOwn(found.columns, storedName(table, name));
  });

/** A table as its job sees it. The planner writes such a view into the query, so that it costs nothing. */
export function view(table: Table, found: Found, dbZone: string): string {
  const columns = columnsOf(table, found).map((name) => {
    const column = physical(table, found, name, dbZone, 't.');
    return column === `t.${quoteName(name)}` ? column : `${column} as ${quoteName(name)}`;
  });
  if (keyOf(table) !== 'id') columns.push(`t.${quoteName(storedKey(table))} as id`);
  const where = table.where === undefined ? '' : ` where ${ofAlias(table.where, 't.')}`;
  return `(select ${[...columns, 't.ctid as place'].join(', ')} from ${placeOf(found)} as t${where})`;
}

/** A type of texts, with its length; that of an extension is named with its schema. */
export const TEXT = /^(?:text|(?:.+\.)?citext|character(?: varying)?(?:\((\d+)\))?)$/;
