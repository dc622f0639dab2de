import { usageError } from '../base/errors.ts';
import type { Values } from '../db/bind.ts';
import type { Transaction } from '../db/client.ts';
import { sqlState } from '../db/states.ts';

const INVALID_PARAMETER = '22023';

/** Calls a function that is there for admin pages, too. Its errors about arguments are for the operator. */
export async function call<T>(db: Pick<Transaction, 'query'>, sql: string, values: Values): Promise<T> {
  const [row] = await db.query<{ answer: T }>(`select ${sql} as answer`, values).catch((error) => {
    throw sqlState(error) === INVALID_PARAMETER ? usageError((error as Error).message) : error;
  });
  return row!.answer;
}
