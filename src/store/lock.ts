import type { Transaction } from '../db/client.ts';
import { TENANT } from '../db/search-path.ts';

// Any number will do, as long as nothing else in the database takes it: "schedule" in ASCII.
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
  /** Any role can take the lock. One that may not record a run is none of ours. */
  mayTick: boolean | null;
}

export async function lockHolder(tx: Pick<Transaction, 'query'>): Promise<LockHolder | undefined> {
  const [holder] = await tx.query<LockHolder>(
    `select a.pid, a.usename::text as role, extract(epoch from clock_timestamp() - a.xact_start)::double precision as seconds,
       concat_ws(', ', nullif(a.application_name, ''), 'user ' || a.usename::text, 'from ' || host(a.client_addr)) as who,
       has_table_privilege(a.usesysid, to_regclass('scheduler.runs')::oid, 'insert') as "mayTick"
     from pg_locks l join pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
       and l.database = (select oid from pg_database where datname = current_database())
       and (l.classid::bigint << 32) | l.objid::bigint = ${LOCK}`,
  );
  return holder;
}

export const isStranger = (holder: LockHolder | undefined): boolean => holder?.mayTick === false;

export const strangersLock = ({ pid, role }: LockHolder): string =>
  `The lock of the scheduler is held by process ${pid} of the role "${role}", which has no right to tick. Ticks work without it; "select pg_terminate_backend(${pid});" ends that process.`;
