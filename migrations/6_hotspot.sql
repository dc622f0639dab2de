-- Hotspot billing: payment, user on the RADIUS server, SMS, expiry, disconnect, usage, on the application's tables and on
-- those of FreeRADIUS.

-- What the accounting job has already counted of each row of radacct, which is FreeRADIUS's own and gets no column of ours.
create table scheduler.accounted (
  id bigint primary key,
  bytes_in bigint not null,
  bytes_out bigint not null,
  seconds bigint not null,
  closed boolean not null,
  -- By our own clock: a router's may be years off.
  changed_at timestamptz not null
);
comment on table scheduler.accounted is 'Rows of radacct that are open or recent, as they were last counted.';
create index accounted_open on scheduler.accounted (id) where not closed;

create table scheduler.accounted_up_to (id bigint not null);
comment on table scheduler.accounted_up_to is 'One row: up to this id there is no row of radacct left that was never counted.';

-- +2547****678: the same as maskPhone in src/gateways/secrets.ts.
create function scheduler.mask_phone(phone text) returns text
  language plpgsql immutable strict parallel safe
as $$
declare
  digits text := regexp_replace(phone, '[^0-9]', '', 'g');
begin
  return case
    when length(digits) >= 10 then
      case when phone ~ '^\s*\+' then '+' else '' end || left(digits, 4) || '****' || right(digits, 3)
    when length(digits) >= 6 then '****' || right(digits, 2)
    else '****'
  end;
end
$$;

-- A user name as FreeRADIUS's stock queries write and look for it: other characters than these as =XX.
create function scheduler.radius_name(name text) returns text
  language plpgsql immutable strict parallel safe
as $$
begin
  if name !~ '[^@a-zA-Z0-9.\-_: /]' then
    return name;
  end if;
  return (
    select string_agg(
      case when c ~ '[@a-zA-Z0-9.\-_: /]' or ascii(c) > 127 then c else '=' || upper(lpad(to_hex(ascii(c)), 2, '0')) end,
      '' order by n
    )
    from regexp_split_to_table(name, '') with ordinality as each (c, n)
  );
end
$$;

-- '5M' of '5M', '5 Mbps', '5mbit/s'; '0' (no limit) of nothing; null of what cannot be read.
create function scheduler.speed(speed text) returns text
  language plpgsql immutable parallel safe
as $$
declare
  words text := lower(btrim(coalesce(speed, '')));
  unit text;
begin
  -- Most are written so, and each payment asks.
  if speed ~ '^[0-9]{1,9}[kMG]$' then
    return speed;
  end if;
  if words in ('', '0', 'unlimited') then
    return '0';
  end if;
  if words !~ '^[0-9]{1,9}\s*[kmg]?(bps|bits?|b/s|bits?/s|bits? per second)?$' then
    return null;
  end if;
  unit := left(btrim(ltrim(words, '0123456789')), 1);
  return substring(words from '^[0-9]+') || case unit when 'k' then 'k' when 'm' then 'M' when 'g' then 'G' else '' end;
end
$$;

-- As Mikrotik-Rate-Limit wants it: upload/download, seen from the router. Null: no limit.
create function scheduler.rate_limit(upload text, download text) returns text
  language sql immutable parallel safe
  return nullif(scheduler.speed(upload) || '/' || scheduler.speed(download), '0/0');

-- Of the text in nas.nasname, which may be a host name: null then.
create function scheduler.network(name text) returns inet
  language plpgsql immutable strict parallel safe
as $$
begin
  return name::inet;
exception
  when others then
    return null;
end
$$;

-- Two runners never work on one phone number or one accounting row at a time. A thousand locks are enough to tell them
-- apart most of the time, and never fill the lock table, however large the batch.
create function scheduler.try_hold(kind integer, key text) returns boolean
  language sql volatile
  return pg_try_advisory_xact_lock(kind, hashtext(key) & 1023);

-- A value seen twice cannot be stored twice. A table that holds it twice already keeps it; then the index only finds it.
create function scheduler.ensure_once(name text, relation regclass, col text) returns void
  language plpgsql
as $$
declare
  place text := (select quote_ident(n.nspname) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation);
  definition text := format('(%1$I) where %1$I is not null and %1$I::text <> ''''', col);
begin
  if to_regclass(place || '.' || quote_ident(name)) is not null then
    return;
  end if;
  execute format('create unique index %I on %s %s', name, relation, definition);
exception
  when unique_violation then
    execute format('create index %I on %s %s', name, relation, definition);
end
$$;

-- FreeRADIUS's stock schema (3.2), where nobody has loaded it yet.
create function scheduler.make_radius_tables() returns void
  language plpgsql
as $$
begin
  if to_regclass('radacct') is not null or to_regclass('radcheck') is not null then
    return;
  end if;
  create table radacct (
    radacctid bigserial primary key,
    acctsessionid text not null,
    acctuniqueid text not null unique,
    username text,
    realm text,
    nasipaddress inet not null,
    nasportid text,
    nasporttype text,
    acctstarttime timestamptz,
    acctupdatetime timestamptz,
    acctstoptime timestamptz,
    acctinterval bigint,
    acctsessiontime bigint,
    acctauthentic text,
    connectinfo_start text,
    connectinfo_stop text,
    acctinputoctets bigint,
    acctoutputoctets bigint,
    calledstationid text,
    callingstationid text,
    acctterminatecause text,
    servicetype text,
    framedprotocol text,
    framedipaddress inet,
    framedipv6address inet,
    framedipv6prefix inet,
    framedinterfaceid text,
    delegatedipv6prefix inet,
    class text
  );
  create index radacct_active_session_idx on radacct (acctuniqueid) where acctstoptime is null;
  create index radacct_bulk_close on radacct (nasipaddress, acctstarttime) where acctstoptime is null;
  create index radacct_start_user_idx on radacct (acctstarttime, username);
  create index radacct_calss_idx on radacct (class);

  create table radcheck (
    id serial primary key,
    username text not null default '',
    attribute text not null default '',
    op varchar(2) not null default '==',
    value text not null default ''
  );
  create index radcheck_username on radcheck (username, attribute);
  create table radreply (
    id serial primary key,
    username text not null default '',
    attribute text not null default '',
    op varchar(2) not null default '=',
    value text not null default ''
  );
  create index radreply_username on radreply (username, attribute);

  -- The rest is not ours to use, but the stock queries ask for it at every login.
  create table if not exists radgroupcheck (
    id serial primary key,
    groupname text not null default '',
    attribute text not null default '',
    op varchar(2) not null default '==',
    value text not null default ''
  );
  create index if not exists radgroupcheck_groupname on radgroupcheck (groupname, attribute);
  create table if not exists radgroupreply (
    id serial primary key,
    groupname text not null default '',
    attribute text not null default '',
    op varchar(2) not null default '=',
    value text not null default ''
  );
  create index if not exists radgroupreply_groupname on radgroupreply (groupname, attribute);
  create table if not exists radusergroup (
    id serial primary key,
    username text not null default '',
    groupname text not null default '',
    priority integer not null default 0
  );
  create index if not exists radusergroup_username on radusergroup (username);
  create table if not exists radpostauth (
    id bigserial primary key,
    username text not null,
    pass text,
    reply text,
    calledstationid text,
    callingstationid text,
    authdate timestamptz not null default now(),
    class text
  );
  create index if not exists radpostauth_username_idx on radpostauth (username);
  create index if not exists radpostauth_class_idx on radpostauth (class);
  create table if not exists nas (
    id serial primary key,
    nasname text not null,
    shortname text not null,
    type text not null default 'other',
    ports integer,
    secret text not null,
    server text,
    community text,
    description text
  );
  create index if not exists nas_nasname on nas (nasname);
  create table if not exists nasreload (
    nasipaddress inet primary key,
    reloadtime timestamptz not null
  );
end
$$;

-- Users who pay, and what they paid.
create function scheduler.adopt_payments() returns void
  language plpgsql
as $$
declare
  zone text := current_setting('TimeZone');
  package_id text := coalesce(scheduler.type_of(to_regclass('packages'), 'id'), 'bigint');
  instant text;
begin
  execute format(
    'create table if not exists hotspot_users (
      id bigint generated by default as identity primary key,
      username text not null unique,
      phone_number text not null unique,
      package_id %s,
      package_name text,
      has_active_subscription boolean not null default false,
      subscription_starts_at timestamptz,
      subscription_expires_at timestamptz,
      data_limit bigint,
      data_used bigint not null default 0,
      status text not null default ''active'',
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    )', package_id
  );
  if scheduler.has_columns(to_regclass('hotspot_users'), 'username', 'phone_number', 'has_active_subscription') then
    instant := coalesce(scheduler.type_of('hotspot_users', 'subscription_expires_at'), 'timestamptz');
    execute format(
      'alter table hotspot_users
        add column if not exists package_id %2$s,
        add column if not exists package_name text,
        add column if not exists subscription_starts_at %1$s,
        add column if not exists subscription_expires_at %1$s,
        add column if not exists data_limit bigint,
        add column if not exists data_used bigint not null default 0,
        add column if not exists status text,
        add column if not exists created_at %1$s,
        add column if not exists updated_at %1$s',
      instant, package_id
    );
    perform scheduler.ensure_once('hotspot_users_phone_once', 'hotspot_users', 'phone_number');
    perform scheduler.ensure_once('hotspot_users_name_once', 'hotspot_users', 'username');
  end if;

  execute format(
    'create table if not exists payments (
      id bigint generated by default as identity primary key,
      phone_number text not null,
      mac_address text,
      package_id %s not null,
      amount numeric(12, 2) not null,
      transaction_id text not null,
      mpesa_receipt text,
      status text not null default ''pending'' check (status in (''pending'', ''completed'', ''failed'')),
      provisioned_at timestamptz,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    )', package_id
  );
  if scheduler.has_columns(to_regclass('payments'), 'phone_number', 'package_id', 'transaction_id', 'status') then
    instant := coalesce(scheduler.type_of('payments', 'updated_at'), 'timestamptz');
    if not scheduler.has_columns('payments', 'provisioned_at') then
      execute format('alter table payments add column provisioned_at %s', instant);
      -- Who paid before that has had what was paid for: nobody gets it again, nor an SMS about it.
      update payments set provisioned_at = now() where status = 'completed';
    end if;
    execute format(
      'alter table payments
        add column if not exists mac_address text,
        add column if not exists mpesa_receipt text,
        add column if not exists created_at %1$s,
        add column if not exists updated_at %1$s',
      instant
    );
    perform scheduler.ensure_once('payments_transaction_once', 'payments', 'transaction_id');
    perform scheduler.ensure_once('payments_receipt_once', 'payments', 'mpesa_receipt');
    perform scheduler.ensure_index('payments_to_provision', 'payments', format(
      '((coalesce(scheduler.at(updated_at, %1$L), scheduler.at(created_at, %1$L), ''-infinity''::timestamptz)), id)
       where status = ''completed'' and provisioned_at is null',
      zone
    ));
  end if;
end
$$;

create function scheduler.adopt_sessions() returns void
  language plpgsql
as $$
declare
  zone text := current_setting('TimeZone');
  user_id text := coalesce(scheduler.type_of(to_regclass('hotspot_users'), 'id'), 'bigint');
  payment_id text := coalesce(scheduler.type_of(to_regclass('payments'), 'id'), 'bigint');
  package_id text := coalesce(scheduler.type_of(to_regclass('packages'), 'id'), 'bigint');
  session_id text;
  instant text;
begin
  execute format(
    'create table if not exists radius_sessions (
      id bigint generated by default as identity primary key,
      hotspot_user_id %s,
      payment_id %s,
      package_id %s,
      radacct_id bigint,
      username text not null,
      mac_address text,
      ip_address text,
      nas_ip_address text,
      session_start timestamptz not null default now(),
      session_end timestamptz,
      expected_end timestamptz,
      duration_seconds bigint not null default 0,
      bytes_in bigint not null default 0,
      bytes_out bigint not null default 0,
      total_bytes bigint not null default 0,
      data_limit bigint,
      status text not null default ''active'',
      disconnect_reason text,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    )', user_id, payment_id, package_id
  );
  if scheduler.has_columns(to_regclass('radius_sessions'), 'username', 'expected_end', 'status') then
    instant := scheduler.type_of('radius_sessions', 'expected_end');
    execute format(
      'alter table radius_sessions
        add column if not exists hotspot_user_id %2$s,
        add column if not exists payment_id %3$s,
        add column if not exists package_id %4$s,
        add column if not exists radacct_id bigint,
        add column if not exists mac_address text,
        add column if not exists ip_address text,
        add column if not exists nas_ip_address text,
        add column if not exists session_start %1$s,
        add column if not exists session_end %1$s,
        add column if not exists duration_seconds bigint not null default 0,
        add column if not exists bytes_in bigint not null default 0,
        add column if not exists bytes_out bigint not null default 0,
        add column if not exists total_bytes bigint not null default 0,
        add column if not exists data_limit bigint,
        add column if not exists disconnect_reason text,
        add column if not exists created_at %1$s,
        add column if not exists updated_at %1$s',
      instant, user_id, payment_id, package_id
    );
    comment on column radius_sessions.data_limit is 'What this session may use: the rest of the user''s limit when it was opened.';
    perform scheduler.ensure_once('radius_sessions_payment_once', 'radius_sessions', 'payment_id');
    perform scheduler.ensure_index('radius_sessions_to_expire', 'radius_sessions', format(
      '((scheduler.at(expected_end, %L)), id) where status = ''active''', zone
    ));
    perform scheduler.ensure_index('radius_sessions_to_exhaust', 'radius_sessions', format(
      '((coalesce(scheduler.at(updated_at, %L), ''-infinity''::timestamptz)), id) where status = ''active'' and total_bytes >= data_limit', zone
    ));
    perform scheduler.ensure_index('radius_sessions_of_user', 'radius_sessions', '(hotspot_user_id) where status = ''active''');
    perform scheduler.ensure_index('radius_sessions_of_name', 'radius_sessions', format(
      '((scheduler.radius_name(username::text)), (coalesce(scheduler.at(session_start, %L), ''-infinity''::timestamptz)))', zone
    ));
  end if;
  session_id := coalesce(scheduler.type_of(to_regclass('radius_sessions'), 'id'), 'bigint');

  execute format(
    'create table if not exists hotspot_credentials (
      id bigint generated by default as identity primary key,
      hotspot_user_id %s,
      payment_id %s,
      username text not null,
      plain_password text,
      phone_number text not null,
      package_name text,
      expires_at timestamptz,
      sms_status text not null default ''pending'',
      sms_attempts integer not null default 0,
      sms_next_attempt_at timestamptz,
      sms_reference text not null default gen_random_uuid()::text,
      sms_sent_at timestamptz,
      sms_message_id text,
      sms_error text,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    )', user_id, payment_id
  );
  if scheduler.has_columns(to_regclass('hotspot_credentials'), 'hotspot_user_id', 'username', 'phone_number', 'sms_status') then
    instant := coalesce(scheduler.type_of('hotspot_credentials', 'expires_at'), 'timestamptz');
    execute format(
      'alter table hotspot_credentials
        add column if not exists payment_id %2$s,
        add column if not exists plain_password text,
        add column if not exists package_name text,
        add column if not exists expires_at %1$s,
        add column if not exists sms_attempts integer not null default 0,
        add column if not exists sms_next_attempt_at %1$s,
        add column if not exists sms_reference text not null default gen_random_uuid()::text,
        add column if not exists sms_sent_at %1$s,
        add column if not exists sms_message_id text,
        add column if not exists sms_error text,
        add column if not exists created_at %1$s,
        add column if not exists updated_at %1$s',
      instant, payment_id
    );
    comment on column hotspot_credentials.sms_next_attempt_at is 'When the SMS is due. Null: nothing more is tried.';
    perform scheduler.ensure_once('hotspot_credentials_payment_once', 'hotspot_credentials', 'payment_id');
    perform scheduler.ensure_index('hotspot_credentials_to_send', 'hotspot_credentials', format(
      '((scheduler.at(sms_next_attempt_at, %L)), id) where sms_next_attempt_at is not null', zone
    ));
    perform scheduler.ensure_index('hotspot_credentials_sending', 'hotspot_credentials',
      '((id::text)) where sms_status = ''sending''');
    perform scheduler.ensure_index('hotspot_credentials_with_password', 'hotspot_credentials',
      '(hotspot_user_id) where plain_password is not null');
  end if;

  execute format(
    'create table if not exists session_disconnections (
      id bigint generated by default as identity primary key,
      radius_session_id %s,
      hotspot_user_id %s,
      radacct_id bigint,
      username text not null,
      acct_session_id text,
      nas_ip_address text,
      framed_ip_address text,
      disconnect_reason text,
      status text not null default ''pending'',
      attempts integer not null default 0,
      next_attempt_at timestamptz,
      answer text,
      disconnected_at timestamptz,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    )', session_id, user_id
  );
  if scheduler.has_columns(to_regclass('session_disconnections'), 'radius_session_id', 'hotspot_user_id', 'disconnect_reason') then
    instant := coalesce(scheduler.type_of('session_disconnections', 'disconnected_at'), 'timestamptz');
    execute format(
      'alter table session_disconnections
        add column if not exists radacct_id bigint,
        add column if not exists username text,
        add column if not exists acct_session_id text,
        add column if not exists nas_ip_address text,
        add column if not exists framed_ip_address text,
        add column if not exists status text,
        add column if not exists attempts integer not null default 0,
        add column if not exists next_attempt_at %1$s,
        add column if not exists answer text,
        add column if not exists disconnected_at %1$s,
        add column if not exists created_at %1$s,
        add column if not exists updated_at %1$s',
      instant
    );
    comment on column session_disconnections.next_attempt_at is 'When the NAS is to be asked. Null: nothing more is tried.';
    perform scheduler.ensure_index('session_disconnections_to_send', 'session_disconnections', format(
      '((scheduler.at(next_attempt_at, %L)), id) where next_attempt_at is not null', zone
    ));
    perform scheduler.ensure_index('session_disconnections_sending', 'session_disconnections',
      '((id::text)) where status = ''sending''');
  end if;

  execute format(
    'create table if not exists data_usage_logs (
      id bigint generated by default as identity primary key,
      hotspot_user_id %s,
      radius_session_id %s,
      radacct_id bigint,
      bytes_in bigint not null,
      bytes_out bigint not null,
      total_bytes bigint not null,
      recorded_at timestamptz not null,
      created_at timestamptz not null default now()
    )', user_id, session_id
  );
  if scheduler.has_columns(to_regclass('data_usage_logs'), 'hotspot_user_id', 'bytes_in', 'bytes_out') then
    execute format(
      'alter table data_usage_logs
        add column if not exists radius_session_id %s,
        add column if not exists radacct_id bigint,
        add column if not exists total_bytes bigint,
        add column if not exists recorded_at %s',
      session_id, coalesce(scheduler.type_of('data_usage_logs', 'created_at'), 'timestamptz')
    );
    perform scheduler.ensure_index('data_usage_logs_of_user', 'data_usage_logs', '(hotspot_user_id, recorded_at)');
  end if;
end
$$;

create function scheduler.adopt_vouchers() returns void
  language plpgsql
as $$
begin
  execute format(
    'create table if not exists vouchers (
      id bigint generated by default as identity primary key,
      code text not null unique,
      package_id %s,
      status text not null default ''unused'',
      used_by text,
      used_at timestamptz,
      expires_at timestamptz,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    )', coalesce(scheduler.type_of(to_regclass('packages'), 'id'), 'bigint')
  );
  if scheduler.has_columns(to_regclass('vouchers'), 'code', 'status', 'expires_at') then
    execute format('alter table vouchers add column if not exists updated_at %s', scheduler.type_of('vouchers', 'expires_at'));
    perform scheduler.ensure_index('vouchers_to_expire', 'vouchers', format(
      '((scheduler.at(expires_at, %L)), id) where status in (''unused'', ''active'')', current_setting('TimeZone')
    ));
  end if;
end
$$;

create function scheduler.adopt_hotspot() returns void
  language plpgsql
as $$
begin
  perform scheduler.adopt_payments();
  perform scheduler.adopt_sessions();
  perform scheduler.adopt_vouchers();
  perform scheduler.make_radius_tables();
  if not scheduler.has_columns(to_regclass('radacct'), 'radacctid', 'username', 'acctstoptime', 'acctinputoctets', 'acctoutputoctets') then
    return;
  end if;
  perform scheduler.ensure_index('radacct_open', 'radacct', '(radacctid) where acctstoptime is null');
  perform scheduler.ensure_index('radacct_open_of_user', 'radacct', '(username) where acctstoptime is null');
  -- What had been used when this program came is not its to count: it begins from there.
  if not exists (select from scheduler.accounted_up_to) then
    insert into scheduler.accounted (id, bytes_in, bytes_out, seconds, closed, changed_at)
    select radacctid, coalesce(acctinputoctets, 0), coalesce(acctoutputoctets, 0), coalesce(acctsessiontime, 0),
      acctstoptime is not null, now()
    from (
      select * from radacct where acctstoptime is null
      union all
      (select * from radacct where acctstoptime is not null order by radacctid desc limit 100)
    ) as known;
    insert into scheduler.accounted_up_to select coalesce(max(radacctid), 0) from radacct;
  end if;
end
$$;
