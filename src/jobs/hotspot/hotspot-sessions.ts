import { failure, info, type Job, type Rule } from '../../job/define.ts';

const END = 'scheduler.at(s.expected_end, :dbZone::text)';
const ACTIVE = { 'it is active': "s.status = 'active'" };

const USER_OF = 'from hotspot_users u where u.id = s.hotspot_user_id';

/**
 * The guard against a payment that comes in at this moment is on the user's row as it is when it is changed: whoever has
 * paid again keeps the access, and only the session that this was about is closed.
 */
const expiring = (transition: string, end: string, reason: string) => `
    ended as (
      update radius_sessions s
      set status = 'expired', session_end = ${end}, disconnect_reason = '${reason}', updated_at = :now::timestamptz
      from todo where s.id = todo.id
      returning s.id, s.hotspot_user_id, s.username, s.duration_seconds, s.total_bytes, todo.due_at
    ),
    over as (
      update hotspot_users u
      set has_active_subscription = false, updated_at = :now::timestamptz,
        status = case when u.status::text in ('suspended', 'blocked', 'banned', 'disabled') then u.status else 'expired' end
      from (select distinct hotspot_user_id from ended) as of_session
      where u.id = of_session.hotspot_user_id
        and (coalesce(scheduler.at(u.subscription_expires_at, :dbZone::text) <= :now::timestamptz, true)
          or coalesce(u.data_used >= u.data_limit, false))
      returning u.id, u.username
    ),
    barred as materialized (
      select distinct on (coalesce(over.username, ended.username))
        ended.id as session_id, over.id as user_id, coalesce(over.username, ended.username) as username
      from ended left join over on over.id = ended.hotspot_user_id
      where over.id is not null or not exists (select from hotspot_users u where u.id = ended.hotspot_user_id)
      order by coalesce(over.username, ended.username), ended.id desc
    ),
    names as materialized (
      select barred.*, username as name from barred
      union all
      select barred.*, name from barred cross join lateral (select scheduler.radius_name(username) as name offset 0) as of_radius
      where name <> username
    ),
    -- Given as an array, names are looked up in the index; joined to them, a table of some ten times as many is read as a whole.
    no_checks as (delete from radcheck c where c.username = any (array(select name from names))),
    no_replies as (delete from radreply r where r.username = any (array(select name from names))),
    no_passwords as (
      update hotspot_credentials c
      set plain_password = null, expires_at = least(scheduler.at(c.expires_at, :dbZone::text), :now::timestamptz)
      where c.hotspot_user_id = any (array(select id from over)) and c.plain_password is not null
    ),
    disconnects as (
      insert into session_disconnections (radius_session_id, hotspot_user_id, radacct_id, username, acct_session_id,
        nas_ip_address, framed_ip_address, disconnect_reason, status, next_attempt_at, created_at, updated_at)
      select names.session_id, names.user_id, r.radacctid, r.username, r.acctsessionid, host(r.nasipaddress),
        host(r.framedipaddress), '${reason}', 'pending', :now::timestamptz, :now::timestamptz, :now::timestamptz
      from names join radacct r on r.username = names.name and r.acctstoptime is null
    ),
    outcome as (
      select 1 as step, '${transition}' as transition, 'SessionExpired' as type,
        array_remove(array['dashboard-stats', 'user.' || hotspot_user_id::text], null) as channels, id::text as entity_id, due_at,
        jsonb_build_object(
          'session_id', id, 'username', username, 'duration', duration_seconds, 'data_used', total_bytes, 'reason', '${reason}'
        ) as data
      from ended
    )`;

const USER: Pick<Rule, 'carry' | 'needs'> = {
  carry: 's.hotspot_user_id',
  needs: { awaited: 'select u.tableoid, u.id, u.xmax from due join hotspot_users u on u.id = due.hotspot_user_id' },
};

const EXPIRE: Rule = {
  name: 'expire',
  row: 'radius_sessions s',
  at: END,
  when: ACTIVE,
  ...USER,
  change: expiring('expire', 'todo.due_at', 'time is up'),
};

const EXHAUST: Rule = {
  name: 'exhaust',
  row: 'radius_sessions s',
  at: "coalesce(scheduler.at(s.updated_at, :dbZone::text), '-infinity'::timestamptz)",
  when: {
    ...ACTIVE,
    'its data is used up': 's.total_bytes >= s.data_limit',
    // An operator who gives a user more raises the user's limit.
    "its user's data is used up too": `coalesce((select u.data_used >= u.data_limit ${USER_OF}), true)`,
  },
  ...USER,
  change: expiring('exhaust', ':now::timestamptz', 'data limit reached'),
};

export const job: Job = {
  name: 'hotspot-sessions',
  summary: 'end hotspot access whose time or data is used up',
  everyMinutes: 1,
  order: 90,
  tables: {
    radius_sessions: [
      ...['id', 'hotspot_user_id', 'username', 'expected_end', 'session_end', 'duration_seconds', 'total_bytes'],
      ...['data_limit', 'status', 'disconnect_reason', 'updated_at'],
    ],
    hotspot_users: [
      ...['id', 'username', 'has_active_subscription', 'subscription_expires_at', 'data_limit', 'data_used'],
      ...['status', 'updated_at'],
    ],
    hotspot_credentials: ['hotspot_user_id', 'plain_password', 'expires_at'],
    session_disconnections: [
      ...['radius_session_id', 'hotspot_user_id', 'radacct_id', 'username', 'acct_session_id', 'nas_ip_address'],
      ...['framed_ip_address', 'disconnect_reason', 'status', 'next_attempt_at', 'created_at', 'updated_at'],
    ],
    radcheck: ['username'],
    radreply: ['username'],
    radacct: ['radacctid', 'username', 'acctsessionid', 'nasipaddress', 'framedipaddress', 'acctstoptime'],
  },
  adopt: 'adopt_hotspot',
  rules: [EXPIRE, EXHAUST],
  lines: {
    started: info('Hotspot sessions job started'),
    found: (rule, count) => (rule === 'expire' ? info('Found hotspot sessions to expire', { count }) : undefined),
    done: ({ data }) => [
      info('Hotspot session expired', { session_id: data.session_id, username: data.username, reason: data.reason }),
    ],
    failed: (rule, id, error) => failure(`Failed to ${rule} hotspot session`, { session_id: id, error }),
    finished: () => [info('Hotspot sessions job completed')],
  },
};
