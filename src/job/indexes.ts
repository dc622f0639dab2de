import { configurationError } from '../base/errors.ts';
import type { Transaction } from '../db/client.ts';
import { sqlState } from '../db/states.ts';
import { indexable } from './compile.ts';
import { AT_ONCE, type Job, type Table } from './define.ts';
import { quoteName, quoteText, substitute } from './expressions.ts';
import { ADDED, builtAs, isMarked, marked, type Report } from './steps.ts';
import { type Catalog, type Found, onceName, physical, placeOf, qualified, storedKey, storedName } from './tables.ts';
import { namesOf } from './writing.ts';

export interface Zones {
  zone: string;
  dbZone: string;
}

export interface Index {
  name: string;
  /** What follows "on TABLE"; made for the table as it is in this database. */
  definition: string;
}

/** The indexes that a job needs on one of its tables. */
export function indexesOf(job: Job, table: Table, catalog: Catalog, zones: Zones): Index[] {
  const found = catalog[table.name]!;
  const replacement = (name: string, isQuoted: boolean) =>
    Object.hasOwn(table.columns, name) && (isQuoted || !table.quoted)
      ? indexed(table, found, name, zones.dbZone)
      : undefined;
  const stored = (sql: string) =>
    substitute(sql, replacement).replaceAll(/:zone(::text)?/g, `${quoteText(zones.zone)}::text`);
  const named = (end: string, definition: string): Index => ({ name: `${found.name}_${end}`, definition });
  const waiting = table === job.table ? distinct(waitingRows(job, catalog, zones)) : [];
  const ofRules = waiting.map(({ name, due, conditions }) => {
    const order = due === AT_ONCE ? [] : [`(${stored(due)})`];
    const kept = conditions.filter((each) => !isAlwaysTrue(each, found)).map((each) => `(${stored(each)})`);
    if (table.where !== undefined) kept.push(table.where);
    const where = kept.length > 0 ? ` where ${kept.join(' and ')}` : '';
    return named(`to_${name.replaceAll(' ', '_')}`, `(${[...order, quoteName(storedKey(table))].join(', ')})${where}`);
  });
  return [...ofRules, ...Object.entries(table.indexes ?? {}).map(([end, sql]) => named(end, stored(sql)))];
}

/**
 * The planner writes scheduler.at() out, so that an index with it serves a query without it. It has a form for each type of
 * instant: with it, the application can still alter the type of the column.
 */
function indexed(table: Table, found: Found, name: string, dbZone: string): string {
  const { kind, reads, absent } = table.columns[name]!;
  if (kind !== 'instant' || (reads ?? absent) !== undefined) return physical(table, found, name, dbZone);
  return `scheduler.at(${quoteName(storedName(table, name))}, ${quoteText(dbZone)}::text)`;
}

/**
 * From PostgreSQL 17 on, the planner drops "x is not null" of a column that is never null from a query. It then no longer
 * sees that an index with this predicate would do.
 */
const isAlwaysTrue = (condition: string, { notNull }: Found): boolean => {
  const [, column] = /^"?(\w+)"? is not null$/.exec(condition) ?? [];
  return column !== undefined && Object.hasOwn(notNull, column);
};

/** The rows that wait for a rule, as an index holds them. */
interface Waiting {
  name: string;
  due: string;
  conditions: string[];
}

function waitingRows(job: Job, catalog: Catalog, { dbZone }: Zones): Waiting[] {
  const tables = namesOf(job, catalog, { dbZone });
  const ofTable = Object.entries(job.rules).filter(([, rule]) => !rule.row);
  return ofTable.map(([name, rule]) => ({ name, due: rule.due, conditions: indexable(rule, tables, job.name) }));
}

/** One index serves all rules of the same due time whose conditions are no weaker than its own. */
function distinct(all: Waiting[]): Waiting[] {
  const serves = (one: Waiting, other: Waiting) =>
    one.due === other.due && one.conditions.every((each) => other.conditions.includes(each));
  return all.filter(
    (each, n) => !all.some((other, m) => m !== n && serves(other, each) && (!serves(each, other) || m < n)),
  );
}

/** Where the indexes of a job are made, and who is told of it. */
export interface Making {
  tx: Transaction;
  report: Report;
}

const nameTaken = (place: string) =>
  configurationError(
    `An index of the name ${place} is needed, and something else has that name. Rename it, then run "scheduler migrate" again.`,
  );

/** The index is of a column, or of a rule. */
const cannotBeBuilt = (error: unknown, on: string, of: string): unknown => {
  const again = 'then run "scheduler migrate" again.';
  switch (sqlState(error)) {
    case '54000': // an entry of an index has to fit on a third of a page
      return configurationError(
        `An index of ${of} of ${on} cannot be built, as a value is longer than 2,700 bytes: shorten it ("select … where length(…) > 2000" finds it), ${again}`,
      );
    case '23505':
      return configurationError(
        `${of} of ${on} has to be unique, and a value is there twice: "select ${of}, count(*) from ${on} group by 1 having count(*) > 1" finds it. Change or delete one of the rows, ${again}`,
      );
    default:
      return error;
  }
};

/**
 * "create index if not exists" that also notices a changed definition: another zone, a later version. An index of that name
 * that an operator built beforehand, concurrently say, has no mark of ours and is left alone.
 */
export async function ensureIndex({ tx, report }: Making, found: Found, index: Index): Promise<void> {
  const { name, definition } = index;
  const place = qualified(name, found);
  const [present] = await tx.query<{ comment: string | null; on: string | null }>(
    `select obj_description(c.oid, 'pg_class') as comment, i.indrelid::text as on
     from pg_class c left join pg_index i on i.indexrelid = c.oid where c.oid = to_regclass(:place::text)`,
    { place },
  );
  if (present && present.on !== found.oid) throw nameTaken(place);
  if (present && (!isMarked(present.comment) || present.comment === builtAs(definition))) return;
  if (present) await tx.query(`drop index ${place}`);
  const on = placeOf(found);
  await tx.query(`create index ${quoteName(name)} on ${on} ${definition}`).catch((error) => {
    throw cannotBeBuilt(error, on, definition);
  });
  await tx.query(`comment on index ${place} is ${quoteText(builtAs(definition))}`);
  report({ does: present ? 'rebuild' : 'build', what: 'index', name: `${found.schema}.${name}` });
}

const CANNOT_BE_UNIQUE = new Set([
  '23505', // a value is there twice
  '0A000', // the table is partitioned by something else
]);

/**
 * Two rows must not have the same value. Where the application sees to that, an index of ours would only cost. Where a table
 * has a value twice already, or cannot promise it because it is partitioned by something else, an index that finds is made.
 */
export async function ensureOnce(
  { tx, report }: Making,
  found: Pick<Found, 'schema' | 'name'>,
  column: string,
): Promise<void> {
  const name = onceName(found, column);
  const place = qualified(name, found);
  const on = placeOf(found);
  const [known] = await tx.query<{ others: boolean; ours: 'whole' | 'partial' | null; taken: boolean }>(
    `select scheduler.stored_once('', :on::text::regclass, :column::text) as others,
       (
         select case when indpred is null then 'whole' else 'partial' end
         from pg_index where indexrelid = to_regclass(:place::text) and indrelid = :on::text::regclass
       ) as ours,
       to_regclass(:place::text) is not null as taken`,
    { on, place, column },
  );
  const { others, ours, taken } = known!;
  const index = { what: 'index', name: `${found.schema}.${name}` } as const;
  if (others && ours === 'partial') {
    await tx.query(`drop index ${place}`);
    report({ does: 'drop', ...index });
  }
  if (others || ours) return;
  if (taken) throw nameTaken(place);
  const c = quoteName(column);
  const definition = `on ${on} (${c}) where ${c} is not null and ${c}::text <> ''`;
  await tx.query('savepoint once');
  try {
    await tx.query(`create unique index ${quoteName(name)} ${definition}`);
  } catch (error) {
    if (!CANNOT_BE_UNIQUE.has(sqlState(error) ?? '')) throw cannotBeBuilt(error, on, c);
    await tx.query('rollback to savepoint once');
    await tx.query(`create index ${quoteName(name)} ${definition}`).catch((again) => {
      throw cannotBeBuilt(again, on, c);
    });
  }
  await tx.query(`comment on index ${place} is ${quoteText(marked(undefined, ADDED))}`);
  report({ does: 'build', ...index });
}

/** An "on conflict" needs an index over all rows. Two rows with the same value end the migration: a person must choose. */
export async function ensureUnique({ tx, report }: Making, found: Found, column: string): Promise<void> {
  const name = `${found.name}_${column}_unique`;
  const on = placeOf(found);
  const [known] = await tx.query<{ isUnique: boolean }>(
    `select scheduler.stored_once('', :on::text::regclass, :column::text) as "isUnique"`,
    { on, column },
  );
  if (known!.isUnique) return;
  const c = quoteName(column);
  await tx.query(`create unique index ${quoteName(name)} on ${on} (${c})`).catch((error) => {
    throw cannotBeBuilt(error, on, c);
  });
  await tx.query(`comment on index ${qualified(name, found)} is ${quoteText(marked(undefined, ADDED))}`);
  report({ does: 'build', what: 'index', name: `${found.schema}.${name}` });
}
