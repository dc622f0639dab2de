-- Written by "npm run roles" from what the jobs do; change it there.
-- The least that the program needs. Run it as the owner of the database after "scheduler migrate":
--   psql "$DATABASE_URL" -v role=scheduler_tick -f deploy/roles.sql
-- Migrating itself needs more: run "scheduler migrate" as the owner.

\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role scheduler_tick
\endif

select pg_catalog.format('create role %I login', :'role')
where not exists (select from pg_catalog.pg_roles where rolname = :'role') \gexec

grant usage on schema scheduler to :"role";
grant select on scheduler.migrations to :"role";
grant select on scheduler.adopted to :"role";
grant select, insert, update (finished_at, changed, failed, late_by, unsent, work_left, error) on scheduler.runs to :"role";
grant select, insert on scheduler.events to :"role";
grant select, insert, update, delete on scheduler.failures to :"role";
grant select, insert on scheduler.controls to :"role";
grant select on scheduler.jobs to :"role";
grant select, insert, update on scheduler.known_jobs to :"role";
grant select, update (run_id, refused) on scheduler.requests to :"role";
grant select, insert, update, delete on scheduler.accounted to :"role";
grant select, update on scheduler.accounted_up_to to :"role";
grant select, update on scheduler.holds to :"role";
grant select on scheduler.overview to :"role";
grant select on scheduler.failing to :"role";
grant select on scheduler.recent to :"role";
grant execute on all functions in schema scheduler to :"role";

-- For an application's admin page: it may call the functions that control the scheduler, read what they tell, and nothing else.
select 'create role scheduler_admin nologin'
where not exists (select from pg_catalog.pg_roles where rolname = 'scheduler_admin') \gexec

grant usage on schema scheduler to scheduler_admin;
grant select on scheduler.overview to scheduler_admin;
grant select on scheduler.failing to scheduler_admin;
grant select on scheduler.recent to scheduler_admin;
grant execute on function scheduler.status(text) to scheduler_admin;
grant execute on function scheduler.stop(text, text, text, text) to scheduler_admin;
grant execute on function scheduler.start(text, text, text, text) to scheduler_admin;
grant execute on function scheduler.request(text, text, text) to scheduler_admin;
grant execute on function scheduler.requested(bigint) to scheduler_admin;
grant execute on function scheduler.retry(text, text, text) to scheduler_admin;
grant execute on function scheduler.drop(text, text, text) to scheduler_admin;

-- The application's tables, as far as they exist; their schemas; and the sequences of columns that were made with "serial".
with needed (name, rights) as (values
  ('customer_packages', 'select, update'),
  ('data_usage_logs', 'select, insert'),
  ('doctor_wallets', 'select, insert, update'),
  ('hotspot_credentials', 'select, insert, update'),
  ('hotspot_users', 'select, insert, update'),
  ('nas', 'select'),
  ('packages', 'select, update'),
  ('payments', 'select, update'),
  ('radacct', 'select, update'),
  ('radcheck', 'select, insert, delete'),
  ('radius_sessions', 'select, insert, update'),
  ('radreply', 'select, insert, update, delete'),
  ('session_disconnections', 'select, insert, update'),
  ('special_packages', 'select, update'),
  ('subscriptions', 'select, update'),
  ('text_session_deductions', 'select, insert'),
  ('text_sessions', 'select, update'),
  ('vouchers', 'select, update'),
  ('wallet_transactions', 'select, insert')
),
found as (
  select c.oid, n.nspname as schema, c.relname as name, needed.rights
  from needed
  join pg_catalog.pg_class c on c.oid = pg_catalog.to_regclass(pg_catalog.quote_ident(needed.name))::pg_catalog.oid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
)
select distinct pg_catalog.format('grant usage on schema %I to %I', schema, :'role')
from found where not pg_catalog.has_schema_privilege(:'role', schema, 'usage')
union all
select pg_catalog.format('grant %s on %I.%I to %I', rights, schema, name, :'role') from found
union all
select pg_catalog.format('grant usage on sequence %I.%I to %I', n.nspname, s.relname, :'role')
from found
join pg_catalog.pg_depend d on d.refobjid = found.oid and d.deptype = 'a'
  and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid and d.classid = d.refclassid
join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'
join pg_catalog.pg_namespace n on n.oid = s.relnamespace
where found.rights like '%insert%' \gexec
