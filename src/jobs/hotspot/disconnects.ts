import {
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
import { ATTEMPTS, attemptEach, fromRead } from './attempts.ts';
import { NAS, RADACCT } from './radius/tables.ts';
import { RADIUS_SETTINGS } from './settings.ts';
import { SESSION_DISCONNECTIONS } from './tables.ts';

const WAITS = { 'it waits to be sent': 'next_attempt_at is not null' };

/** Three runs were lost while they asked, or could not. */
const giveUp: Rule = {
  due: 'next_attempt_at',
  where: { ...WAITS, 'no try is left': `attempts >= ${ATTEMPTS}` },
  set: {
    status: "'failed'",
    next_attempt_at: 'null',
    updated_at: 'now',
    answer: "'the run that asked did not live to see the answer'",
  },
  event: { transition: 'failed', data: {} },
};

interface Disconnection {
  over: boolean;
  username: string;
  session: string | null;
  nas: string | null;
  framed: string | null;
  secret: string | null;
  /** The network in nas that holds the router, where it is too wide to trust. */
  wide: string | null;
}

/** FreeRADIUS's stock queries store other characters than a few as =27; the NAS knows them by what they stand for. */
const decoded = (text: string) =>
  text.replace(/=([0-9A-F]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));

// A small router answers a few dozen requests at a time; many routers can be asked at once.
const AT_ONCE = 256;
const AT_ONCE_EACH = 32;

// As wide as a network of routers is in FreeRADIUS's own examples. The receiver of a request
// can guess the secret at leisure, and a row says where it goes. So it goes to no address but those of known networks.
const WIDEST = { 4: 16, 6: 48 };

const perform: Outside['perform'] = async (claimed, world) => {
  const { describeDisconnect, disconnect, isGone } = await import('./radius/client.ts');
  const port = Number(world.values.radiusPort);
  const bounds = { most: AT_ONCE, mostEach: AT_ONCE_EACH, destination: ({ nas }: Disconnection) => nas ?? '' };
  await attemptEach<Disconnection>(
    claimed,
    world,
    bounds,
    async ({ over, username, session, nas, framed, secret, wide }) => {
      const goOn = (kind: string, said: string) => ({ verdict: 'go on' as const, result: { kind, said } });
      if (over) return goOn('disconnected', 'it had ended by itself');
      if (!nas) return goOn('failed', 'its NAS is not known');
      if (wide)
        return goOn(
          'failed',
          `nas has ${nas} only in the network ${wide}, where strangers may be: give it a row of its own`,
        );
      if (!secret) return goOn('failed', `the table nas knows no NAS ${nas}`);
      const answer = await disconnect(
        { host: nas, port, secret },
        { username: decoded(username), sessionId: session && decoded(session), nasIp: nas, framedIp: framed },
        world.signal,
      );
      const said = describeDisconnect(answer);
      if (answer === 'stopped') return { verdict: 'go on', result: { kind: 'left' } };
      if (answer === 'silence') return { verdict: 'give up', result: { kind: 'failed', said } };
      if (isGone(answer)) return goOn('disconnected', said);
      return goOn(typeof answer === 'object' && 'unsent' in answer ? 'unsent' : 'failed', said);
    },
  );
};

const record: Outside['record'] = (t) => `
    read as (
      select a.id, r.*, case when r.kind = 'unsent' and r.attempt >= ${ATTEMPTS} then 'failed' else r.kind end as came_of_it
      from answer a
      cross join lateral jsonb_to_record(a.result) as r (kind text, said text, attempt integer, due timestamptz)
    ),
    settled as (${t.session_disconnections.update((it: Row) => ({
      set: {
        status: `case when came_of_it in ('disconnected', 'failed') then came_of_it else 'pending' end`,
        attempts: `case came_of_it when 'left' then ${it.attempts} - 1 else ${it.attempts} end`,
        next_attempt_at: `case came_of_it when 'unsent' then ${it.next_attempt_at} when 'left' then :now::timestamptz end`,
        disconnected_at: `case came_of_it when 'disconnected' then :now::timestamptz end`,
        answer: `coalesce(read.said, ${it.answer})`,
        updated_at: NOW,
      },
      ...fromRead(t.session_disconnections, it, 'status', 'attempts'),
      returning: `read.*, ${it.radius_session_id} as radius_session_id, ${it.nas_ip_address} as nas_ip_address`,
    }))}),
    outcome as (
      select 1 as step, case came_of_it when 'unsent' then 'try again' when 'left' then null else came_of_it end as transition,
        null as type, '{}'::text[] as channels, id as entity_id, due as due_at,
        jsonb_build_object('session_id', radius_session_id, 'nas', nas_ip_address, 'answer', said) as data
      from settled
    )`;

const send: Rule = {
  due: 'next_attempt_at',
  where: { ...WAITS, 'a try is left': `attempts < ${ATTEMPTS}` },
  change: (t) => `
    claimed as (${t.session_disconnections.update((it: Row) => ({
      set: {
        ...{ status: "'sending'", attempts: `${it.attempts} + 1`, updated_at: NOW },
        next_attempt_at: `${NOW} + interval '3 minutes'`,
      },
      from: 'todo',
      where: `${it.id} = todo.id`,
      returning: `${it.id} as id, ${it.radius_session_id} as radius_session_id, ${it.radacct_id} as radacct_id,
        ${it.username} as username, ${it.acct_session_id} as acct_session_id, ${it.nas_ip_address} as nas_ip_address,
        ${it.framed_ip_address} as framed_ip_address, ${it.attempts} as attempts, todo.due_at`,
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
    outcome as (
      select 1 as step, 'send' as transition, null as type, '{}'::text[] as channels, d.id::text as entity_id, d.due_at,
        jsonb_build_object('session_id', d.radius_session_id, 'nas', d.nas_ip_address) as data,
        jsonb_build_object(
          'attempt', d.attempts, 'due', d.due_at, 'username', ${bounded('d.username')}, 'session', ${bounded('d.acct_session_id')},
          'nas', d.nas_ip_address, 'framed', d.framed_ip_address,
          'over', coalesce((select a.acctstoptime is not null from ${t.radacct} a where a.radacctid = d.radacct_id), false),
          'secret', routers.secret, 'wide', ${bounded('routers.wide')}
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
  tables: { radacct: part(RADACCT, 'radacctid', 'acctstoptime'), nas: NAS },
  settings: { radiusPort: RADIUS_SETTINGS.radiusPort },
  rules: { 'give up': giveUp, send },
  log: {
    started: info('Disconnects job started'),
    found: (rule, count) => (rule === 'send' ? info('Found sessions to disconnect', { count }) : undefined),
    done: ({ transition, entity_id, data }) => {
      const which = { disconnection_id: entity_id, session_id: data.session_id, nas: data.nas, answer: data.answer };
      const said: Record<string, Line> = {
        send: info('Session is to be disconnected', which),
        disconnected: info('Session disconnected', which),
        'try again': warning('Session not disconnected yet; another try follows', which),
      };
      return [said[transition] ?? warning('Session not disconnected, and given up', which)];
    },
    failed: ({ id, error }) => warning('Failed to disconnect session', { disconnection_id: id, error }),
    finished: completed('Disconnects job completed'),
  },
});
