import { AT_ONCE, failure, info, type Job, type Rule, warning } from '../../job/define.ts';
import { RADIUS_SETTINGS } from './settings.ts';

// How far back from where everything is counted to look for rows that became visible later: ids are given out before their
// rows are committed.
const LOOK_BACK = 100;
const LOOKED_AT = `(select id - ${LOOK_BACK} from scheduler.accounted_up_to)`;
const NEVER_COUNTED = (id: string) => `(select a.id from scheduler.accounted a where a.id = ${id}) is null`;

/** The newest session of the row's user. Written so that it is looked up for each row, and never joined as a whole. */
const SESSION_OF = (name: string, columns: string) => `
  select ${columns} from radius_sessions s
  where scheduler.radius_name(s.username::text) = ${name}
  order by coalesce(scheduler.at(s.session_start, :dbZone::text), '-infinity'::timestamptz) desc limit 1`;

const SESSION_OF_DUE = `due join radacct r on r.radacctid = due.id
      cross join lateral (${SESSION_OF('r.username', 's.tableoid, s.id, s.xmax, s.hotspot_user_id')}) as s`;

const RADACCT = (where = '') =>
  `(select ctid, tableoid, xmax, radacctid as id, username, acctstarttime, acctupdatetime, acctstoptime, acctinterval, acctsessiontime,
      acctinputoctets, acctoutputoctets from radacct ${where}) r`;

const IS_OURS = { 'it belongs to a hotspot user': `coalesce((${SESSION_OF('r.username', 'true')}), false)` };

/**
 * Counts what each row has beyond what was counted of it before: a second time, that is nothing. What it remembers never
 * shrinks, so that a report that comes late takes nothing back.
 */
const COUNT: Pick<Rule, 'each' | 'needs' | 'change' | 'idType' | 'at'> = {
  idType: 'bigint',
  // Whenever its router says that it happened: routers' clocks err.
  at: AT_ONCE,
  each: { key: 'r.id', lock: 'select key from due where scheduler.try_hold(61, key::text)' },
  needs: {
    awaited: `
      select s.tableoid, s.id::text, s.xmax from ${SESSION_OF_DUE}
      union all
      select u.tableoid, u.id::text, u.xmax from ${SESSION_OF_DUE} join hotspot_users u on u.id = s.hotspot_user_id`,
  },
  change: `
    -- Up to the first row that is still to be counted. Open rows of others never are. There is one such mark for all runners:
    -- what is named first PostgreSQL does last, so that they wait for one another no longer than a commit takes.
    looked as (
      update scheduler.accounted_up_to u
      set id = greatest(u.id, coalesce((
        select r.id - 1 from ${RADACCT()}
        where r.id > ${LOOKED_AT} and r.id not in (select id from todo) and ${NEVER_COUNTED('r.id')}
          and (r.acctstoptime is not null or ${Object.values(IS_OURS)[0]})
        order by r.id limit 1
      ), (select max(radacctid) from radacct)))
    ),
    news as materialized (
      select todo.id, todo.due_at, s.id as session_id, s.hotspot_user_id, r.acctupdatetime, r.acctstarttime,
        r.radacctid is null or r.acctstoptime is not null as closed,
        greatest(r.acctinputoctets, a.bytes_in, 0) as bytes_in, greatest(r.acctoutputoctets, a.bytes_out, 0) as bytes_out,
        greatest(r.acctsessiontime, a.seconds, 0) as seconds,
        greatest(r.acctinputoctets - coalesce(a.bytes_in, 0), 0) as more_in,
        greatest(r.acctoutputoctets - coalesce(a.bytes_out, 0), 0) as more_out,
        greatest(r.acctsessiontime - coalesce(a.seconds, 0), 0) as more_seconds,
        case when s.id is not null then jsonb_populate_record(null::radius_sessions, jsonb_build_object(
          'radacct_id', r.radacctid, 'ip_address', host(r.framedipaddress), 'nas_ip_address', host(r.nasipaddress),
          'mac_address', nullif(r.callingstationid, '')
        )) end as seen
      from todo
      left join radacct r on r.radacctid = todo.id
      left join scheduler.accounted a on a.id = todo.id
      left join lateral (${SESSION_OF('r.username', 's.id, s.hotspot_user_id')}) as s on true
    ),
    remembered as (
      insert into scheduler.accounted as a (id, bytes_in, bytes_out, seconds, closed, changed_at)
      select id, bytes_in, bytes_out, seconds, closed,
        case when coalesce(acctupdatetime, acctstarttime) between :now::timestamptz - interval '1 year' and :now::timestamptz
          then coalesce(acctupdatetime, acctstarttime) else :now::timestamptz end
      from news
      on conflict (id) do update
      set bytes_in = excluded.bytes_in, bytes_out = excluded.bytes_out, seconds = excluded.seconds, closed = excluded.closed,
        changed_at = :now::timestamptz
    ),
    used as materialized (
      select session_id, sum(more_in) as more_in, sum(more_out) as more_out, sum(more_seconds) as more_seconds,
        (array_agg(seen order by id desc))[1] as seen
      from news where session_id is not null group by session_id
    ),
    sessions as (
      update radius_sessions s
      set bytes_in = coalesce(s.bytes_in, 0) + used.more_in, bytes_out = coalesce(s.bytes_out, 0) + used.more_out,
        total_bytes = coalesce(s.total_bytes, 0) + used.more_in + used.more_out,
        duration_seconds = coalesce(s.duration_seconds, 0) + used.more_seconds,
        radacct_id = coalesce((used.seen).radacct_id, s.radacct_id), ip_address = coalesce((used.seen).ip_address, s.ip_address),
        nas_ip_address = coalesce((used.seen).nas_ip_address, s.nas_ip_address),
        mac_address = coalesce(s.mac_address, (used.seen).mac_address), updated_at = :now::timestamptz
      from used where s.id = used.session_id
    ),
    users as (
      update hotspot_users u
      set data_used = coalesce(u.data_used, 0) + of_user.more, updated_at = :now::timestamptz
      from (
        select hotspot_user_id, sum(more_in + more_out) as more from news
        where hotspot_user_id is not null group by 1 having sum(more_in + more_out) > 0
      ) as of_user
      where u.id = of_user.hotspot_user_id
    ),
    logged as (
      insert into data_usage_logs (hotspot_user_id, radius_session_id, radacct_id, bytes_in, bytes_out, total_bytes, recorded_at)
      select hotspot_user_id, session_id, id, more_in, more_out, more_in + more_out, :now::timestamptz
      from news where session_id is not null and more_in + more_out > 0
      order by id
    ),
    -- What is closed and further back is never asked for again.
    forgotten as (
      delete from scheduler.accounted
      where id = any (array(
        select id from scheduler.accounted where closed and id < ${LOOKED_AT} - ${LOOK_BACK} for update skip locked
      ))
    ),
    outcome as (
      select 1 as step, case when session_id is not null then 'sync' end as transition, null as type, '{}'::text[] as channels,
        id::text as entity_id, due_at, jsonb_build_object('radacct_id', id, 'session_id', session_id) as data
      from news
    )`,
};

const OPEN = { 'it is open': 'r.acctstoptime is null' };

const SYNC_OPEN: Rule = {
  ...COUNT,
  name: 'sync',
  row: RADACCT(),
  when: {
    ...OPEN,
    'it brings news': `coalesce((
      select a.closed or coalesce(r.acctinputoctets > a.bytes_in, false) or coalesce(r.acctoutputoctets > a.bytes_out, false)
        or coalesce(r.acctsessiontime > a.seconds, false)
      from scheduler.accounted a where a.id = r.id
    ), true)`,
    ...IS_OURS,
  },
};

const SYNC_CLOSED: Rule = {
  ...COUNT,
  name: 'sync closed',
  row: 'scheduler.accounted r',
  when: {
    'it was open': 'not r.closed',
    'it is open no more': `coalesce((select a.acctstoptime is not null from radacct a where a.radacctid = r.id), true)`,
  },
};

// More than a batch; the rest follows next time. The limit has them taken from the index, whatever the planner thinks of it.
const AT_A_TIME = 5000;

/** Rows that came and closed since the last time. Those of others are remembered too, to be gone beyond. */
const SYNC_SHORT: Rule = {
  ...COUNT,
  name: 'sync short',
  row: RADACCT(`
      where radacctid > ${LOOKED_AT} and acctstoptime is not null and ${NEVER_COUNTED('radacctid')}
      order by radacctid limit ${AT_A_TIME}`),
  whole: { row: RADACCT(), part: 'it came since all before it was counted, and is one of the first' },
  when: {
    'it is closed': 'r.acctstoptime is not null',
    'it was never counted': NEVER_COUNTED('r.id'),
  },
};

const LAST_HEARD = 'coalesce(r.acctupdatetime, r.acctstarttime)';
const PATIENCE = 'make_interval(secs => 3 * greatest(:radiusInterim::integer, coalesce(r.acctinterval, 0)))';

/**
 * A router that lost power tells nobody. Its rows would count as open for ever and, under Simultaneous-Use, keep their
 * users out. Not so a router whose clock is wrong: then our own last look counts as well.
 */
const CLOSE_SILENT: Rule = {
  name: 'close silent',
  row: RADACCT(),
  idType: 'bigint',
  at: `${LAST_HEARD} + ${PATIENCE}`,
  when: {
    ...OPEN,
    'we heard nothing new for as long': `coalesce((
      select a.changed_at + ${PATIENCE} <= :now::timestamptz from scheduler.accounted a where a.id = r.id
    ), true)`,
    ...IS_OURS,
  },
  change: `
    silent as (
      update radacct r
      set acctstoptime = coalesce(r.acctupdatetime, r.acctstarttime), acctterminatecause = 'Lost-Carrier',
        acctsessiontime = greatest(r.acctsessiontime,
          extract(epoch from coalesce(r.acctupdatetime, r.acctstarttime) - r.acctstarttime)::bigint, 0)
      from todo where r.radacctid = todo.id and r.acctstoptime is null
      returning r.radacctid as id, r.nasipaddress, todo.due_at
    ),
    outcome as (
      select 1 as step, 'close silent' as transition, null as type, '{}'::text[] as channels, id::text as entity_id, due_at,
        jsonb_build_object('radacct_id', id, 'nas', host(nasipaddress)) as data
      from silent
    )`,
};

export const job: Job = {
  name: 'accounting',
  summary: 'keep usage figures in step with RADIUS accounting',
  everyMinutes: 5,
  order: 80,
  tables: {
    radacct: [
      ...['radacctid', 'username', 'nasipaddress', 'framedipaddress', 'callingstationid', 'acctstarttime'],
      ...['acctupdatetime', 'acctstoptime', 'acctinterval', 'acctsessiontime', 'acctinputoctets', 'acctoutputoctets'],
      'acctterminatecause',
    ],
    radius_sessions: [
      ...['id', 'hotspot_user_id', 'username', 'session_start', 'radacct_id', 'ip_address', 'nas_ip_address'],
      ...['mac_address', 'bytes_in', 'bytes_out', 'total_bytes', 'duration_seconds', 'updated_at'],
    ],
    hotspot_users: ['id', 'data_used', 'updated_at'],
    data_usage_logs: [
      ...['hotspot_user_id', 'radius_session_id', 'radacct_id', 'bytes_in', 'bytes_out', 'total_bytes', 'recorded_at'],
    ],
  },
  adopt: 'adopt_hotspot',
  settings: { radiusInterim: RADIUS_SETTINGS.radiusInterim },
  rules: [SYNC_OPEN, CLOSE_SILENT, SYNC_CLOSED, SYNC_SHORT],
  lines: {
    started: info('Accounting job started'),
    done: ({ transition, data }) =>
      transition === 'close silent'
        ? [warning('A router fell silent: its session was closed at its last word', data)]
        : [info('Usage synced', data)],
    failed: (rule, id, error) => failure(`Failed to ${rule} usage`, { radacct_id: id, error }),
    finished: () => [info('Accounting job completed')],
  },
};
