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

-- The application's tables, as far as they exist: rows are read and updated, never deleted.
select format('grant select, update on %s to %I', name, :'role')
from unnest(array['packages', 'special_packages']) as name
where to_regclass(name) is not null \gexec
