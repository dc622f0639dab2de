import { createHash } from 'node:crypto';
import type { Settings } from '../base/config.ts';
import type { Transaction } from '../db/client.ts';
import { backlogOf } from '../engine/statements.ts';
import { install } from '../job/compile.ts';
import type { Conditions } from '../job/define.ts';
import { quoteName, substitute } from '../job/expressions.ts';
import { indexesOf } from '../job/indexes.ts';
import { qualified, storedName } from '../job/tables.ts';
import type { Kept } from '../store/own-jobs.ts';
import type { Built } from './build.ts';
import type { Seen } from './server.ts';

/** The indexes that the rules of a job need, and what is due by them. */

export interface IndexPlan {
  /** Its qualified name. */
  place: string;
  /** What follows "on TABLE". */
  definition: string;
  statement: string;
  /** One that says the same is there, whatever its name. */
  isThere: boolean;
}

export async function planIndexes(
  tx: Transaction,
  { job, table, columns }: Built,
  settings: Settings,
): Promise<IndexPlan[]> {
  const zones = { zone: settings.timezone, dbZone: settings.dbTimezone };
  const found = { ...table, columns: { ...table.columns, ...columns } };
  const wanted = indexesOf(job, job.table, { [table.name]: found }, zones);
  const present = await definitionsOf(tx, table.oid);
  const plans: IndexPlan[] = [];
  for (const { name, definition } of wanted) {
    const rule = name.slice(`${table.name}_to_`.length);
    const hash = createHash('sha256').update(definition).digest('hex').slice(0, 6);
    const short = Buffer.from(`${table.name}_${job.name}_${rule}`.replaceAll(/\W/g, '_')).subarray(0, 56).toString();
    const index = `${short}_${hash}`;
    const place = `${quoteName(table.schema)}.${quoteName(index)}`;
    const statement = `create index concurrently ${quoteName(index)} on ${qualified(table.name, table)} ${definition}`;
    const isThere = present.some((each) => each.name === index && each.isValid);
    plans.push({ place, definition, statement, isThere });
  }
  return plans;
}

const definitionsOf = (tx: Transaction, oid: string) =>
  tx.query<{ name: string; isValid: boolean }>(
    `select c.relname::text as name, i.indisvalid as "isValid"
     from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = :oid::oid`,
    { oid },
  );

export interface Due {
  rule: string;
  rows: number;
  oldest: string | null;
}

/** What rules that are new would find at once. Columns that are not there yet hold nothing. */
export async function dueNow(
  tx: Transaction,
  { job, dbZone }: Kept,
  table: Seen,
  settings: Settings,
  names: string[],
): Promise<Due[]> {
  const nulls = (sql: string) =>
    substitute(sql, (name, isQuoted) =>
      isQuoted && name in job.table.columns && !(storedName(job.table, name) in table.columns) ? 'null' : undefined,
    );
  const asYet = Object.entries(job.rules).map(([name, rule]) => [
    name,
    {
      ...rule,
      where: Object.fromEntries(Object.entries(rule.where as Conditions).map(([each, sql]) => [each, nulls(sql)])),
    },
  ]);
  const { rules } = install({ ...job, rules: Object.fromEntries(asYet) }, { [job.table.name]: table }, dbZone);
  const all: Due[] = [];
  for (const rule of rules.filter(({ name }) => names.includes(name))) {
    const [counted] = await tx.query<Omit<Due, 'rule'>>(backlogOf(rule), {
      ...{ now: new Date().toISOString(), zone: settings.timezone, dbZone, tenant: table.schema },
    });
    all.push({ rule: rule.name, ...counted! });
  }
  return all;
}
