import {
  AT_ONCE,
  bounded,
  completed,
  defineJob,
  info,
  type Line,
  type Outside,
  part,
  type Row,
  type Rule,
  warning,
} from '../../job/define.ts';
import { NOW } from '../../job/expressions.ts';
import { hasAccess, newestSession, pauseAfter, pauseAfterSql } from './access.ts';
import { ATTEMPTS, attemptEach, fromRead } from './attempts.ts';
import { NAS, RADACCT } from './radius/tables.ts';
import { RADIUS_SETTINGS } from './settings.ts';
import { HOTSPOT_USERS, RADIUS_SESSIONS, SESSION_DISCONNECTIONS } from './tables.ts';

const WAITS = { 'it waits to be sent': 'next_attempt_at is not null' };

/** It goes on being tried. An operator has to know, as the router may be the wrong one, or have another secret. */
const report: Rule = {
  due: AT_ONCE,
  where: { ...WAITS, 'four requests were in vain': 'attempts >= 4' },
  fails: () =>
    `format('%s is still online at the router %s: %s', r.username, r.nas_ip_address, coalesce(r.answer, 'no run lived to see an answer'))`,
  set: { updated_at: 'updated_at' },
};

interface Disconnection {
  /** Which request of how many it is. */
  attempt: number;
  over: boolean;
  /** Its user has access again. */
  back: boolean;
  /** Nothing else tells when the session is over. */
  loose: boolean;
  username: string;
  session: string | null;
  nas: string | null;
  framed: string | null;
  secret: string | null;
  /** Routers that nas has under a host name, where none has that address. */
  named: { name: string; secret: string }[] | null;
  /** The network in nas that holds the router, where it is too wide to trust. */
  wide: string | null;
}

/** FreeRADIUS's stock queries store other characters than a few as =27; the NAS knows them by what they stand for. */
const decoded = (text: string) =>
  text.replace(/=([0-9A-F]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));

// A small router answers a few dozen requests at a time; many routers can be asked at once.
const MOST = 256;
const MOST_EACH = 32;

// As wide as a network of routers is in FreeRADIUS's own examples. The receiver of a request
// can guess the secret at leisure, and a row says where it goes. So it goes to no address but those of known networks.
const WIDEST = { 4: 16, 6: 48 };

const perform: Outside['perform'] = async (claimed, world) => {
  const { addressesOf, describeDisconnect, disconnect, isGone } = await import('./radius/client.ts');
  const port = Number(world.values.radiusPort);
  const secretByName = async (nas: string, named: { name: string; secret: string }[]) => {
    const found = await Promise.all(named.map(({ name }) => addressesOf(name).catch(() => [])));
    return named.find((_, n) => (found[n] as string[]).includes(nas))?.secret;
  };
  const bounds = { most: MOST, mostEach: MOST_EACH, destination: ({ nas }: Disconnection) => nas ?? '' };
  await attemptEach<Disconnection>(
    claimed,
    world,
    bounds,
    async ({ attempt, over, back, loose, username, session, nas, framed, secret: ofAddress, named, wide }) => {
      const goOn = (kind: string, said: string) => ({ verdict: 'go on' as const, result: { kind, said } });
      const inVain = loose && attempt >= ATTEMPTS ? 'failed' : 'try again';
      if (over) return goOn('disconnected', 'it had ended by itself');
      if (back) return goOn('cancelled', 'its user has access again');
      if (!nas) return goOn('failed', 'its NAS is not known');
      const secret = ofAddress ?? (await secretByName(nas, named ?? []));
      if (!secret && wide)
        return goOn(
          inVain,
          `nas has ${nas} only in the network ${wide}, where strangers may be: give it a row of its own`,
        );
      if (!secret) return goOn(inVain, `the table nas knows no NAS ${nas}`);
      const answer = await disconnect(
        { host: nas, port, secret },
        { username: decoded(username), sessionId: session && decoded(session), nasIp: nas, framedIp: framed },
        world.signal,
      );
      const said = describeDisconnect(answer);
      if (answer === 'stopped') return { verdict: 'go on', result: { kind: 'left' } };
      if (isGone(answer)) return goOn('disconnected', said);
      if (answer !== 'silence') return goOn(inVain, said);
      return { verdict: 'give up', result: { kind: inVain, said, wait: pauseAfter(attempt) } };
    },
  );
};

const record: Outside['record'] = (t) => `
    read as (
      select a.id, r.*, r.kind in ('disconnected', 'cancelled', 'failed') as final
      from answer a
      cross join lateral jsonb_to_record(a.result) as r (kind text, said text, wait integer, attempt integer, due timestamptz)
    ),
    settled as (${t.session_disconnections.update((it: Row) => ({
      set: {
        status: `case when final then kind else 'pending' end`,
        attempts: `case kind when 'left' then ${it.attempts} - 1 else ${it.attempts} end`,
        // The requests that are left wait as long as those that found the router silent.
        next_attempt_at: `case when final then null when kind = 'left' then :now::timestamptz + make_interval(secs => coalesce(read.wait, 0))
          else ${it.next_attempt_at} end`,
        disconnected_at: `case kind when 'disconnected' then :now::timestamptz end`,
        answer: `coalesce(read.said, ${it.answer})`,
        updated_at: NOW,
      },
      ...fromRead(t.session_disconnections, it, 'status', 'attempts'),
      returning: `read.*, ${it.radius_session_id} as radius_session_id, ${it.nas_ip_address} as nas_ip_address`,
    }))}),
    outcome as (
      select 1 as step, nullif(kind, 'left') as transition,
        null as type, '{}'::text[] as channels, id as entity_id, due as due_at,
        jsonb_build_object('session_id', radius_session_id, 'nas', nas_ip_address, 'answer', said) as data
      from settled
    )`;

const send: Rule = {
  due: 'next_attempt_at',
  where: WAITS,
  change: (t) => `
    claimed as (${t.session_disconnections.update((it: Row) => ({
      set: {
        ...{ status: "'sending'", attempts: `${it.attempts} + 1`, updated_at: NOW },
        next_attempt_at: `${NOW} + ${pauseAfterSql(`${it.attempts} + 1`)}`,
      },
      from: 'todo',
      where: `${it.id} = todo.id`,
      returning: `${it.id} as id, ${it.radius_session_id} as radius_session_id, ${it.radacct_id} as radacct_id,
        ${it.username} as username, ${it.acct_session_id} as acct_session_id, ${it.nas_ip_address} as nas_ip_address,
        ${it.framed_ip_address} as framed_ip_address, ${it.hotspot_user_id} as hotspot_user_id, ${it.attempts} as attempts, todo.due_at`,
    }))}),
    -- An address in nas is a host or a network. The narrowest one that holds the router has its secret.
    routers as (
      select nas_ip_address, case when is_wide then null else secret end as secret, case when is_wide then nasname end as wide
      from (select distinct nas_ip_address, nas_ip_address::text as address from claimed) as of_claimed
      cross join lateral (
        select n.secret, n.nasname, masklen(network) < case family(network) when 4 then ${WIDEST[4]} else ${WIDEST[6]} end as is_wide
        from ${t.nas} n cross join lateral scheduler.network(n.nasname) as network
        where n.nasname = address or network >>= scheduler.network(address)
        order by n.nasname = address desc, masklen(network) desc, n.id limit 1
      ) as narrowest
    ),
    host_names as materialized (
      select jsonb_agg(jsonb_build_object('name', nasname, 'secret', secret)) as named
      from (select n.nasname, n.secret from ${t.nas} n where scheduler.network(n.nasname) is null order by n.id limit 1000) as named
    ),
    outcome as (
      select 1 as step, 'send' as transition, null as type, '{}'::text[] as channels, d.id::text as entity_id, d.due_at,
        jsonb_build_object('session_id', d.radius_session_id, 'nas', d.nas_ip_address) as data,
        jsonb_build_object(
          'attempt', d.attempts, 'due', d.due_at, 'username', ${bounded('d.username')}, 'session', ${bounded('d.acct_session_id')},
          'nas', d.nas_ip_address, 'framed', d.framed_ip_address,
          'over', d.radacct_id is not null
            and not exists (select from ${t.radacct} a where a.radacctid = d.radacct_id and a.acctstoptime is null),
          'back', d.radacct_id is not null and coalesce(
            (select ${hasAccess('u')} from ${t.hotspot_users} u where u.id = d.hotspot_user_id),
            (${newestSession(t, 'd.username', "s.status = 'active'")}), false
          ),
          'loose', d.radacct_id is null, 'secret', routers.secret, 'wide', ${bounded('routers.wide')},
          'named', case when routers.secret is null then (select named from host_names) end
        ) as sealed
      from claimed d
      left join routers on routers.nas_ip_address = d.nas_ip_address
    )`,
  outside: { perform, success: { kind: 'disconnected' }, record },
};

export const job = defineJob({
  name: 'disconnects',
  summary: 'have routers log out those whose access is over',
  everyMinutes: 1,
  order: 100,
  table: SESSION_DISCONNECTIONS,
  tables: {
    radacct: part(RADACCT, 'radacctid', 'acctstoptime'),
    nas: NAS,
    hotspot_users: part(HOTSPOT_USERS, 'id', 'has_active_subscription', 'subscription_expires_at', 'status'),
    radius_sessions: part(RADIUS_SESSIONS, 'id', 'username', 'session_start', 'status'),
  },
  settings: { radiusPort: RADIUS_SETTINGS.radiusPort },
  rules: { send, report },
  log: {
    started: info('Disconnects job started'),
    found: (rule, count) => (rule === 'send' ? info('Found sessions to disconnect', { count }) : undefined),
    done: ({ transition, entity_id, data }) => {
      const which = { disconnection_id: entity_id, session_id: data.session_id, nas: data.nas, answer: data.answer };
      const said: Record<string, Line> = {
        send: info('Session is to be disconnected', which),
        disconnected: info('Session disconnected', which),
        cancelled: info('Session not disconnected, as its user has access again', which),
        'try again': warning('Session not disconnected yet; another try follows', which),
      };
      return [said[transition] ?? warning('Session not disconnected, and given up', which)];
    },
    failed: ({ id, error }) => warning('Failed to disconnect session', { disconnection_id: id, error }),
    finished: completed('Disconnects job completed'),
  },
});
