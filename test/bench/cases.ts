/** What is measured: for each job, rows that are due, and the least SQL that writes the same. One entry a job. */
export interface Case {
  job: string;
  /** The tick may take this many times as long as the bare statement; where that is promised. */
  bound?: number;
  /** Fills the emptied tables with :n due rows. */
  fill: string;
  empty: string;
  /** One statement that makes the same writes to all rows. */
  bare: string;
  /** The same for any one row that is due: what a loop would do at its best, in a transaction of its own. */
  one: string;
  /** Answers how many rows are done. */
  done: string;
  /** For a job of one's own: its table, and its file. */
  table?: string;
  yaml?: string;
}

/** A rule of one's own, with a change and an event. */
const ownHolds = (limit: string) => `
  with due as materialized (
    select id, held_until as due_at from own_holds where held_until <= now() and state = 'held' ${limit} for update
  ),
  released as (
    update own_holds h set state = 'released', released_at = due.due_at from due where h.id = due.id
    returning h.id, h.seat, h.state, h.held_until, h.released_at, due.due_at
  ),
  recorded as (
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, channels, data)
    select 'hold.released', 'own-holds', 'release', id::text, due_at, now(), array['seat.' || seat],
      jsonb_build_object('id', id, 'held_until', held_until, 'state', state, 'released_at', released_at)
    from released
    returning id, type, channels, data
  )
  ${tell}`;

const tell = `select count(pg_notify(channel, payload))
  from (select channels, json_build_object('id', id, 'event', type, 'data', data)::text as payload from recorded offset 0) as message,
    unnest(channels) as channel`;

const packages = (limit: string) => `
  with due as materialized (
    select id, scheduled_activation_time as due_at from packages
    where enable_schedule and status = 'inactive' and scheduled_activation_time <= now()
      and (activated_at is null or activated_at < scheduled_activation_time)
    ${limit}
    for update
  ),
  switched as (
    update packages p set status = 'active', is_active = true, activated_at = now(), updated_at = now()
    from due where p.id = due.id
    returning p.id, p.name, p.type as kind, due.due_at
  ),
  recorded as (
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, channels, data)
    select 'package.status.changed', 'packages', 'activate', id::text, due_at, now(),
      array['private-packages', 'private-admin-notifications'],
      jsonb_build_object(
        'package_id', id, 'package_name', name, 'package_type', kind, 'old_status', 'inactive', 'new_status', 'active',
        'is_active', true, 'scheduled_activation_time', due_at, 'timestamp', now(),
        'message', format('Package ''%s'' status changed from inactive to active', name)
      )
    from switched
    returning id, type, channels, data
  )
  ${tell}`;

/** It knows what the job must find out: each customer has one to be replaced and one that replaces it. */
const subscriptions = (limit: string) => `
  with due as materialized (
    select c.id, c."userId", c."scheduledStartDate" as due_at from customer_packages c
    where c.status = 'SCHEDULED' and c."scheduledStartDate" <= now()
    ${limit}
    for update
  ),
  replaced as (
    update customer_packages c set status = 'EXPIRED', "isActive" = false, "updatedAt" = now()
    from due where c."userId" = due."userId" and c.status = 'ACTIVE'
    returning c.id, c."userId", c."packageId", c."startDate", c."scheduledStartDate", due.id as successor, due.due_at
  ),
  switched as (
    update customer_packages c set status = 'ACTIVE', "isActive" = true, "startDate" = now(), "updatedAt" = now()
    from due where (select count(*) from replaced) >= 0 and c.id = due.id
    returning c.id, c."userId", c."packageId", c."startDate", c."scheduledStartDate", null, due.due_at
  ),
  recorded as (
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, channels, data)
    select type, 'subscriptions', transition, id, due_at, now(),
      array['private-subscriptions', 'private-admin-notifications', 'user.' || "userId"],
      jsonb_build_object(
        'subscription_id', id, 'user_id', "userId", 'package_id', "packageId", 'old_status', old, 'new_status', new,
        'previous_subscription_id', null, 'scheduled_start_date', "scheduledStartDate", 'start_date', "startDate",
        'replaced_by', successor, 'timestamp', now(), 'message', format('Subscription %s is %s', id, new)
      )
    from (
      select 'subscription.expired' as type, 'expire previous' as transition, 'ACTIVE' as old, 'EXPIRED' as new, * from replaced
      union all
      select 'subscription.activated', 'activate', 'SCHEDULED', 'ACTIVE', * from switched
    ) as moved
    returning id, type, channels, data
  )
  ${tell}`;

/** As one would write it by hand: first in, first out over locked credits. It ends no session and minds no time limit. */
const deductions = (limit: string) => `
  with due as materialized (
    select id, patient_id, activated_at, coalesce(auto_deductions_processed, 0) as processed,
      floor(extract(epoch from now() - activated_at) / 600)::bigint as expected
    from text_sessions
    where status = 'active' and activated_at + (coalesce(auto_deductions_processed, 0) + 1) * interval '10 minutes' <= now()
    ${limit}
    for update
  ),
  purse as materialized (
    select id, user_id, activated_at, text_sessions_remaining as credits from subscriptions
    where user_id in (select patient_id from due) and is_active and (expires_at is null or expires_at > now())
      and text_sessions_remaining > 0
    for update
  ),
  drawn as (
    select id, user_id, sum(credits) over oldest as upto, sum(credits) over oldest - credits as before,
      sum(credits) over (partition by user_id) as total
    from purse
    window oldest as (partition by user_id order by activated_at, id)
  ),
  blocks as (
    select id, patient_id, processed + n as block, activated_at + (processed + n) * interval '10 minutes' as due_at,
      row_number() over (partition by patient_id order by activated_at + (processed + n) * interval '10 minutes') as place
    from due cross join generate_series(1, expected - processed) as n
  ),
  charged as materialized (
    select b.id, b.block, b.due_at, d.id as subscription_id, d.total
    from blocks b join drawn d on d.user_id = b.patient_id and b.place > d.before and b.place <= d.upto
  ),
  paid as (select id, count(*) as blocks, min(due_at) as due_at, min(total) as total from charged group by id),
  changed as (
    update text_sessions s set auto_deductions_processed = coalesce(s.auto_deductions_processed, 0) + paid.blocks,
      sessions_used = s.sessions_used + paid.blocks, updated_at = now()
    from paid where s.id = paid.id
    returning s.id, s.patient_id, s.doctor_id, s.activated_at, s.auto_deductions_processed as total, paid.blocks, paid.due_at,
      paid.total - paid.blocks as credits_left
  ),
  ledger as (
    insert into text_session_deductions (session_id, block, subscription_id, due_at)
    select id, block, subscription_id, due_at from charged
    returning session_id, block, subscription_id, due_at
  ),
  spent as (
    update subscriptions u set text_sessions_remaining = u.text_sessions_remaining - used.credits
    from (select subscription_id, count(*) as credits from ledger group by subscription_id) as used where u.id = used.subscription_id
  ),
  earned as (
    insert into wallet_transactions (doctor_id, type, amount, description, session_type, session_id, session_table, status, metadata)
    select c.doctor_id, 'credit', w.session_rate, format('Text session %s, block %s of 10 minutes', c.id, l.block), 'text', c.id,
      'text_sessions', 'completed', jsonb_build_object('block', l.block, 'subscription_id', l.subscription_id)
    from ledger l join changed c on c.id = l.session_id join doctor_wallets w on w.doctor_id = c.doctor_id
    returning doctor_id, amount
  ),
  paid_in as (
    update doctor_wallets w set balance = w.balance + e.amount, total_earned = w.total_earned + e.amount
    from (select doctor_id, sum(amount) as amount from earned group by doctor_id) as e where w.doctor_id = e.doctor_id
  ),
  recorded as (
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, channels, data)
    select 'text_session.deducted', 'deductions', 'deduct', id::text, due_at, now(),
      array['private-text-sessions', 'user.' || patient_id],
      jsonb_build_object(
        'session_id', id, 'patient_id', patient_id, 'doctor_id', doctor_id,
        'elapsed_minutes', floor(extract(epoch from now() - activated_at) / 60), 'deductions_processed', blocks,
        'total_deductions', total, 'credits_left', credits_left, 'timestamp', now()
      )
    from changed
    returning id, type, channels, data
  )
  ${tell}`;

/** All of them by the clock of one zone, and off before. */
const specialPackages = (limit: string) => `
  with due as materialized (
    select id, (schedule_date + schedule_time) at time zone 'UTC' as due_at from special_packages
    where scheduled and auto_activate and (schedule_date + schedule_time) at time zone 'UTC' <= now()
      and now() < (valid_until + 1)::timestamp at time zone 'UTC'
    ${limit}
    for update
  ),
  switched as (
    update special_packages s set is_active = true, scheduled = false, updated_at = now()
    from due where s.id = due.id
    returning s.id, s.name, due.due_at
  ),
  recorded as (
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, channels, data)
    select 'special_package.status.changed', 'special-packages', 'activate', id::text, due_at, now(),
      array['private-packages', 'private-admin-notifications'],
      jsonb_build_object(
        'package_id', id, 'package_name', name, 'package_type', 'special', 'old_status', 'inactive', 'new_status', 'active',
        'is_active', true, 'scheduled_activation_time', due_at, 'timestamp', now(),
        'message', format('Package ''%s'' status changed from inactive to active', name)
      )
    from switched
    returning id, type, channels, data
  )
  ${tell}`;

/** Those that no doctor answered. */
const sessionEndings = (limit: string) => `
  with due as materialized (
    select id, doctor_response_deadline as due_at from text_sessions
    where status = 'waiting_for_doctor' and doctor_response_deadline < now()
    ${limit}
    for update
  ),
  expired as (
    update text_sessions s set status = 'expired', ended_at = now(), reason = 'no_response', updated_at = now()
    from due where s.id = due.id
    returning s.id, s.patient_id, s.sessions_used, due.due_at
  ),
  recorded as (
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, channels, data)
    select 'text_session.expired', 'session-endings', 'expire', id::text, due_at, now(),
      array['private-text-sessions', 'user.' || patient_id], jsonb_build_object(
        'session_id', id, 'reason', 'no_response', 'ended_at', now(), 'sessions_used', sessions_used, 'timestamp', now()
      )
    from expired
    returning id, type, channels, data
  )
  ${tell}`;

const vouchers = (limit: string) => `
  with due as materialized (
    select id from vouchers where status in ('unused', 'active') and expires_at <= now()
    ${limit}
    for update
  )
  update vouchers v set status = 'expired', updated_at = now() from due where v.id = due.id`;

/** It knows that nothing was counted of them before, and whose they are. */
const accounting = (limit: string, username = 's.username') => `
  with news as materialized (
    select r.radacctid as id, r.username, r.acctinputoctets as more_in, r.acctoutputoctets as more_out, r.acctsessiontime as seconds,
      host(r.nasipaddress) as nas, host(r.framedipaddress) as ip, r.acctupdatetime
    from radacct r
    where acctstoptime is null and not exists (select from scheduler.accounted a where a.tenant = 'public' and a.id = r.radacctid)
    ${limit}
  ),
  remembered as (
    insert into scheduler.accounted (tenant, id, bytes_in, bytes_out, seconds, closed, changed_at)
    select 'public', id, more_in, more_out, seconds, false, acctupdatetime from news
  ),
  sessions as (
    update radius_sessions s
    set bytes_in = s.bytes_in + more_in, bytes_out = s.bytes_out + more_out, total_bytes = s.total_bytes + more_in + more_out,
      duration_seconds = s.duration_seconds + seconds, radacct_id = news.id, ip_address = news.ip, nas_ip_address = nas, updated_at = now()
    from news where ${username} = news.username
    returning s.id, s.hotspot_user_id, news.id as radacct_id, more_in, more_out
  ),
  users as (
    update hotspot_users u set data_used = u.data_used + more_in + more_out, updated_at = now()
    from sessions where u.id = sessions.hotspot_user_id
  )
  insert into data_usage_logs (hotspot_user_id, radius_session_id, radacct_id, bytes_in, bytes_out, total_bytes, recorded_at)
  select hotspot_user_id, id, radacct_id, more_in, more_out, more_in + more_out, now() from sessions`;

/** Sending, when nothing has to be sent: each is claimed, and then recorded. */
const credentials = (limit: string) => `
  with due as materialized (
    select id, phone_number, sms_next_attempt_at as due_at from hotspot_credentials
    where sms_next_attempt_at <= now() and sms_attempts < 3
    ${limit}
    for update
  ),
  logged as (
    update hotspot_credentials c set sms_status = 'logged', sms_attempts = 1, sms_next_attempt_at = null, updated_at = now()
    from due where c.id = due.id
    returning c.id, due.phone_number, due.due_at
  ),
  recorded as (
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, channels, data)
    select 'CredentialsSent', 'credentials', 'logged', id::text, due_at, now(), array['dashboard-stats'],
      jsonb_build_object('phone_number', scheduler.mask_phone(phone_number), 'sms_status', 'logged', 'sent_at', null)
    from logged
    returning id, type, channels, data
  )
  ${tell}`;

/** The same of sessions that had ended before their router was asked. */
const disconnects = (limit: string) => `
  with due as materialized (
    select d.id from session_disconnections d join radacct r on r.radacctid = d.radacct_id
    where next_attempt_at <= now() and attempts < 3 and r.acctstoptime is not null
    ${limit}
    for update of d
  )
  update session_disconnections d
  set status = 'disconnected', attempts = 1, next_attempt_at = null, disconnected_at = now(), answer = 'it had ended by itself',
    updated_at = now()
  from due where d.id = due.id`;

/** It knows that all are new customers, what they bought, and their names and passwords. */
const payments = (limit: string) => `
  with due as materialized (
    select pay.id, pay.phone_number, pay.mac_address, pay.amount, pay.package_id, pay.updated_at as due_at,
      'user' || pay.id as username, 'password' || pay.id as password, now() + interval '1 hour' as expires_at
    from payments pay
    where status = 'completed' and provisioned_at is null and updated_at <= now()
    ${limit}
    for update
  ),
  created as (
    insert into hotspot_users (username, phone_number, package_id, package_name, has_active_subscription,
      subscription_starts_at, subscription_expires_at, status)
    select username, phone_number, package_id, '1 Hour', true, now(), expires_at, 'active' from due
    returning id, phone_number
  ),
  opened as (
    insert into radius_sessions (hotspot_user_id, payment_id, package_id, username, mac_address, session_start, expected_end, status)
    select created.id, due.id, package_id, username, mac_address, now(), expires_at, 'active'
    from due join created using (phone_number)
  ),
  checks as (
    insert into radcheck (username, attribute, op, value)
    select username, attribute, ':=', value from due cross join lateral (values
      ('Cleartext-Password', password), ('Expiration', floor(extract(epoch from expires_at))::bigint::text), ('Simultaneous-Use', '1')
    ) as each (attribute, value)
  ),
  replies as (
    insert into radreply (username, attribute, op, value)
    select username, attribute, ':=', value from due cross join lateral (values
      ('Session-Timeout', '3600'), ('Idle-Timeout', '900'), ('Acct-Interim-Interval', '300'), ('Mikrotik-Rate-Limit', '2M/4M')
    ) as each (attribute, value)
  ),
  queued as (
    insert into hotspot_credentials (hotspot_user_id, payment_id, username, plain_password, phone_number, package_name, expires_at,
      sms_status, sms_next_attempt_at)
    select created.id, due.id, username, password, phone_number, '1 Hour', expires_at, 'pending', now()
    from due join created using (phone_number)
  ),
  provisioned as (
    update payments set provisioned_at = now() from due where payments.id = due.id
  ),
  recorded as (
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, channels, data)
    select each.type, 'payments', each.transition, due.id::text, due_at, now(), array['dashboard-stats', each.channel], each.data
    from due join created using (phone_number) cross join lateral (values
      ('PaymentCompleted', 'provision', 'payments', jsonb_build_object(
        'payment_id', due.id, 'amount', amount, 'phone_number', phone_number, 'package_id', package_id, 'status', 'completed'
      )),
      ('HotspotUserCreated', 'create user', 'hotspot-users', jsonb_build_object(
        'user_id', created.id, 'username', username, 'phone_number', phone_number, 'package_name', '1 Hour',
        'expires_at', expires_at, 'payment_id', due.id, 'amount', amount
      ))
    ) as each (type, transition, channel, data)
    returning id, type, channels, data
  )
  ${tell}`;

/** It knows that nobody has paid again. */
const hotspotSessions = (limit: string) => `
  with due as materialized (
    select id, expected_end as due_at from radius_sessions where status = 'active' and expected_end <= now()
    ${limit}
    for update
  ),
  ended as (
    update radius_sessions s set status = 'expired', session_end = due_at, disconnect_reason = 'time is up', updated_at = now()
    from due where s.id = due.id
    returning s.id, s.hotspot_user_id, s.username, s.duration_seconds, s.total_bytes, due.due_at
  ),
  over as (
    update hotspot_users u set has_active_subscription = false, status = 'expired', updated_at = now()
    from ended where u.id = ended.hotspot_user_id
  ),
  no_checks as (delete from radcheck c using ended where c.username = ended.username),
  no_replies as (delete from radreply r using ended where r.username = ended.username),
  no_passwords as (
    update hotspot_credentials c set plain_password = null, expires_at = least(expires_at, now())
    from ended where c.hotspot_user_id = ended.hotspot_user_id and c.plain_password is not null
  ),
  disconnects as (
    insert into session_disconnections (radius_session_id, hotspot_user_id, radacct_id, username, acct_session_id,
      nas_ip_address, framed_ip_address, disconnect_reason, status, next_attempt_at)
    select ended.id, hotspot_user_id, radacctid, ended.username, acctsessionid, host(nasipaddress), host(framedipaddress),
      'time is up', 'pending', now()
    from ended join radacct r on r.username = ended.username and r.acctstoptime is null
  ),
  recorded as (
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, channels, data)
    select 'SessionExpired', 'hotspot-sessions', 'expire', id::text, due_at, now(),
      array['dashboard-stats', 'user.' || hotspot_user_id], jsonb_build_object(
        'session_id', id, 'username', username, 'duration', duration_seconds, 'data_used', total_bytes, 'reason', 'time is up'
      )
    from ended
    returning id, type, channels, data
  )
  ${tell}`;

const HOTSPOT = `truncate packages, payments, hotspot_users, radius_sessions, hotspot_credentials, session_disconnections, radcheck,
  radreply, radacct, data_usage_logs, vouchers, scheduler.accounted, scheduler.events`;

export const CASES: Case[] = [
  {
    job: 'packages',
    bound: 0.9,
    empty: 'truncate packages, scheduler.events',
    fill: `insert into packages (name, enable_schedule, scheduled_activation_time, validity)
      select 'Package ' || n, true, now() - interval '1 day' + n * interval '1 ms', '30 days' from generate_series(1, :n) as n`,
    bare: packages(''),
    one: packages('limit 1'),
    done: `select count(*)::integer as n from packages where status = 'active'`,
  },
  {
    job: 'subscriptions',
    bound: 1.4,
    empty: 'truncate customer_packages, scheduler.events',
    fill: `insert into customer_packages (id, "userId", "packageId", status, "isActive", "startDate", "endDate", "scheduledStartDate", "previousSubscriptionId")
      select kind || n, 'user' || n, 'basic', case kind when 'old' then 'ACTIVE' else 'SCHEDULED' end, kind = 'old',
        case kind when 'old' then now() - interval '30 days' end, now() + interval '30 days',
        case kind when 'new' then now() - interval '1 hour' + n * interval '1 ms' end, case kind when 'new' then 'old' || n end
      from generate_series(1, :n) as n cross join (values ('old'), ('new')) as kinds (kind)`,
    bare: subscriptions(''),
    one: subscriptions('limit 1'),
    done: `select count(*)::integer as n from customer_packages where status = 'ACTIVE' and id like 'new%'`,
  },
  {
    job: 'deductions',
    bound: 1.4,
    empty:
      'truncate text_sessions, subscriptions, doctor_wallets, wallet_transactions, text_session_deductions, scheduler.events',
    fill: `with sessions as (
        insert into text_sessions (patient_id, doctor_id, status, activated_at)
        select n, n % 100, 'active', now() - interval '24 minutes' + n * interval '0.2 ms' from generate_series(1, :n) as n
      ), credits as (
        insert into subscriptions (user_id, text_sessions_remaining) select n, 12 from generate_series(1, :n) as n
      )
      insert into doctor_wallets (doctor_id, session_rate) select n, 2.50 from generate_series(0, 99) as n`,
    bare: deductions(''),
    one: deductions('limit 1'),
    done: `select count(*)::integer as n from text_sessions where auto_deductions_processed = 2`,
  },
  {
    job: 'payments',
    bound: 1.5,
    empty: HOTSPOT,
    fill: `with bought as (
        insert into packages (name, price, duration, upload_speed, download_speed) values ('1 Hour', 50, '1 hour', '2M', '4M')
        returning id
      )
      insert into payments (phone_number, mac_address, package_id, amount, transaction_id, mpesa_receipt, status, updated_at)
      select (254700000000 + n)::text, 'AA:BB:CC:00:11:22', bought.id, 50, 'T' || n, 'R' || n, 'completed',
        now() - interval '1 hour' + n * interval '1 ms'
      from bought, generate_series(1, :n) as n`,
    bare: payments(''),
    one: payments('limit 1'),
    done: 'select count(*)::integer as n from payments where provisioned_at is not null',
  },
  {
    job: 'hotspot-sessions',
    bound: 1.5,
    empty: HOTSPOT,
    fill: `with users as (
        insert into hotspot_users (username, phone_number, has_active_subscription, subscription_expires_at)
        select 'user' || n, (254700000000 + n)::text, true, now() - interval '1 hour' + n * interval '1 ms'
        from generate_series(1, :n) as n
        returning id, username, phone_number, subscription_expires_at
      ),
      sessions as (
        insert into radius_sessions (hotspot_user_id, username, expected_end) select id, username, subscription_expires_at from users
      ),
      credentials as (
        insert into hotspot_credentials (hotspot_user_id, username, phone_number, plain_password, sms_status)
        select id, username, phone_number, 'password', 'logged' from users
      ),
      checks as (
        insert into radcheck (username, attribute, op, value)
        select username, attribute, ':=', 'x' from users, unnest(array['Cleartext-Password', 'Expiration', 'Simultaneous-Use']) as attribute
      ),
      replies as (
        insert into radreply (username, attribute, op, value)
        select username, attribute, ':=', 'x'
        from users, unnest(array['Session-Timeout', 'Idle-Timeout', 'Acct-Interim-Interval', 'Mikrotik-Rate-Limit']) as attribute
      )
      insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, framedipaddress, acctstarttime)
      select 's' || id, 'u' || id, username, '10.0.0.1', '10.5.50.7', now() from users`,
    bare: hotspotSessions(''),
    one: hotspotSessions('limit 1'),
    done: `select count(*)::integer as n from radius_sessions where status = 'expired'`,
  },
  {
    job: 'special-packages',
    empty: 'truncate special_packages, scheduler.events',
    fill: `insert into special_packages (name, scheduled, auto_activate, is_active, schedule_date, schedule_time, valid_until)
      select 'Special ' || n, true, true, false, current_date - 1 - n % 20, time '08:00', current_date + 30 from generate_series(1, :n) as n`,
    bare: specialPackages(''),
    one: specialPackages('limit 1'),
    done: 'select count(*)::integer as n from special_packages where is_active',
  },
  {
    job: 'session-endings',
    empty: 'truncate text_sessions, text_session_deductions, subscriptions, scheduler.events',
    fill: `insert into text_sessions (patient_id, doctor_id, status, doctor_response_deadline)
      select n, n % 100, 'waiting_for_doctor', now() - interval '1 hour' + n * interval '1 ms' from generate_series(1, :n) as n`,
    bare: sessionEndings(''),
    one: sessionEndings('limit 1'),
    done: `select count(*)::integer as n from text_sessions where status = 'expired'`,
  },
  {
    job: 'vouchers',
    empty: HOTSPOT,
    fill: `insert into vouchers (code, status, expires_at)
      select 'V' || n, 'unused', now() - interval '1 hour' + n * interval '1 ms' from generate_series(1, :n) as n`,
    bare: vouchers(''),
    one: vouchers('limit 1'),
    done: `select count(*)::integer as n from vouchers where status = 'expired'`,
  },
  {
    job: 'accounting',
    empty: HOTSPOT,
    fill: `with users as (
        insert into hotspot_users (username, phone_number, has_active_subscription)
        select 'user' || n, (254700000000 + n)::text, true from generate_series(1, :n) as n
        returning id, username
      ),
      sessions as (
        insert into radius_sessions (hotspot_user_id, username, session_start, expected_end)
        select id, username, now() - interval '5 minutes', now() + interval '1 hour' from users
      )
      insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, framedipaddress, acctstarttime, acctupdatetime,
        acctsessiontime, acctinputoctets, acctoutputoctets)
      select 's' || id, 'u' || id, username, '10.0.0.1', '10.5.50.7', now() - interval '5 minutes', now(), 300, 1000, 2000 from users`,
    bare: accounting(''),
    // By the index that there is.
    one: accounting('limit 1', 'scheduler.radius_name(s.username)'),
    done: 'select count(*)::integer as n from data_usage_logs',
  },
  {
    job: 'credentials',
    empty: HOTSPOT,
    fill: `insert into hotspot_credentials (username, phone_number, plain_password, sms_status, sms_next_attempt_at)
      select 'user' || n, (254700000000 + n)::text, 'password', 'pending', now() - interval '1 hour' + n * interval '1 ms'
      from generate_series(1, :n) as n`,
    bare: credentials(''),
    one: credentials('limit 1'),
    done: `select count(*)::integer as n from hotspot_credentials where sms_status = 'logged'`,
  },
  {
    job: 'disconnects',
    empty: HOTSPOT,
    fill: `with closed as (
        insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctstoptime)
        select 's' || n, 'u' || n, 'user' || n, '10.0.0.1', now() - interval '1 hour', now() from generate_series(1, :n) as n
        returning radacctid, acctsessionid, username
      )
      insert into session_disconnections (radacct_id, username, acct_session_id, nas_ip_address, status, next_attempt_at)
      select radacctid, username, acctsessionid, '10.0.0.1', 'pending', now() - interval '1 minute' from closed`,
    bare: disconnects(''),
    one: disconnects('limit 1'),
    done: `select count(*)::integer as n from session_disconnections where status = 'disconnected'`,
  },
  {
    job: 'own-holds',
    bound: 1,
    table: `create table own_holds (
      id bigserial primary key, seat integer, state text not null default 'held', held_until timestamptz, released_at timestamptz)`,
    yaml: `
jobs:
  own-holds:
    table: own_holds
    rules:
      release:
        due: held_until
        where: state = 'held'
        set: state = 'released', released_at = due_at
        event: { type: hold.released, channels: ["seat.{seat}"] }
`,
    empty: 'truncate own_holds, scheduler.events, scheduler.runs restart identity',
    fill: `insert into own_holds (seat, held_until) select n % 1000, now() - interval '1 hour' + n * interval '1 millisecond' from generate_series(1, :n) as n`,
    bare: ownHolds(''),
    one: ownHolds('limit 1'),
    done: `select count(*)::integer as n from own_holds where state = 'released'`,
  },
];
