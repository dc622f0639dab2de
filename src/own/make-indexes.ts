import { configurationError } from '../base/errors.ts';
import { PIN_SESSION } from '../db/bounds.ts';
import type { Database } from '../db/client.ts';
import { sqlState } from '../db/states.ts';
import { quoteText } from '../job/expressions.ts';
import { ADDED_BY_APPLY, marked } from '../job/steps.ts';
import { type IndexPlan, madeIndexes } from './indexes.ts';
import { dropFunctions } from './raising.ts';

/** Builds and drops indexes beside the applications' work. */

export async function buildIndex(db: Database, { place, remains, statements }: IndexPlan): Promise<void> {
  const mark = `comment on index ${place} is ${quoteText(marked(undefined, ADDED_BY_APPLY))}`;
  for (const statement of [...remains, ...statements, mark])
    await alone(db, statement).catch((error) => {
      // A right that this role lacks is nothing to mend on the table.
      if (!/^(22|23|42(?!501)|54|P0)/.test(sqlState(error) ?? '')) throw error;
      throw configurationError(
        `The index ${place} cannot be built: ${(error as Error).message}. Mend that, then run "scheduler apply" again; until then the jobs are as they were.`,
      );
    });
}

/** Those that apply built and no job needs any more. That one cannot go now is no fault: the next apply tries again. */
export async function dropUnused(db: Database, say: (step: string) => void): Promise<void> {
  for (const { place, isPartitioned, isUsed } of await madeIndexes(db)) {
    if (isUsed) continue;
    const statement = `drop index ${isPartitioned ? '' : 'concurrently '}if exists ${place}`;
    try {
      await alone(db, statement);
      say(`dropped the index ${place}`);
    } catch (error) {
      if (sqlState(error) === undefined) throw error;
      say(`no job needs the index ${place} any more, and it could not be dropped: ${(error as Error).message}`);
    }
  }
  await db.transaction(dropFunctions);
}

/** A concurrent build is no part of a transaction. So the session gets the settings that decide what SQL means. */
async function alone(db: Database, statement: string): Promise<void> {
  if (!/^\w+ index concurrently /.test(statement)) return void (await db.query(statement));
  const client = await db.client();
  await client.query(PIN_SESSION);
  try {
    await client.query(statement);
  } finally {
    await client.query('reset all').catch(() => {});
  }
}
