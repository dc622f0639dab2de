import { failure, info, type Job, type Rule, waits } from '../../job/define.ts';
import { newBeginning, newPassword, newUsername } from './secrets.ts';
import { RADIUS_SETTINGS } from './settings.ts';

const completedAt = (alias: string) => `coalesce(scheduler.at(${alias}.updated_at, :dbZone::text),
  scheduler.at(${alias}.created_at, :dbZone::text), '-infinity'::timestamptz)`;
const COMPLETED_AT = completedAt('pay');

/** Of two that wait, the first is counted: both may be of one batch, or of two runs at once. */
const COUNTED_BEFORE = (column: string, what: string) => `
  (select format('the same ${what} %s, as payment %s', case when d.provisioned_at is null then 'comes first' else 'was counted before' end, d.id)
   from payments d
   where d.${column} = pay.${column} and d.id <> pay.id and d.${column}::text <> '' and (
     d.provisioned_at is not null or d.status = 'completed' and (${completedAt('d')}, d.id) < (${COMPLETED_AT}, pay.id)
   )
   order by d.provisioned_at limit 1)`;

/** Asked once a batch: where the indexes see to it, nothing need be looked up for each payment. */
const STORED_ONCE = `(
  select scheduler.stored_once('payments_transaction_once', 'payments', 'transaction_id')
    and scheduler.stored_once('payments_receipt_once', 'payments', 'mpesa_receipt')
)`;

const WRONG = `nullif(coalesce(
  case when coalesce(btrim(pay.phone_number::text), '') = '' then 'it has no phone number' end,
  case when not ${STORED_ONCE} then coalesce(
    ${COUNTED_BEFORE('transaction_id', 'transaction')}, ${COUNTED_BEFORE('mpesa_receipt', 'M-Pesa receipt')}
  ) end,
  (select format('hotspot user %s is %s: payments of that number wait for an operator', u.id, u.status)
   from hotspot_users u
   where u.phone_number = pay.phone_number and u.status::text in ('suspended', 'blocked', 'banned', 'disabled')),
  (select case
     when pay.amount is null then 'it has no amount'
     when pay.amount < p.price
       then format('its amount of %s is less than the price of package %s, which is %s', pay.amount, p.id, p.price)
     when scheduler.validity_seconds(p.duration) is null
       then format('the duration %L of package %s is not a count and a unit, such as ''1 hour''', left(p.duration, 80), p.id)
     when scheduler.speed(p.upload_speed) is null
       then format('the upload speed %L of package %s is not a number with k, M or G', left(p.upload_speed, 80), p.id)
     when scheduler.speed(p.download_speed) is null
       then format('the download speed %L of package %s is not a number with k, M or G', left(p.download_speed, 80), p.id)
     else ''
   end from packages p where p.id = pay.package_id),
  format('its package %s does not exist', pay.package_id)
), '')`;

// Of the attributes that a payment writes; whatever else an operator gave a user stays.
const OUR_CHECKS = `'Expiration', 'Simultaneous-Use'`;
const OUR_REPLIES = `'Session-Timeout', 'Idle-Timeout', 'Acct-Interim-Interval', 'Mikrotik-Rate-Limit', 'Mikrotik-Total-Limit',
  'Mikrotik-Total-Limit-Gigawords'`;

/**
 * Looked up name by name: joined, a table that PostgreSQL takes for small would be read whole, with what this very batch writes.
 * What is ours is asked of the row that is deleted: an operator may have made it something else a moment ago.
 */
const DELETE_OLD = (table: string, ours: string, replaced = 'true') => `
      delete from ${table} where (${ours}) and id = any (array(
        select old.id from granted g
        cross join lateral (select id from ${table} where username = g.radius_name and (${replaced}) offset 0) as old
        where g.user_id is not null
      ))`;

// FreeRADIUS keeps Expiration in 32 bits of seconds, and so does a router its timeouts.
const LATEST = "'2100-01-01T00:00:00Z'::timestamptz";

// As JSON: the n-th of a thousand texts in an array is found by going past the others.
const some = (count: number, make: () => string) => JSON.stringify(Array.from({ length: count }, make));

// Among a million users every ten thousandth name is taken already.
const SPARE_NAMES = 20;

/**
 * A user runs who has time and data left when the payment comes in: then the time is added to what is left, and the data
 * too, unless it is another package, whose limit then counts from here. Otherwise everything starts anew, the password
 * included.
 */
const PROVISION: Rule = {
  name: 'provision',
  row: 'payments pay',
  at: COMPLETED_AT,
  when: { 'it is completed': "pay.status = 'completed'", 'it was not provisioned': 'pay.provisioned_at is null' },
  wrong: WRONG,
  each: {
    key: "coalesce(pay.phone_number::text, 'nobody, ' || pay.id::text)",
    lock: `
      with held as materialized (
        select due.key from due join payments pay on pay.id = due.id
        where scheduler.try_hold(60, due.key) for no key update of pay skip locked
      )
      select key from (select key, 1 as needed from due union all select key, -1 from held) as rows
      group by key having sum(needed) = 0`,
  },
  needs: {
    free: `
      select pay.tableoid, pay.id, pay.xmax
      from due join payments pay on pay.id = due.id or pay.phone_number = due.phone_number
      where pay.status = 'completed' and pay.provisioned_at is null and ${COMPLETED_AT} <= :now::timestamptz
        and not ${waits("'payments'", 'pay.id')}`,
    awaited: 'select u.tableoid, u.id, u.xmax from due join hotspot_users u on u.phone_number = due.phone_number',
  },
  carry: 'pay.phone_number, pay.mac_address, pay.package_id, pay.amount',
  make: (rows) => {
    const beginning = newBeginning();
    return {
      passwords: some(rows, newPassword),
      usernames: some(rows + SPARE_NAMES, () => newUsername(beginning)),
    };
  },
  change: `
    offers as materialized (
      select p.id as package_id, p.name as package_name, scheduler.validity_seconds(p.duration) as seconds,
        nullif(p.data_limit::bigint, 0) as package_limit, scheduler.rate_limit(p.upload_speed, p.download_speed) as rate,
        greatest(coalesce(p.devices, 1), 1) as devices
      from packages p where p.id in (select package_id from todo)
    ),
    bought as materialized (
      select todo.id, todo.due_at, todo.phone_number, todo.mac_address, todo.amount, offers.*, u.id as user_id, u.username as known_as, runs.runs, u.package_id = offers.package_id as same_package,
        u.data_limit as old_limit, coalesce(u.data_used, 0) as old_used,
        scheduler.at(u.subscription_starts_at, :dbZone::text) as old_start,
        scheduler.at(u.subscription_expires_at, :dbZone::text) as old_end,
        (
          select array_agg(case c.attribute when 'Cleartext-Password' then c.value end order by c.attribute) from radcheck c
          where runs.runs and c.username = scheduler.radius_name(u.username) and c.attribute like '%-Password'
        ) as old_passwords,
        row_number() over (order by todo.due_at, todo.id)::integer as place
      from todo
      join offers on offers.package_id = todo.package_id
      left join hotspot_users u on u.phone_number = todo.phone_number
      cross join lateral (
        select coalesce(
          u.has_active_subscription and coalesce(u.data_used < u.data_limit, true)
            and scheduler.at(u.subscription_expires_at, :dbZone::text)
              > case when isfinite(todo.due_at) then todo.due_at else :now::timestamptz end,
          false
        ) as runs
      ) as runs
    ),
    free_names as materialized (
      select jsonb_agg(name) as names
      from (select distinct name from jsonb_array_elements_text(:usernames::jsonb) as name) as offered
      where not exists (select from hotspot_users u where u.username = name)
        and not exists (select from radcheck c where c.username = name)
    ),
    granted as materialized (
      select bought.*, scheduler.mask_phone(phone_number::text) as masked,
        coalesce(known_as, (select names from free_names) ->> (place - 1)) as username,
        coalesce(scheduler.radius_name(known_as), (select names from free_names) ->> (place - 1)) as radius_name,
        case when old_passwords is null then :passwords::jsonb ->> (place - 1) end as new_password,
        coalesce(array_to_string(old_passwords[1:1], ''), (:passwords::jsonb ->> (place - 1))) as password,
        case when runs then old_start else :now::timestamptz end as starts_at,
        least(case when runs then greatest(old_end, :now::timestamptz) else :now::timestamptz end + make_interval(secs => seconds), ${LATEST}) as expires_at,
        case when runs and same_package then old_limit + package_limit else package_limit end as data_limit,
        case when runs and same_package then old_used else 0 end as data_used
      from bought
    ),
    created as (
      insert into hotspot_users (username, phone_number, package_id, package_name, has_active_subscription,
        subscription_starts_at, subscription_expires_at, data_limit, data_used, status, created_at, updated_at)
      select username, phone_number, package_id, package_name, true, starts_at, expires_at, data_limit, data_used, 'active',
        :now::timestamptz, :now::timestamptz
      from granted where user_id is null
      returning id, phone_number
    ),
    renewed as (
      update hotspot_users u
      set package_id = g.package_id, package_name = g.package_name, has_active_subscription = true,
        subscription_starts_at = g.starts_at, subscription_expires_at = g.expires_at, data_limit = g.data_limit,
        data_used = g.data_used, status = 'active', updated_at = :now::timestamptz
      from granted g where u.id = g.user_id
      returning u.id, u.phone_number
    ),
    owners as (select * from created union all select * from renewed),
    -- What ran until now goes on in the session that this payment opens.
    replaced as (
      update radius_sessions s
      set status = 'expired', session_end = :now::timestamptz, disconnect_reason = format('extended by payment %s', g.id),
        updated_at = :now::timestamptz
      from granted g where g.runs and s.hotspot_user_id = g.user_id and s.status = 'active'
    ),
    opened as (
      insert into radius_sessions (hotspot_user_id, payment_id, package_id, username, mac_address, session_start, expected_end,
        data_limit, status, created_at, updated_at)
      select o.id, g.id, g.package_id, g.username, g.mac_address, :now::timestamptz, g.expires_at, g.data_limit - g.data_used,
        'active', :now::timestamptz, :now::timestamptz
      from granted g join owners o on o.phone_number = g.phone_number
    ),
    old_checks as (${DELETE_OLD(
      'radcheck',
      `attribute in (${OUR_CHECKS}) or attribute like '%-Password'`,
      "g.new_password is not null or attribute not like '%-Password'",
    )}),
    old_replies as (${DELETE_OLD('radreply', `attribute in (${OUR_REPLIES})`)}),
    checks as (
      insert into radcheck (username, attribute, op, value)
      select g.radius_name, each.attribute, ':=', each.value
      from granted g
      cross join lateral (values
        ('Cleartext-Password', g.new_password),
        ('Expiration', floor(extract(epoch from g.expires_at))::bigint::text),
        ('Simultaneous-Use', g.devices::text)
      ) as each (attribute, value)
      where each.value is not null
    ),
    replies as (
      insert into radreply (username, attribute, op, value)
      select g.radius_name, each.attribute, ':=', each.value
      from granted g
      cross join lateral (select g.data_limit - g.data_used as bytes) as rest
      cross join lateral (values
        ('Session-Timeout', greatest(1, floor(extract(epoch from g.expires_at - :now::timestamptz)))::bigint::text),
        ('Idle-Timeout', nullif(:radiusIdle::text, '0')),
        ('Acct-Interim-Interval', :radiusInterim::text),
        ('Mikrotik-Rate-Limit', g.rate),
        ('Mikrotik-Total-Limit', (rest.bytes & 4294967295)::text),
        ('Mikrotik-Total-Limit-Gigawords', nullif(rest.bytes >> 32, 0)::text)
      ) as each (attribute, value)
      where each.value is not null
    ),
    queued as (
      insert into hotspot_credentials (hotspot_user_id, payment_id, username, plain_password, phone_number, package_name,
        expires_at, sms_status, sms_next_attempt_at, created_at, updated_at)
      select o.id, g.id, g.username, nullif(g.password, ''), g.phone_number, g.package_name, g.expires_at, 'pending',
        :now::timestamptz, :now::timestamptz, :now::timestamptz
      from granted g join owners o on o.phone_number = g.phone_number
    ),
    provisioned as (
      update payments pay set provisioned_at = :now::timestamptz from granted g where pay.id = g.id
      returning pay.id
    ),
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
          'package_name', package_name, 'expires_at', scheduler.iso(expires_at), 'payment_id', done.id, 'amount', amount
        )
      from done join created on created.phone_number = done.phone_number
    )`,
};

export const job: Job = {
  name: 'payments',
  summary: 'give those who have paid their access',
  everyMinutes: 1,
  order: 60,
  tables: {
    payments: [
      ...['id', 'phone_number', 'mac_address', 'package_id', 'amount', 'transaction_id', 'mpesa_receipt', 'status'],
      ...['provisioned_at', 'created_at', 'updated_at'],
    ],
    packages: ['id', 'name', 'price', 'duration', 'data_limit', 'upload_speed', 'download_speed', 'devices'],
    hotspot_users: [
      ...['id', 'username', 'phone_number', 'package_id', 'package_name', 'has_active_subscription', 'status'],
      ...['subscription_starts_at', 'subscription_expires_at', 'data_limit', 'data_used', 'created_at', 'updated_at'],
    ],
    radius_sessions: [
      ...[
        'id',
        'hotspot_user_id',
        'payment_id',
        'package_id',
        'username',
        'mac_address',
        'session_start',
        'session_end',
      ],
      ...['expected_end', 'data_limit', 'status', 'disconnect_reason', 'created_at', 'updated_at'],
    ],
    hotspot_credentials: [
      ...['id', 'hotspot_user_id', 'payment_id', 'username', 'plain_password', 'phone_number', 'package_name'],
      ...['expires_at', 'sms_status', 'sms_next_attempt_at', 'created_at', 'updated_at'],
    ],
    radcheck: ['id', 'username', 'attribute', 'op', 'value'],
    radreply: ['id', 'username', 'attribute', 'op', 'value'],
  },
  adopt: 'adopt_hotspot',
  settings: { radiusInterim: RADIUS_SETTINGS.radiusInterim, radiusIdle: RADIUS_SETTINGS.radiusIdle },
  rules: [PROVISION],
  lines: {
    started: info('Payments job started'),
    found: (_, count) => info('Found payments to provision', { count }),
    done: ({ transition, data }) => {
      const which = { payment_id: data.payment_id, phone_number: data.phone_number };
      switch (transition) {
        case 'create user':
          return [info('Hotspot user created', { ...which, user_id: data.user_id, expires_at: data.expires_at })];
        case 'extend':
          return [info('Payment extended the access of its user', which)];
        default:
          return [info('Payment provisioned', which)];
      }
    },
    failed: (_, id, error) => failure('Failed to provision payment', { payment_id: id, error }),
    finished: () => [info('Payments job completed')],
  },
};
