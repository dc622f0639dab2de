import { nearest } from '../base/nearest.ts';
import { type Installed, indexable, install } from '../job/compile.ts';
import type { Job, Table } from '../job/define.ts';
import { namesIn } from '../job/expressions.ts';
import { unfilled } from '../job/refusing.ts';
import { type Catalog, columnsNeeded, familyOf, keyOf, storedKey, storedName, tablesOf } from '../job/tables.ts';
import { namesOf, TIMES } from '../job/writing.ts';
import { fits, isArray, type Place, type Using } from './build-use.ts';
import type { OwnJob, Path } from './definition.ts';
import type { Seen } from './server.ts';

/** Finds what does not fit, when a file lays a built-in job over the application's tables. */

type Refuse = (path: Path, message: string) => void;

/** Refuses columns that are nowhere or that cannot be written, and rows that cannot be inserted. */
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
    const may = rights.get(table.name);
    if (may?.has('insert')) checkInsert(table, place, written, refuse);
    for (const [key, right] of [
      ['insert', 'insert'],
      ['set', 'update'],
    ] as const)
      if (!may?.has(right) && Object.keys(place.said[key]).length > 0)
        refuse(
          [...place.path, key],
          `${using.use.job} ${right}s no row of ${place.seen.schema}.${place.seen.name}, and "${key}" would do nothing: leave it out`,
        );
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
    const here = [...path, 'columns', ...(Object.hasOwn(said.columns, name) ? [name] : [])];
    const stored = storedName(table, name);
    const is = seen.columns[stored];
    const mustWrite = writes.has(name) && !TIMES.includes(name);
    if (mustWrite && reads !== undefined)
      refuse(here, `the job writes "${name}": name a column of ${place} for it, not an expression`);
    else if (mustWrite && absent !== undefined)
      refuse(here, `the job writes "${name}": name a column of ${place} for it, or leave it out, and it is added`);
    else if (writes.has(name) && seen.generated.includes(stored))
      refuse(here, `the job writes "${name}", and the column "${stored}" of ${place} is generated`);
    else if (mustWrite && awaited.includes(name) && !notNull && Object.hasOwn(seen.notNull, stored))
      refuse(
        here,
        `"${stored}" of ${place} is "not null", and the job sets "${name}" to null when nothing more is to be done`,
      );
    else if ((reads ?? absent) !== undefined) continue;
    else if (is === undefined && name === keyOf(table)) refuse([...path, 'table'], noKey(name, seen));
    else if (is === undefined && !mayAdd(name))
      refuse(
        here,
        `${place} has no column "${name}"${hint(name, seen)}: say under "columns" what it is there, ${name}: COLUMN, an expression, or null if there is no such thing`,
      );
    else if (is !== undefined && (kind === 'key' || like || isId ? isArray(is) : !fits(is, type) && !isDay(kind, is)))
      refuse(
        here,
        `"${stored}" of ${place} is of type ${is}, and the job takes it for ${type}: ${mustWrite ? `it writes "${name}", so name a column of that type` : `write an expression, ${name}: …`}`,
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
        [...path, 'columns', ...(Object.hasOwn(said.columns, name) ? [name] : [])],
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
      [...path, 'columns', ...(Object.hasOwn(said.columns, name) ? [name] : [])],
      `"${storedName(table, name)}" of ${seen.schema}.${seen.name} is of type ${is}, and "${storedName(other, like.column)}" of ${there.schema}.${there.name}, which it refers to, of type ${wanted}`,
    );
  }
}

const isDay = (kind: string, type: string) => kind === 'day' && /^timestamp/.test(type);

function noKey(name: string, { schema, name: table, primaryKey }: Seen): string {
  const place = `${schema}.${table}`;
  const [only, ...more] = primaryKey;
  const say = 'say with "id" which column names a row';
  if (only !== undefined && more.length === 0) return `${place} has no column "${name}": ${say}, id: ${only}`;
  const keys =
    only === undefined ? 'no primary key' : `a primary key of ${primaryKey.length} columns (${primaryKey.join(', ')})`;
  return `${place} has no column "${name}", and ${keys}: ${say}. ${ADD_KEY(place)}`;
}

/** The remedy where no column has a unique index of its own. */
const ADD_KEY = (place: string): string =>
  `If none has a unique index of its own, add one: alter table ${place} add column id bigint generated always as identity unique`;

const hint = (name: string, { columns }: Seen) => {
  const meant = nearest(name, Object.keys(columns));
  return meant ? ` ("${meant}" is near)` : '';
};

/** A column that the scheduler keeps for itself. */
const isKept = (table: Table, name: string): boolean =>
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
        `an index is built on "${name}", and this may fail for some values, or answer another thing tomorrow. Keep it in a column that a trigger fills, or in a generated one, and name that`,
      );
  }
}

function checkInsert(table: Table, { seen, path, said }: Place, writes: Set<string>, refuse: Refuse): void {
  for (const column of unfilled(table, seen, writes))
    if (!Object.hasOwn(said.insert, column))
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

/** A partitioned table can promise it only for a key that its rows are distributed by. */
export const notesOfKey = ({ isPartitioned, unique }: Seen, key: string): string[] =>
  isPartitioned && !unique.includes(key)
    ? [`nothing keeps "${key}" unique in all partitions: rows that share one are changed together`]
    : [];

/** Failures, events and batches name a row by it. */
export function checkKey(
  job: Job,
  { schema, name, columns, notNull, unique, isPartitioned }: Seen,
  refuse: Refuse,
): void {
  const key = storedKey(job.table);
  if (!Object.hasOwn(columns, key)) return;
  if (!Object.hasOwn(notNull, key))
    refuse(['id'], `"${key}" of ${schema}.${name} may be null: the column that names a row is "not null"`);
  else if (!isPartitioned && !unique.includes(key))
    refuse(
      ['id'],
      `two rows of ${schema}.${name} may have the same "${key}": the column that names a row has a unique index of its own. ${ADD_KEY(`${schema}.${name}`)}`,
    );
}
