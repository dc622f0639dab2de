import { readable } from '../../base/calendar.ts';
import type { Values } from '../../db/bind.ts';
import { LOCK_TIMEOUT } from '../../db/bounds.ts';
import type { Database, Transaction } from '../../db/client.ts';
import { ROW_HELD, sqlState } from '../../db/states.ts';
import type { CompiledRule, Installed } from '../../job/compile.ts';
import { LOCK } from '../../store/lock.ts';
import { anyValues, wholeBatch } from '../outlook.ts';
import { isOfTheData } from './seen.ts';

/**
 * Whether a tick would get the locks that it needs. It is found out by trying. The holders are then looked for among the
 * transactions that PostgreSQL tells of.
 */

interface Holder {
  /** Null: a transaction that was prepared to be committed later belongs to no process. */
  pid: number | null;
  prepared: string | null;
  user: string | null;
  program: string | null;
  state: string | null;
  since: string | null;
}

const HOLDER = `l.pid, p.gid as prepared, coalesce(a.usename::text, p.owner::text) as "user",
  nullif(a.application_name, '') as program, a.state, scheduler.iso(coalesce(a.xact_start, p.prepared)) as since`;

/** Locks of other transactions. A transaction that has neither changed nor locked a row has no id: then x is null. */
const LOCKS = `pg_locks l
  left join pg_stat_activity a on a.pid = l.pid
  left join pg_locks x on x.virtualtransaction = l.virtualtransaction and x.locktype = 'transactionid' and x.granted
  left join pg_prepared_xacts p on p.transaction = x.transactionid
  where l.pid is distinct from pg_backend_pid() and l.database = (select oid from pg_database where datname = current_database())`;

const PATIENCE = '100ms';

/** The attempt changes nothing. Only its locks have to go, and they go with the transaction. */
const attempt = <T>(db: Database, work: (tx: Transaction) => Promise<T>): Promise<T> =>
  db.transaction(async (tx) => {
    await tx.query(`select set_config('lock_timeout', '${PATIENCE}', true)`);
    return work(tx);
  });

export const isLocked = (error: unknown) => sqlState(error) === ROW_HELD;

interface Lock {
  sentence: string;
  /** A tick would wait for it in vain, and not leave the row alone. */
  isAwaited?: boolean;
}

export async function lockInTheWay(
  db: Database,
  job: Installed,
  rule: CompiledRule,
  values: Values,
): Promise<Lock | undefined> {
  try {
    // To plan a statement, PostgreSQL locks its tables as if it ran.
    await attempt(db, (tx) => tx.query(`explain ${wholeBatch(rule)}`, { ...values, ...anyValues(rule) }));
    return await attempt(db, (tx) => tryRow(tx, rule, values));
  } catch (error) {
    if (isLocked(error)) {
      const sentence = await lockedTable(db, job);
      return sentence === undefined ? undefined : { sentence };
    }
    // Somebody who may only read is told nothing of locks.
    if (sqlState(error) === '42501' || isOfTheData(error)) return undefined;
    throw error;
  }
}

/** Locks the row as a tick does. With `together` a tick passes by a key that it does not get, and then waits for the row. */
async function tryRow(tx: Transaction, rule: CompiledRule, values: Values): Promise<Lock | undefined> {
  const { together } = rule;
  const from = rule.whole?.row ?? rule.row;
  const isIt = `r.id = :id::text::${rule.idType}`;
  const due = together && [
    `r.id, ${rule.at} as due_at, r.place, ${together.key} as key`,
    ...(together.family ? [] : rule.carry),
  ];
  const [got] = await tx.query<{ row: boolean; key: boolean }>(
    `with own as materialized (select r.id from ${from} where ${isIt} for ${together ? 'no key ' : ''}update of r skip locked)
     ${due ? `, due as materialized (select ${due.join(', ')} from ${rule.row} where ${isIt}), locked as materialized (${together.lock})` : ''}
     select exists (select from own) or not exists (select from ${from} where ${isIt}) as row,
       ${due ? 'coalesce((select key in (select key from locked) from due), true)' : 'true'} as key`,
    values,
  );
  if (got!.row && got!.key) return undefined;
  const holders = await tx.query<Holder>(
    `select distinct ${HOLDER} from ${LOCKS}
       and l.locktype = 'relation' and l.mode <> 'AccessShareLock' and l.granted and x.transactionid is not null
       and l.relation in (select relation from pg_locks where pid = pg_backend_pid() and mode = 'RowShareLock')
     order by since limit 5`,
  );
  // It was let go of in the meantime.
  if (holders.length === 0) return undefined;
  const by = `locked by ${holders.map(describeHolder).join(' or ')}`;
  if (together && got!.key)
    return { sentence: `its row is ${by}, and a tick waits for that no longer than ${LOCK_TIMEOUT}`, isAwaited: true };
  const [row, left] = got!.row ? ['a row that it needs as well', 'both'] : ['its row', 'it'];
  return { sentence: `${row} is ${by}: a tick leaves ${left} alone until that transaction ends` };
}

/** A sentence on the first of a job's tables that somebody has locked against changes, or waits to lock. */
export async function lockedTable(db: Database, { rights, tables }: Installed): Promise<string | undefined> {
  const [held] = await db.query<Holder & { table: string; mode: string; granted: boolean }>(
    `select distinct (select relname::text from pg_class where oid = l.relation) as table, l.mode, l.granted, ${HOLDER} from ${LOCKS}
       and l.locktype = 'relation'
       and l.mode in ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
       and l.relation in (
         select coalesce(part.relid, c.oid) from pg_class c left join lateral pg_partition_tree(c.oid) as part on true
         where c.relnamespace = 'scheduler'::regnamespace
           or (c.relnamespace, c.relname) in (
             select n.oid, t.name from jsonb_to_recordset(:tables::jsonb) as t (schema name, name name)
             join pg_namespace n on n.nspname = t.schema
           )
       )
     order by l.granted desc, 1 limit 1`,
    { tables: JSON.stringify([...rights.keys()].map((name) => ({ name, schema: tables[name]!.schema }))) },
  );
  if (!held) return undefined;
  const { table, mode, granted } = held;
  const what = `the table ${table} is ${granted ? '' : 'about to be '}locked (${mode}) by ${describeHolder(held)}`;
  return `${what}: a tick waits ${LOCK_TIMEOUT} for it, and leaves the job to the next`;
}

/** Another run, at work at this moment. */
export async function otherRun(tx: Transaction): Promise<Holder | undefined> {
  const [run] = await tx.query<Holder>(
    `select ${HOLDER} from ${LOCKS}
       and l.locktype = 'advisory' and l.granted and l.objsubid = 1
       and l.classid::bigint << 32 | l.objid::bigint = ${LOCK}
     limit 1`,
  );
  return run;
}

export function describeHolder({ pid, prepared, user, program, state, since }: Holder): string {
  const who = pid === null ? `the prepared transaction "${prepared}"` : `process ${pid}`;
  // Not everybody may know what another role does.
  const known = [program && `"${program}"`, user, state, since && `since ${readable(since)}`].filter(Boolean);
  return known.length > 0 ? `${who} (${known.join(', ')})` : who;
}
