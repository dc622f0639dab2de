import type { Transaction } from '../db/client.ts';
import { TENANT } from '../db/search-path.ts';

// Any number will do, as long as nothing else in the database takes it: "schedule" in ASCII. scheduler.lock_holder() knows it, too.
const LOCK_KEY = '8314034311083879525';

/** SQL for the key of a tenant's lock. */
export const lockOf = (tenant: string): string => `hashtextextended(${tenant}, ${LOCK_KEY})`;
export const LOCK = lockOf(TENANT);

/** The database connection that holds an advisory lock. */
export interface LockHolder {
  pid: number;
  role: string;
  /** Its program, role and machine. */
  who: string;
  /** Since its transaction began. */
  seconds: number | null;
  /** A sentence on a holder that may not record a run, and so is none of ours. */
  stranger: string | null;
}

export async function lockHolder(tx: Pick<Transaction, 'query'>): Promise<LockHolder | undefined> {
  const [holder] = await tx.query<LockHolder>(
    `select pid, role, who, seconds, stranger from scheduler.lock_holder(${TENANT})`,
  );
  return holder;
}
