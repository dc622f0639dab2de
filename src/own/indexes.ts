import { createHash } from 'node:crypto';
import type { Settings } from '../base/config.ts';
import type { Transaction } from '../db/client.ts';
import { sqlState } from '../db/states.ts';
import { backlogOf } from '../engine/statements.ts';
import { type Installed, install } from '../job/compile.ts';
import type { Conditions, Table } from '../job/define.ts';
import { quoteName, substitute } from '../job/expressions.ts';
import { indexesOf } from '../job/indexes.ts';
import { type Catalog, qualified, storedName } from '../job/tables.ts';
import { type Kept, LATEST_JOBS, LATEST_OF_ALL } from '../store/own-jobs.ts';
import type { Built } from './making.ts';
import type { Seen } from './server.ts';

/** The indexes that the rules of a job need. */

export interface IndexPlan {
  /** Its qualified name. */
  place: string;
  /** What follows "on TABLE". */
  definition: string;
  /** The same for equal ones on one table. */
  meaning: string;
  /** What drops what is left of an attempt that was broken off, and what builds it. */
  remains: string[];
  statements: string[];
  /** One that says the same is there, whatever its name. */
  isThere: boolean;
}

/** `refused` hears of each that cannot be. It changes nothing; call it as the owner of the table. */
export async function planIndexes(
  tx: Transaction,
  {
    job,
    table,
    columns,
    described = job.table,
    catalog = { [described.name]: { ...table, columns: { ...table.columns, ...columns } } },
  }: Pick<Built, 'job' | 'table' | 'columns'> & { described?: Table; catalog?: Catalog },
  settings: Settings,
  refused: (rule: string, why: string) => void,
): Promise<IndexPlan[]> {
  const zones = { zone: settings.timezone, dbZone: settings.dbTimezone };
  const wanted = indexesOf(job, described, catalog, zones);
  const said = await asTheServerSays(
    tx,
    table,
    columns,
    wanted.map(({ definition }) => definition),
  );
  const [present, tree] = [await presentOn(tx, table.oid), await partsOf(tx, table.oid)];
  return wanted.flatMap(({ name, definition }, n) => {
    const ending = name.slice(`${table.name}_`.length).replace(/^to_/, '');
    const rule = Object.keys(job.rules).find((each) => each.replaceAll(' ', '_') === ending) ?? ending;
    const saying = said[n]!;
    if ('refusal' in saying) {
      refused(rule, saying.refusal);
      return [];
    }
    const hash = createHash('sha256').update(definition).digest('hex').slice(0, 6);
    const words = Buffer.from(`${table.name}_${job.name}_${ending}`.replaceAll(/\W/g, '_'));
    const nameOf = (length: number, more: string) => `${words.subarray(0, length)}_${hash}${more}`;
    const own = `${quoteName(table.schema)}.${quoteName(nameOf(56, ''))}`;
    const equal = present.filter((each) => each.isValid && each.says === saying.says).map(({ place }) => place);
    const place = equal.includes(own) ? own : (equal[0] ?? own);
    const making = tree.length > 0 ? inParts(tree, definition, nameOf) : whole(table, nameOf(56, ''), definition);
    return [{ place, definition, meaning: `${table.oid} ${saying.says}`, ...making, isThere: equal.length > 0 }];
  });
}

type Saying = { says: string } | { refusal: string };

/** Each definition as the server reads it, tried on an empty table of the same columns. */
async function asTheServerSays(
  tx: Transaction,
  table: Seen,
  columns: Record<string, string>,
  definitions: string[],
): Promise<Saying[]> {
  const all: Saying[] = [];
  await tx.query('savepoint rows');
  await tx.query(`create temp table own_rows (like ${qualified(table.name, table)} including generated)`);
  for (const [column, type] of Object.entries(columns))
    await tx.query(`alter table pg_temp.own_rows add column if not exists ${quoteName(column)} ${type}`);
  for (const definition of definitions) {
    await tx.query('savepoint index');
    try {
      await tx.query(`create index own_index on pg_temp.own_rows ${definition}`);
      const [row] = await tx.query<{ says: string }>(
        `select ${says('i.indexrelid', "'.own_rows USING '")} as says from pg_index i where i.indexrelid = 'pg_temp.own_index'::regclass`,
      );
      all.push(row!);
    } catch (error) {
      if (sqlState(error) === undefined) throw error;
      all.push({ refusal: (error as Error).message });
    }
    await tx.query('rollback to savepoint index');
  }
  await tx.query('rollback to savepoint rows');
  return all;
}

/** SQL for an index without its name and that of its table, given what ends with that. */
const says = (oid: string, table: string) => `split_part(pg_get_indexdef(${oid}), ${table}, 2)`;

const presentOn = (tx: Transaction, oid: string) =>
  tx.query<{ place: string; says: string; isValid: boolean }>(
    `select format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""')) as place,
       i.indisvalid and i.indisready as "isValid", ${says('i.indexrelid', "format(' %I.%I USING ', n.nspname, t.relname)")} as says
     from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
     join pg_namespace n on n.oid = c.relnamespace
     where i.indrelid = :oid::oid order by c.relname`,
    { oid },
  );

interface Part {
  oid: string;
  place: string;
  schema: string;
  above: string | null;
  isLeaf: boolean;
}

/** A partitioned table and its partitions, those above first; none for a table without. */
const partsOf = (tx: Transaction, oid: string) =>
  tx.query<Part>(
    `select c.oid::text as oid, format('%I.%I', n.nspname, c.relname) as place, n.nspname::text as schema,
       case when part.level > 0 then part.parentrelid::oid::text end as above, part.isleaf as "isLeaf"
     from pg_class t cross join lateral pg_partition_tree(t.oid) as part
     join pg_class c on c.oid = part.relid join pg_namespace n on n.oid = c.relnamespace
     where t.oid = :oid::oid and t.relkind = 'p' order by part.level, c.relname`,
    { oid },
  );

type Making = Pick<IndexPlan, 'remains' | 'statements'>;

const whole = (table: Seen, name: string, definition: string): Making => ({
  remains: [`drop index concurrently if exists ${qualified(name, table)}`],
  statements: [`create index concurrently ${quoteName(name)} on ${qualified(table.name, table)} ${definition}`],
});

/** PostgreSQL builds no index of a partitioned table concurrently: so each partition gets its own, which is then attached. */
function inParts(tree: Part[], definition: string, nameOf: (length: number, more: string) => string): Making {
  const index = ({ oid, above }: Part) => (above === null ? nameOf(56, '') : nameOf(45, `_${oid}`));
  const placeOf = (part: Part) => qualified(index(part), part);
  const drop = (part: Part) => `drop index ${part.isLeaf ? 'concurrently ' : ''}if exists ${placeOf(part)}`;
  const create = (part: Part) =>
    `create index ${part.isLeaf ? 'concurrently ' : ''}${quoteName(index(part))} on ${part.isLeaf ? '' : 'only '}${part.place} ${definition}`;
  const attached = tree.flatMap((part) => {
    const above = tree.find(({ oid }) => oid === part.above);
    return above ? [`alter index ${placeOf(above)} attach partition ${placeOf(part)}`] : [];
  });
  return { remains: tree.map(drop), statements: [...tree.map(create), ...attached.reverse()] };
}

export interface Made {
  place: string;
  isPartitioned: boolean;
  /** A job that is kept needs it. */
  isUsed: boolean;
  /** One that this tenant does not see does. */
  isUsedElsewhere: boolean;
}

/** The indexes that "scheduler apply" has made and that are still there. */
export const madeIndexes = (tx: Pick<Transaction, 'query'>): Promise<Made[]> =>
  tx.query<Made>(
    `with versions as (
       select id, case when json_typeof(compiled -> 'indexes') = 'object' then compiled -> 'indexes' else '{}' end as indexes
       from scheduler.jobs where compiled is not null
     ),
     used as (
       select key as place, id in (select id from (${LATEST_JOBS}) as latest) as is_seen
       from versions cross join json_each_text(indexes) where id in (select id from (${LATEST_OF_ALL}) as latest)
     )
     select distinct place, c.relkind = 'I' as "isPartitioned", place in (select place from used) as "isUsed",
       place in (select place from used where not is_seen) as "isUsedElsewhere"
     from (select key as place from versions cross join json_each_text(indexes) where value = 'true') as made
     cross join lateral (select parse_ident(place, false) as parts) as ident
     join pg_namespace n on n.nspname = parts[1] join pg_class c on c.relnamespace = n.oid and c.relname = parts[2] and c.relkind in ('i', 'I')
     order by place`,
  );
export interface Due {
  rule: string;
  rows: number;
  oldest: string | null;
}

/** A job of your own before all its columns are there: they hold nothing yet. */
export function asYetOf({ job, dbZone }: Kept, table: Seen): Installed {
  const nulls = (sql: string) =>
    substitute(sql, (name, isQuoted) =>
      isQuoted && Object.hasOwn(job.table.columns, name) && !Object.hasOwn(table.columns, storedName(job.table, name))
        ? 'null'
        : undefined,
    );
  const asYet = Object.entries(job.rules).map(([name, rule]) => [
    name,
    {
      ...rule,
      where: Object.fromEntries(Object.entries(rule.where as Conditions).map(([each, sql]) => [each, nulls(sql)])),
    },
  ]);
  return install({ ...job, rules: Object.fromEntries(asYet) }, { [job.table.name]: table }, dbZone);
}

/** What these rules would find at once. */
export async function dueNow(
  tx: Transaction,
  { job, tenant, rules }: Installed,
  settings: Settings,
  names: string[],
): Promise<Due[]> {
  const all: Due[] = [];
  for (const rule of rules.filter(({ name }) => names.includes(name))) {
    const [counted] = await tx.query<Omit<Due, 'rule'>>(backlogOf(rule), {
      ...{ ...settings.job, now: new Date().toISOString(), tenant, job: job.name },
      ...{ zone: settings.timezone, dbZone: settings.dbTimezone },
    });
    all.push({ rule: rule.name, ...counted! });
  }
  return all;
}
