import type { Database, Values } from '../../db/client.ts';
import { claim, complete } from '../../engine/statement.ts';
import { aliasOf, type Rule } from '../../job/define.ts';
import { LOCK_KEY } from '../../store/runs.ts';

/**
 * Who holds what a tick would need. It is read from what PostgreSQL tells about transactions: asking for the locks
 * themselves would keep a tick from them, and needs the right to change the rows.
 */

export interface Holder {
  /** More than one: each of them may be the one. None: nobody's process, or one that cannot be told. */
  pids: number[];
  /** The name of a transaction that was prepared to be committed later; it belongs to no process any more. */
  prepared: string | null;
  user: string | null;
  program: string | null;
  state: string | null;
  since: string | null;
}

export interface HeldRow extends Holder {
  table: string;
  id: string;
  /** Whether it is the row that was asked about. */
  own: boolean;
  /** It may be the lock of a foreign key, which keeps a row from being deleted and not from being changed. */
  mayOnlyRefer: boolean;
}

export interface HeldTable extends Holder {
  table: string;
  mode: string;
  granted: boolean;
}

/** What is known of the processes of `claims` (…, pids, prepared, owner, prepared_at). What another role does, not everybody may know. */
const known = (claims: string) => `
    select claims.*, coalesce(a.usename::text, owner) as "user", nullif(a.application_name, '') as program, a.state,
      scheduler.iso(coalesce(a.xact_start, prepared_at)) as since
    from (${claims}) as claims left join pg_stat_activity a on cardinality(pids) = 1 and a.pid = pids[1]`;

const XIDS = 4_294_967_296; // 2^32, after which they begin anew

// Also of a subtransaction that has ended while the transaction around it has not: that one has no lock of its own, but
// what it locked stays so. An id in the future would raise an error.
const inProgress = (
  xid: string,
) => `case when ${xid}::text::bigint > 2 and age(${xid}) > 0 then pg_xact_status(greatest(3,
      next + (${xid}::text::bigint - next % ${XIDS} + ${1.5 * XIDS}::bigint) % ${XIDS} - ${XIDS / 2})::text::xid8) = 'in progress' end`;

// A row that several have locked has one id for all of them, which cannot be told from that of a transaction.
const MEMBERS = (id: string) => `pg_get_multixact_members(
      case when mxid_age(${id}) > 0 and mxid_age(${id}) <= (select mxid_age(oldest_multi_xid) from pg_control_checkpoint()) then ${id} end)`;

// The lock of a foreign key is no other in the list of locks than that of "for update"; what else the process does tells.
const MAY_ONLY_REFER = `(
          mode is null and cardinality(pids) = 1
          and not exists (
            select from locks l where l.pid = pids[1] and l.relation = told.relation and l.mode not in ('AccessShareLock', 'RowShareLock')
          )
          and exists (
            select from pg_constraint f join locks l on l.relation = f.conrelid and l.pid = pids[1] and l.mode = 'RowExclusiveLock'
            where f.contype = 'f' and f.confrelid = told.relation
          )
        )`;

export type Rows = 'its own' | 'free' | 'awaited';

/** The first row that somebody else holds, of those that a rule needs for the row with an id. */
export async function heldRow(
  db: Database,
  rule: Rule,
  idType: string,
  which: Rows,
  values: Values,
): Promise<HeldRow | undefined> {
  const alias = aliasOf(rule);
  const own = `select ${alias}.tableoid, ${alias}.id, ${alias}.xmax from ${rule.whole?.row ?? rule.row}
      where ${alias}.id = :id::text::${idType}`;
  const rows = which === 'its own' ? own : rule.needs?.[which];
  if (!rows) return undefined;
  const columns = [
    `${alias}.id, ${rule.at} as due_at, ${alias}.tableoid as own_table`,
    ...(rule.each ? [`${rule.each.key} as key`] : []),
    ...(rule.carry ? [rule.carry] : []),
  ];
  // Whoever only refers to a row is in the way of "for update", and not of "for no key update".
  const counts = rule.each ? "mode <> 'keysh'" : 'true';
  const [row] = await db.query<HeldRow>(
    `with due as materialized (
      select ${columns.join(', ')} from ${rule.whole?.row ?? rule.row} where ${alias}.id = :id::text::${idType}
    ),
    marked (relation, id, holder) as materialized (
      select tableoid, id::text, xmax from (${rows}) as needed where xmax::text <> '0'
    ),
    clock as materialized (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next),
    held (relation, id, xid, mode) as materialized (
      select relation, id, holder, null from marked, clock where ${inProgress('holder')}
      union all
      select relation, id, xid, mode
      from marked cross join clock cross join lateral ${MEMBERS('holder')} where ${counts} and ${inProgress('xid')}
    ),
    locks as materialized (select * from pg_locks where granted and exists (select from held)),
    busy as materialized (
      select pid, transactionid as xid from locks where locktype = 'transactionid' and mode = 'ExclusiveLock' and pid is not null
    ),
    told as (
      select held.*, p.gid as prepared, p.owner::text, p.prepared as prepared_at, case when p.gid is null then coalesce(
        (select array_agg(pid) from busy where busy.xid = held.xid),
        (select array_agg(distinct pid) from busy join locks l using (pid)
         where l.locktype = 'relation' and l.relation = held.relation and l.mode <> 'AccessShareLock' and age(busy.xid) > age(held.xid))
      ) end as pids
      from held left join pg_prepared_xacts p on p.transaction = held.xid
    )
    ${known(`
      select relation::regclass::text as table, id, id = :id::text and relation = (select own_table from due) as own,
        coalesce(pids, '{}') as pids, prepared, owner, prepared_at,
        ${rule.each ? MAY_ONLY_REFER : 'false'} as "mayOnlyRefer"
      from told`)}
    order by claims.own desc, claims.table, claims.id limit 1`,
    values,
  );
  return row;
}

const THIS_DATABASE = '(select oid from pg_database where datname = current_database())';

const BLOCKS_READERS = ['AccessExclusiveLock'];
const BLOCKS_LOCKERS = [...BLOCKS_READERS, 'ExclusiveLock'];
const BLOCKS_WRITERS = [...BLOCKS_LOCKERS, 'ShareRowExclusiveLock', 'ShareLock'];

/** The first table that somebody has locked, or waits to lock, against what the rule does with it. */
export async function heldTable(
  db: Database,
  tables: string[],
  rule: Rule,
  idType: string,
): Promise<HeldTable | undefined> {
  const sql = complete(rule, claim(rule, idType)) + (rule.act?.record ?? '');
  const ours = [...new Set(sql.match(/\bscheduler\.\w+(?!\w*\()/g))];
  const modes = [...tables.filter((name) => new RegExp(`\\b${name}\\b`).test(sql)), ...ours].flatMap((name) => {
    const isWritten = new RegExp(`\\b(update|insert into|delete from) ${name.replace('.', '\\.')}\\b`).test(sql);
    const isLocked = rule.row.includes(name);
    return (isWritten ? BLOCKS_WRITERS : isLocked ? BLOCKS_LOCKERS : BLOCKS_READERS).map((mode) => ({ name, mode }));
  });
  const [found] = await db.query<HeldTable>(
    `with needed as (
      select coalesce(part.relid, to_regclass(name)) as relation, mode
      from json_to_recordset(:modes::json) as needed (name text, mode text)
      left join lateral pg_partition_tree(to_regclass(name)) as part on true
    )
    ${known(`
      select l.relation::regclass::text as table, l.mode, l.granted, array_remove(array[l.pid], null) as pids,
        p.gid as prepared, p.owner::text, p.prepared as prepared_at
      from pg_locks l
      join needed on needed.relation = l.relation and needed.mode = l.mode
      left join pg_locks x on l.pid is null and x.virtualtransaction = l.virtualtransaction and x.locktype = 'transactionid'
      left join pg_prepared_xacts p on p.transaction = x.transactionid
      where l.locktype = 'relation' and l.database = ${THIS_DATABASE} and l.pid is distinct from pg_backend_pid()`)}
    order by claims.granted desc, claims.table limit 1`,
    { modes: JSON.stringify(modes) },
  );
  return found;
}

/** What concerns every row of the database. */
export interface Surroundings {
  /** Another run, at work at this moment. */
  run: Holder | null;
  /** Why the database takes no changes. */
  readOnly: string | null;
}

export async function readSurroundings(db: Database): Promise<Surroundings> {
  const [found] = await db.query<Surroundings>(
    `select (
      select to_json(run) from (${known(`
        select array[l.pid] as pids, null as prepared, null::text as owner, null::timestamptz as prepared_at
        from pg_locks l
        where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.database = ${THIS_DATABASE}
          and l.classid::bigint = ${LOCK_KEY} >> 32 and l.objid::bigint = ${LOCK_KEY} & ${XIDS - 1}
        limit 1`)}
      ) as run
    ) as run,
    case when pg_is_in_recovery() then 'it is a standby'
      when current_setting('transaction_read_only')::boolean then 'it is set to be read-only' end as "readOnly"`,
  );
  return found!;
}
