import { readable } from '../base/calendar.ts';
import { entryOf } from '../base/entry.ts';
import type { Column } from './columns.ts';
import type { Conditions, Job, Rule, Table, Tables } from './define.ts';
import { quoteText } from './expressions.ts';

/** Lays a built-in job over tables of the application, which have other names and other columns. */

/** One of its tables. */
export interface Laid {
  columns: Record<string, Pick<Column, 'is' | 'reads' | 'absent'>>;
  where?: string;
  insert?: Record<string, string>;
  set?: Record<string, string>;
}

export interface Use {
  /** The built-in job. */
  job: string;
  /** By the names that the job gives them. */
  tables: Record<string, Laid>;
}

export type Identity = Pick<Job, 'name' | 'summary' | 'everyMinutes'>;

export function lay(
  builtIn: Job,
  { name, summary, everyMinutes }: Identity,
  { tables }: Use,
  since: Record<string, string> = {},
): Job {
  const over = (table: Table): Table => {
    const { columns = {}, ...more } = tables[table.name] ?? {};
    const laid = Object.entries(table.columns).map(([name, column]) => [name, { ...column, ...columns[name] }]);
    return { ...table, ...more, columns: Object.fromEntries(laid) };
  };
  return {
    ...builtIn,
    ...{ name, summary, everyMinutes, isLaid: true },
    table: over(builtIn.table),
    tables: Object.fromEntries(Object.entries(builtIn.tables ?? {}).map(([name, table]) => [name, over(table)])),
    rules: leavingAlone(builtIn.rules, since),
  };
}

/** Rules that leave alone what was due before an instant. To name "now" keeps this out of the index. */
export function leavingAlone(all: Record<string, Rule>, since: Record<string, string>): Record<string, Rule> {
  const rules = Object.entries(all).map(([name, rule]) => {
    const instant = entryOf(since, name);
    if (instant === undefined) return [name, rule];
    const skipped = `it came due after older rows were left alone (--backlog skip) at ${readable(instant)}`;
    const more = { [skipped]: `least(${rule.due}, now) >= ${quoteText(instant)}::timestamptz` };
    const where = (tables: Tables, job: string): Conditions => ({ ...conditionsOf(rule, tables, job), ...more });
    return [name, { ...rule, where: typeof rule.where === 'object' ? { ...rule.where, ...more } : where }];
  });
  return Object.fromEntries(rules);
}

/** The conditions of a rule, each by a name. */
export function conditionsOf({ where = {} }: Rule, tables: Tables, job: string): Conditions {
  if (typeof where === 'function') return where(tables, job);
  return typeof where === 'string' ? { [where]: where } : where;
}
