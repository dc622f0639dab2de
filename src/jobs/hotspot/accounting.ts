import {
  AT_ONCE,
  completed,
  defineJob,
  failure,
  info,
  part,
  type Row,
  type Rule,
  type Tables,
  warning,
} from '../../job/define.ts';
import { NOW } from '../../job/expressions.ts';
import { newestSession } from './access.ts';
import { RADACCT, RADREPLY } from './radius/tables.ts';
import { RADIUS_SETTINGS } from './settings.ts';
import { DATA_USAGE_LOGS, HOTSPOT_USERS, RADIUS_SESSIONS } from './tables.ts';

// Ids are given out before their rows are committed, so that a row may turn up this far behind the mark.
const LOOK_BACK = 100;
const LOOKED_AT = `(select m.id - ${LOOK_BACK} from scheduler.accounted_up_to m where m.tenant = :tenant::text)`;

const COUNTED = 'scheduler.accounted a where a.tenant = :tenant::text';
const NEVER_COUNTED = `(select a.id from ${COUNTED} and a.id = r.id) is null`;

const sessionOf = (t: Tables, columns: string) => newestSession(t, 'r.username', columns);

/** Use that ended before a session was opened belongs to the one before it. Where a router's clock fits none, to the newest. */
const sessionThen = (t: Tables, columns: string) => `
  (${newestSession(t, 'r.username', columns, `and coalesce(s.session_start, '-infinity'::timestamptz) <= coalesce(r.acctstoptime, greatest(r.acctupdatetime, r.acctstarttime), 'infinity')`)})
  union all (${sessionOf(t, columns)}) limit 1`;

const LOST = 'Lost-Carrier';
/** A row that was closed because its router was silent is looked at for a day: the router may have more to tell. */
const mayGoOn = (row: string, changedAt: string) => `coalesce(
  ${row}.acctterminatecause = '${LOST}' and coalesce(${changedAt}, ${NOW}) > ${NOW} - interval '1 day', false
)`;

const isOurs = (t: Tables) => `coalesce((${sessionOf(t, 'true')}), false)`;

/**
 * To the first row that is still to be counted; open rows of others never are. All runners share this mark, and PostgreSQL does
 * last what is named first: so they wait for one another no longer than a commit takes.
 */
const moveMark = (t: Tables) => `
    looked as (
      update scheduler.accounted_up_to u
      set id = greatest(u.id, coalesce((
        select r.id - 1 from ${t.radacct} r
        where r.id > ${LOOKED_AT} and r.id not in (select id from todo) and ${NEVER_COUNTED}
          and (r.acctstoptime is not null or ${isOurs(t)})
        order by r.id limit 1
      ), (select max(r.radacctid) from ${t.radacct} r)))
      where u.tenant = :tenant::text
    )`;

/** The usage of each row that was not counted before. The remembered figures never shrink: a late report takes nothing back. */
const compare = (t: Tables) => `
    news as materialized (
      select todo.id, todo.due_at, s.id as session_id, s.hotspot_user_id, r.acctupdatetime, r.acctstarttime,
        r.radacctid is null or (r.acctstoptime is not null and not ${mayGoOn('r', 'a.changed_at')}) as closed,
        r.radacctid is null or r.acctstoptime is not null as stopped,
        a.changed_at as was_changed_at,
        -- A renewal begins anew what the user has used: what came before it is of that session alone.
        case when s.session_start >= u.subscription_starts_at and s.package_id = u.package_id then true
          else s.id = (${sessionOf(t, 's.id')}) end as is_of_today,
        greatest(r.acctinputoctets, a.bytes_in, 0) as bytes_in, greatest(r.acctoutputoctets, a.bytes_out, 0) as bytes_out,
        greatest(r.acctsessiontime, a.seconds, 0) as seconds,
        greatest(r.acctinputoctets - coalesce(a.bytes_in, 0), 0) as more_in,
        greatest(r.acctoutputoctets - coalesce(a.bytes_out, 0), 0) as more_out,
        greatest(r.acctsessiontime - coalesce(a.seconds, 0), 0) as more_seconds,
        case when s.id is not null then jsonb_build_object(
          'radacct_id', r.radacctid, 'ip_address', host(r.framedipaddress), 'nas_ip_address', host(r.nasipaddress),
          'mac_address', nullif(r.callingstationid, '')
        ) end as seen
      from todo
      left join ${t.radacct} r on r.radacctid = todo.id
      left join scheduler.accounted a on a.tenant = :tenant::text and a.id = todo.id
      left join lateral (${sessionThen(t, 's.id, s.hotspot_user_id, s.package_id, s.session_start')}) as s on true
      left join ${t.hotspot_users} u on u.id = s.hotspot_user_id
    ),
    remembered as (
      insert into scheduler.accounted as a (tenant, id, bytes_in, bytes_out, seconds, closed, changed_at)
      select :tenant::text, id, bytes_in, bytes_out, seconds, closed,
        case when was_changed_at is not null then case when stopped then was_changed_at else :now::timestamptz end
          when coalesce(acctupdatetime, acctstarttime) between :now::timestamptz - interval '1 year' and :now::timestamptz
          then coalesce(acctupdatetime, acctstarttime) else :now::timestamptz end
      from news
      on conflict (tenant, id) do update
      set bytes_in = excluded.bytes_in, bytes_out = excluded.bytes_out, seconds = excluded.seconds, closed = excluded.closed,
        changed_at = excluded.changed_at
    ),
    -- A row that is closed and this far behind the mark is never asked for again.
    forgotten as (
      delete from ${COUNTED} and a.id = any (array(
        select a.id from ${COUNTED} and a.closed and a.id < ${LOOKED_AT} - ${LOOK_BACK} for update skip locked
      ))
    )`;

const addUp = (t: Tables) => `
    used as materialized (
      select session_id, sum(more_in) as more_in, sum(more_out) as more_out, sum(more_seconds) as more_seconds,
        (array_agg(seen order by id desc))[1] as seen
      from news where session_id is not null group by session_id
    ),
    sessions as (${t.radius_sessions.update((it: Row) => {
      const seen = (column: string) => `(used.seen ->> '${column}')::${t.radius_sessions.typeOf(column)}`;
      // The value of the newest row, whichever is counted last.
      const newest = (column: string) =>
        `case when ${seen('radacct_id')} < ${it.radacct_id} then ${it[column]} else coalesce(${seen(column)}, ${it[column]}) end`;
      const more = (column: string, by: string) => ({ [column]: `coalesce(${it[column]}, 0) + ${by}` });
      return {
        set: {
          ...{ ...more('bytes_in', 'used.more_in'), ...more('bytes_out', 'used.more_out') },
          ...more('total_bytes', 'used.more_in + used.more_out'),
          ...more('duration_seconds', 'used.more_seconds'),
          radacct_id: `greatest(${seen('radacct_id')}, ${it.radacct_id})`,
          ...{ ip_address: newest('ip_address'), nas_ip_address: newest('nas_ip_address') },
          mac_address: `coalesce(${it.mac_address}, ${seen('mac_address')})`,
          updated_at: NOW,
        },
        from: 'used',
        where: `${it.id} = used.session_id`,
      };
    })}),
    users as (${t.hotspot_users.update((it: Row) => ({
      set: { data_used: `coalesce(${it.data_used}, 0) + of_user.more`, updated_at: NOW },
      from: `(
        select hotspot_user_id, sum(more_in + more_out) as more from news
        where hotspot_user_id is not null and is_of_today group by 1 having sum(more_in + more_out) > 0
      ) as of_user`,
      where: `${it.id} = of_user.hotspot_user_id`,
      returning: `${it.username} as username, ${it.data_limit} - ${it.data_used} as bytes, ${it.data_limit} as data_limit`,
    }))}),
    -- Only what a payment wrote: a row that it writes at this moment is newer than these figures.
    limits as (${t.radreply.update((it: Row) => ({
      set: {
        value: `(case ${it.attribute} when 'Mikrotik-Total-Limit' then rest.bytes & 4294967295 else rest.bytes >> 32 end)::text`,
      },
      from: `(
        select a.id, greatest(users.bytes, 1)::bigint as bytes
        from users cross join lateral (
          select a.id from ${t.radreply} a where a.username = scheduler.radius_name(users.username::text)
            and a.attribute in ('Mikrotik-Total-Limit', 'Mikrotik-Total-Limit-Gigawords') offset 0
        ) as a
        where users.data_limit > 0
      ) as rest`,
      where: `${it.id} = rest.id`,
    }))}),
    logged as (${t.data_usage_logs.insert(() => ({
      values: {
        ...{ hotspot_user_id: 'hotspot_user_id', radius_session_id: 'session_id', radacct_id: 'id' },
        ...{ bytes_in: 'more_in', bytes_out: 'more_out', total_bytes: 'more_in + more_out' },
        recorded_at: NOW,
      },
      from: 'from news where session_id is not null and more_in + more_out > 0 order by id',
    }))}),
    outcome as (
      select 1 as step, case when session_id is not null then 'sync' end as transition, null as type, '{}'::text[] as channels,
        id::text as entity_id, due_at, jsonb_build_object('radacct_id', id, 'session_id', session_id) as data
      from news
    )`;

/** Counting twice changes nothing. */
const COUNT = {
  // Not when the router says that it happened: routers' clocks err.
  due: AT_ONCE,
  together: {
    key: 'r.id',
    lock: () => `select key from due where scheduler.try_hold(61, concat(:tenant::text, ' ', key))`,
  },
  change: (t) => [moveMark, compare, addUp].map((part) => part(t)).join(','),
} satisfies Rule;

const sync: Rule = {
  ...COUNT,
  where: (t) => ({
    'it is open': 'acctstoptime is null',
    'it brings news': `coalesce((
      select a.closed or coalesce(r.acctinputoctets > a.bytes_in, false) or coalesce(r.acctoutputoctets > a.bytes_out, false)
        or coalesce(r.acctsessiontime > a.seconds, false)
      from ${COUNTED} and a.id = r.id
    ), true)`,
    'it belongs to a hotspot user': isOurs(t),
  }),
};

const syncClosed: Rule = {
  ...COUNT,
  row: { from: () => `(select a.*, a.ctid as place from ${COUNTED})`, idType: 'bigint' },
  where: (t) => ({
    'it is open no more': `coalesce((select a.acctstoptime is not null from ${t.radacct} a where a.radacctid = r.id), true)`,
    'it was open, or more was reported since': `coalesce((
      select not r.closed and not ${mayGoOn('a', 'r.changed_at')} or coalesce(a.acctinputoctets > r.bytes_in, false)
        or coalesce(a.acctoutputoctets > r.bytes_out, false) or coalesce(a.acctsessiontime > r.seconds, false)
      from ${t.radacct} a where a.radacctid = r.id
    ), not r.closed)`,
  }),
};

// More than a batch; the rest follows next time. With a limit the planner takes them from the index.
const AT_A_TIME = 5000;

/** Rows that came and closed since the last look. Those of others are remembered too, so that the mark can pass them. */
const syncShort: Rule = {
  ...COUNT,
  row: {
    from: (t) => `(
      select r.* from ${t.radacct} r
      where r.id > ${LOOKED_AT} and r.acctstoptime is not null and ${NEVER_COUNTED}
      order by r.id limit ${AT_A_TIME}
    )`,
    idType: 'bigint',
    whole: (t) => `${t.radacct}`,
    part: 'it came since all before it was counted, and is one of the first',
  },
  where: { 'it is closed': 'r.acctstoptime is not null', 'it was never counted': NEVER_COUNTED },
};

const LAST_HEARD = 'coalesce(r.acctupdatetime, r.acctstarttime)';
const WINDOW = 'make_interval(secs => 3 * :radiusInterim::integer)';
const PATIENCE = 'make_interval(secs => 3 * greatest(:radiusInterim::integer, coalesce(r.acctinterval, 0)))';

/**
 * A router that lost power tells nobody. Its rows would stay open for ever and, under Simultaneous-Use, keep their users
 * out. A router's clock may be wrong, so its silence must also show in our own looks.
 */
const closeSilent: Rule = {
  row: { from: (t) => `${t.radacct}`, idType: 'bigint' },
  due: `${LAST_HEARD} + ${PATIENCE}`,
  where: (t) => ({
    'it is open': 'r.acctstoptime is null',
    'we heard nothing new for as long': `coalesce((
      select a.changed_at + ${PATIENCE} <= now from ${COUNTED} and a.id = r.id
    ), true)`,
    // Otherwise it is RADIUS, or this program, that was away.
    'some router was heard meanwhile': `(exists (
      select from scheduler.accounted heard where heard.tenant = :tenant::text and heard.changed_at + ${WINDOW} > now
    ) or exists (
      select from ${t.radacct} heard where heard.acctstoptime is null and heard.acctupdatetime between now - ${WINDOW} and now
    ))`,
    'it belongs to a hotspot user': isOurs(t),
  }),
  change: (t) => `
    silent as (${t.radacct.update((it: Row) => {
      const lastHeard = `coalesce(${it.acctupdatetime}, ${it.acctstarttime})`;
      const seconds = `extract(epoch from ${lastHeard} - ${it.acctstarttime})::bigint`;
      return {
        set: {
          ...{ acctstoptime: lastHeard, acctterminatecause: `'${LOST}'` },
          acctsessiontime: `greatest(${it.acctsessiontime}, ${seconds}, 0)`,
        },
        from: 'todo',
        where: `${it.radacctid} = todo.id and ${it.acctstoptime} is null`,
        returning: `${it.radacctid} as id, ${it.nasipaddress} as nasipaddress, todo.due_at`,
      };
    })}),
    outcome as (
      select 1 as step, 'close silent' as transition, null as type, '{}'::text[] as channels, id::text as entity_id, due_at,
        jsonb_build_object('radacct_id', id, 'nas', host(nasipaddress)) as data
      from silent
    )`,
};

/** Usage from before this program came is not counted: the figures begin with what radacct holds now. */
const begin = (t: Tables) => `
  with mark as (
    insert into scheduler.accounted_up_to (tenant, id)
    select :tenant::text, coalesce(max(r.radacctid), 0) from ${t.radacct} r
    on conflict (tenant) do nothing
    returning id
  )
  insert into scheduler.accounted (tenant, id, bytes_in, bytes_out, seconds, closed, changed_at)
  select :tenant::text, radacctid, coalesce(acctinputoctets, 0), coalesce(acctoutputoctets, 0), coalesce(acctsessiontime, 0),
    acctstoptime is not null, :now::timestamptz
  from (
    select * from ${t.radacct} r where r.acctstoptime is null
    union all
    (select * from ${t.radacct} r where r.acctstoptime is not null order by r.radacctid desc limit ${LOOK_BACK})
  ) as known
  where exists (select from mark)`;

export const job = defineJob({
  name: 'accounting',
  summary: 'keep usage figures in step with RADIUS accounting',
  everyMinutes: 5,
  single: true,
  order: 80,
  table: part(RADACCT, ...RADACCT.needs!.filter((column) => column !== 'acctsessionid')),
  tables: {
    radius_sessions: RADIUS_SESSIONS,
    hotspot_users: HOTSPOT_USERS,
    data_usage_logs: DATA_USAGE_LOGS,
    radreply: RADREPLY,
  },
  settings: { radiusInterim: RADIUS_SETTINGS.radiusInterim },
  begin,
  rules: { sync, 'sync short': syncShort, 'close silent': closeSilent, 'sync closed': syncClosed },
  log: {
    started: info('Accounting job started'),
    done: ({ transition, data }) =>
      transition === 'close silent'
        ? [warning('A router fell silent: its session was closed at its last word', data)]
        : [info('Usage synced', data)],
    failed: ({ id, rule, error }) => failure(`Failed to ${rule} usage`, { radacct_id: id, error }),
    finished: completed('Accounting job completed'),
  },
});
