import {
  AT_ONCE,
  bounded,
  completed,
  defineJob,
  failure,
  info,
  part,
  type Row,
  type Rule,
  type Tables,
} from '../../job/define.ts';
import { NOW } from '../../job/expressions.ts';
import { hasAccess, isBeingDisconnected, newestSession } from './access.ts';
import { RADACCT, RADCHECK, RADREPLY } from './radius/tables.ts';
import {
  HOTSPOT_CREDENTIALS,
  HOTSPOT_USERS,
  RADIUS_SESSIONS,
  SESSION_DISCONNECTIONS,
  SHUT_OUT,
  SPENT,
  usedUp,
} from './tables.ts';

const ACTIVE = { 'it is active': "status = 'active'" };

// From an array, names are looked up in the index. A join would read the whole of a table of some ten times as many rows.
const ofNames = (it: Row) => ({ where: `${it.username} = any (array(select name from names))` });

/**
 * A payment may come in at this moment, so the guard is on the user's row as it is when it is changed. A user who has paid
 * again keeps the access, and only this session is closed.
 */
const end = (t: Tables, transition: string, at: string, reason: string) => `
    ended as (${t.radius_sessions.update((it: Row) => ({
      set: { status: "'expired'", session_end: at, disconnect_reason: `'${reason}'`, updated_at: NOW },
      from: 'todo',
      where: `${it.id} = todo.id`,
      returning: `${it.id} as id, ${it.hotspot_user_id} as hotspot_user_id, ${it.username} as username,
        ${it.duration_seconds} as duration_seconds, ${it.total_bytes} as total_bytes, todo.due_at`,
    }))}),
    over as (${t.hotspot_users.update((it: Row) => ({
      set: {
        has_active_subscription: 'false',
        updated_at: NOW,
        status: `case when ${it.status}::text in (${SHUT_OUT}) then ${it.status} else 'expired' end`,
      },
      from: 'ended as of_session',
      where: `${it.id} = of_session.hotspot_user_id
        and (coalesce(${it.subscription_expires_at} <= :now::timestamptz, true) or ${usedUp(it.data_used, it.data_limit)})`,
      returning: `${it.id} as id, ${it.username} as username`,
    }))}),
    barred as materialized (
      select distinct on (coalesce(over.username, ended.username))
        ended.id as session_id, over.id as user_id, coalesce(over.username, ended.username) as username
      from ended left join over on over.id = ended.hotspot_user_id
      where over.id is not null or not exists (select from ${t.hotspot_users} u where u.id = ended.hotspot_user_id)
      order by coalesce(over.username, ended.username), ended.id desc
    ),
    names as materialized (
      select barred.*, username as name from barred
      union all
      select barred.*, name from barred cross join lateral (select scheduler.radius_name(username) as name offset 0) as of_radius
      where name <> username
    ),
    no_checks as (${t.radcheck.delete(ofNames)}),
    no_replies as (${t.radreply.delete(ofNames)}),
    no_passwords as (${t.hotspot_credentials.update((it: Row) => ({
      set: { plain_password: 'null', expires_at: `least(${it.expires_at}, :now::timestamptz)` },
      where: `${it.hotspot_user_id} = any (array(select id from over)) and ${it.plain_password} is not null`,
    }))}),
    disconnects as (${t.session_disconnections.insert(() => ({
      values: {
        ...{ radius_session_id: 'names.session_id', hotspot_user_id: 'names.user_id', radacct_id: 'a.radacctid' },
        ...{ username: 'a.username', acct_session_id: 'a.acctsessionid', nas_ip_address: 'host(a.nasipaddress)' },
        ...{ framed_ip_address: 'host(a.framedipaddress)', disconnect_reason: `'${reason}'`, status: "'pending'" },
        next_attempt_at: NOW,
      },
      from: `from names join ${t.radacct} a on a.username = names.name and a.acctstoptime is null`,
    }))}),
    outcome as (
      select 1 as step, '${transition}' as transition, 'SessionExpired' as type,
        array_remove(array['dashboard-stats', 'user.' || hotspot_user_id::text], null) as channels, id::text as entity_id, due_at,
        jsonb_build_object(
          'session_id', id, 'username', ${bounded('username')}, 'duration', duration_seconds, 'data_used', total_bytes, 'reason', '${reason}'
        ) as data
      from ended
    )`;

const expire: Rule = {
  due: 'expected_end',
  where: ACTIVE,
  change: (t) => end(t, 'expire', 'todo.due_at', 'time is up'),
};

const exhausted = (t: Tables) => end(t, 'exhaust', ':now::timestamptz', 'data limit reached');

const exhaust: Rule = {
  due: "coalesce(updated_at, '-infinity'::timestamptz)",
  where: (t) => ({
    ...ACTIVE,
    'its data is used up': usedUp('total_bytes', 'data_limit'),
    // An operator may have raised the limit of the user, or taken it away.
    "its user's data is used up too": `coalesce((
      select ${usedUp('u.data_used', 'u.data_limit')} from ${t.hotspot_users} u where u.id = r.hotspot_user_id
    ), true)`,
  }),
  change: exhausted,
};

/** The application knows no limit of a session that it opens. The index has the few users who are to be cut off. */
const exhaustUser: Rule = {
  due: AT_ONCE,
  row: {
    from: (t) => `(
      select s.* from ${t.hotspot_users} u join ${t.radius_sessions} s on s.hotspot_user_id = u.id and s.status = 'active'
      where ${SPENT('u.')}
    )`,
    whole: (t) => `${t.radius_sessions}`,
    part: 'its user has used up the data',
  },
  where: { 'it is active': "r.status = 'active'" },
  change: exhausted,
};

/**
 * A disconnect is due as long as an ended session is online: one that the router forgot to end, or that began after the end.
 * The sessions that are online are looked at, not all that have ended.
 */
const disconnect: Rule = {
  due: AT_ONCE,
  row: {
    from: (t) => `(
      select s.* from ${t.radius_sessions} s
      where s.id = any (array(
        select newest.id from ${t.radacct} a
        cross join lateral (${newestSession(t, 'a.username', 's.id, s.status, s.hotspot_user_id')}) as newest
        where a.acctstoptime is null and newest.status = 'expired' and not ${isBeingDisconnected(t, 'a.radacctid')}
      ))
    )`,
    whole: (t) => `${t.radius_sessions}`,
    part: 'its name is online, in its newest session, and no disconnect is under way',
  },
  where: (t) => ({
    'it has ended': "r.status = 'expired'",
    // It would be back at once.
    'RADIUS lets nobody of that name in': `not exists (
      select from ${t.radcheck} c where c.username = scheduler.radius_name(r.username::text)
    )`,
    'its user has no access': `not exists (
      select from ${t.hotspot_users} u where u.id = r.hotspot_user_id and ${hasAccess('u')}
    )`,
  }),
  change: (t) => `
    queued as (${t.session_disconnections.insert(() => ({
      values: {
        ...{ radius_session_id: 's.id', hotspot_user_id: 's.hotspot_user_id', radacct_id: 'a.radacctid' },
        ...{ username: 'a.username', acct_session_id: 'a.acctsessionid', nas_ip_address: 'host(a.nasipaddress)' },
        ...{
          framed_ip_address: 'host(a.framedipaddress)',
          disconnect_reason: 's.disconnect_reason',
          status: "'pending'",
        },
        ...{ next_attempt_at: NOW, attempts: 'coalesce(before.attempts, 0)' },
      },
      from: `from todo join ${t.radius_sessions} s on s.id = todo.id
        cross join lateral (
          select a.* from ${t.radacct} a
          where a.username = scheduler.radius_name(s.username::text) and a.acctstoptime is null
            and not ${isBeingDisconnected(t, 'a.radacctid')} offset 0
        ) as a
        left join lateral (
          select max(d.attempts) as attempts from ${t.session_disconnections} d where d.radacct_id = a.radacctid
        ) as before on true`,
    }))}),
    outcome as (
      select 1 as step, 'disconnect' as transition, null as type, '{}'::text[] as channels, s.id::text as entity_id, todo.due_at,
        jsonb_build_object('session_id', s.id, 'username', ${bounded('s.username')}, 'reason', s.disconnect_reason) as data
      from todo join ${t.radius_sessions} s on s.id = todo.id
    )`,
};

export const job = defineJob({
  name: 'hotspot-sessions',
  summary: 'end hotspot access whose time or data is used up',
  everyMinutes: 1,
  order: 90,
  table: RADIUS_SESSIONS,
  tables: {
    hotspot_users: HOTSPOT_USERS,
    hotspot_credentials: HOTSPOT_CREDENTIALS,
    session_disconnections: SESSION_DISCONNECTIONS,
    radcheck: RADCHECK,
    radreply: RADREPLY,
    radacct: part(RADACCT, 'radacctid', 'username', 'acctsessionid', 'nasipaddress', 'framedipaddress', 'acctstoptime'),
  },
  // First, as a user whose access is over is no more looked at.
  rules: { 'exhaust user': exhaustUser, expire, exhaust, disconnect },
  log: {
    started: info('Hotspot sessions job started'),
    found: (rule, count) => (rule === 'expire' ? info('Found hotspot sessions to expire', { count }) : undefined),
    done: ({ transition, data: { session_id, username, reason } }) => [
      info(transition === 'disconnect' ? 'Hotspot session is still online' : 'Hotspot session expired', {
        ...{ session_id, username, reason },
      }),
    ],
    failed: ({ id, rule, error }) => failure(`Failed to ${rule} hotspot session`, { session_id: id, error }),
    finished: completed('Hotspot sessions job completed'),
  },
});
