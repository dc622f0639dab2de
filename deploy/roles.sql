-- The least that the program needs. Run it as the owner of the database after "scheduler migrate":
--   psql "$DATABASE_URL" -v role=scheduler_tick -f deploy/roles.sql
-- Migrating itself needs more: run "scheduler migrate" as the owner.

\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role scheduler_tick
\endif

select format('create role %I login', :'role')
where not exists (select from pg_roles where rolname = :'role') \gexec

grant usage on schema scheduler to :"role";
grant execute on all functions in schema scheduler to :"role";
grant select on scheduler.migrations to :"role";
grant select, insert, update, delete on scheduler.runs, scheduler.events, scheduler.failures to :"role";
grant select, insert on scheduler.controls to :"role";
grant usage on all sequences in schema scheduler to :"role";

-- The application's tables, as far as they exist: rows are read and updated, never deleted. Text sessions also write their
-- ledger and the doctors' earnings.
select format('grant %s on %s to %I', rights, name, :'role')
from (values
  ('packages', 'select, update'),
  ('special_packages', 'select, update'),
  ('customer_packages', 'select, update'),
  ('text_sessions', 'select, update'),
  ('subscriptions', 'select, update'),
  ('text_session_deductions', 'select, insert'),
  ('doctor_wallets', 'select, insert, update'),
  ('wallet_transactions', 'select, insert')
) as needed (name, rights)
where to_regclass(name) is not null \gexec

select format('grant usage on sequence %s to %I', pg_get_serial_sequence(name, 'id'), :'role')
from unnest(array['doctor_wallets', 'wallet_transactions']) as name
where scheduler.has_columns(to_regclass(name), 'id') and pg_get_serial_sequence(name, 'id') is not null \gexec

-- The hotspot jobs also write what others read: users, sessions, SMS to send, RADIUS rows.
grant select, insert, update, delete on scheduler.accounted to :"role";
grant select, update on scheduler.accounted_up_to to :"role";

select format('grant %s on %s to %I', rights, name, :'role')
from (values
  ('payments', 'select, update'),
  ('hotspot_users', 'select, insert, update'),
  ('radius_sessions', 'select, insert, update'),
  ('hotspot_credentials', 'select, insert, update'),
  ('session_disconnections', 'select, insert, update'),
  ('data_usage_logs', 'insert'),
  ('vouchers', 'select, update'),
  ('radcheck', 'select, insert, delete'),
  ('radreply', 'select, insert, delete'),
  ('radacct', 'select, update'),
  ('nas', 'select')
) as needed (name, rights)
where to_regclass(name) is not null \gexec

select format('grant usage on sequence %s to %I', pg_get_serial_sequence(name, 'id'), :'role')
from unnest(array[
  'hotspot_users', 'radius_sessions', 'hotspot_credentials', 'session_disconnections', 'data_usage_logs', 'radcheck', 'radreply'
]) as name
where scheduler.has_columns(to_regclass(name), 'id') and pg_get_serial_sequence(name, 'id') is not null \gexec
