import { once } from '../base/once.ts';
import type { Job, Row, Table, TableName, Tables } from './define.ts';
import { NOW, quoteName, quoteText, substitute } from './expressions.ts';
import {
  type Catalog,
  columnsOf,
  type Found,
  onceName,
  physical,
  placeOf,
  storedKey,
  storedName,
  TEXT,
  view,
} from './tables.ts';

/** A job's tables for its SQL, and the statements that write to them. */

/** The rights that a role needs on each table, by its name. */
export type Rights = Map<string, Set<string>>;

/** To read rows, and to lock those that are read. */
const READ = ['select'];
export const LOCK = ['select', 'update'];

export interface Naming {
  dbZone: string;
  /** Collects what the SQL does with the tables. */
  rights?: Rights;
  /** Collects the columns that it writes, by table. */
  writes?: Map<string, Set<string>>;
  /** What it takes to read. */
  toRead?: string[];
}

export function namesOf(job: Job, catalog: Catalog, naming: Naming): Tables {
  const all = { [job.table.name]: job.table, ...job.tables };
  return Object.fromEntries(
    Object.entries(all).map(([name, table]) => [name, entry(table, catalog[table.name]!, naming)]),
  );
}

function entry(table: Table, found: Found, { dbZone, rights = new Map(), writes, toRead = READ }: Naming): TableName {
  const place = placeOf(found);
  const note = (...more: string[]) => rights.set(table.name, new Set([...(rights.get(table.name) ?? []), ...more]));
  const noteWrites = (columns: string[]) =>
    writes?.set(table.name, new Set([...(writes.get(table.name) ?? []), ...columns]));
  // An idle tick writes nothing.
  const row = once(() => rowOf(table, found, dbZone));
  const only = (where: string) => (table.where === undefined ? where : `${row().of(table.where)} and ${where}`);
  const returned = (returning: string | undefined) => (returning === undefined ? '' : ` returning ${returning}`);
  const asRead = once(() => view(table, found, dbZone));
  return {
    toString: () => {
      note(...toRead);
      return asRead();
    },
    // "where", "returning" and "on conflict" read what they name.
    update: (make) => {
      note('select', 'update');
      const { set, from, where, returning } = make(row().columns);
      noteWrites(Object.keys(set));
      return `update ${place} as it set ${row().assignments(set)}${from ? ` from ${from}` : ''} where ${only(where)}${returned(returning)}`;
    },
    delete: (make) => {
      note('select', 'delete');
      const { using, where, returning } = make(row().columns);
      return `delete from ${place} as it${using ? ` using ${using}` : ''} where ${only(where)}${returned(returning)}`;
    },
    insert: (make) => {
      note('select', 'insert');
      const { values, from, onConflict, returning } = make(row().columns);
      noteWrites(Object.keys(values));
      if (onConflict) note('update');
      const update = onConflict && `on conflict (${quoteName(storedName(table, onConflict.column))}) do update`;
      const conflict = update ? ` ${update} set ${row().assignments(onConflict.set)}` : '';
      return `insert into ${place} as it ${inserted(table, found, values, from)}${conflict}${returned(returning)}`;
    },
    name: (column) => storedName(table, column),
    typeOf: (column) => found.columns[storedName(table, column)]!,
    storedOnce: (column) => {
      const stored = storedName(table, column);
      return `scheduler.stored_once(${quoteText(onceName(found, stored))}, '${found.oid}'::regclass, ${quoteText(stored)})`;
    },
  };
}

/** The row that a statement writes: it is called "it". */
function rowOf(table: Table, found: Found, dbZone: string) {
  const known = new Set(columnsOf(table, found));
  const columns = new Proxy({} as Row, {
    get: (_, name) => {
      if (!known.has(String(name))) throw new Error(`The table ${table.name} has no column ${String(name)}.`);
      return physical(table, found, String(name), dbZone, 'it.');
    },
  });
  const of = (sql: string, changed = new Map<string, string>()) =>
    `(${substitute(sql, (name, isQuoted) => (isQuoted ? (changed.get(name) ?? `it.${quoteName(name)}`) : undefined))})`;
  const assignments = (set: Record<string, string>) => {
    const ours = Object.entries(set).flatMap(([name, value]) =>
      table.columns[name]?.absent === undefined
        ? [
            [
              storedName(table, name),
              neverNull(table, found, name, value, `it.${quoteName(storedName(table, name))}`),
            ] as const,
          ]
        : [],
    );
    // An expression of the application is on the row as the change leaves it.
    const changed = new Map(ours.map(([name, value]) => [name, `(${value})::${found.columns[name]}`]));
    const theirs = Object.entries(table.set ?? {}).map(([name, value]) => [name, of(value, changed)] as const);
    return [...ours, ...theirs].map(([name, value]) => `${quoteName(name)} = ${value}`).join(', ');
  };
  return { columns, of, assignments };
}

/** A column that the application requires keeps its value, or becomes an empty text, where the job would set it to null. */
function neverNull(table: Table, found: Found, name: string, value: string, before?: string): string {
  const stored = storedName(table, name);
  if (table.columns[name]?.notNull || !Object.hasOwn(found.notNull, stored)) return value;
  const other = TEXT.test(found.columns[stored]!) ? "''" : before;
  return other === undefined ? value : `coalesce(${value}, ${other})`;
}

/** What stands behind "insert into TABLE". */
function inserted(table: Table, found: Found, given: Record<string, string>, from: string): string {
  const values: Record<string, string> = valuesOfApplication(table, found);
  for (const [name, value] of Object.entries(given))
    if (table.columns[name]?.absent === undefined)
      values[storedName(table, name)] = neverNull(table, found, name, value);
  const names = Object.keys(values);
  const list = (all: string[]) => all.map(quoteName).join(', ');
  if (!table.insert) return `(${list(names)}) select ${Object.values(values).join(', ')} ${from}`;
  // An expression of the application is on the new row, as far as it is known.
  const more = Object.entries(table.insert).map(([name, sql]) => {
    const value = substitute(sql, (column, isQuoted) => {
      if (!isQuoted) return undefined;
      return names.includes(column) ? `made.${quoteName(column)}` : 'null';
    });
    return { name, value };
  });
  const made = names.map((name) => `(${values[name]})::${found.columns[name]} as ${quoteName(name)}`);
  const all = [...names.filter((name) => !more.some((each) => each.name === name)), ...more.map(({ name }) => name)];
  const each = all.map((name) => more.find((one) => one.name === name)?.value ?? `made.${quoteName(name)}`);
  return `(${list(all)}) select ${each.join(', ')} from (select ${made.join(', ')} ${from} offset 0) as made`;
}

/** Most applications keep these of every row. */
export const TIMES = ['created_at', 'updated_at', 'createdAt', 'updatedAt'];

/** Values of a new row that the application makes in its own code: an id without a default, and the times of the row. */
function valuesOfApplication(table: Table, { columns, notNull }: Found): Record<string, string> {
  const key = storedKey(table);
  const id = notNull[key] === false ? newId(columns[key]!) : undefined;
  const times = TIMES.map((name) => storedName(table, name)).filter((name) =>
    /^(timestamp|date)/.test(columns[name] ?? ''),
  );
  return { ...(id && { [key]: id }), ...Object.fromEntries(times.map((name) => [name, NOW])) };
}

const UUID_LENGTH = 36;
/** With fewer random digits than this, two ids might be the same. */
const SHORTEST_ID = 20;

/** A random id of that type, if it can hold one. */
function newId(type: string): string | undefined {
  if (type === 'uuid') return 'gen_random_uuid()';
  const [, length] = TEXT.exec(type) ?? ['', '0'];
  if (length === undefined || Number(length) >= UUID_LENGTH) return 'gen_random_uuid()::text';
  return Number(length) >= SHORTEST_ID ? `left(replace(gen_random_uuid()::text, '-', ''), ${length})` : undefined;
}
