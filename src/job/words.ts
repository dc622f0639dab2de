import type { Transaction } from '../db/client.ts';
import type { Job, Table } from './define.ts';
import { quoteName, quoteText } from './expressions.ts';
import {
  type Catalog,
  columnsNeeded,
  type Found,
  placeOf,
  readCatalog,
  storedName,
  TEXT,
  tableNames,
  tablesOf,
} from './tables.ts';

/** The words of a column: an enum type or a check of the application may lack one. */

export interface Lacking {
  /** The enum type, as SQL writes it. */
  type: string;
  column: string;
  word: string;
}

export async function lackingWords(tx: Pick<Transaction, 'query'>, table: Table, { oid }: Found): Promise<Lacking[]> {
  const wanted = Object.entries(table.columns).flatMap(([name, { words = [], reads }]) =>
    reads === undefined ? words.map((word) => ({ name: storedName(table, name), word })) : [],
  );
  return tx.query<Lacking>(
    `select t.oid::regtype::text as type, w.name as column, w.word
     from json_to_recordset(:wanted::json) as w (name text, word text)
     join pg_attribute a on a.attrelid = :oid::oid and a.attname = w.name
     join pg_type t on t.oid = a.atttypid and t.typtype = 'e'
     where not exists (select from pg_enum e where e.enumtypid = t.oid and e.enumlabel = w.word)
     order by 1, 2, 3`,
    { wanted: JSON.stringify(wanted), oid },
  );
}

export const hasWords = async (tx: Transaction, table: Table, found: Found): Promise<boolean> =>
  (await lackingWords(tx, table, found)).length === 0;

export const addWord = ({ type, word }: Lacking): string => `alter type ${type} add value ${quoteText(word)}`;

/** Such as: the enum type sale_state of packages.status lacks 'active', 'inactive'. */
export function wordsLacked({ name }: Pick<Table, 'name'>, lacking: Lacking[]): string {
  const columns = [...new Map(lacking.map(({ type, column }) => [column, type]))];
  const each = columns.map(([column, type]) => {
    const words = lacking.filter((one) => one.column === column).map(({ word }) => quoteText(word));
    return `the enum type ${type} of ${name}.${column} lacks ${words.join(', ')}`;
  });
  return each.join(', and ');
}

/** A check that refuses words which the job writes: rows would fail by it, one by one. */
export interface Refusing {
  sentence: string;
  /** SQL that lets it allow them besides. */
  remedy: string;
}

interface Check {
  name: string;
  column: string;
  /** As PostgreSQL writes it, with the names of other schemas qualified. */
  expression: string;
}

// The check of one column is asked, and only if all that it calls is PostgreSQL's own: it must be safe for anybody to ask.
const CHECKS = `
  select c.conname as name, a.attname as column, pg_get_expr(c.conbin, c.conrelid) as expression
  from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
  where c.conrelid = :oid::oid and c.contype = 'c' and coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true)
    and not exists (
      select from pg_depend d where d.classid = 'pg_constraint'::regclass and d.objid = c.oid
        and d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass)
    )
  order by c.conname`;

export async function refusedWords(tx: Transaction, job: Job, laid?: Catalog): Promise<Refusing[]> {
  const catalog = await readCatalog(tx, tableNames([job]), laid);
  const all: Refusing[] = [];
  for (const table of tablesOf(job)) {
    const found = catalog[table.name];
    if (!found) continue;
    for (const check of await tx.query<Check>(CHECKS, { oid: found.oid })) {
      const refused = await refusedBy(tx, table, found, check);
      if (refused.length > 0) all.push(refusing(found, check, refused.map(quoteText).join(', ')));
    }
  }
  return all;
}

async function refusedBy(tx: Transaction, table: Table, found: Found, check: Check): Promise<string[]> {
  const { column, expression } = check;
  const name = Object.keys(table.columns).find((each) => storedName(table, each) === column);
  const { words, writes = words } = (name !== undefined && table.columns[name]) || {};
  const type = found.columns[column]!;
  if (!writes || !TEXT.test(type) || !columnsNeeded(table).includes(name!)) return [];
  const rows = await tx.query<{ word: string }>(
    `select word from unnest(:writes::text[]) as given (word)
     where (select not (${expression}) from (select word::${type} as ${quoteName(column)}) as t)`,
    { writes },
  );
  return rows.map(({ word }) => word);
}

function refusing(found: Found, { name, column, expression }: Check, words: string): Refusing {
  const [place, check] = [placeOf(found), quoteName(name)];
  return {
    sentence: `the check ${check} of ${place} refuses ${words} in ${quoteName(column)}, which the job writes`,
    remedy: `alter table ${place} drop constraint ${check}, add constraint ${check} check (${expression} or ${quoteName(column)} in (${words}));`,
  };
}
