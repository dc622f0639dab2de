import { test } from 'node:test';
import fc from 'fast-check';
import { NOW } from '../../support/hotspot-rows.ts';
import { compare, DAY, END, few, HOUR, instant, MINUTE, moment, put, seconds } from '../../support/late-tick.ts';
import { PACKAGES, paying, provisioned } from '../../support/payments-model.ts';

const vouchers = few(
  fc.record({ status: fc.constantFrom('unused', 'active', 'expired', 'used'), end: fc.option(moment, { freq: 6 }) }),
  8,
);

test('vouchers: one late tick expires what a tick every 5 minutes expires', () =>
  compare('vouchers', vouchers, {
    runs: 10,
    begin: (db, world) =>
      put(db, {
        vouchers: world.map(({ status, end }, n) => ({
          ...{ code: `V${n}`, status, expires_at: instant(end), updated_at: instant(-DAY) },
        })),
      }),
    left: async (db) =>
      (await db.query('select status, updated_at from vouchers order by id')).map((row) => ({
        ...{ status: row.status, changed: seconds(row.updated_at) },
      })),
    model: (world, ticks) =>
      world.map(({ status, end }) => {
        const due = ['unused', 'active'].includes(status) && end !== null ? ticks.find((now) => now >= end) : undefined;
        return due === undefined ? { status, changed: -DAY } : { status: 'expired', changed: due };
      }),
    alike: (left) => left.map(({ status }) => status),
  }));

test('payments: one late tick gives what a tick every 5 minutes gives', () =>
  compare('payments', paying, {
    runs: 18,
    async begin(db, { users, payments }) {
      const before = users.flatMap((user, n) => (user ? [{ n, ...user }] : []));
      await put(db, {
        packages: PACKAGES,
        hotspot_users: before.map(({ n, status, has, end, limit, used, bought }) => ({
          ...{ id: n + 1, username: `u${n}`, phone_number: String(n), package_id: bought, status },
          ...{
            has_active_subscription: has,
            subscription_starts_at: instant(-DAY),
            subscription_expires_at: instant(end),
          },
          ...{ data_limit: limit, data_used: used },
        })),
        radius_sessions: before.map(({ n }) => ({ hotspot_user_id: n + 1, payment_id: -n, username: `u${n}` })),
        radcheck: before.map(({ n }) => ({
          ...{ username: `u${n}`, attribute: 'Cleartext-Password', op: ':=', value: 'kept' },
        })),
        payments: payments.map(({ phone, bought, more, status, when, done }, n) => ({
          ...{ id: n + 1, phone_number: phone, package_id: bought, transaction_id: `T${n}` },
          status: status === 'completed' && when !== null ? 'pending' : status,
          ...{ created_at: null, updated_at: instant(when), provisioned_at: done ? instant(-DAY) : null },
          amount: (PACKAGES.find(({ id }) => id === bought)?.price ?? 50) + more,
        })),
      });
      await db.query(`select setval(pg_get_serial_sequence('hotspot_users', 'id'), 100)`);
    },
    steps: ({ payments }) =>
      payments.flatMap(({ status, when }, n) =>
        status === 'completed' && when !== null
          ? [{ at: when, sql: `update payments set status = 'completed' where id = $1`, values: [n + 1] }]
          : [],
      ),
    async left(db) {
      const users = await db.query(
        `
        select u.*,
          (select case when value = 'kept' then 'kept' else 'new' end from radcheck c
           where c.username = u.username and attribute = 'Cleartext-Password') as password,
          (select value::bigint - extract(epoch from $1::timestamptz)::bigint from radcheck c
           where c.username = u.username and attribute = 'Expiration')::integer as ends,
          (select value::integer from radreply c where c.username = u.username and attribute = 'Mikrotik-Total-Limit') as bytes,
          array(select greatest(payment_id::integer, 0) from radius_sessions s
           where s.hotspot_user_id = u.id and s.status = 'active' order by 1) as paid_by
        from hotspot_users u order by phone_number`,
        [NOW],
      );
      const payments = await db.query(`
        select provisioned_at, exists (select from scheduler.failures f where f.entity_id = p.id::text) as refused,
          (select count(*) from hotspot_credentials c where c.payment_id = p.id)::integer as told
        from payments p order by id`);
      return {
        users: users.map((row) => ({
          ...{ status: row.status, has: row.has_active_subscription, end: seconds(row.subscription_expires_at) },
          ...{ limit: row.data_limit && Number(row.data_limit), used: Number(row.data_used) },
          bought: Number(row.package_id),
          ...{ phone: row.phone_number, start: seconds(row.subscription_starts_at)!, password: row.password },
          ...{ paidBy: row.paid_by, radius: row.ends === null ? null : { ends: row.ends, bytes: row.bytes } },
        })),
        payments: payments.map((row) => ({ at: seconds(row.provisioned_at), refused: row.refused, told: row.told })),
      };
    },
    model: provisioned,
    alike: ({ users, payments }) => ({
      users: users.map(({ start, end, radius, ...rest }) => ({ ...rest, bytes: radius?.bytes })),
      payments: payments.map(({ at, ...rest }) => ({ ...rest, done: at !== null })),
    }),
  }));

/** A report every few minutes, until the device leaves (stops) or is heard no more. The figures never shrink: late, nobody knows. */
const device = fc
  .record({
    user: fc.nat(2),
    start: fc.oneof(fc.integer({ min: -HOUR, max: END }), fc.constantFrom(-DAY, 0)),
    reports: fc.array(
      fc.record({ gap: fc.integer({ min: 1, max: 14 * MINUTE }), bytes: fc.nat(1000), lag: fc.nat(60) }),
      { maxLength: 12 },
    ),
    onTheMinute: fc.boolean(),
    stops: fc.boolean(),
    interval: fc.constantFrom(null, 300, 1200),
  })
  .map(({ reports, onTheMinute, ...row }) => {
    let [at, bytes, n] = [row.start, 0, 0];
    const told = reports.map(({ gap, lag, ...report }) => {
      at = onTheMinute ? (Math.floor(at / 300) + 1 + (gap % 2)) * 300 : at + gap;
      bytes += report.bytes;
      return { at, bytesIn: bytes, bytesOut: n++ * 7, seconds: Math.max(0, at - row.start - lag) };
    });
    const heard = told.filter((report) => report.at <= END);
    const last = heard.at(-1)?.at ?? row.start;
    const patience = 3 * Math.max(300, row.interval ?? 0);
    // Our own looks must be as silent, so that many ticks close up to 5 minutes later than one: not in the last of them.
    const between = END - last >= patience && END - last < patience + 300 && last % 300 !== 0;
    const stops = row.stops || between;
    if (stops && heard.length === 0) heard.push({ at: last, bytesIn: 0, bytesOut: 0, seconds: 0 });
    return { ...row, reports: heard, last, stops, silent: !stops && END - last >= patience };
  });

const STRANGER = {
  ...{ user: 'stranger', start: -1, interval: null, last: END, stops: false, silent: false },
  reports: Array.from({ length: 18 }, (_, n) => ({ at: (n + 1) * 600, bytesIn: n, bytesOut: n, seconds: n })),
};

const accounts = fc.record({
  devices: few(device, 6),
  /** A session that is opened meanwhile is left out: a late tick counts all to the newest one. */
  sessions: fc.array(fc.record({ older: fc.boolean(), status: fc.constantFrom('active', 'expired') }), {
    ...{ minLength: 3, maxLength: 3 },
  }),
});

type Accounts = typeof accounts extends fc.Arbitrary<infer T> ? T : never;

function counted({ devices, sessions }: Accounts) {
  const rows = devices.map((row, n) => ({
    ...{ n, ...row, bytesIn: 0, bytesOut: 0, seconds: 0, ...row.reports.at(-1) },
    ...(row.silent && { seconds: row.last - row.start }),
  }));
  const newestFirst = rows.toSorted((a, b) => b.start - a.start || b.n - a.n);
  const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0);
  return {
    stops: Object.fromEntries(
      [...rows, { ...STRANGER, n: rows.length }].map((row) => [row.n, row.stops || row.silent ? row.last : null]),
    ),
    sessions: sessions.flatMap(({ older }, user) => {
      // Use that ended before the newest session was opened belongs to the one before it.
      const isEarlier = ({ last }: { last: number }) => older && last < -HOUR;
      const figures = (own: typeof rows) => {
        const [bytesIn, bytesOut] = [sum(own.map((row) => row.bytesIn)), sum(own.map((row) => row.bytesOut))];
        return {
          ...{ bytes_in: bytesIn, bytes_out: bytesOut, logged: bytesIn + bytesOut },
          ...{ total_bytes: user * 10 + bytesIn + bytesOut, duration_seconds: sum(own.map((row) => row.seconds)) },
          ...{ device: own[0] ? String(own[0].n) : null, ip_address: own[0] ? `10.5.0.${own[0].n}` : null },
        };
      };
      const all = newestFirst.filter((row) => row.user === user);
      const newest = figures(all.filter((row) => !isEarlier(row)));
      const before = { user, data_used: user * 100 + newest.logged };
      const earlier = { ...before, ...figures(all.filter(isEarlier)), start: -DAY };
      return [{ ...before, ...newest, start: -HOUR }, ...(older ? [earlier] : [])];
    }),
  };
}

test('accounting: one late tick counts what a tick every 5 minutes counts, and closes whom it closes', () =>
  compare('accounting', accounts, {
    runs: 18,
    async begin(db, { sessions }) {
      const opened = sessions.flatMap(({ older, status }, n) =>
        [-HOUR, ...(older ? [-DAY] : [])].map((start) => ({
          ...{ hotspot_user_id: n + 1, username: `u${n}`, status, total_bytes: n * 10, session_start: instant(start) },
        })),
      );
      const users = sessions.map((_, n) => ({ username: `u${n}`, phone_number: String(n), data_used: n * 100 }));
      await put(db, { hotspot_users: users, radius_sessions: opened });
    },
    steps: ({ devices }) =>
      // Some router is always heard: somebody else's customer is online all the time.
      [...devices, STRANGER].flatMap((row, n) => [
        {
          at: row.start,
          sql: `insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, framedipaddress, acctinterval, acctstarttime, acctupdatetime)
            values ('s', $1, $2, '10.0.0.1', $3, $4, $5, $5)`,
          values: [n, `u${row.user}`, `10.5.0.${n}`, row.interval, instant(row.start)],
        },
        ...row.reports.map((report) => ({
          at: report.at,
          sql: `update radacct set acctupdatetime = $2, acctinputoctets = $3, acctoutputoctets = $4, acctsessiontime = $5,
            acctstoptime = case when $6 then $2::timestamptz end where acctuniqueid = $1`,
          values: [
            ...[n, instant(report.at), report.bytesIn, report.bytesOut, report.seconds],
            row.stops && report.at === row.last,
          ],
        })),
      ]),
    async left(db) {
      const radacct = await db.query(
        'select acctuniqueid as n, acctstoptime from radacct order by acctuniqueid::integer',
      );
      const sessions =
        await db.query(`select s.hotspot_user_id::integer - 1 as user, session_start, bytes_in::integer, bytes_out::integer,
          total_bytes::integer, duration_seconds::integer, a.acctuniqueid, s.ip_address, u.data_used::integer,
          (select coalesce(sum(l.total_bytes), 0) from data_usage_logs l where l.radius_session_id = s.id)::integer as logged
        from radius_sessions s join hotspot_users u on u.id = s.hotspot_user_id left join radacct a on a.radacctid = s.radacct_id
        order by 1, 2 desc`);
      return {
        stops: Object.fromEntries(radacct.map((row) => [row.n, seconds(row.acctstoptime)])),
        sessions: sessions.map(({ session_start, acctuniqueid, ...row }) => ({
          ...row,
          start: seconds(session_start),
          device: acctuniqueid,
        })),
      };
    },
    model: counted,
    alike: (left) => left,
  }));

// The names 0 to 2 are users. The other two are a voucher's and that of a user who was deleted.
const NAMES = [0, 1, 2, 3, 4];
const evenings = fc
  .record({
    users: fc.array(
      fc.record({
        ...{ status: fc.constantFrom('active', 'active', 'blocked'), has: fc.boolean() },
        ...{ limit: fc.constantFrom(null, 1000), used: fc.constantFrom(999, 1000, 1000) },
        until: fc.constantFrom('never', 'past', 'first', 'last', 'last', 'later'),
      }),
      { minLength: 3, maxLength: 3 },
    ),
    sessions: few(
      fc.record({
        ...{ name: fc.constantFrom(...NAMES), status: fc.constantFrom('active', 'active', 'active', 'expired') },
        ...{ end: fc.option(moment, { freq: 6 }), updated: moment },
        ...{ limit: fc.constantFrom(null, 1000), used: fc.constantFrom(999, 1000) },
      }),
      8,
    ),
  })
  .map(({ users, sessions }) => ({
    sessions,
    // A user's time that ends after the last session, by hand, is left out: many ticks look at users only when a session ends.
    users: users.map(({ until, ...user }, name) => {
      const ends = sessions.flatMap((s) =>
        s.name === name && s.status === 'active' && s.end !== null && s.end <= END ? [s.end] : [],
      );
      const [first, last] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [-DAY, -DAY];
      return { ...user, end: { never: null, past: -DAY, first, last, later: END + 1 }[until]! };
    }),
  }));
type Evening = typeof evenings extends fc.Arbitrary<infer T> ? T : never;

const isFull = ({ limit, used }: { limit: number | null; used: number }) => limit !== null && used >= limit;

function ended(world: Evening, ticks: number[]) {
  const sessions = world.sessions.map((row) => ({
    ...row,
    reason: null as string | null,
    ended: null as number | null,
  }));
  const users = world.users.map((user) => ({ ...user }));
  const barred = new Set<number>();
  const close = (now: number, session: (typeof sessions)[number], reason: string, at: number) => {
    Object.assign(session, { status: 'expired', reason, ended: at });
    const user = users[session.name];
    if (user && !isFull(user) && user.end !== null && user.end > now) return;
    barred.add(session.name);
    if (user) Object.assign(user, { has: false, status: user.status === 'blocked' ? 'blocked' : 'expired' });
  };
  for (const now of ticks) {
    const active = () => sessions.filter((s) => s.status === 'active');
    const spent = users.map((user) => isFull(user) && (user.has || user.status === 'active'));
    for (const s of active()) if (spent[s.name]) close(now, s, 'data limit reached', now);
    for (const s of active()) if (s.end !== null && s.end <= now) close(now, s, 'time is up', s.end);
    for (const s of active())
      if (s.updated <= now && isFull(s) && isFull(users[s.name] ?? s)) close(now, s, 'data limit reached', now);
  }
  return {
    sessions: sessions.map(({ name, status, reason, ended, limit, used }) => ({
      status,
      reason,
      ended,
      full: isFull({ limit, used }) || isFull(users[name] ?? { limit, used }),
    })),
    users: users.map(({ status, has }, name) => ({ status, has, password: !barred.has(name) })),
    names: NAMES.map((name) => ({ access: !barred.has(name), disconnected: barred.has(name) ? ['open'] : [] })),
  };
}

test('hotspot-sessions: one late tick ends what a tick every 5 minutes ends', () =>
  compare('hotspot-sessions', evenings, {
    runs: 18,
    async begin(db, { users, sessions }) {
      const access = NAMES.map((n) => ({ username: `u${n}`, attribute: 'X', op: ':=', value: 'x' }));
      const online = (acctsessionid: string, acctstoptime: string | null) =>
        NAMES.map((n) => ({
          ...{
            acctsessionid,
            acctuniqueid: `${acctsessionid} ${n}`,
            username: `u${n}`,
            nasipaddress: '10.0.0.1',
            acctstoptime,
          },
        }));
      await put(db, {
        hotspot_users: users.map(({ status, has, limit, used, end }, n) => ({
          ...{ username: `u${n}`, phone_number: String(n), status, has_active_subscription: has },
          ...{ data_limit: limit, data_used: used, subscription_expires_at: instant(end) },
        })),
        radius_sessions: sessions.map(({ name, status, end, updated, limit, used }) => ({
          ...{ hotspot_user_id: [1, 2, 3, null, 99][name], username: `u${name}`, status, expected_end: instant(end) },
          ...{ updated_at: instant(updated), data_limit: limit, total_bytes: used },
        })),
        hotspot_credentials: users.map((_, n) => ({
          ...{ hotspot_user_id: n + 1, username: `u${n}`, phone_number: String(n), plain_password: 'secret' },
        })),
        ...{ radcheck: access, radreply: access, radacct: online('open', null) },
      });
      await put(db, { radacct: online('closed', NOW) });
    },
    async left(db) {
      const sessions = await db.query(`select status, disconnect_reason as reason, session_end as ended,
          coalesce(total_bytes >= data_limit, false)
            or exists (select from hotspot_users u where u.id = s.hotspot_user_id and u.data_used >= u.data_limit) as "full"
        from radius_sessions s order by id`);
      const users =
        await db.query(`select u.status, u.has_active_subscription as has, c.plain_password is not null as password
        from hotspot_users u join hotspot_credentials c on c.hotspot_user_id = u.id order by u.id`);
      // A user whose sessions end one after the other is disconnected at each end, and once by a late tick.
      const names = await db.query(
        `select exists (select from radcheck c join radreply r using (username) where username = n) as access,
          array(select distinct acct_session_id from session_disconnections d where d.username = n) as disconnected
        from unnest($1::text[]) with ordinality as names (n, place) order by place`,
        [NAMES.map((n) => `u${n}`)],
      );
      return {
        sessions: sessions.map(({ status, reason, full, ended }) => ({ status, reason, full, ended: seconds(ended) })),
        users,
        names,
      };
    },
    model: ended,
    // If a tick finds both data and time used up, it gives the time as the reason. A session ends at the tick if its data, or that
    // of its user, is used up, so a late tick ends it later.
    alike: ({ sessions, ...rest }) => ({
      ...rest,
      sessions: sessions.map(({ full, status, ...row }) => (full ? { status } : { status, ...row })),
    }),
  }));
