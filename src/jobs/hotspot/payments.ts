import {
  AT_ONCE,
  bounded,
  completed,
  defineJob,
  failure,
  info,
  type Line,
  NO_NUMBER,
  part,
  type Row,
  type Rule,
  type TableName,
  type Tables,
  warning,
} from '../../job/define.ts';
import { NOW } from '../../job/expressions.ts';
import { RADCHECK, RADREPLY } from './radius/tables.ts';
import { newPassword, newUsername } from './secrets.ts';
import { RADIUS_SETTINGS } from './settings.ts';
import { HOTSPOT_CREDENTIALS, HOTSPOT_USERS, PACKAGES, PAYMENTS, RADIUS_SESSIONS, SHUT_OUT, usedUp } from './tables.ts';

const completedAt = (row = '') => `coalesce(${row}updated_at, ${row}created_at, '-infinity'::timestamptz)`;

/** If two that are alike wait, the first one counts. Both may be in one batch, or in two runs at once. */
const countedBefore = (t: Tables, column: string, what: string) => `
  (select format('the same ${what} %s, as payment %s', case when d.provisioned_at is null then 'comes first' else 'was counted before' end, d.id)
   from ${t.payments} d
   where d.${column} = r.${column} and d.id <> r.id and d.${column}::text <> '' and (
     d.provisioned_at is not null or d.status = 'completed' and (${completedAt('d.')}, d.id) < (${completedAt('r.')}, r.id)
   )
   order by d.provisioned_at limit 1)`;

/** Asked once a batch. If indexes guarantee it, no payment needs a look for others like it. */
const storedOnce = (t: Tables) =>
  `(select ${PAYMENTS.once!.map((column) => t.payments.storedOnce(column)).join(' and ')})`;

const wrong = (t: Tables) => `nullif(coalesce(
  case when coalesce(btrim(r.phone_number::text), '') = '' then 'it has no phone number' end,
  case when not ${storedOnce(t)} then coalesce(
    ${countedBefore(t, 'transaction_id', 'transaction')}, ${countedBefore(t, 'mpesa_receipt', 'M-Pesa receipt')}
  ) end,
  (select format('hotspot user %s is %s: payments of that number wait for an operator', u.id, u.status)
   from ${t.hotspot_users} u
   where u.phone_number = r.phone_number and u.status::text in (${SHUT_OUT})),
  (select case
     when r.amount is null then 'it has no amount'
     when r.amount::text in (${NO_NUMBER}) then format('its amount is %s, which is no number', r.amount)
     when r.amount < p.price
       then format('its amount of %s is less than the price of package %s, which is %s', r.amount, p.id, p.price)
     when scheduler.validity_seconds(p.duration) is null
       then format('the duration %L of package %s is not a count and a unit, such as ''1 hour''', left(p.duration, 80), p.id)
     when scheduler.speed(p.upload_speed) is null
       then format('the upload speed %L of package %s is not a number with k, M or G', left(p.upload_speed, 80), p.id)
     when scheduler.speed(p.download_speed) is null
       then format('the download speed %L of package %s is not a number with k, M or G', left(p.download_speed, 80), p.id)
     when p.data_limit < 0 then format('the data limit of package %s is less than nothing, or cannot be read', p.id)
     else ''
   end from ${t.packages} p where p.id = r.package_id),
  format('its package %s does not exist', r.package_id)
), '')`;

const lockNumbers = (t: Tables) => `
  with held as materialized (
    select due.key from due join ${t.payments} pay on pay.id = due.id
    where scheduler.try_hold(60, concat(:tenant::text, ' ', due.key)) for no key update of pay skip locked
  )
  select key from (select key, 1 as needed from due union all select key, -1 from held) as rows
  group by key having sum(needed) = 0`;

// A payment replaces these attributes. All others that an operator gave a user stay.
const OUR_CHECKS = `'Expiration', 'Simultaneous-Use'`;
const OUR_REPLIES = `'Session-Timeout', 'Idle-Timeout', 'Acct-Interim-Interval', 'Mikrotik-Rate-Limit', 'Mikrotik-Total-Limit',
  'Mikrotik-Total-Limit-Gigawords'`;

/** An application may have one column for the name and the number: its customers log in with the number. */
const isNumber = ({ hotspot_users }: Tables) => hotspot_users.name('username') === hotspot_users.name('phone_number');
/** The name of each user, and how RADIUS has it: a name that is made anew is the same there. */
const names = (t: Tables) => {
  const made = '(select names from free_names) ->> (place - 1)';
  const [name, ofRadius] = isNumber(t)
    ? ['phone_number::text', 'scheduler.radius_name(phone_number::text)']
    : [made, made];
  return `coalesce(known_as, ${name}) as username, coalesce(scheduler.radius_name(known_as), ${ofRadius}) as radius_name`;
};

/**
 * Rows are looked up name by name: a join would read the whole of a table that PostgreSQL takes for small. The delete itself asks
 * which rows are ours: an operator may have changed one a moment ago.
 */
const deleteOld = (t: Tables, table: TableName, ours: (attribute: string) => string, replaced = 'true') =>
  table.delete((it: Row) => ({
    where: `(${ours(it.attribute)}) and ${it.id} = any (array(
        select old.id from granted g
        cross join lateral (select a.id from ${table} a where a.username = g.radius_name and (${replaced}) offset 0) as old
        -- A name that is made anew has none; a number may have had rows before.
        where ${isNumber(t) || 'g.user_id is not null'}
      ))`,
  }));

// FreeRADIUS keeps Expiration, and routers keep their timeouts, in 32 bits of seconds.
const LATEST = "'2100-01-01T00:00:00Z'::timestamptz";

/** From `todo` to `bought`: the package, and whether the user "runs", which means has time and data left. */
const buy = (t: Tables) => `
    offers as materialized (
      select p.id as package_id, p.name as package_name, scheduler.validity_seconds(p.duration) as seconds,
        nullif(p.data_limit::bigint, 0) as package_limit, scheduler.rate_limit(p.upload_speed, p.download_speed) as rate,
        greatest(coalesce(p.devices, 1), 1) as devices
      from ${t.packages} p where p.id in (select package_id from todo)
    ),
    bought as materialized (
      select todo.id, todo.due_at, todo.phone_number, todo.mac_address, todo.amount, offers.*,
        u.id as user_id, u.username as known_as, runs.runs, u.package_id = offers.package_id as same_package,
        case when u.data_limit > 0 then u.data_limit end as old_limit, coalesce(u.data_used, 0) as old_used,
        u.subscription_starts_at as old_start, u.subscription_expires_at as old_end,
        (
          select array_agg(case c.attribute when 'Cleartext-Password' then c.value end order by c.attribute) from ${t.radcheck} c
          where runs.runs and c.username = scheduler.radius_name(u.username) and c.attribute like '%-Password'
        ) as old_passwords,
        row_number() over (order by todo.due_at, todo.id)::integer as place
      from todo
      join offers on offers.package_id = todo.package_id
      left join ${t.hotspot_users} u on u.phone_number = todo.phone_number
      cross join lateral (
        select coalesce(
          u.has_active_subscription and not ${usedUp('u.data_used', 'u.data_limit')}
            and u.subscription_expires_at > case when isfinite(todo.due_at) then todo.due_at else :now::timestamptz end,
          false
        ) as runs
      ) as runs
    )`;

/** From `bought` to `granted`: what the user has from now on. */
const grant = (t: Tables) => `
    free_names as materialized (
      select jsonb_agg(name) as names
      from (select distinct name from jsonb_array_elements_text(:usernames::jsonb) as name) as offered
      where not exists (select from ${t.hotspot_users} u where u.username = name)
        and not exists (select from ${t.radcheck} c where c.username = name)
    ),
    granted as materialized (
      select bought.*, scheduler.mask_phone(phone_number::text) as masked,
        ${names(t)},
        case when old_passwords is null then :passwords::jsonb ->> (place - 1) end as new_password,
        coalesce(array_to_string(old_passwords[1:1], ''), (:passwords::jsonb ->> (place - 1))) as password,
        case when runs then old_start else :now::timestamptz end as starts_at,
        least(
          case when runs then greatest(old_end, :now::timestamptz) else :now::timestamptz end + make_interval(secs => seconds),
          ${LATEST}
        ) as expires_at,
        case when runs and same_package then old_limit + package_limit else package_limit end as data_limit,
        case when runs and same_package then old_used else 0 end as data_used
      from bought
    )`;

/** What a user has from now on, who is new or not. */
const BOUGHT = {
  ...{ package_id: 'g.package_id', package_name: 'g.package_name', has_active_subscription: 'true' },
  ...{ subscription_starts_at: 'g.starts_at', subscription_expires_at: 'g.expires_at' },
  ...{ data_limit: 'g.data_limit', data_used: 'g.data_used', status: "'active'" },
};

const writeUsers = (t: Tables) => `
    created as (${t.hotspot_users.insert((it: Row) => ({
      values: { username: 'g.username', phone_number: 'g.phone_number', ...BOUGHT },
      from: 'from granted g where g.user_id is null',
      returning: `${it.id} as id, ${it.phone_number} as phone_number`,
    }))}),
    renewed as (${t.hotspot_users.update((it: Row) => ({
      set: { ...BOUGHT, updated_at: NOW },
      from: 'granted g',
      where: `${it.id} = g.user_id`,
      returning: `${it.id} as id, ${it.phone_number} as phone_number`,
    }))}),
    owners as (select * from created union all select * from renewed),
    -- The session that ran until now goes on in the one that this payment opens.
    replaced as (${t.radius_sessions.update((it: Row) => ({
      set: {
        ...{ status: "'expired'", session_end: NOW, updated_at: NOW },
        disconnect_reason: "format('extended by payment %s', g.id)",
      },
      from: 'granted g',
      where: `g.runs and ${it.hotspot_user_id} = g.user_id and ${it.status} = 'active'`,
    }))}),
    opened as (${t.radius_sessions.insert(() => ({
      values: {
        ...{ hotspot_user_id: 'o.id', payment_id: 'g.id', package_id: 'g.package_id', username: 'g.username' },
        ...{ mac_address: 'g.mac_address', session_start: NOW, expected_end: 'g.expires_at' },
        ...{ data_limit: 'g.data_limit - g.data_used', status: "'active'" },
      },
      from: 'from granted g join owners o on o.phone_number = g.phone_number',
    }))})`;

const ATTRIBUTE = { username: 'g.radius_name', attribute: 'each.attribute', op: "':='", value: 'each.value' };

const writeRadius = (t: Tables) => `
    old_checks as (${deleteOld(
      t,
      t.radcheck,
      (attribute) => `${attribute} in (${OUR_CHECKS}) or ${attribute} like '%-Password'`,
      "g.new_password is not null or a.attribute not like '%-Password'",
    )}),
    old_replies as (${deleteOld(t, t.radreply, (attribute) => `${attribute} in (${OUR_REPLIES})`)}),
    checks as (${t.radcheck.insert(() => ({
      values: ATTRIBUTE,
      from: `from granted g
      cross join lateral (values
        ('Cleartext-Password', g.new_password),
        ('Expiration', floor(extract(epoch from g.expires_at))::bigint::text),
        ('Simultaneous-Use', g.devices::text)
      ) as each (attribute, value)
      where each.value is not null`,
    }))}),
    replies as (${t.radreply.insert(() => ({
      values: ATTRIBUTE,
      from: `from granted g
      cross join lateral (select g.data_limit - g.data_used as bytes) as rest
      cross join lateral (values
        ('Session-Timeout', greatest(1, floor(extract(epoch from g.expires_at - :now::timestamptz)))::bigint::text),
        ('Idle-Timeout', nullif(:radiusIdle::text, '0')),
        ('Acct-Interim-Interval', :radiusInterim::text),
        ('Mikrotik-Rate-Limit', g.rate),
        ('Mikrotik-Total-Limit', (rest.bytes & 4294967295)::text),
        ('Mikrotik-Total-Limit-Gigawords', nullif(rest.bytes >> 32, 0)::text)
      ) as each (attribute, value)
      where each.value is not null`,
    }))})`;

/** The SMS, the mark on the payment, and the events. */
const tell = (t: Tables) => `
    queued as (${t.hotspot_credentials.insert(() => ({
      values: {
        ...{ hotspot_user_id: 'o.id', payment_id: 'g.id', package_name: 'g.package_name', expires_at: 'g.expires_at' },
        ...{ username: 'g.username', plain_password: "nullif(g.password, '')", phone_number: 'g.phone_number' },
        ...{ sms_status: "'pending'", sms_next_attempt_at: NOW },
      },
      from: 'from granted g join owners o on o.phone_number = g.phone_number',
    }))}),
    provisioned as (${t.payments.update((it: Row) => ({
      set: { provisioned_at: NOW },
      from: 'granted g',
      where: `${it.id} = g.id`,
      returning: `${it.id} as id`,
    }))}),
    done as (select g.* from granted g join provisioned using (id)),
    outcome as (
      select 1 as step, case when runs then 'extend' else 'provision' end as transition, 'PaymentCompleted' as type,
        array['dashboard-stats', 'payments'] as channels, id::text as entity_id, due_at,
        jsonb_build_object(
          'payment_id', id, 'amount', amount, 'phone_number', masked,
          'package_id', package_id, 'status', 'completed'
        ) as data
      from done
      union all
      select 2, 'create user', 'HotspotUserCreated', array['dashboard-stats', 'hotspot-users'], done.id::text, due_at,
        jsonb_build_object(
          'user_id', created.id, 'username', username, 'phone_number', masked,
          'package_name', ${bounded('package_name')}, 'expires_at', scheduler.iso(expires_at), 'payment_id', done.id, 'amount', amount
        )
      from done join created on created.phone_number = done.phone_number
    )`;

// As JSON, because PostgreSQL finds the n-th text of an array by going past the others.
const some = (count: number, make: () => string) => JSON.stringify(Array.from({ length: count }, make));

// Among a million users every ten thousandth name is taken already.
const SPARE_NAMES = 20;

const TO_PROVISION = { 'it is completed': "status = 'completed'", 'it was not provisioned': 'provisioned_at is null' };

/**
 * If the user has time and data left, the payment adds its time, and its data unless it is for another package. Otherwise
 * everything starts anew, also the password.
 */
const provision: Rule = {
  due: completedAt(),
  where: TO_PROVISION,
  fails: wrong,
  together: { key: "coalesce(phone_number::text, 'nobody, ' || id::text)", lock: lockNumbers },
  carry: { phone_number: 'phone_number', mac_address: 'mac_address', package_id: 'package_id', amount: 'amount' },
  make: (rows) => ({ passwords: some(rows, newPassword), usernames: some(rows + SPARE_NAMES, newUsername) }),
  change: (t) => [buy, grant, writeUsers, writeRadius, tell].map((write) => write(t)).join(','),
};

/** The clock of the application is ahead of the database's. The customer has paid, and does not wait for it. */
const provisionAhead: Rule = {
  ...provision,
  due: AT_ONCE,
  where: (t) => ({
    ...TO_PROVISION,
    'its time lies ahead': `${completedAt()} > now`,
    // Otherwise it fails once more, when its time comes.
    'it buys something': `(${wrong(t)}) is null`,
  }),
};

/** Somebody has to tell the customer. The payment stays a failure until it is mended. */
const refuse: Rule = {
  due: completedAt(),
  where: (t) => ({
    ...TO_PROVISION,
    'that was not told': 'refused_at is null',
    'it buys nothing as it is': `(${wrong(t)}) is not null`,
  }),
  change: (t) => `
    reasons as materialized (
      select r.id, todo.due_at, r.amount, r.package_id, scheduler.mask_phone(r.phone_number::text) as masked, (${wrong(t)}) as reason
      from todo join ${t.payments} r on r.id = todo.id
    ),
    marked as (${t.payments.update((it: Row) => ({
      set: { refused_at: NOW },
      from: 'reasons',
      where: `${it.id} = reasons.id and reasons.reason is not null`,
      returning: `${it.id} as id`,
    }))}),
    outcome as (
      select 1 as step, 'refuse' as transition, 'PaymentRefused' as type, array['dashboard-stats', 'payments'] as channels,
        id::text as entity_id, due_at,
        jsonb_build_object(
          'payment_id', id, 'amount', amount, 'phone_number', masked, 'package_id', package_id, 'status', 'refused',
          'reason', ${bounded('reason')}
        ) as data
      from reasons join marked using (id)
    )`,
};

export const job = defineJob({
  name: 'payments',
  summary: 'give those who have paid their access',
  everyMinutes: 1,
  order: 60,
  beside: { job: 'hotspot-sessions', or: 'access is sold, and nothing ends it' },
  table: part(PAYMENTS, ...Object.keys(PAYMENTS.columns)),
  tables: {
    packages: part(
      PACKAGES,
      ...['id', 'name', 'price', 'duration', 'data_limit', 'upload_speed', 'download_speed', 'devices'],
    ),
    hotspot_users: HOTSPOT_USERS,
    radius_sessions: RADIUS_SESSIONS,
    hotspot_credentials: HOTSPOT_CREDENTIALS,
    radcheck: RADCHECK,
    radreply: RADREPLY,
  },
  settings: { radiusInterim: RADIUS_SETTINGS.radiusInterim, radiusIdle: RADIUS_SETTINGS.radiusIdle },
  rules: { provision, 'provision ahead': provisionAhead, refuse },
  log: {
    started: info('Payments job started'),
    found: (_, count) => info('Found payments to provision', { count }),
    done: ({ transition, data }) => {
      const which = { payment_id: data.payment_id, phone_number: data.phone_number };
      const { user_id, expires_at } = data;
      const said: Record<string, Line> = {
        'create user': info('Hotspot user created', { ...which, user_id, expires_at }),
        extend: info('Payment extended the access of its user', which),
        provision: info('Payment provisioned', which),
        refuse: warning('Payment buys nothing', { ...which, reason: data.reason }),
      };
      return [said[transition]!];
    },
    failed: ({ id, error }) => failure('Failed to provision payment', { payment_id: id, error }),
    finished: completed('Payments job completed'),
  },
});
