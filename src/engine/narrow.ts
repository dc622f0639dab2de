import { configurationError, type OperatorError } from '../base/errors.ts';
import type { Database } from '../db/client.ts';
import { sqlState } from '../db/states.ts';
import { type Installed, install } from '../job/compile.ts';
import { isNamedIn } from '../job/expressions.ts';
import { readCatalog, storedName } from '../job/tables.ts';
import { APPLY_AGAIN } from './faults.ts';

/** A column that is gone stops the rules that name it. */

const UNDEFINED_COLUMN = '42703';

export interface Narrowed {
  /** The job with its other rules. */
  rest: Installed;
  error: OperatorError;
}

/** Undefined where that was not the reason, or leaves no rule. */
export async function narrow(db: Database, { job, tables }: Installed, error: unknown): Promise<Narrowed | undefined> {
  const { table } = job;
  if (sqlState(error) !== UNDEFINED_COLUMN || !table.quoted) return undefined;
  const before = tables[table.name]!;
  const { [table.name]: found } = await db.transaction((tx) => readCatalog(tx, [table.name], tables));
  if (!found) return undefined;
  const gone = Object.keys(table.columns).filter((name) => !Object.hasOwn(found.columns, storedName(table, name)));
  const missing = Object.entries(job.rules).flatMap(([name, rule]) => {
    const column = gone.find((each) => isNamedIn(rule, each));
    return column === undefined ? [] : [{ name, column: storedName(table, column) }];
  });
  const others = Object.entries(job.rules).filter(([name]) => !missing.some((each) => each.name === name));
  if (missing.length === 0 || others.length === 0) return undefined;
  const sentences = missing.map(
    ({ name, column }) => `The rule "${name}" of ${job.name} is left, as its column "${column}" is gone.`,
  );
  return {
    // No rule of its own depends on the zone of the database: that is in its SQL.
    rest: install(
      { ...job, rules: Object.fromEntries(others) },
      { ...tables, [table.name]: { ...before, columns: found.columns } },
      'UTC',
    ),
    error: configurationError(`${sentences.join(' ')} ${APPLY_AGAIN}`),
  };
}
