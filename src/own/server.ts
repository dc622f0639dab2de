import { EXIT, OperatorError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { someOf } from '../base/plain.ts';
import type { Transaction } from '../db/client.ts';
import { named, OPENED, SCHEMAS } from '../db/search-path.ts';
import { quoteName } from '../job/expressions.ts';
import { type Found, qualified } from '../job/tables.ts';

/** What the server says of a table, and how it reads an expression on its rows. */

export interface Seen extends Found {
  name: string;
  /** The columns of its primary key. */
  primaryKey: string[];
  /** Columns that no two rows share. */
  unique: string[];
  isPartitioned: boolean;
  /** Columns that nobody can set. */
  generated: string[];
}

/** What PostgreSQL or this program keeps for itself. */
const OF_SYSTEM = `n.nspname in ('pg_catalog', 'information_schema', 'scheduler') or n.nspname ~ '^pg_'`;

/** The table of that name, as the application would find it. */
export async function seeTable(tx: Transaction, table: string): Promise<Seen | undefined> {
  let found: Seen | undefined;
  // A name may be none.
  await tx.attempt(async () => {
    [found] = await tx.query<Seen>(
      `with wanted as materialized (select parse_ident(:table::text) as parts),
     found as (
       select case cardinality(parts)
         when 1 then ${named('parts[1]')}
         else (select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = parts[1] and c.relname = parts[2])
       end as oid from wanted
     )
     select c.oid::text as oid, n.nspname::text as schema, c.relname::text as name, pg_get_userbyid(c.relowner)::text as owner,
       coalesce(all_of.columns, '{}') as columns, coalesce(all_of.not_null, '{}') as "notNull",
       coalesce(all_of.generated, '{}') as generated,
       array(
         select a.attname::text from pg_index i cross join unnest(i.indkey) with ordinality as k (attnum, n)
         join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
         where i.indrelid = c.oid and i.indisprimary order by k.n
       ) as "primaryKey",
       array(
         select a.attname::text from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
         where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indnkeyatts = 1 and i.indpred is null
       ) as unique,
       c.relkind = 'p' as "isPartitioned"
     from found join pg_class c on c.oid = found.oid join pg_namespace n on n.oid = c.relnamespace
     cross join lateral (
       select json_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) as columns,
         json_object_agg(a.attname, a.atthasdef or a.attidentity <> '') filter (where a.attnotnull) as not_null,
         array_agg(a.attname::text) filter (where a.attgenerated <> '') as generated
       from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     ) as all_of
     where c.relkind in ('r', 'p') and not (${OF_SYSTEM})`,
      { table },
    );
  });
  return found;
}

/** A right without which nothing can be read. */
export class MayNotRead extends OperatorError {
  readonly why: string;
  readonly remedies: string[];

  constructor(role: string, owner: string, remedy: string) {
    const why = `PostgreSQL reads an expression for a temporary view, and the role "${role}" may make none`;
    super(EXIT.configuration, `No job is applied: ${why}. As "${owner}" or a superuser: ${remedy}; then apply again.`);
    this.why = why;
    this.remedies = [`-- As ${owner} or a superuser:`, `${remedy};`];
  }
}

/** The role that reads is the owner of the table, where this one is a member of it. */
export async function requireReading(tx: Transaction): Promise<void> {
  const [who] = await tx.query<{ role: string; owner: string; remedy: string }>(
    `select current_user::text as role, pg_get_userbyid(datdba)::text as owner,
       format('grant temporary on database %I to %I', datname, current_user) as remedy
     from pg_database where datname = current_database() and not has_database_privilege(oid, 'temporary')`,
  );
  if (who) throw new MayNotRead(who.role, who.owner, who.remedy);
}

/** How the server reads an expression. */
export interface Reading {
  /** With each column in quotes, and now and due_at as bare words. */
  sql: string;
  type: string;
  /** Functions that do not always answer the same. */
  unsteady: string[];
  /** Functions that may act, or answer what they like. */
  acting: string[];
  /** What it uses of other roles. */
  strangers: string[];
  /** Functions that are not PostgreSQL's own, with a hash of each. */
  functions: Record<string, string>;
  /** Other tables that it reads. */
  tables: string[];
  /** The schemas of what it uses. */
  schemas: string[];
  /** It can be asked of any row without an error. */
  isSafe: boolean;
  clock: boolean;
  subquery: boolean;
  together: boolean;
}

export interface Refusal {
  message: string;
  /** The character of the expression. */
  offset: number | undefined;
}

interface Answer extends Omit<Reading, 'isSafe'> {
  error?: string;
  state?: string;
  operators: string[];
  raises: boolean;
}

const COMPARING = new Set([
  '=',
  '<>',
  '<',
  '>',
  '<=',
  '>=',
  '~~',
  '!~~',
  '~~*',
  '!~~*',
  '->',
  '->>',
  '@>',
  '<@',
  '?',
  '&&',
  '||',
]);

export async function readExpression(
  tx: Transaction,
  table: Seen,
  expression: string,
  column: string | null,
  words: string[],
): Promise<Reading | Refusal> {
  const values = { oid: table.oid, expression, column, words };
  const [row] = await tx.query<{ answer: Answer }>(
    `select scheduler.read_expression(:oid::oid, :expression::text, :column::text, :words::text[], current_setting('scheduler.search_path')) as answer`,
    values,
  );
  const { error, state, operators, raises, sql, ...answer } = row!.answer;
  if (error !== undefined) {
    const offset = await placeOf(tx, table, expression, column, words);
    const message = offset === expression.length ? 'this ends before it is complete' : inWords(error, state!, table);
    return { message, offset };
  }
  // A CASE begins on a line of its own.
  const begin = /^\s*SELECT\s+/.exec(sql)![0].length;
  const isSafe =
    !raises &&
    !answer.subquery &&
    answer.unsteady.length === 0 &&
    operators.every((operator) => COMPARING.has(operator));
  return { ...answer, sql: withoutAlias(sql.slice(begin, sql.lastIndexOf(' AS e\n')).trim()), isSafe };
}

const AMBIGUOUS = '42702';

/** A table may have a column that is called like one of the words of a rule. */
function inWords(error: string, state: string, { schema, name }: Seen): string {
  const [, word] = /"(now|due_at)"/.exec(error) ?? [];
  if (state === AMBIGUOUS && word)
    return `"${word}" is a column of ${schema}.${name}, and has a meaning of its own in a rule: write own_row.${word} for the column, or own_rule.${word}`;
  return error.replaceAll('own_row.', '');
}

/** A statement on `changed`, as the server reads it. */
export interface Statement {
  sql: string;
  /** The tables that it names, and what else it names in their place. */
  tables: string[];
  schemas: string[];
  functions: Record<string, string>;
  views: string[];
  acting: string[];
  strangers: string[];
  returns: boolean;
  readsChanged: boolean;
  /** The columns of "changed" that it reads. */
  columns: string[];
}

export async function readStatement(
  tx: Transaction,
  table: Seen,
  statement: string,
  added: Record<string, string>,
): Promise<Statement | Refusal> {
  const [row] = await tx.query<{ answer: Statement & { error?: string } }>(
    `select scheduler.read_statement(:oid::oid, :statement::text, :added::json, current_setting('scheduler.search_path')) as answer`,
    { oid: table.oid, statement, added: JSON.stringify(added) },
  );
  const { error, ...answer } = row!.answer;
  if (error !== undefined) return { message: error, offset: undefined };
  const body = answer.sql.replace(/^BEGIN ATOMIC/, '').replace(/;?\s*END$/, '');
  return { ...answer, sql: withoutAlias(body.trim()) };
}

export async function knowsZone(tx: Transaction, zone: string): Promise<boolean> {
  const [row] = await tx.query<{ known: boolean }>('select scheduler.known_zone(:zone::text) as known', { zone });
  return row!.known;
}

interface WhereTables {
  kind: string | null;
  system: string | null;
  names: string[];
  is_bare: boolean;
  /** The schemas beyond the search path that have one of that name. */
  elsewhere: string[];
  tenant: string | null;
}

/** Why there is no table of that name. Without a schema, it is looked for where an application might have it, and in pg_catalog. */
export async function whyNoTable(tx: Transaction, table: string): Promise<string> {
  const [row] = await tx.query<WhereTables>(
    `with parts as (select parse_ident(:table::text, false) as p),
     meant as (
       select c.relkind, n.nspname, ${OF_SYSTEM} as of_system from parts, pg_class c join pg_namespace n on n.oid = c.relnamespace
       where c.relname = p[cardinality(p)]
         and case cardinality(p) when 1 then not (${OF_SYSTEM}) or n.nspname = 'pg_catalog' else n.nspname = p[1] end
     )
     select (select relkind from meant where not of_system limit 1) as kind, (select nspname::text from meant where of_system limit 1) as system,
       array(select case cardinality(p) when 1 then quote_ident(c.relname) else format('%I.%I', n.nspname, c.relname) end
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and not (${OF_SYSTEM})) as names, cardinality(p) = 1 as is_bare,
       array(select quote_ident(nspname) from meant where cardinality(p) = 1 and not of_system and relkind in ('r', 'p') order by 1) as elsewhere,
       case when current_setting('scheduler.is_named')::boolean then quote_ident((${SCHEMAS})[1]) end as tenant
     from parts`,
    { table },
  );
  if (row!.kind && !['r', 'p'].includes(row!.kind))
    return `${table} is not a table: a job works on the rows of one, not of a view`;
  if (row!.system && !row!.kind)
    return `${table} is in the schema ${row!.system}, which is not the application's: a job works on a table of yours`;
  const { elsewhere, tenant } = row!;
  if (elsewhere.length > 0) {
    const remedy = tenant
      ? 'make it there, or name one of these with the table'
      : 'name one with the table, or add --tenant or --tenants';
    return `there is no table ${table} in the ${tenant ? `schema ${tenant}` : 'search path'}; it is in the ${elsewhere.length === 1 ? 'schema' : 'schemas'} ${someOf(elsewhere)}: ${remedy}`;
  }
  const meant = nearest(table, row!.names);
  if (meant) return `there is no table ${table}; did you mean ${meant}?`;
  return `there is no table ${table}${row!.is_bare ? '; name it with its schema, as in app.accounts' : ''}`;
}

/** A server tells the place of a fault to whoever sent the statement, and not to a function. */
async function placeOf(
  tx: Transaction,
  table: Seen,
  expression: string,
  column: string | null,
  words: string[],
): Promise<number | undefined> {
  const place = `${qualified(table.name, table)} as own_row`;
  const before = column === null ? 'explain select (' : `explain update ${place} set ${quoteName(column)} = (`;
  let position: number | undefined;
  await tx.query('savepoint reading');
  // Opened, it would be pinned again before the next statement; so the path is as an application has it.
  await tx.query(`with ${OPENED} select path from open_path`);
  try {
    const ours = words.map((word) => `null::timestamptz as ${word}`);
    const rule = `(select ${['0 as zero', ...ours].join(', ')}) as own_rule`;
    await tx.query(`${before}${expression}) from ${column === null ? `${place}, ${rule}` : rule}`);
  } catch (error) {
    const at = Number((error as { position?: string }).position);
    // The server counts characters.
    const characters = [...expression];
    const n = at - [...before].length - 1;
    if (n >= 0 && n <= characters.length) position = characters.slice(0, n).join('').length;
  }
  await tx.query('rollback to savepoint reading');
  return position;
}

const TOKEN = /E?'(?:[^']|'')*'|own_row\.("(?:[^"]|"")+"|\w+)|own_rule\.(now|due_at)|"(?:[^"]|"")+"|\w+|[\s\S]/g;

/** A colon in a text would be taken for a parameter, so it is written another way. */
function withoutAlias(sql: string): string {
  return sql.replace(TOKEN, (token, column?: string, word?: string) => {
    if (word) return word;
    if (column) return column.startsWith('"') ? column : `"${column}"`;
    if (!/^E?'/.test(token) || !/:[a-z]/.test(token)) return token;
    const inner = token.startsWith('E') ? token.slice(2, -1) : token.slice(1, -1).replaceAll('\\', '\\\\');
    return `E'${inner.replace(/:(?=[a-z])/g, '\\072')}'`;
  });
}
