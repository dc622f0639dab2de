import type { Sample } from './sample.ts';

export const hotspot: Sample = {
  title: 'A WiFi hotspot: payments and what they buy',
  story: 'A user who pays gets access and an SMS; when the time or the data is used up, the access is gone.',
  channel: 'dashboard-stats',
  fill: `
    with minute as materialized (select date_trunc('minute', :now::timestamptz) as minute),
    bought as (
      insert into packages (id, name, price, duration, upload_speed, download_speed, devices)
      values (801, 'One hour', 50, '1 hour', '2M', '4M', 1)
      returning id
    ),
    known as (
      insert into hotspot_users (id, username, phone_number, package_id, package_name, has_active_subscription,
        subscription_starts_at, subscription_expires_at, data_limit, data_used, status)
      select id, name, phone, 801, 'One hour', true, minute - interval '1 hour', minute + over::interval, quota, used, 'active'
      from minute cross join (values
        (811, 'kdfh3746', '254711000111', '25 minutes', null, 0),
        (812, 'rt7xv9pk', '254722000222', '-1 minute', null, 0),
        (813, 'hp34cyjn', '254733000333', '40 minutes', 1000000, 1000500)
      ) as sample (id, name, phone, over, quota, used)
      returning *
    ),
    running as (
      insert into radius_sessions (hotspot_user_id, package_id, username, session_start, expected_end, total_bytes, data_limit)
      select id, 801, username, subscription_starts_at, subscription_expires_at, data_used, data_limit from known
    ),
    checks as (
      insert into radcheck (username, attribute, op, value) select username, 'Cleartext-Password', ':=', 'demo' from known
    )
    insert into payments (id, phone_number, package_id, amount, transaction_id, status, updated_at)
    select id, phone, 801, amount, 'demo-' || id, status, minute - interval '1 minute'
    from minute cross join (values
      (821, '254711000111', 50, 'completed'),
      (824, '254744000444', 50, 'completed'),
      (825, '254755000555', 20, 'completed'),
      (826, '254766000666', 50, 'pending')
    ) as sample (id, phone, amount, status)`,
  show: `
    select scheduler.mask_phone(phone) as phone, coalesce(u.status, '') as "user",
      coalesce(to_char(u.subscription_expires_at, 'HH24:MI'), '') as until,
      exists (select from radcheck c where c.username = u.username)::text as "may log in",
      case right(phone, 3)
        when '111' then 'has 25 minutes left, and paid again'
        when '222' then 'whose time is up'
        when '333' then 'whose data is used up'
        when '444' then 'paid for the first time'
        when '555' then 'paid less than the price'
        when '666' then 'has not paid yet'
      end as "what to know"
    from unnest(array['254711000111', '254722000222', '254733000333', '254744000444', '254755000555', '254766000666']) as phone
    left join hotspot_users u on u.phone_number = phone order by phone`,
};
