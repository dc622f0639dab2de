import type { Job, Table } from '../job/define.ts';
import { quoteText } from '../job/expressions.ts';
import type { Laid, Use } from '../job/lay.ts';
import { type Catalog, familyOf, keyOf, tablesOf } from '../job/tables.ts';
import { TIMES } from '../job/writing.ts';
import type { OwnJob, OwnUse, Path, UsedTable } from './definition.ts';
import { columnOf, noColumn } from './due.ts';
import { type Building, type Making, read } from './making.ts';
import type { Seen } from './server.ts';

/** Makes of "uses" in a file a built-in job on the application's tables, and says what does not fit. */

/** A table of the job, and what the file says of it. */
export interface Place {
  table: Table;
  said: UsedTable;
  path: Path;
  seen: Seen;
  building: Building;
  /** Columns of the job with an expression that may fail for some values. */
  unsafe: Set<string>;
  /** Columns that some built-in job fills: where they are missing, they are added. */
  filled: Set<string>;
}

const ADDED_FIRST = 'and apply adds it for the job: apply the file without this first, and then with it';

const NONE: UsedTable = { columns: {}, where: {}, insert: {}, set: {} };

export const isUse = (own: OwnJob): own is OwnJob & { uses: OwnUse } => own.uses !== undefined;

/** What the file says of each table of the job. */
export function saidOf(own: OwnJob & { uses: OwnUse }, builtIn: Job): { table: Table; said: UsedTable; path: Path }[] {
  const { id, where, uses } = own;
  return tablesOf(builtIn).map((table) =>
    table === builtIn.table
      ? { table, said: { ...NONE, ...uses.main, ...(id !== undefined && { id }), where, table: own.table }, path: [] }
      : { table, said: uses.tables[table.name] ?? NONE, path: ['tables', table.name] },
  );
}

/** How the file lays one table over the application's. Call it as the owner of that. */
export async function layTable(own: OwnJob, place: Place, built: Making['built']): Promise<Laid> {
  const { table, said, path, seen, building } = place;
  const key = said.id ?? keyOf(table);
  const making = { own, types: seen.columns, table: seen, key, building, built } as Making;
  const laid: Laid = { columns: {} };
  if (said.id !== undefined) {
    if (Object.hasOwn(seen.columns, said.id)) laid.columns[keyOf(table)] = { is: said.id };
    else building.fault([...path, 'id'], noColumn(said.id, seen.columns));
  }
  for (const [name, sql] of Object.entries(said.columns)) {
    const here = [...path, 'columns', name];
    if (Object.hasOwn(table.columns, name))
      laid.columns[name] = (await layColumn(making, place, name, sql, here)) ?? {};
    else building.fault(here, noColumn(name, table.columns as never).replace('the table', `"${table.name}"`));
  }
  // The application keeps no such times: then nobody does.
  for (const name of TIMES)
    if (Object.hasOwn(table.columns, name) && !Object.hasOwn(said.columns, name) && !Object.hasOwn(seen.columns, name))
      laid.columns[name] = { absent: 'timestamptz' };
  const conditions: string[] = [];
  for (const [name, sql] of Object.entries(said.where)) {
    const here = [...path, 'where', ...(name === sql ? [] : [name])];
    const reading = await read(making, sql, here);
    if (reading && reading.type !== 'boolean') building.fault(here, 'a condition is true or false');
    else if (reading && !reading.isSafe)
      building.fault(here, 'it says which rows there are, in indexes too: it reads the row alone and cannot fail');
    else if (reading) conditions.push(`(${reading.sql})`);
  }
  if (conditions.length > 0) laid.where = conditions.join(' and ');
  // A column that "apply" will add is not there yet, so the server cannot read an expression on it.
  const isYet = (name = '') =>
    Object.hasOwn(table.columns, name) && !Object.hasOwn(seen.columns, name) && !Object.hasOwn(said.columns, name);
  const yet = (message: string) => isYet(/^column "([^"]+)" does not exist/.exec(message)?.[1]);
  const fault: Building['fault'] = (path, message, ...at) =>
    building.fault(path, yet(message) ? `${message} yet, ${ADDED_FIRST}` : message, ...at);
  for (const key of ['insert', 'set'] as const) {
    for (const name of Object.keys(said[key]).filter(isYet))
      building.fault([...path, key, name], `the job itself fills "${name}", and apply adds it: leave it out here`);
    const others = Object.fromEntries(Object.entries(said[key]).filter(([name]) => !isYet(name)));
    const values = await valuesOf({ ...making, building: { ...building, fault } }, others, [...path, key]);
    if (Object.keys(values).length > 0) laid[key] = values;
  }
  return laid;
}

async function layColumn(
  making: Making,
  { table, seen, building, unsafe }: Place,
  name: string,
  sql: string | null,
  path: Path,
) {
  const column = table.columns[name]!;
  const wanted = column.kind === 'instant' ? 'timestamptz' : column.kind === 'day' ? 'date' : column.type;
  const isAny = column.like !== undefined || column.isId === true || column.kind === 'key';
  if (sql === null) return { absent: isAny ? (seen.columns.id ?? wanted) : wanted.split(' ')[0]! };
  const is = /^(true|false)$/i.test(sql) ? undefined : columnOf(sql);
  if (is !== undefined && !Object.hasOwn(seen.columns, is))
    return void building.fault(path, noColumn(is, seen.columns));
  if (is !== undefined && !(column.kind === 'instant' && seen.columns[is] === 'date')) return { is };
  const reading = await read(making, sql, path);
  if (!reading) return undefined;
  if (!reading.isSafe) unsafe.add(name);
  if (reading.type === 'date' && column.kind === 'instant') {
    making.built.notes.push(`${path.join('.')} is a date, and stands for the midnight that begins it`);
    return { reads: `scheduler.instant(scheduler.opening(${reading.sql}, null), :zone::text)` };
  }
  const isTime = /^timestamp/.test(reading.type);
  if (!fits(reading.type, wanted) && !(isTime && column.kind === 'day') && !isAny)
    return void building.fault(path, `"${name}" is of type ${wanted} for the job, and this is of type ${reading.type}`);
  const inZone = `(${reading.sql}) at time zone ${quoteText(building.dbZone)}`;
  if (isTime && column.kind === 'day')
    return { reads: reading.type.includes('without') ? `(${reading.sql})::date` : `(${inZone})::date` };
  return { reads: isTime && reading.type.includes('without') && column.kind === 'instant' ? inZone : reading.sql };
}

export const isArray = (type: string) => type.endsWith('[]');

export const fits = (type: string, wanted: string) =>
  isArray(type) === isArray(wanted) &&
  (familyOf(type) === familyOf(wanted) || familyOf(type) === -1 || familyOf(wanted) === -1);

/** New values of columns that the job itself does not know. */
async function valuesOf(making: Making, values: Record<string, string>, path: Path): Promise<Record<string, string>> {
  const { building, table } = making;
  const all: Record<string, string> = {};
  for (const [column, sql] of Object.entries(values)) {
    const here = [...path, column];
    if (!Object.hasOwn(table.columns, column)) building.fault(here, noColumn(column, table.columns));
    else if (table.generated.includes(column))
      building.fault(here, `the column "${column}" is generated: nobody can set it`);
    else if (column === making.key)
      building.fault(here, `the column "${column}" names the row: the job sets it itself`);
    else if (/^null$/i.test(sql) && Object.hasOwn(table.notNull, column))
      building.fault(here, `"${column}" of ${table.schema}.${table.name} is "not null"`);
    else {
      const reading = await read(making, sql, here, { column, words: ['now'] });
      if (reading) all[column] = reading.sql.replace(/\bnow\b(?!\()/g, ':now::timestamptz');
    }
  }
  return all;
}

export interface Using {
  use: Use;
  job: Job;
  places: Map<string, Place>;
  /** The tables as they are, and as they will be when all is added. */
  before: Catalog;
  after: Catalog;
}
