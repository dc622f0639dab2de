-- The operator of a WiFi hotspot, as Laravel's migrations make the tables on PostgreSQL. Times are in app.timezone, Africa/Nairobi.
-- For the rows below: the time of the application's clock, so long ago.
create function pg_temp.ago(span interval) returns timestamp(0) language sql return (now() at time zone 'Africa/Nairobi') - span;

create table migrations (id serial primary key, migration varchar(255) not null, batch integer not null);
insert into migrations (migration, batch) values
  ('0001_01_01_000000_create_users_table', 1), ('2025_04_02_081500_create_packages_table', 1),
  ('2025_04_02_081600_create_customers_table', 1), ('2025_04_03_101010_create_payments_table', 1),
  ('2025_04_09_150000_create_radius_tables', 2), ('2025_06_17_120000_create_vouchers_table', 3);

create table users (
  id bigserial primary key,
  name varchar(255) not null,
  email varchar(255) not null constraint users_email_unique unique,
  email_verified_at timestamp(0),
  password varchar(255) not null,
  remember_token varchar(100),
  created_at timestamp(0),
  updated_at timestamp(0)
);

-- What Laravel's own queue works through.
create table jobs (
  id bigserial primary key,
  queue varchar(255) not null,
  payload text not null,
  attempts smallint not null,
  reserved_at integer,
  available_at integer not null,
  created_at integer not null
);
create index jobs_queue_index on jobs (queue);

create table packages (
  id bigserial primary key,
  name varchar(255) not null,
  price decimal(8, 2) not null,
  validity varchar(255) not null,
  data_limit varchar(255),
  speed varchar(255) not null default '5M/5M',
  max_devices smallint not null default '1',
  status varchar(255) not null default 'draft'
    constraint packages_status_check check (status in ('draft', 'active', 'inactive')),
  is_active boolean not null default '0',
  starts_at timestamp(0),
  ends_at timestamp(0),
  created_at timestamp(0),
  updated_at timestamp(0),
  deleted_at timestamp(0)
);
create index packages_status_index on packages (status);

create table customers (
  id uuid not null primary key,
  phone varchar(20) not null constraint customers_phone_unique unique,
  password varchar(255) not null,
  package_id bigint constraint customers_package_id_foreign references packages (id) on delete set null,
  package_name varchar(255),
  subscribed boolean not null default '0',
  starts_at timestamp(0),
  expires_at timestamp(0),
  data_limit bigint,
  data_used bigint not null default '0',
  status varchar(255) not null default 'active'
    constraint customers_status_check check (status in ('active', 'expired', 'suspended')),
  created_at timestamp(0),
  updated_at timestamp(0),
  deleted_at timestamp(0)
);

create table payments (
  id bigserial primary key,
  package_id bigint not null constraint payments_package_id_foreign references packages (id),
  phone varchar(20) not null,
  mac varchar(17),
  amount decimal(8, 2) not null,
  reference varchar(255) not null constraint payments_reference_unique unique,
  mpesa_receipt varchar(255) constraint payments_mpesa_receipt_unique unique,
  status varchar(255) not null default 'pending'
    constraint payments_status_check check (status in ('pending', 'completed', 'failed', 'cancelled')),
  callback json,
  created_at timestamp(0),
  updated_at timestamp(0)
);

create table hotspot_sessions (
  id bigserial primary key,
  customer_id uuid not null constraint hotspot_sessions_customer_id_foreign references customers (id) on delete cascade,
  payment_id bigint constraint hotspot_sessions_payment_id_foreign references payments (id) on delete set null,
  package_id bigint,
  username varchar(255) not null,
  mac varchar(17),
  ip_address varchar(45),
  nas_ip varchar(45),
  started_at timestamp(0),
  ended_at timestamp(0),
  expires_at timestamp(0) not null,
  seconds bigint not null default '0',
  bytes_in bigint not null default '0',
  bytes_out bigint not null default '0',
  bytes_total bigint not null default '0',
  status varchar(255) not null default 'active'
    constraint hotspot_sessions_status_check check (status in ('active', 'expired', 'terminated')),
  end_reason varchar(255),
  created_at timestamp(0),
  updated_at timestamp(0)
);
create index hotspot_sessions_status_expires_at_index on hotspot_sessions (status, expires_at);

create table credentials (
  id bigserial primary key,
  customer_id uuid not null constraint credentials_customer_id_foreign references customers (id) on delete cascade,
  payment_id bigint,
  username varchar(255) not null,
  plain_password varchar(255) not null,
  phone varchar(20) not null,
  sms_sent boolean not null default '0',
  sms_sent_at timestamp(0),
  created_at timestamp(0),
  updated_at timestamp(0)
);

create table disconnections (
  id bigserial primary key,
  session_id bigint not null constraint disconnections_session_id_foreign references hotspot_sessions (id) on delete cascade,
  customer_id uuid,
  username varchar(255) not null,
  reason varchar(255),
  disconnected_at timestamp(0) not null,
  created_at timestamp(0),
  updated_at timestamp(0)
);

create table data_usages (
  id bigserial primary key,
  customer_id uuid not null,
  session_id bigint,
  bytes_in bigint not null,
  bytes_out bigint not null,
  bytes_total bigint not null,
  recorded_at timestamp(0) not null,
  created_at timestamp(0),
  updated_at timestamp(0)
);

create table vouchers (
  id uuid not null primary key,
  package_id bigint not null constraint vouchers_package_id_foreign references packages (id),
  code varchar(255) not null constraint vouchers_code_unique unique,
  status varchar(255) not null default 'unused'
    constraint vouchers_status_check check (status in ('unused', 'active', 'used', 'expired')),
  valid_until timestamp(0),
  created_at timestamp(0),
  updated_at timestamp(0),
  deleted_at timestamp(0)
);

-- FreeRADIUS's tables, from a migration of the application and not from FreeRADIUS's own file.
create table radacct (
  id bigserial primary key,
  acctsessionid varchar(64) not null,
  acctuniqueid varchar(32) not null constraint radacct_acctuniqueid_unique unique,
  username varchar(64),
  nasipaddress varchar(15) not null,
  acctstarttime timestamp(0),
  acctupdatetime timestamp(0),
  acctstoptime timestamp(0),
  acctinterval integer,
  acctsessiontime integer,
  acctinputoctets bigint,
  acctoutputoctets bigint,
  callingstationid varchar(50),
  acctterminatecause varchar(32),
  framedipaddress varchar(15)
);
create index radacct_username_index on radacct (username);
create table radcheck (
  id bigserial primary key,
  username varchar(64) not null default '',
  attribute varchar(64) not null default '',
  op char(2) not null default '==',
  value varchar(253) not null default ''
);
create index radcheck_username_index on radcheck (username);
create table radreply (
  id bigserial primary key,
  username varchar(64) not null default '',
  attribute varchar(64) not null default '',
  op char(2) not null default '=',
  value varchar(253) not null default ''
);
create index radreply_username_index on radreply (username);
create table nas (
  id bigserial primary key,
  nasname varchar(128) not null,
  shortname varchar(32),
  type varchar(30) not null default 'other',
  secret varchar(60) not null
);

insert into packages (name, price, validity, data_limit, speed, status, is_active, starts_at, ends_at, created_at, updated_at, deleted_at) values
  ('1 Hour', 20, '1 hour', 'unlimited', '5M/5M', 'active', true, null, null, pg_temp.ago('60 days'), pg_temp.ago('60 days'), null),
  ('Weekend', 100, '2 days', '5 GB', '10M/20M', 'inactive', false, pg_temp.ago('1 minute'), pg_temp.ago('-2 days'), pg_temp.ago('9 days'), pg_temp.ago('9 days'), null),
  ('Unlimited', 500, '1 month', '-1', '10M/20M', 'active', true, null, pg_temp.ago('1 minute'), pg_temp.ago('60 days'), pg_temp.ago('60 days'), null),
  ('Holiday', 50, '1 day', '500MB', '5M/5M', 'draft', false, pg_temp.ago('5 days'), null, pg_temp.ago('30 days'), pg_temp.ago('30 days'), null),
  ('Old', 10, '30 minutes', null, '1M/1M', 'inactive', false, pg_temp.ago('5 days'), null, pg_temp.ago('300 days'), pg_temp.ago('200 days'), pg_temp.ago('200 days'));

-- A customer whose hour is over, and who is still connected.
insert into customers (id, phone, password, package_id, package_name, subscribed, starts_at, expires_at, status, created_at, updated_at) values
  ('7d0c2f0e-3c5e-4b8e-9a59-3f6f6f0b1a01', '254700000001', '!', 1, '1 Hour', true, pg_temp.ago('62 minutes'), pg_temp.ago('2 minutes'), 'active', pg_temp.ago('62 minutes'), pg_temp.ago('62 minutes'));
insert into payments (package_id, phone, mac, amount, reference, mpesa_receipt, status, created_at, updated_at) values
  (1, '254700000001', 'AA:BB:CC:00:00:01', 20, 'ws_CO_0603170001', 'TC6A1B2C3D', 'completed', pg_temp.ago('62 minutes'), pg_temp.ago('62 minutes'));
insert into hotspot_sessions (customer_id, payment_id, package_id, username, mac, started_at, expires_at, created_at, updated_at) values
  ('7d0c2f0e-3c5e-4b8e-9a59-3f6f6f0b1a01', 1, 1, '254700000001', 'AA:BB:CC:00:00:01', pg_temp.ago('62 minutes'), pg_temp.ago('2 minutes'), pg_temp.ago('62 minutes'), pg_temp.ago('62 minutes'));
insert into credentials (customer_id, payment_id, username, plain_password, phone, sms_sent, sms_sent_at, created_at, updated_at) values
  ('7d0c2f0e-3c5e-4b8e-9a59-3f6f6f0b1a01', 1, '254700000001', 'k7x9m2', '254700000001', true, pg_temp.ago('62 minutes'), pg_temp.ago('62 minutes'), pg_temp.ago('62 minutes'));
insert into radcheck (username, attribute, op, value) values
  ('254700000001', 'Cleartext-Password', ':=', 'k7x9m2'), ('254700000001', 'Simultaneous-Use', ':=', '1');
insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctupdatetime, acctinterval, acctsessiontime,
  acctinputoctets, acctoutputoctets, callingstationid, framedipaddress) values
  ('80a00001', '0123456789abcdef0123456789abcdef', '254700000001', '127.0.0.1', pg_temp.ago('60 minutes'), pg_temp.ago('0 minutes'), 300, 3600,
   1000000, 9000000, 'AA-BB-CC-00-00-01', '10.5.0.77');
insert into nas (nasname, shortname, secret) values ('127.0.0.1', 'gate', 'a-secret-of-the-router');
insert into vouchers (id, package_id, code, status, valid_until, created_at, updated_at, deleted_at) values
  ('0b54e1c0-1d3f-4c1a-8f0e-0a7f35f20001', 1, 'WIFI-7K2P', 'unused', pg_temp.ago('30 minutes'), pg_temp.ago('30 days'), pg_temp.ago('30 days'), null),
  ('0b54e1c0-1d3f-4c1a-8f0e-0a7f35f20002', 1, 'WIFI-9M4Q', 'used', pg_temp.ago('30 minutes'), pg_temp.ago('30 days'), pg_temp.ago('3 days'), null),
  ('0b54e1c0-1d3f-4c1a-8f0e-0a7f35f20003', 1, 'WIFI-3T8R', 'unused', pg_temp.ago('30 minutes'), pg_temp.ago('30 days'), pg_temp.ago('30 days'), pg_temp.ago('20 days'));
drop function pg_temp.ago;
