import { nearest } from '../base/nearest.ts';
import { type Installed, indexable, install } from '../job/compile.ts';
import type { Job, Table } from '../job/define.ts';
import { namesIn, quoteText } from '../job/expressions.ts';
import type { Laid, Use } from '../job/lay.ts';
import { unfilled } from '../job/refusing.ts';
import { type Catalog, columnsNeeded, familyOf, keyOf, storedName, tablesOf } from '../job/tables.ts';
import { namesOf, TIMES } from '../job/writing.ts';
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
    if (said.id in seen.columns) laid.columns[keyOf(table)] = { is: said.id };
    else building.fault([...path, 'id'], noColumn(said.id, seen.columns));
  }
  for (const [name, sql] of Object.entries(said.columns)) {
    const here = [...path, 'columns', name];
    if (name in table.columns) laid.columns[name] = (await layColumn(making, place, name, sql, here)) ?? {};
    else building.fault(here, noColumn(name, table.columns as never).replace('the table', `"${table.name}"`));
  }
  // The application keeps no such times: then nobody does.
  for (const name of TIMES)
    if (name in table.columns && !(name in said.columns) && !(name in seen.columns))
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
  for (const key of ['insert', 'set'] as const) {
    const values = await valuesOf(making, said[key], [...path, key]);
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
  if (is !== undefined && !(is in seen.columns)) return void building.fault(path, noColumn(is, seen.columns));
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

const fits = (type: string, wanted: string) =>
  familyOf(type) === familyOf(wanted) || familyOf(type) === -1 || familyOf(wanted) === -1;

/** New values of columns that the job itself does not know. */
async function valuesOf(making: Making, values: Record<string, string>, path: Path): Promise<Record<string, string>> {
  const { building, table } = making;
  const all: Record<string, string> = {};
  for (const [column, sql] of Object.entries(values)) {
    const here = [...path, column];
    if (!(column in table.columns)) building.fault(here, noColumn(column, table.columns));
    else if (table.generated.includes(column))
      building.fault(here, `the column "${column}" is generated: nobody can set it`);
    else if (column === making.key)
      building.fault(here, `the column "${column}" names the row: the job sets it itself`);
    else if (/^null$/i.test(sql) && column in table.notNull)
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

type Refuse = (path: Path, message: string) => void;

/** What does not fit of the whole: columns that are nowhere, that cannot be written, and rows that cannot be inserted. */
export function checkFit(own: OwnJob, using: Using, refuse: Refuse): void {
  const { job, after, places } = using;
  const { writes, rights } = asIfWhole(job, after);
  for (const table of tablesOf(job)) {
    const place = places.get(table.name);
    if (!place) continue;
    const written = writes.get(table.name) ?? new Set();
    checkColumns(job, table, place, written, refuse);
    checkReferences(job, table, place, after, refuse);
    checkShared(table, place, written, refuse);
    if (rights.get(table.name)?.has('insert')) checkInsert(table, place, written, refuse);
    checkValues(table, place, written, refuse);
  }
  checkIndexed(own, job, using, refuse);
}

/** The job on tables that have all columns: what it does with them can be told before they are there. */
function asIfWhole(job: Job, after: Catalog): Installed {
  const whole: Catalog = {};
  for (const table of tablesOf(job)) {
    const types = Object.entries(table.columns).map(([name, { type }]) => [storedName(table, name), type]);
    const found = after[table.name] ?? { oid: '0', schema: '', name: table.name, owner: '', columns: {}, notNull: {} };
    whole[table.name] = { ...found, columns: { ...Object.fromEntries(types), ...found.columns } };
  }
  return install(job, whole, 'UTC');
}

export const filledBy = (builtIn: Job[], table: string): Set<string> =>
  new Set(builtIn.flatMap((job) => [...(asIfWhole(job, {}).writes.get(table) ?? [])]));

function checkColumns(
  job: Job,
  table: Table,
  { said, path, seen, filled }: Place,
  writes: Set<string>,
  refuse: Refuse,
): void {
  const place = `${seen.schema}.${seen.name}`;
  // The columns that tell the table from others are there by some name: an empty one beside them would mean that nobody has any.
  const mayAdd = (name: string) =>
    isKept(table, name) || (filled.has(name) && (table.ours || !table.recognisedBy.includes(name)));
  const dues = table === job.table ? Object.values(job.rules).map(({ due }) => due) : [];
  const awaited = namesIn(dues.join(' , '), Object.keys(table.columns));
  for (const name of columnsNeeded(table)) {
    const { reads, absent, type, kind, like, isId, notNull } = table.columns[name]!;
    const here = [...path, 'columns', ...(name in said.columns ? [name] : [])];
    const stored = storedName(table, name);
    const is = seen.columns[stored];
    const mustWrite = writes.has(name) && !TIMES.includes(name);
    if (mustWrite && reads !== undefined)
      refuse(here, `the job writes "${name}": name a column of ${place} for it, not an expression`);
    else if (mustWrite && absent !== undefined)
      refuse(here, `the job writes "${name}": name a column of ${place} for it, or leave it out, and it is added`);
    else if (writes.has(name) && seen.generated.includes(stored))
      refuse(here, `the job writes "${name}", and the column "${stored}" of ${place} is generated`);
    else if (mustWrite && awaited.includes(name) && !notNull && stored in seen.notNull)
      refuse(
        here,
        `"${stored}" of ${place} is "not null", and the job sets "${name}" to null when nothing more is to be done`,
      );
    else if ((reads ?? absent) !== undefined) continue;
    else if (is === undefined && !mayAdd(name))
      refuse(
        here,
        `${place} has no column "${name}"${hint(name, seen)}: say under "columns" what it is there, ${name}: COLUMN, an expression, or null if there is no such thing`,
      );
    else if (
      is !== undefined &&
      kind !== 'key' &&
      !like &&
      !isId &&
      !fits(is, type) &&
      !(kind === 'day' && /^timestamp/.test(is))
    )
      refuse(
        here,
        `"${stored}" of ${place} is of type ${is}, and the job takes it for ${type}: write an expression, ${name}: …`,
      );
  }
}

/** Two names that the job writes are two columns: one would lose its value, or the statement would be none. */
function checkShared(table: Table, { path, said }: Place, writes: Set<string>, refuse: Refuse): void {
  const kept = new Map<string, string>();
  for (const name of writes) {
    const { absent, mayBe } = table.columns[name] ?? {};
    if (absent !== undefined) continue;
    const stored = storedName(table, name);
    const other = kept.get(stored);
    if (other === undefined) kept.set(stored, name);
    else if (mayBe !== other && table.columns[other]?.mayBe !== name)
      refuse(
        [...path, 'columns', ...(name in said.columns ? [name] : [])],
        `"${stored}" is the column of "${other}" already, and the job writes both: name a column of its own for "${name}", or leave it out, and it is added`,
      );
  }
}

/** A column that holds ids of another table has their type, or no row would be found by it. */
function checkReferences(job: Job, table: Table, { path, said, seen }: Place, after: Catalog, refuse: Refuse): void {
  for (const name of columnsNeeded(table)) {
    const { like, reads, absent } = table.columns[name]!;
    const other = like && tablesOf(job).find((each) => each.name === like.table);
    const is = after[table.name]!.columns[storedName(table, name)];
    if (!other || is === undefined || (reads ?? absent) !== undefined) continue;
    const there = after[other.name]!;
    const wanted = there.columns[storedName(other, like.column)]!;
    if (is === wanted || (familyOf(is) === familyOf(wanted) && familyOf(is) !== -1)) continue;
    refuse(
      [...path, 'columns', ...(name in said.columns ? [name] : [])],
      `"${storedName(table, name)}" of ${seen.schema}.${seen.name} is of type ${is}, and "${storedName(other, like.column)}" of ${there.schema}.${there.name}, which it refers to, of type ${wanted}`,
    );
  }
}

const hint = (name: string, { columns }: Seen) => {
  const meant = nearest(name, Object.keys(columns));
  return meant ? ` ("${meant}" is near)` : '';
};

/** A column that the scheduler keeps for itself. */
export const isKept = (table: Table, name: string): boolean =>
  /kept by the scheduler/.test(table.columns[name]?.comment ?? '') || table.columns[name]?.safeToAdd === true;

/** An expression in an index must not fail: it would make the application's own insert fail. */
function checkIndexed(own: OwnJob, job: Job, { places, after }: Using, refuse: Refuse) {
  const { path, said, unsafe } = places.get(job.table.name)!;
  const tables = namesOf(job, after, { dbZone: 'UTC' });
  const indexed = Object.values(job.rules)
    .filter(({ row }) => !row)
    .flatMap((rule) => [rule.due, ...indexable(rule, tables, own.name)]);
  for (const name of namesIn(indexed.join(' , '), Object.keys(said.columns))) {
    if (unsafe.has(name))
      refuse(
        [...path, 'columns', name],
        `an index is built on "${name}", and this may fail for some values, or answer another thing tomorrow: keep it in a column that a trigger fills, or in a generated one, and name that`,
      );
  }
}

function checkInsert(table: Table, { seen, path, said }: Place, writes: Set<string>, refuse: Refuse): void {
  for (const column of unfilled(table, seen, writes))
    if (!(column in said.insert))
      refuse(
        [...path, 'insert'],
        `a row that the job inserts into ${seen.schema}.${seen.name} has no "${column}", which is not null and has no default: say under "insert" what it is, ${column}: EXPRESSION`,
      );
}

/** Where the job itself writes, what it writes to other tables would say something else: a login's name, for instance. */
function checkValues(table: Table, { path, said }: Place, writes: Set<string>, refuse: Refuse): void {
  const written = new Map([...writes].map((name) => [storedName(table, name), name]));
  for (const key of ['insert', 'set'] as const)
    for (const column of Object.keys(said[key]))
      if (written.has(column) && !TIMES.includes(written.get(column)!))
        refuse(
          [...path, key, column],
          `the job itself writes "${column}"${column === written.get(column) ? '' : `, as "${written.get(column)}"`}: leave it out here`,
        );
}
