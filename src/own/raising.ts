import { createHash } from 'node:crypto';
import type { Transaction } from '../db/client.ts';
import { namesIn, quoteName, quoteText, substitute } from '../job/expressions.ts';
import { LATEST_OF_ALL } from '../store/own-jobs.ts';
import type { Types } from './due.ts';
import type { Reading } from './server.ts';

/**
 * A due time in SQL that may raise. In an index it would make the application's own insert fail, and in a claim it would end the
 * whole pass. So a function asks it, for which such a row is due at once; the batch then asks the expression itself.
 */

export interface Guarded {
  /** The call of the function. */
  sql: string;
  statement: string;
}

/** Their answer depends on settings of a session, and on nothing else. The function pins those. */
const PINNED =
  /^(pg_catalog\.)?"?(timestamptz|timestamp|date|timetz|time|text|(timestamptz|interval)_(pl|mi)_(interval|timestamptz)|(timestamptz|timestamp|date)_(eq|ne|lt|le|gt|ge|cmp)_\w+|to_(timestamp|date|char|number)|make_timestamptz|date_(trunc|part|bin|add|subtract)|extract|timezone|concat|concat_ws|format)"?$/;

/** Why no function can ask it. */
export function whyNotGuarded({ sql, subquery, unsteady, functions }: Reading): string | undefined {
  const ofOthers = Object.keys(functions);
  const generated = 'keep it in a column, a generated one for instance, and name that';
  if (subquery) return 'a due time is of the row alone, and this reads other rows';
  // An index calls it as whoever inserts, and that role may lack the right to a schema of the application.
  if (ofOthers.length > 0)
    return `a due time uses functions of PostgreSQL, and not ${ofOthers.join(', ')}: ${generated}`;
  if (/::(?:"(?:[^"]|"")+"|\w+)\./.test(sql.replace(/'(?:[^']|'')*'/g, "''")))
    return `a due time uses types of PostgreSQL alone: write COLUMN::text, or ${generated}`;
  const changing = unsteady.filter((name) => !PINNED.test(name));
  return changing.length > 0 ? `${changing.join(', ')} may answer another thing tomorrow: ${generated}` : undefined;
}

export function guarded({ sql, type }: Reading, types: Types, dbZone: string): Guarded {
  const columns = namesIn(sql, Object.keys(types));
  const place = (name: string, isQuoted: boolean) =>
    isQuoted && columns.includes(name) ? `$${columns.indexOf(name) + 1}` : undefined;
  const settings = `set search_path = pg_catalog, pg_temp set timezone = ${quoteText(dbZone)} set datestyle = 'ISO, MDY' set intervalstyle = 'postgres'`;
  const what = `(${columns.map((name) => types[name]).join(', ')}) returns ${type} language plpgsql immutable ${settings}`;
  const body = `begin return ${substitute(sql, place)}; exception when others then return '-infinity'; end`;
  const name = `due_${createHash('sha256')
    .update(what + body)
    .digest('hex')
    .slice(0, 12)}`;
  return {
    sql: `scheduler.${name}(${columns.map(quoteName).join(', ')})`,
    statement: `create or replace function scheduler.${name}${what} as $${name}$ ${body} $${name}$;
grant execute on function scheduler.${name} to public`,
  };
}

export async function makeFunctions(tx: Transaction, statements: string[]): Promise<void> {
  for (const statement of statements) await tx.query(statement);
}

/** Drops those that no job names. One that an index still needs stays. */
export async function dropFunctions(tx: Transaction): Promise<void> {
  const unused = await tx.query<{ name: string }>(
    `select p.oid::regprocedure::text as name from pg_proc p
     where p.pronamespace = 'scheduler'::regnamespace and p.proname ~ '^due_[0-9a-f]{12}$'
       and not exists (select from (${LATEST_OF_ALL}) as j where strpos(j.compiled::text, p.proname) > 0)
       and not exists (select from pg_depend where refclassid = 'pg_proc'::regclass and refobjid = p.oid and deptype = 'n')`,
  );
  for (const { name } of unused) await tx.query(`drop function ${name}`);
}
