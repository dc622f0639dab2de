import type { Transaction } from '../db/client.ts';
import { named } from '../db/search-path.ts';
import type { Job, Table, TableName, Tables } from './define.ts';
import { quoteName, quoteText } from './expressions.ts';

/** A table as it is in this database. */
export interface Found {
  oid: string;
  schema: string;
  owner: string;
  /** The type of each column. Of a domain it is the type below, as values are cast to that. */
  columns: Record<string, string>;
  /** The columns that are never null, and whether a row that does not name them gets a value. */
  notNull: Record<string, boolean>;
}

export type Catalog = Record<string, Found | null>;

/** SQL from `:tables` (names) to the catalog of those that the search path finds, as JSON. */
export const CATALOG = `(
  select coalesce(json_object_agg(wanted.name, found.entry), '{}')
  from unnest(:tables::text[]) as wanted (name)
  left join lateral (
    select json_build_object(
      'oid', c.oid::text, 'schema', n.nspname, 'owner', pg_get_userbyid(c.relowner),
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
    where c.oid = ${named('wanted.name')} and c.relkind in ('r', 'p')
  ) as found on true
)`;

export async function readCatalog(tx: Transaction, tables: string[]): Promise<Catalog> {
  const [row] = await tx.query<{ catalog: Catalog }>(`select ${CATALOG} as catalog`, { tables });
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

/** The columns that a job needs of a table. */
export const missingColumns = ({ columns, needs }: Table, found: Found): string[] =>
  (needs ?? Object.keys(columns).filter((column) => !columns[column]!.newTableOnly)).filter(
    (column) => !(column in found.columns),
  );

export const isRecognised = (table: Table, found: Found): boolean =>
  table.recognisedBy.every((name) => name in found.columns);

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
const familyOf = (type: string) => FAMILIES.findIndex((each) => each.test(type));

/** Columns whose type is of another family than the job's. A type of the application's own may do. */
export const misfits = ({ columns }: Table, found: Found): { column: string; type: string; wanted: string }[] =>
  Object.entries(columns).flatMap(([column, { kind, type: wanted, like }]) => {
    const type = found.columns[column];
    if (!type || kind === 'key' || like || familyOf(type) === -1 || familyOf(wanted) === -1) return [];
    const fits = familyOf(type) === familyOf(wanted) || (kind === 'day' && type.startsWith('timestamp'));
    return fits ? [] : [{ column, type, wanted }];
  });

export const keyOf = (table: Table): string => table.key ?? 'id';
export const qualified = (name: string, { schema }: Pick<Found, 'schema'>): string =>
  `${quoteName(schema)}.${quoteName(name)}`;

/** What a column is in this database: an instant is a timestamptz and a day a date, however they are stored. */
export function physical(table: Table, found: Found, name: string, dbZone: string, alias = ''): string {
  const stored = storedName(table, name);
  const column = `${alias}${quoteName(stored)}`;
  const kind = table.columns[name]?.kind;
  const type = found.columns[stored] ?? '';
  if (!type.startsWith('timestamp') || (kind !== 'instant' && kind !== 'day')) return column;
  const hasZone = !type.includes('without');
  const inZone = `${column} at time zone ${quoteText(dbZone)}`;
  if (kind === 'instant') return hasZone ? column : `(${inZone})`;
  return hasZone ? `((${inZone})::date)` : `(${column}::date)`;
}

/** The name in the database of a column of the definition. */
export const storedName = (table: Table, name: string): string => table.columns[name]?.is ?? name;

/** Every column that the definition knows and the table has. */
export const columnsOf = (table: Table, found: Found): string[] =>
  Object.keys(table.columns).filter((name) => storedName(table, name) in found.columns);

/** A table as its job sees it. The planner writes such a view into the query, so that it costs nothing. */
function view(table: Table, found: Found, dbZone: string): string {
  const columns = columnsOf(table, found).map((name) => {
    const column = physical(table, found, name, dbZone, 't.');
    return column === `t.${quoteName(name)}` ? column : `${column} as ${quoteName(name)}`;
  });
  if (keyOf(table) !== 'id') columns.push(`t.${quoteName(keyOf(table))} as id`);
  return `(select ${[...columns, 't.ctid as place'].join(', ')} from ${qualified(table.name, found)} as t)`;
}

const TIMES = ['created_at', 'updated_at', 'createdAt', 'updatedAt'];

/** Values of a new row that the application makes in its own code: an id without a default, and the times of the row. */
function valuesOfApplication(table: Table, { columns, notNull }: Found): Record<string, string> {
  const key = keyOf(table);
  const id = notNull[key] === false ? newId(columns[key]!) : undefined;
  const times = TIMES.filter((name) => /^(timestamp|date)/.test(columns[name] ?? ''));
  return { ...(id && { [key]: id }), ...Object.fromEntries(times.map((name) => [name, ':now::timestamptz'])) };
}

const UUID_LENGTH = 36;
/** With fewer random digits than this, two ids might be the same. */
const SHORTEST_ID = 20;

/** A type of texts, with its length; that of an extension is named with its schema. */
export const TEXT = /^(?:text|(?:.+\.)?citext|character(?: varying)?(?:\((\d+)\))?)$/;

/** A random id of that type, if it can hold one. */
function newId(type: string): string | undefined {
  if (type === 'uuid') return 'gen_random_uuid()';
  const [, length] = TEXT.exec(type) ?? ['', '0'];
  if (length === undefined || Number(length) >= UUID_LENGTH) return 'gen_random_uuid()::text';
  return Number(length) >= SHORTEST_ID ? `left(replace(gen_random_uuid()::text, '-', ''), ${length})` : undefined;
}

/** The rights that a role needs on each table, by its name. */
export type Rights = Map<string, Set<string>>;

/** To read rows, and to lock those that are read. */
const READ = ['select'];
export const LOCK = ['select', 'update'];

/** The job's tables for its SQL; what that does with them is noted as a right that it needs. */
export function namesOf(job: Job, catalog: Catalog, dbZone: string, rights: Rights = new Map(), toRead = READ): Tables {
  const entry = (table: Table): TableName => {
    const found = catalog[table.name]!;
    const type = qualified(table.name, found);
    const note = (more: string[]) => rights.set(table.name, new Set([...(rights.get(table.name) ?? []), ...more]));
    // "where", "returning" and "on conflict" read what they name.
    const write = (right: string, words = right) => {
      note(['select', right]);
      return `${words} ${type}`;
    };
    let asRead: string | undefined;
    return {
      toString: () => {
        note(toRead);
        asRead ??= view(table, found, dbZone);
        return asRead;
      },
      get update() {
        return write('update');
      },
      get insert() {
        return write('insert', 'insert into');
      },
      get delete() {
        return write('delete', 'delete from');
      },
      insertSelect: (values, alias) => {
        const all = Object.entries({ ...valuesOfApplication(table, found), ...values });
        const names = all.map(([name]) => quoteName(name)).join(', ');
        const place = `${write('insert', 'insert into')}${alias ? ` as ${alias}` : ''}`;
        return `${place} (${names}) select ${all.map(([, value]) => value).join(', ')}`;
      },
      type,
      oid: found.oid,
    };
  };
  const named = { [job.table.name]: job.table, ...job.tables };
  return Object.fromEntries(Object.entries(named).map(([name, table]) => [name, entry(table)]));
}
