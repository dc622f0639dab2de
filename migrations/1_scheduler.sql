-- What the program keeps for itself, and the functions that its SQL and its indexes use. The tables of a business are
-- described beside its jobs. Every function is safe to call by any role: plain SQL is resolved here and now, and the rest
-- sees no schema but PostgreSQL's own.

set local search_path = pg_catalog, pg_temp;

-- Tables ---------------------------------------------------------------------------------------------------------------
-- "tenant" is the schema in which the job's table lies.

create table scheduler.adopted (schema name, name name, primary key (schema, name));
comment on table scheduler.adopted is 'The tables that the jobs work on, and where "scheduler migrate" found or made them.';

create table scheduler.runs (
  id bigint generated always as identity primary key,
  -- Null: all tenants that a tick went through, but those in "apart".
  tenant text default 'public',
  apart text[],
  -- Null: a tick that found nothing due for the jobs in "idle".
  job text,
  idle text[],
  -- The minute that the run stands for, counted from 1970. Null: a person started it.
  slot bigint,
  -- The run's "now", which every comparison used.
  at timestamptz not null,
  started_at timestamptz not null default clock_timestamp(),
  -- Null: it is at work, or did not live to see its end.
  finished_at timestamptz check (finished_at >= started_at),
  changed jsonb not null default '{}',
  failed integer not null default 0,
  late_by interval not null default '0',
  -- Notifications given up because the notification queue was full. Their event rows exist.
  unsent integer not null default 0,
  work_left boolean not null default false,
  error text,
  started_by text,
  host text not null,
  version text not null
);
comment on table scheduler.runs is 'One row per run of a job, and one per tick for all jobs that had nothing to do.';
create index runs_by_start on scheduler.runs (started_at);
create index runs_by_slot on scheduler.runs (slot);
create index runs_of_job on scheduler.runs (tenant, job, id);
create index runs_idle on scheduler.runs (id) where job is null;

create table scheduler.events (
  id bigint generated always as identity primary key,
  tenant text not null default 'public',
  type text not null,
  job text not null,
  transition text not null,
  entity_id text not null,
  due_at timestamptz,
  occurred_at timestamptz not null,
  run_id bigint,
  channels text[] not null,
  data jsonb not null
);
comment on table scheduler.events is 'One row per transition, inserted by the transaction that made the change.';
create index events_of_entity on scheduler.events (entity_id, id);
-- Rows arrive in the order of time, so a summary per block range is enough and costs the writer next to nothing.
create index events_by_time on scheduler.events using brin (occurred_at);

create table scheduler.failures (
  tenant text not null default 'public',
  job text not null,
  rule text not null,
  entity_id text not null,
  attempts integer not null,
  error text not null,
  first_failed_at timestamptz not null,
  last_failed_at timestamptz not null,
  -- 'infinity' once quarantined: the one comparison that skips waiting rows skips these too.
  next_attempt_at timestamptz not null,
  quarantined_at timestamptz,
  -- A hash of what the rule read of the row, and when it was last compared: a row in quarantine that was mended is tried again,
  -- and one that is gone is forgotten.
  seen bigint,
  compared_at timestamptz,
  primary key (tenant, job, rule, entity_id)
);
create index failures_to_compare on scheduler.failures (tenant, compared_at);
comment on table scheduler.failures is 'Rows that failed, until they succeed or an operator drops them.';

create table scheduler.controls (
  id bigint generated always as identity primary key,
  -- Null: every tenant, every job.
  tenant text,
  job text,
  action text not null check (action in ('start', 'stop')),
  at timestamptz not null default now(),
  by text not null,
  -- The role that the database has let in, whatever "by" says.
  role text not null default session_user,
  reason text
);
comment on table scheduler.controls is 'Each pause and resumption of a job: by whom, when and why. The latest row that applies is the state.';

create table scheduler.accounted (
  tenant text not null,
  -- The id of a row of radacct, which is FreeRADIUS's own and gets no column of ours.
  id bigint not null,
  bytes_in bigint not null,
  bytes_out bigint not null,
  seconds bigint not null,
  closed boolean not null,
  -- By our own clock: a router's may be years off.
  changed_at timestamptz not null,
  -- In this order: where statistics say that the table is empty, all rows of a tenant would be read to find one.
  primary key (id, tenant)
);
comment on table scheduler.accounted is 'Rows of radacct that are open or recent, as they were last counted.';
create index accounted_open on scheduler.accounted (tenant, id) where not closed;
create index accounted_closed on scheduler.accounted (tenant, id) where closed;

create table scheduler.accounted_up_to (tenant text primary key, id bigint not null);
comment on table scheduler.accounted_up_to is 'Up to this id no row of radacct is left that was never counted.';

create table scheduler.holds (kind integer, n integer, primary key (kind, n));
comment on table scheduler.holds is 'Rows to be locked, and never changed: see try_hold().';
insert into scheduler.holds select kind, n from unnest(array[60, 61]) as kind, generate_series(0, 1023) as n;

create table scheduler.jobs (
  id bigint generated always as identity primary key,
  -- The schema in which its table was found. Null: the file names the schema, so the job belongs to no tenant.
  tenant text,
  name text not null,
  -- What the file says, and the SQL that it came to. Null: the job was removed.
  definition json,
  compiled json,
  format integer not null,
  at timestamptz not null default now(),
  by text not null
);
comment on table scheduler.jobs is 'Jobs of your own, as "scheduler apply" wrote them. The newest row of a tenant and name counts.';
create index jobs_by_name on scheduler.jobs (name, id);

-- The tenant '' stands for none, here and in requests: its jobs have the schema of their table beside their name.
create table scheduler.known_jobs (tenant text primary key, jobs json not null);
comment on table scheduler.known_jobs is 'The jobs as the last tick, "migrate" or "apply" found them: cadence, and why one is not done.';

create table scheduler.requests (
  id bigint generated always as identity primary key,
  tenant text not null,
  job text not null,
  at timestamptz not null default now(),
  by text not null,
  role text not null default session_user,
  -- The run that did it, or why none can. Both null: it waits for the next tick.
  run_id bigint,
  refused text
);
comment on table scheduler.requests is 'Runs that somebody asked for with scheduler.request().';
create index requests_waiting on scheduler.requests (tenant, job, id) where run_id is null and refused is null;

-- What a change answers: one row per transition, and the rows that could not be changed.
create type scheduler.outcome as (
  step integer, transition text, type text, entity_id text, due_at timestamptz, channels text[], data jsonb, sealed jsonb
);
create type scheduler.refusal as (id text, error text, state text);

-- The role that ticks adds to the history and takes nothing away. The owner of the table may change it.
create function scheduler.keep_history() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if pg_has_role((select relowner from pg_class where oid = tg_relid), 'usage') then
    return new;
  end if;
  raise exception 'run % is history and cannot be changed: it finished at %', old.id, old.finished_at;
end
$$;
-- A job may work again in the transaction that finished its record.
create trigger keep_history before update on scheduler.runs for each row
  when (old.finished_at is not null and old.xmin <> pg_current_xact_id()::xid) execute function scheduler.keep_history();

-- Forgets some of the history that is older than so many days, at least one. The server's clock decides. An
-- array is made once; a query inside "in (…)" might run again for each row, if PostgreSQL last saw the table empty.
create function scheduler.forget(days integer, out events integer, out runs integer)
  language sql security definer
  set search_path = pg_catalog, pg_temp
  begin atomic
    with gone_events as (
      delete from scheduler.events where id = any(array(
        select id from scheduler.events where occurred_at < now() - make_interval(days => greatest(days, 1)) order by id limit 5000
      ))
      returning 1
    ),
    gone_runs as (
      delete from scheduler.runs where id = any(array(
        select id from scheduler.runs where started_at < now() - make_interval(days => greatest(days, 1)) order by id limit 5000
      ))
      returning 1
    ),
    gone_requests as (delete from scheduler.requests where at < now() - make_interval(days => greatest(days, 1)))
    select (select count(*) from gone_events)::integer, (select count(*) from gone_runs)::integer;
  end;

-- Instants -------------------------------------------------------------------------------------------------------------

-- Stable, like what it is made of: only then does the planner write its body into the query, at a fifth of the cost.
create function scheduler.iso(at timestamptz) returns text
  language sql stable parallel safe
  return case when isfinite(at) then (to_json(at at time zone 'UTC') #>> '{}') || 'Z' else at::text end;
comment on function scheduler.iso is 'ISO 8601 in UTC, whatever the session''s time zone and date style.';

-- An application's column as an instant, whether it carries a zone or not.
create function scheduler.at(at timestamptz, zone text) returns timestamptz
  language sql immutable parallel safe
  return at;
create function scheduler.at(at timestamp, zone text) returns timestamptz
  language sql immutable parallel safe
  return at at time zone zone;

-- A name of the zone database. PostgreSQL also takes 'UTC+3' and reads it as three hours to the west. People mean the east.
create function scheduler.known_zone(zone text) returns boolean
  language plpgsql immutable strict
  set search_path = pg_catalog, pg_temp
as $$
begin
  if zone ~ '[0-9<]' and zone !~* '^((Etc/)?GMT[+-]?0|Etc/GMT[+-][0-9]{1,2}|EST5EDT|CST6CDT|MST7MDT|PST8PDT)$' then
    return false;
  end if;
  perform timestamptz '2000-01-01 00:00:00Z' at time zone zone;
  return true;
exception
  when others then
    return false;
end
$$;

-- Wall-clock time to instant. PostgreSQL's own "at time zone" takes the second of a repeated hour and moves a skipped time
-- forward by the gap. Here a repeated time is its first occurrence and a skipped one the first instant after the gap.
-- Indexes on the application's tables are built on it, so it never raises and names nothing of ours: an unknown zone is due
-- at once (-infinity), and the job then finds the row and says what is wrong with it.
create function scheduler.instant(wall timestamp, zone text) returns timestamptz
  language plpgsql immutable strict
  set search_path = pg_catalog, pg_temp
as $$
declare
  utc timestamp;
  before_change interval;
  after_change interval;
  early timestamp;
  late timestamp;
  middle timestamp;
begin
  if not isfinite(wall) or wall > '294270-01-01' or wall < '4700-01-01 BC' then
    return case when wall > '2000-01-01' then 'infinity' else '-infinity' end::timestamptz;
  end if;
  if zone ~ '[0-9<]' and zone !~* '^((Etc/)?GMT[+-]?0|Etc/GMT[+-][0-9]{1,2}|EST5EDT|CST6CDT|MST7MDT|PST8PDT)$' then
    return '-infinity';
  end if;
  utc := (wall at time zone zone) at time zone 'UTC';
  before_change := ((utc - interval '1 day') at time zone 'UTC' at time zone zone) - (utc - interval '1 day');
  after_change := ((utc + interval '1 day') at time zone 'UTC' at time zone zone) - (utc + interval '1 day');
  if before_change = after_change then
    return utc at time zone 'UTC';
  end if;
  early := wall - greatest(before_change, after_change);
  late := wall - least(before_change, after_change);
  if (early at time zone 'UTC' at time zone zone) = wall then
    return early at time zone 'UTC';
  end if;
  if (late at time zone 'UTC' at time zone zone) = wall then
    return late at time zone 'UTC';
  end if;
  -- The wall clock never showed this time. Between early and late it jumped over it: find the jump, to the second.
  early := date_trunc('second', early);
  late := date_trunc('second', late);
  while late - early > interval '1 second' loop
    middle := early + date_trunc('second', (late - early) / 2);
    if (middle at time zone 'UTC' at time zone zone) > wall then
      late := middle;
    else
      early := middle;
    end if;
  end loop;
  return late at time zone 'UTC';
exception
  when others then
    return '-infinity';
end
$$;

-- Date and time are one instant. Dates beyond the range of timestamps count as the end or the beginning of time.
create function scheduler.opening(day date, hour time) returns timestamp
  language sql immutable parallel safe
  return case
    when day > '294000-01-01' then 'infinity'
    when day < '4700-01-01 BC' then '-infinity'
    else day + coalesce(hour, '00:00')
  end;

-- The midnight that ends a last valid day.
create function scheduler.day_end(day date) returns timestamp
  language sql immutable parallel safe
  return scheduler.opening(case when isfinite(day) and day < '294000-01-01' then day + 1 else day end, null);

-- The first instant after a deadline, for what must not happen at the deadline itself.
create function scheduler.just_after(deadline timestamptz) returns timestamptz
  language sql immutable parallel safe
  return case when deadline < '290000-01-01 00:00:00+00'
    then (deadline at time zone 'UTC' + interval '1 microsecond') at time zone 'UTC' else deadline end;

-- For what a query finds out too late to leave the row alone: the change is undone, and the row is a recorded failure.
create function scheduler.refuse(reason text) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using message = reason;
end
$$;

-- Jobs of your own -----------------------------------------------------------------------------------------------------

-- A time, moved by a span and set to a time of the day. Years, months, weeks and days go by the calendar of the zone, hours
-- and less are exact. Indexes are built on it, so it never raises: what cannot be reckoned is due at once.
create function scheduler.moved(at timestamptz, span interval, hour time, zone text) returns timestamptz
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
as $$
declare
  calendar interval := make_interval(months => (extract(year from span) * 12 + extract(month from span))::integer,
    days => extract(day from span)::integer);
  wall timestamp;
begin
  if not isfinite(at) or span is null then
    return case when span is not null then at end;
  end if;
  if hour is null and calendar = interval '0' then
    return at + span;
  end if;
  wall := at at time zone zone + calendar;
  if hour is not null then
    return scheduler.instant(((scheduler.instant(wall, zone) + (span - calendar)) at time zone zone)::date + hour, zone);
  end if;
  return scheduler.instant(wall, zone) + (span - calendar);
exception
  when others then
    return case when at is not null then '-infinity'::timestamptz end;
end
$$;

create function scheduler.span(count bigint, unit text) returns interval
  language sql immutable parallel safe
  return case when abs(count) < 1000000 then count * case unit
    when 'second' then interval '1 second' when 'minute' then interval '1 minute' when 'hour' then interval '1 hour'
    when 'day' then interval '1 day' when 'week' then interval '7 days'
    when 'month' then interval '1 month' when 'year' then interval '1 year'
  end end;

-- The next occurrence after "now" of a time that repeats, on the wall clock of the first one: a day that a month lacks, or an
-- hour that a change of the clock skips, comes back. Where somebody has moved the time since, it counts from there.
create function scheduler.repeated(at timestamptz, first timestamp, every interval, zone text, now timestamptz,
  out next timestamptz, out start timestamp)
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
as $$
declare
  months integer := extract(year from every) * 12 + extract(month from every);
  days integer := extract(day from every);
  length numeric := extract(epoch from every);
  wall timestamp := at at time zone zone;
  reached timestamp := now at time zone zone;
  n bigint;
begin
  if not isfinite(at) then
    perform scheduler.refuse(format('%s has no next occurrence', at));
  end if;
  if months = 0 and days = 0 then
    next := at + (floor(greatest(extract(epoch from now - at), 0) / length) + 1) * every;
    return;
  end if;
  start := first;
  n := case when months > 0
    then round(((extract(year from wall) - extract(year from start)) * 12 + extract(month from wall) - extract(month from start)) / months)
    else round(extract(epoch from wall - start) / length) end;
  if start is null or scheduler.instant(start + n * every, zone) is distinct from at then
    start := wall;
    n := 0;
  end if;
  -- From a little before now: a day of the month, or a change of the clock, makes a step more or less.
  n := greatest(n, case when months > 0
    then ((extract(year from reached) - extract(year from start)) * 12 + extract(month from reached) - extract(month from start))::bigint / months - 1
    else floor(extract(epoch from reached - start) / length)::bigint - 2 end);
  loop
    n := n + 1;
    next := scheduler.instant(start + n * every, zone);
    exit when next > now and next > at;
  end loop;
end
$$;

-- A channel's name is never cut: it would be somebody else's channel. The planner writes this out, as it is asked of each event.
create function scheduler.channel(name text) returns text
  language sql volatile parallel restricted
  return case
    when name is null or octet_length(name) between 1 and 63 and name !~ '[[:cntrl:]]' then name
    else scheduler.refuse(format('the channel "%s" is empty, longer than 63 bytes, or has control characters',
      left(regexp_replace(name, '[[:cntrl:]]', '?', 'g'), 80)))
  end;

-- An expression may use things of other roles, from the search path perhaps. Their owners could change what a job does.
create function scheduler.strangers(relation oid, tree text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(distinct format('%s of the role %s', used.name, pg_get_userbyid(used.owner))), '[]')
  from (
    select 'the function ' || p.oid::regprocedure, p.proowner
    from regexp_matches(tree, ':(?:funcid|opfuncid|resultfuncid) (\d+)', 'g') as m join pg_proc p on p.oid = m[1]::oid
    union all
    select 'the operator ' || o.oid::regoperator, o.oprowner
    from regexp_matches(tree, ':opno (\d+)', 'g') as m join pg_operator o on o.oid = m[1]::oid
    union all
    select 'the domain ' || t.oid::regtype, t.typowner
    from regexp_matches(tree, ':resulttype (\d+)', 'g') as m join pg_type t on t.oid = m[1]::oid where t.typtype = 'd'
  ) as used (name, owner)
  join pg_roles r on r.oid = used.owner
  where not r.rolsuper
    and used.owner not in (select relowner from pg_class where oid = relation union select nspowner from pg_namespace where nspname = 'scheduler')
$$;

-- The functions of what the server has read that are not PostgreSQL's own, with a hash of each and its owner.
create function scheduler.functions_in(tree text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(p.oid::regprocedure::text, md5(concat(p.prosrc, p.prosqlbody, p.proowner))), '{}')
  from regexp_matches(tree, ':(?:funcid|opfuncid|resultfuncid) (\d+)', 'g') as m
  join pg_proc p on p.oid = m[1]::oid where p.pronamespace <> 'pg_catalog'::regnamespace
$$;

-- The schemas of what a query uses. To name something in them takes a right.
create function scheduler.schemas_of(class oid, query oid) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(distinct quote_ident(used.schema)), '[]')
  from pg_depend d cross join pg_identify_object(d.refclassid, d.refobjid, 0) as used
  where d.classid = class and d.objid = query and used.schema not like 'pg\_%'
$$;

-- How the server reads an expression on the rows of a table. It is parsed as the application would write it, and answered with
-- qualified names. Nothing of it is executed, and nothing is left: what was made is undone by the error at the end.
create function scheduler.read_expression(relation oid, expression text, col name, words text[], path text)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  place text := relation::regclass::text;
  rule text := (select string_agg(format(', null::timestamptz as %I', word), '') from unnest(words) as word);
  wanted text := (select format_type(atttypid, atttypmod) from pg_attribute where attrelid = relation and attname = col);
  view oid;
  answer jsonb;
  message text;
  hint text;
begin
  begin
    perform set_config('search_path', path, true);
    -- The statements of the engine have these names in scope. PostgreSQL writes an alias of the same name within a subquery as another one.
    execute format('create temp view own_view as select ((%s)%s) as e from %s as own_row cross join (select 0 as zero%s) as own_rule
      cross join (select) as r cross join (select) as t cross join (select) as it cross join (select) as todo cross join (select) as changed',
      expression, coalesce('::' || wanted, ''), place, coalesce(rule, ''));
    -- A cast takes more than a column does.
    if col is not null then
      execute format('explain update %s as own_row set %I = (%s) from (select 0 as zero%s) as own_rule',
        place, col, expression, coalesce(rule, ''));
    end if;
    perform set_config('search_path', 'pg_catalog', true);
    view := 'pg_temp.own_view'::regclass;
    select jsonb_build_object(
        'sql', pg_get_viewdef(view),
        'type', (select format_type(atttypid, atttypmod) from pg_attribute where attrelid = view and attname = 'e'),
        'unsteady', (
          select coalesce(jsonb_agg(distinct p.oid::regproc::text), '[]')
          from regexp_matches(action, ':(?:funcid|opfuncid|resultfuncid) (\d+)', 'g') as m
          join pg_proc p on p.oid = m[1]::oid where p.provolatile <> 'i'
        ),
        'acting', (
          select coalesce(jsonb_agg(distinct p.oid::regproc::text), '[]')
          from regexp_matches(action, ':(?:funcid|opfuncid|resultfuncid) (\d+)', 'g') as m
          join pg_proc p on p.oid = m[1]::oid where p.provolatile = 'v'
        ),
        'functions', scheduler.functions_in(action),
        'tables', (
          select coalesce(jsonb_agg(distinct refobjid::regclass::text), '[]') from pg_depend
          where classid = 'pg_rewrite'::regclass and objid = rule.made and refclassid = 'pg_class'::regclass
            and refobjid not in (view, relation)
        ),
        'schemas', scheduler.schemas_of('pg_rewrite'::regclass, rule.made),
        'operators', (
          select coalesce(jsonb_agg(distinct o.oprname), '[]')
          from regexp_matches(action, ':opno (\d+)', 'g') as m join pg_operator o on o.oid = m[1]::oid
        ),
        'clock', action ~ '\{SQLVALUEFUNCTION',
        'subquery', action ~ '\{SUBLINK',
        'strangers', scheduler.strangers(relation, action),
        -- An operator may be anybody's function.
        'raises', action ~ '\{(COERCEVIAIO|FUNCEXPR|ARRAYCOERCEEXPR|SUBSCRIPTINGREF|COERCETODOMAIN|ROWEXPR)' or exists (
          select from regexp_matches(action, ':opfuncid (\d+)', 'g') as m join pg_proc p on p.oid = m[1]::oid join pg_roles r on r.oid = p.proowner
          where not r.rolsuper
        ),
        -- In the expression itself; a subquery may sum up.
        'together', 'true' in (substring(action from ':hasAggs (\w+)'), substring(action from ':hasWindowFuncs (\w+)'),
          substring(action from ':hasTargetSRFs (\w+)'))
      ) into answer
    from (select oid as made, ev_action::text as action from pg_rewrite where ev_class = view) as rule;
    raise exception using errcode = 'SCH00', message = answer::text;
  exception
    when sqlstate 'SCH00' then
      get stacked diagnostics message = message_text;
      return message::jsonb;
    when read_only_sql_transaction then
      raise;
    when others then
      get stacked diagnostics message = message_text, hint = pg_exception_hint;
      return jsonb_build_object('error', concat_ws('; ', message, nullif(hint, '')), 'state', sqlstate);
  end;
end
$$;

-- The same for a statement on the changed rows of a table, which will have these columns besides.
create function scheduler.read_statement(relation oid, statement text, added json, path text) returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  place text := relation::regclass::text;
  words text;
  made oid;
  message text;
begin
  select string_agg(format(', null::%s as %I', type, name), '' order by n) into words
  from (
    select value, key, ordinality from json_each_text(added) with ordinality
    union all
    select 'timestamptz', word, 2000 + n from unnest(array['now', 'due_at']) with ordinality as our (word, n)
    where not exists (select from pg_attribute a where a.attrelid = relation and a.attname = word and not a.attisdropped)
      and not added::jsonb ? word
  ) as more (type, name, n);
  begin
    perform set_config('client_min_messages', 'error', true);
    execute format('create temp table changed as select r.*%s from %s as r limit 0', words, place);
    perform set_config('search_path', 'pg_temp, ' || path, true);
    execute format('create function pg_temp.own_also() returns void language sql begin atomic %s; end', statement);
    perform set_config('search_path', 'pg_catalog', true);
    made := 'pg_temp.own_also'::regproc;
    select jsonb_build_object('sql', pg_get_function_sqlbody(made),
        'tables', (
          select coalesce(jsonb_agg(distinct refobjid::regclass::text), '[]') from pg_depend
          where classid = 'pg_proc'::regclass and objid = made and refclassid = 'pg_class'::regclass
            and refobjid <> 'pg_temp.changed'::regclass
        ),
        'schemas', scheduler.schemas_of('pg_proc'::regclass, made),
        'functions', scheduler.functions_in(body),
        'views', (
          select coalesce(jsonb_agg(distinct refobjid::regclass::text), '[]') from pg_depend join pg_class c on c.oid = refobjid
          where classid = 'pg_proc'::regclass and objid = made and refclassid = 'pg_class'::regclass and c.relkind not in ('r', 'p')
        ),
        'acting', (
          select coalesce(jsonb_agg(distinct p.oid::regproc::text), '[]')
          from regexp_matches(body, ':(?:funcid|opfuncid|resultfuncid) (\d+)', 'g') as m
          join pg_proc p on p.oid = m[1]::oid where p.provolatile = 'v'
        ),
        'strangers', scheduler.strangers(relation, body),
        'returns', body ~ ':returningList \(',
        'readsChanged', exists (
          select from pg_depend where classid = 'pg_proc'::regclass and objid = made and refobjid = 'pg_temp.changed'::regclass
        ),
        -- All of them where it takes a row as a whole.
        'columns', (
          select coalesce(jsonb_agg(attname order by attnum), '[]') from pg_attribute
          where attrelid = 'pg_temp.changed'::regclass and attnum > 0 and (body ~ ':varattno 0 ' or exists (
            select from pg_depend where classid = 'pg_proc'::regclass and objid = made
              and refobjid = attrelid and refobjsubid = attnum
          ))
        )
      )::text into message
    from (select prosqlbody::text as body from pg_proc where oid = made) as it;
    raise exception using errcode = 'SCH00', message = message;
  exception
    when sqlstate 'SCH00' then
      get stacked diagnostics message = message_text;
      return message::jsonb;
    when read_only_sql_transaction then
      raise;
    when others then
      get stacked diagnostics message = message_text;
      return jsonb_build_object('error', message, 'state', sqlstate);
  end;
end
$$;

-- Sales ----------------------------------------------------------------------------------------------------------------

-- Seconds in '2 minutes', '1 hour', '7 days', ...; null for anything else. A thousand years is the bound, so that every sum
-- of a start and a validity stays inside PostgreSQL's range of dates. It is asked with every insert into an indexed table:
-- taking the words apart by hand is twice as fast as a regular expression.
create function scheduler.validity_seconds(validity text) returns bigint
  language plpgsql immutable strict parallel safe
  set search_path = pg_catalog, pg_temp
as $$
declare
  words text := lower(btrim(validity, E' \t\r\n'));
  rest text := ltrim(words, '0123456789');
  unit text := ltrim(rest, E' \t\r\n');
  seconds bigint;
begin
  if unit = rest or rest = words or length(words) - length(rest) > 12 then
    return null;
  end if;
  seconds := left(words, -length(rest))::bigint * case unit
    when 'minute' then 60 when 'minutes' then 60 when 'hour' then 3600 when 'hours' then 3600
    when 'day' then 86400 when 'days' then 86400 when 'week' then 604800 when 'weeks' then 604800
    when 'month' then 2592000 when 'months' then 2592000 when 'year' then 31536000 when 'years' then 31536000
  end;
  return case when seconds between 1 and 31536000000 then seconds end;
end
$$;
comment on function scheduler.validity_seconds is 'A day is 24 h, a week 7 days, a month 30 days, a year 365 days.';

-- The end of a sale window: the stop, else start + validity, else never (null, as for a validity that cannot be read).
create function scheduler.sale_end(start timestamptz, stop timestamptz, validity text) returns timestamptz
  language sql immutable parallel safe
  return case
    when stop is not null or validity is null then stop
    when start < '290000-01-01 00:00:00+00'
      then (start at time zone 'UTC' + make_interval(secs => scheduler.validity_seconds(validity))) at time zone 'UTC'
    when scheduler.validity_seconds(validity) is not null then start
  end;

-- The n-th occurrence of a wall-clock time. A month keeps its day where it has one: 31 January, 28 February, 31 March.
create function scheduler.occurrence(first timestamp, repeats text, n integer) returns timestamp
  language sql immutable parallel safe
  return case lower(repeats)
    when 'daily' then first + make_interval(days => n)
    when 'weekly' then first + make_interval(days => 7 * n)
    when 'monthly' then first + make_interval(months => n)
  end;

create type scheduler.sale as (
  next_start timestamptz, next_stop timestamptz, first_start timestamp, first_length interval, count integer
);

-- The next window of a repeated sale that is not over at "now", on the same wall clock. The wall clock of the first window is
-- kept in the row, and how often it has moved since: an hour that a change of the clock skips, or a day that a month lacks, does
-- not tell what it was. Where somebody has moved the start or the stop since, it counts from there.
create function scheduler.next_sale(
  start timestamptz, stop timestamptz, validity text, repeats text, first_start timestamp, first_length interval, count integer,
  zone text, now timestamptz
) returns scheduler.sale
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
as $$
declare
  upcoming scheduler.sale;
  over timestamptz := scheduler.sale_end(start, stop, validity);
  next_over timestamptz;
  wall timestamp := scheduler.occurrence(first_start, repeats, count);
  stop_wall timestamp := wall + first_length;
  period_days constant integer := case lower(repeats) when 'daily' then 1 when 'weekly' then 7 else 31 end;
begin
  -- A window without a beginning, or one that no calendar reaches beyond, has no next one.
  if start is null or start not between '4000-01-01 BC' and now + interval '1000 years'
    or over is null or not isfinite(over) or over > start + interval '1000 years'
  then
    return null;
  end if;
  if scheduler.instant(stop_wall, zone) is distinct from stop then
    stop_wall := stop at time zone zone;
  end if;
  if scheduler.instant(wall, zone) is distinct from start then
    wall := start at time zone zone;
    first_start := wall;
    count := 0;
  end if;
  first_length := stop_wall - wall;
  -- From an hour that the clock showed twice to the same one again: only there is that a span of time.
  if first_length <= interval '0' and stop > start then
    first_length := stop - start;
  end if;
  -- Jump to just before now, however long nobody ticked, then walk the last steps.
  count := count + greatest(1, floor(extract(epoch from now - over) / 86400 / period_days)::integer - 1);
  for step in 0 .. 1000 loop
    wall := scheduler.occurrence(first_start, repeats, count + step);
    upcoming.next_start := scheduler.instant(wall, zone);
    upcoming.next_stop := scheduler.instant(wall + first_length, zone);
    next_over := scheduler.sale_end(upcoming.next_start, upcoming.next_stop, validity);
    -- One that lies within what the clock skips does not take place; one that is always empty is missed each time.
    if next_over > now and (next_over > upcoming.next_start or over <= start) then
      upcoming.first_start := first_start;
      upcoming.first_length := first_length;
      upcoming.count := count + step;
      return upcoming;
    end if;
  end loop;
  return null;
end
$$;

-- Text sessions --------------------------------------------------------------------------------------------------------

-- The instant that ends a session's n-th block. Built into indexes, so it never raises: what lies beyond all calendars
-- is never due.
create function scheduler.block_end(activated_at timestamptz, block bigint) returns timestamptz
  language sql immutable parallel safe
  return case
    when block is null then null
    when not isfinite(activated_at) or activated_at > '200000-01-01 00:00:00+00' then activated_at
    when block > 1000000000 then 'infinity'
    else (activated_at at time zone 'UTC' + greatest(block, 0) * interval '10 minutes') at time zone 'UTC'
  end;

-- When a session next needs a look: its next block is full, or its time is over, whichever comes first.
create function scheduler.next_block_end(activated_at timestamptz, processed bigint, allowed bigint) returns timestamptz
  language sql immutable parallel safe
  return scheduler.block_end(activated_at, least(least(coalesce(processed, 0), 1000000000) + 1, allowed));

-- Full blocks between two instants; none when the clock went backwards.
create function scheduler.full_blocks(since timestamptz, until timestamptz) returns bigint
  language sql immutable parallel safe
  return case when isfinite(since) and isfinite(until)
    then greatest(0, floor(extract(epoch from until - since) / 600))::bigint else 0 end;

-- Which of a patient's blocks, in the order of time, one subscription after the other pays for. As a window over the
-- subscriptions, oldest first: "drawn" blocks are paid by the ones before; this one pays as many more as it has credits,
-- but none that came due ("reach" counts those before) after it expired. It names nothing that a search path could change,
-- and a pinned one would triple its cost.
create function scheduler.draw_on(drawn bigint, credits bigint, reach bigint) returns bigint
  language plpgsql immutable parallel safe
as $$
begin
  return greatest(drawn, least(drawn operator(pg_catalog.+) credits, reach));
end
$$;

create aggregate scheduler.drawn(credits bigint, reach bigint) (
  sfunc = scheduler.draw_on, stype = bigint, initcond = '0', parallel = safe
);

-- Hotspots -------------------------------------------------------------------------------------------------------------

-- +2547****678: the same as maskPhone in src/gateways/secrets.ts.
create function scheduler.mask_phone(phone text) returns text
  language plpgsql immutable strict parallel safe
  set search_path = pg_catalog, pg_temp
as $$
declare
  digits text := regexp_replace(phone, '[^0-9]', '', 'g');
begin
  return case
    when length(digits) >= 12 then
      case when phone ~ '^\s*\+' then '+' else '' end || left(digits, 4) || '****' || right(digits, 3)
    when length(digits) >= 10 then '****' || right(digits, 3)
    when length(digits) >= 6 then '****' || right(digits, 2)
    else '****'
  end;
end
$$;

-- A user name as FreeRADIUS's stock queries write and look for it: other characters than these as =XX.
create function scheduler.radius_name(name text) returns text
  language plpgsql immutable strict parallel safe
  set search_path = pg_catalog, pg_temp
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
  set search_path = pg_catalog, pg_temp
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

-- Bytes of '5 GB', '500MB', '1.5 gib', '2048'; null (no limit) of '', '-1' and 'unlimited'. A size that cannot be read is -1:
-- were it null, a typing error would be sold as data without limit.
create function scheduler.bytes(size text) returns bigint
  language plpgsql immutable strict parallel safe
  set search_path = pg_catalog, pg_temp
as $$
declare
  parts text[] := regexp_match(lower(btrim(size, E' \t\r\n')), '^([0-9]{1,19}(?:\.[0-9]{1,9})?)\s*([kmgt]?)(?:i?b|bytes?)?$');
  bytes numeric := parts[1]::numeric * 1024.0 ^ strpos('kmgt', nullif(parts[2], ''));
begin
  if lower(btrim(size, E' \t\r\n')) in ('', '-1', 'unlimited') then
    return null;
  end if;
  bytes := coalesce(bytes, parts[1]::numeric, -1);
  return case when bytes < 2::numeric ^ 63 then floor(bytes) else -1 end;
end
$$;
comment on function scheduler.bytes is 'A kilobyte is 1024 bytes, as routers count.';

-- As Mikrotik-Rate-Limit wants it: upload/download, seen from the router. Null: no limit.
create function scheduler.rate_limit(upload text, download text) returns text
  language sql immutable parallel safe
  return nullif(scheduler.speed(upload) || '/' || scheduler.speed(download), '0/0');

-- The network in nas.nasname; null for a host name.
create function scheduler.network(name text) returns inet
  language plpgsql immutable strict parallel safe
  set search_path = pg_catalog, pg_temp
as $$
begin
  return name::inet;
exception
  when others then
    return null;
end
$$;

-- Two runners never work on one phone number or one accounting row at a time. A thousand rows to lock are enough to tell them
-- apart most of the time. An advisory lock would not do: any role can hold that, and so stop what it should not.
create function scheduler.try_hold(kind integer, key text) returns boolean
  language sql volatile
  return coalesce((
    select true from scheduler.holds h where h.kind = try_hold.kind and h.n = hashtext(key) & 1023 for update skip locked
  ), false);

-- Whether an index sees to it that no two rows have the same value: one of the application, or ours of that name.
create function scheduler.stored_once(name text, relation regclass, col text) returns boolean
  language sql stable
  begin atomic
    select exists (
      select from pg_index i
      join pg_class c on c.oid = i.indexrelid
      join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      where i.indrelid = relation and i.indisunique and i.indimmediate and i.indisvalid
        and i.indnkeyatts = 1 and a.attname = col and (i.indpred is null or c.relname = name)
    );
  end;

-- Rows that fail -------------------------------------------------------------------------------------------------------

-- Changes rows in pieces, so that a row which cannot be changed is found and leaves the others as they would be without it.
-- A piece that fails is undone and halved until its first failing row stands alone; what comes after that row goes back to
-- the rest. It works in the server, because each try would otherwise cost four round trips and the planning of the
-- statement.
--
-- The statement is one of the program's own, never data, and answers one row: outcome, refused. Its parameter $1 holds
-- the places of a piece, and $2 its ids. The answer tells of consecutive rows, from the first one on: so many as one piece, or one
-- that is refused with the error that it alone met. It ends when patience does: what is not told of was not touched.
create function scheduler.bisect(
  statement text, parameters text[], places text[], ids text[], piece integer, keep boolean, spares text, patience interval
)
returns table (rows integer, outcome scheduler.outcome[], refused scheduler.refusal[])
language plpgsql
-- Planned once for all pieces; a plan for each would cost more than the piece.
set plan_cache_mode = force_generic_plan
set search_path = pg_catalog, pg_temp
as $$
declare
  until constant timestamptz := clock_timestamp() + patience;
  constants constant text := (
    select string_agg(', ' || quote_nullable(value), '' order by n) from unnest(parameters) with ordinality as p (value, n)
  );
  total constant integer := cardinality(ids);
  size integer := piece;
  first integer := 1;
  -- How many rows from the first one on have failed together.
  suspects integer := 0;
  clean boolean;
  reason text;
  state text;
begin
  -- Prepared statements outlive a transaction. One may be left where a pooler has let go of a connection that broke.
  if exists (select from pg_prepared_statements where name = 'scheduler_piece') then
    deallocate scheduler_piece;
  end if;
  execute 'prepare scheduler_piece (tid[], text[]) as ' || statement;
  while first <= total and clock_timestamp() < until loop
    rows := least(case when suspects > 0 then greatest(suspects / 2, 1) else size end, total - first + 1);
    clean := false;
    begin
      execute format(
        'execute scheduler_piece (%L, %L%s)', places[first:first + rows - 1], ids[first:first + rows - 1], constants
      ) into outcome, refused;
      set constraints all immediate;
      -- The piece has opened the path for the application's triggers.
      perform set_config('search_path', 'pg_catalog, pg_temp', true);
      clean := true;
      if not keep then
        raise exception 'undone, as a trial is';
      end if;
    exception
      -- Raised anew: the context of the first one would tell the server's log all parameters, passwords among them.
      when query_canceled then
        deallocate scheduler_piece;
        raise exception using errcode = sqlstate, message = sqlerrm;
      when others or assert_failure then
        if not clean and sqlstate ~ spares then
          deallocate scheduler_piece;
          raise exception using errcode = sqlstate, message = sqlerrm;
        end if;
        -- A constraint may quote a value of any size.
        reason := left(sqlerrm, 2000);
        state := sqlstate;
    end;
    if clean then
      return next;
      first := first + rows;
      suspects := greatest(suspects - rows, 0);
      -- Small steps up and halving down: that settles on pieces that suit how many rows fail.
      if suspects = 0 then
        size := size + 6;
      end if;
    elsif rows = 1 then
      outcome := null;
      refused := array[row(ids[first], reason, state)::scheduler.refusal];
      return next;
      first := first + 1;
      suspects := 0;
      size := greatest(size / 2, 1);
    else
      suspects := rows;
    end if;
  end loop;
  deallocate scheduler_piece;
end
$$;

-- Control from SQL -----------------------------------------------------------------------------------------------------
-- For an application's admin page, which has a connection and no shell. These functions read the program's own tables alone and
-- run nothing of a job's. The table known_jobs tells them of cadences and obstacles.

create function scheduler.why_stopped(by text, at timestamptz, reason text) returns text
  language sql stable parallel safe
  return format('stopped by %s at %s', by, scheduler.iso(at)) || coalesce(': ' || reason, '');

-- The connection that holds the lock of a run, whose number is also in src/store/lock.ts. Any role can take it: one that may not
-- record a run is none of ours, and "stranger" says so.
create function scheduler.lock_holder(tenant text)
returns table (pid integer, role text, seconds double precision, who text, stranger text)
  language sql stable
  begin atomic
    select a.pid, a.usename::text, extract(epoch from clock_timestamp() - a.xact_start)::double precision,
      concat_ws(', ', nullif(a.application_name, ''), 'user ' || a.usename::text, 'from ' || host(a.client_addr)),
      case when not has_table_privilege(a.usesysid, 'scheduler.runs'::regclass, 'insert') then format(
        'The lock of the scheduler is held by process %s of the role "%s", which has no right to tick. Ticks work without it; "select pg_terminate_backend(%1$s);" ends that process.',
        a.pid, a.usename) end
    from pg_locks l join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
      and l.database = (select oid from pg_database where datname = current_database())
      and (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(tenant, 8314034311083879525)
    limit 1;
  end;

-- A run, as commands print it.
create function scheduler.told(run scheduler.runs) returns json
  language sql stable
  return json_build_object(
    'at', scheduler.iso((run).started_at), 'by', (run).started_by, 'finishedAt', scheduler.iso((run).finished_at),
    'changed', (run).changed, 'failed', (run).failed, 'lateSeconds', extract(epoch from (run).late_by),
    'workLeft', (run).work_left, 'error', (run).error
  );

-- The run at work, and how many rows its batches have done so far. Null where none is.
create function scheduler.at_work(tenant text) returns json
  language sql stable
  begin atomic
    select json_build_object('job', run.job, 'since', scheduler.iso(run.started_at), 'done', (
      select count(*) from scheduler.events e where e.occurred_at >= run.at and e.run_id = run.id
    ))
    from scheduler.lock_holder(at_work.tenant) as holder
    cross join lateral (
      select r.* from scheduler.runs r
      -- A role that cannot see when the holder began looks at a day.
      where r.started_at >= clock_timestamp() - make_interval(secs => coalesce(holder.seconds, 86400))
        and r.tenant = at_work.tenant and r.finished_at is null
      order by r.started_at desc limit 1
    ) as run
    where holder.stranger is null;
  end;

-- What "status --json" says of these jobs of a tenant, but for what is due: only the jobs' own expressions could tell that. Ticks
-- leave runs behind, and people controls.
--
-- A job runs if a tick came within three intervals, or somebody started it: one tick may be late and one lost to a restart.
-- A tick calls all jobs: if a frequent one has heard none, a rarer one has only not missed it yet. A pause of more than a day
-- may be forgotten, and a hundred rows that fail are no accident.
create function scheduler.report(jobs json, tenant text) returns json
  language sql
  begin atomic
    with looked as materialized (
      select known.*, word.at as word_at, tick.started_at as ticked, run.told, count.failing, count.quarantined,
        case when word.action = 'stop' then json_build_object(
          'action', word.action, 'at', scheduler.iso(word.at), 'by', word.by, 'reason', word.reason) end as paused,
        scheduler.why_stopped(word.by, word.at, word.reason) as why_stopped,
        case
          when known.obstacle is not null then known.obstacle
          when word.action = 'stop' then 'paused'
          when clock_timestamp() - greatest(tick.started_at, word.at) <= every * interval '3 minutes'
            then 'running'
          else 'no tick'
        end as state
      from rows from (
        json_to_recordset(report.jobs) as (tenant text, job text, every integer, obstacle text, why text, powerless boolean)
      ) with ordinality as known (its_tenant, job, every, obstacle, why, powerless, place)
      cross join lateral (select coalesce(its_tenant, report.tenant) as of_tenant) as its
      left join lateral (
        select c.action, c.at, c.by, c.reason from scheduler.controls c
        where (c.job is null or c.job = known.job) and (c.tenant is null or c.tenant = of_tenant)
        order by c.id desc limit 1
      ) as word on true
      left join lateral (
        select * from (
          (select r.id, r.started_at from scheduler.runs r
            where r.tenant = of_tenant and r.job = known.job and r.slot is not null order by r.id desc limit 1)
          union all
          (select r.id, r.started_at from scheduler.runs r
            where case when r.tenant is null then of_tenant <> all(r.apart) else r.tenant = of_tenant end and r.job is null and r.slot is not null and known.job = any(r.idle) order by r.id desc limit 1)
        ) as latest order by id desc limit 1
      ) as tick on true
      left join lateral (
        select scheduler.told(r) as told from scheduler.runs r where r.id = (
          select id from (
            select tick.id, tick.started_at
            union all
            (select r.id, r.started_at from scheduler.runs r
              where r.tenant = of_tenant and r.job = known.job and r.slot is null order by r.id desc limit 1)
            union all
            (select r.id, r.started_at from scheduler.runs r
              where case when r.tenant is null then of_tenant <> all(r.apart) else r.tenant = of_tenant end and r.job is null and r.slot is null and known.job = any(r.idle) order by r.id desc limit 1)
          ) as latest where id is not null order by started_at desc, id desc limit 1
        )
      ) as run on true
      cross join lateral (
        select count(*) filter (where f.quarantined_at is null)::integer as failing,
          count(*) filter (where f.quarantined_at is not null)::integer as quarantined
        from scheduler.failures f where f.tenant = of_tenant and f.job = known.job
      ) as count
    ),
    states as materialized (
      select *,
        case when state = 'running' then scheduler.iso(
          to_timestamp((floor(extract(epoch from clock_timestamp()) / 60 / every) + 1) * 60 * every)) end as next_check,
        case state when 'paused' then why_stopped
          when 'no tick' then coalesce('none has come since ' || scheduler.iso(ticked), 'none has ever come')
          else why end as why_not,
        -- One word may have paused them all.
        state = 'paused' and row_number() over (partition by state, word_at order by place) = 1 as first_of_word,
        state = 'running' and every <= coalesce(min(every) filter (where state = 'no tick') over (), every) as runs
      from looked
    ),
    scheduler as (
      select case
          when bool_or(runs) then 'Scheduler is running'
          when bool_or(state = 'no tick') then 'Scheduler is not running: '
            || coalesce('no tick has come since ' || scheduler.iso(max(ticked)), 'no tick has ever come')
            || '; check that cron or the timer calls "scheduler tick"'
          when bool_or(state = 'paused') then 'Scheduler was ' || (array_agg(why_not order by place) filter (where state = 'paused'))[1]
          else 'Scheduler has nothing to do: every job is either not installed or switched off'
        end as message,
        bool_or(state in ('running', 'no tick')) and not bool_or(runs) as silent,
        json_build_object('isRunning', coalesce(bool_or(runs), false), 'intervalMinutes', min(every),
          'nextCheck', min(next_check) filter (where runs)) as state
      from states
    ),
    attention as (
      select 0 as place, 0 as n, message || '.' as sentence from scheduler where silent
      union all
      select place, told.n, told.sentence from states cross join lateral (values
        (1, case
          when powerless then format('%s is not run: it was %s.', job, why)
          -- An operator can say with "scheduler stop" that this is meant.
          when state = 'not installed' and ticked is not null and paused is null then format('%s is no longer installed: %s.', job, why)
        end),
        (2, case when first_of_word and clock_timestamp() - word_at > interval '1 day'
          then format('%s was %s, which is more than a day ago.', job, why_not) end),
        (3, case
          when quarantined > 0 then format('%s has %s in quarantine: see "scheduler failures".', job,
            case quarantined when 1 then '1 row' else quarantined || ' rows' end)
          when failing > 100 then format('%s has %s rows that fail: see "scheduler failures".', job, failing)
        end),
        (4, job || ' was stopped by an error: ' || (states.told ->> 'error'))
      ) as told (n, sentence)
      union all
      select null, null, stranger from scheduler.lock_holder(report.tenant)
    )
    select json_build_object(
      'scheduler', state,
      'message', message,
      'atWork', scheduler.at_work(report.tenant),
      'attention', (select coalesce(json_agg(sentence order by place, n), '[]') from attention where sentence is not null),
      'jobs', (
        select coalesce(json_agg(json_build_object(
          'job', job, 'state', s.state, 'why', why_not, 'intervalMinutes', every, 'nextCheck', next_check, 'paused', paused,
          'lastTick', scheduler.iso(ticked), 'lastRun', told, 'failing', failing, 'quarantined', quarantined, 'backlog', null
        ) order by place), '[]')
        from states s
      )
    ) from scheduler;
  end;

-- The jobs of a tenant, or of all, and those that belong to none.
create function scheduler.jobs_of(tenant text) returns table (name text, said json, home text, place bigint)
  language sql stable
  begin atomic
    select known.job ->> 'job', known.job, k.tenant, row_number() over (order by k.tenant = '', known.place, k.tenant)
    from scheduler.known_jobs k cross join json_array_elements(k.jobs) with ordinality as known (job, place)
    where case when k.tenant <> '' then k.tenant = coalesce(jobs_of.tenant, k.tenant) and exists (
      select from pg_namespace n where n.nspname = k.tenant
    ) else true end;
  end;

-- The tenant that is meant if none is named; an unknown one is an error that lists those that there are.
create function scheduler.tenant_meant(tenant text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  known constant text[] := array(
    select k.tenant from scheduler.known_jobs k join pg_namespace n on n.nspname = k.tenant order by 1
  );
begin
  if cardinality(known) = 0 then
    raise exception using errcode = '22023', message = 'No job is known yet: run "scheduler migrate" or "scheduler tick" once.';
  elsif tenant is null and not 'public' = any(known) and cardinality(known) > 1 then
    raise exception using errcode = '22023', message = format('There are several tenants, so name one; valid: %s.', array_to_string(known, ', '));
  elsif tenant <> all(known) then
    raise exception using errcode = '22023', message = format('"%s" is not a tenant%s; valid: %s.', tenant,
      case when not exists (select from pg_namespace n where n.nspname = tenant) then ': there is no such schema' end,
      array_to_string(known, ', '));
  end if;
  return coalesce(tenant, case when 'public' = any(known) then 'public' else known[1] end);
end
$$;

-- Answers the tenant that is meant, which is '' if the job belongs to none. Records of such a job tell the schema of its table.
create function scheduler.check_job(job text, tenant text) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  its_schema constant text := (select j.said ->> 'tenant' from scheduler.jobs_of('') j where j.name = check_job.job);
  known text[];
begin
  if tenant is not null and tenant is distinct from its_schema then
    perform scheduler.tenant_meant(tenant);
  end if;
  known := array(select j.name from scheduler.jobs_of(tenant) j group by 1 order by min(j.place));
  if job <> all(known) then
    raise exception using errcode = '22023', message = format('"%s" is not a job; valid: %s.', job, array_to_string(known, ', '));
  end if;
  return case when its_schema is null then tenant else '' end;
end
$$;

-- A text that somebody gives for the record. Commands show it in one line.
create function scheduler.words(what text, said text, purpose text) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  said := btrim(said, E' \t\r\n');
  if coalesce(said, '') = '' then
    raise exception using errcode = '22023', message = format('%s is empty; %s.', what, purpose);
  elsif length(said) > 200 then
    raise exception using errcode = '22023', message = format('%s has %s characters; valid: up to 200.', what, length(said));
  end if;
  return said;
end
$$;

create function scheduler.control(action text, job text, reason text, by text, tenant text) returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  who constant text := scheduler.words('by', by, 'say who asks');
  why constant text := case when action = 'stop' or reason <> '' then
    scheduler.words('reason', reason, 'whoever finds it stopped will ask why') end;
  meant constant text := nullif(scheduler.check_job(job, tenant), '');
begin
  insert into scheduler.controls (tenant, job, action, by, reason)
  values (meant, control.job, control.action, who, why);
  return (
    select jsonb_build_object(
      -- The admin pages that call this have always shown this sentence.
      'message', case control.job when 'subscriptions' then 'Subscription scheduler' else coalesce(control.job, 'Scheduler') end
        || case control.action when 'start' then ' started' else ' stopped' end,
      'scheduler', scheduler.report(k.jobs, k.tenant) -> 'scheduler'
    )
    from (
      select json_agg(j.said order by j.place) as jobs, j.first as tenant
      from (
        select *, first_value(home) over (order by home <> 'public', home = '', home) as first from scheduler.jobs_of(meant)
        where control.job is null or name = control.job
      ) as j
      where j.home in (j.first, '')
      group by j.first
    ) as k
  );
end
$$;

create function scheduler.status(tenant text default null) returns jsonb
  language sql security definer
  set search_path = pg_catalog, pg_temp
  begin atomic
    select scheduler.report((select coalesce(json_agg(j.said order by j.place), '[]') from scheduler.jobs_of(meant) j), meant)::jsonb
    from scheduler.tenant_meant(status.tenant) as meant;
  end;

create function scheduler.stop(job text, reason text, by text, tenant text default null) returns jsonb
  language sql security definer
  set search_path = pg_catalog, pg_temp
  return scheduler.control('stop', job, reason, by, tenant);

create function scheduler.start(job text, reason text, by text, tenant text default null) returns jsonb
  language sql security definer
  set search_path = pg_catalog, pg_temp
  return scheduler.control('start', job, reason, by, tenant);

-- Rows that failed are released for the next tick, which tries with all attempts before it; or forgotten.
-- Answers the tenant whose they are.
create function scheduler.check_failures(job text, id text, tenant text, dropping boolean default false) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  -- Records tell the schema of a table, be it a tenant or not. If a schema is gone, its failures can only be forgotten.
  unsure constant text := case when not exists (
    select from scheduler.failures f where f.tenant = check_failures.tenant
      and (dropping or exists (select from pg_namespace n where n.nspname = f.tenant))
  ) then tenant end;
begin
  if id is not null and job is null then
    raise exception using errcode = '22023', message = 'An id names a row of one job: say which.';
  end if;
  -- One that was removed may have left some.
  if exists (select from scheduler.jobs j where j.name = job) and not exists (select from scheduler.jobs_of(null) j where j.name = job) then
    perform scheduler.tenant_meant(unsure) where unsure is not null;
  elsif scheduler.check_job(job, unsure) = '' then
    return null;
  end if;
  return tenant;
end
$$;

create function scheduler.retry(job text, id text, tenant text default null) returns jsonb
  language sql security definer
  set search_path = pg_catalog, pg_temp
  begin atomic
    with meant as materialized (select scheduler.check_failures(job, id, tenant) as tenant),
    released as (
      update scheduler.failures f set next_attempt_at = '-infinity', quarantined_at = null, attempts = 0 from meant
      where f.job = coalesce(retry.job, f.job) and f.entity_id = coalesce(retry.id, f.entity_id)
        and f.tenant = coalesce(meant.tenant, f.tenant)
      returning f.job, f.entity_id as "entityId"
    )
    select jsonb_build_object('action', 'retry', 'rows', (
      select coalesce(jsonb_agg(r order by r.job, r."entityId"), '[]') from released r
    )) from meant;
  end;

create function scheduler.drop(job text, id text, tenant text default null) returns jsonb
  language sql security definer
  set search_path = pg_catalog, pg_temp
  begin atomic
    with meant as materialized (select scheduler.check_failures(job, id, tenant, dropping => true) as tenant),
    forgotten as (
      delete from scheduler.failures f using meant
      where f.job = coalesce("drop".job, f.job) and f.entity_id = coalesce("drop".id, f.entity_id)
        and f.tenant = coalesce(meant.tenant, f.tenant)
      returning f.job, f.entity_id as "entityId"
    )
    select jsonb_build_object('action', 'drop', 'rows', (
      select coalesce(jsonb_agg(r order by r.job, r."entityId"), '[]') from forgotten r
    )) from meant;
  end;

-- The next tick does the job whatever its cadence, and also while it is stopped.
create function scheduler.request(job text, by text, tenant text default null) returns jsonb
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  meant text := scheduler.check_job(coalesce(job, ''), tenant);
  asked bigint;
  why text;
begin
  if meant is null then
    meant := scheduler.check_job(job, scheduler.tenant_meant(tenant));
  end if;
  select j.said ->> 'why' into why from scheduler.jobs_of(meant) j
  where j.name = request.job and j.home = meant and j.said ->> 'obstacle' = 'not installed';
  if why is not null then
    raise exception using errcode = '22023', message = format('%s is not installed: %s.', job, why);
  end if;
  insert into scheduler.requests (tenant, job, by)
  values (meant, request.job, scheduler.words('by', by, 'say who asks')) returning id into asked;
  return jsonb_build_object('id', asked);
end
$$;

-- The state of a request: waiting, refused, or the run that did it and the rows that failed in it. Null: no request has that id.
create function scheduler.requested(id bigint) returns jsonb
  language sql security definer
  set search_path = pg_catalog, pg_temp
  begin atomic
    select jsonb_build_object(
      'id', q.id, 'job', q.job, 'at', scheduler.iso(q.at), 'by', q.by, 'refused', q.refused,
      'state', case when q.refused is not null then 'refused' when q.run_id is null then 'waiting' else 'done' end,
      'run', (select scheduler.told(r) from scheduler.runs r where r.id = q.run_id),
      'errors', (
        select coalesce(jsonb_agg(jsonb_build_object('id', f.entity_id, 'error', f.error) order by f.entity_id), '[]')
        from (
          select f.* from scheduler.runs r join scheduler.failures f on f.tenant = r.tenant and f.job = r.job and f.last_failed_at = r.at
          where r.id = q.run_id limit 100
        ) as f
      )
    )
    from scheduler.requests q where q.id = requested.id;
  end;

create view scheduler.overview as
  select case when place <= json_array_length(k.jobs) then k.tenant end as tenant, job ->> 'job' as job, job ->> 'state' as state, job ->> 'why' as why, (job ->> 'intervalMinutes')::integer as interval_minutes,
    (job ->> 'nextCheck')::timestamptz as next_check, (job ->> 'lastTick')::timestamptz as last_tick,
    (run ->> 'at')::timestamptz as last_run, run -> 'changed' as changed, (run ->> 'failed')::integer as failed,
    (run ->> 'lateSeconds')::double precision as late_seconds, run ->> 'error' as error,
    (job ->> 'failing')::integer as failing, (job ->> 'quarantined')::integer as quarantined
  from (select *, min(tenant) over () as first from scheduler.known_jobs join pg_namespace on nspname = tenant) as k
  cross join lateral jsonb_array_elements(scheduler.status(k.tenant) -> 'jobs') with ordinality as jobs (job, place)
  cross join lateral (select nullif(job -> 'lastRun', 'null') as run) as last
  -- Those that belong to no tenant stand behind those of each, and are told once.
  where place <= json_array_length(k.jobs) or k.tenant = first
  order by 1, place;

create view scheduler.failing as
  select tenant, job, rule, entity_id, attempts, error, first_failed_at, last_failed_at, quarantined_at,
    case when quarantined_at is null then next_attempt_at end as next_attempt_at
  from scheduler.failures order by last_failed_at desc, tenant, job, entity_id, rule;

create view scheduler.recent as
  select id, tenant, job, started_at, finished_at, changed, failed, late_by, work_left, error, started_by, host from scheduler.runs
  where job is not null and not (finished_at is not null and changed = '{}' and failed = 0 and error is null and not work_left)
  order by id desc;

-- Indexes on an application's tables call these for whoever writes a row. None gives a right that its caller does not have.
grant execute on all functions in schema scheduler to public;
revoke execute on function scheduler.forget(integer), scheduler.status(text), scheduler.stop(text, text, text, text),
  scheduler.start(text, text, text, text), scheduler.request(text, text, text), scheduler.requested(bigint),
  scheduler.retry(text, text, text), scheduler.drop(text, text, text) from public;

-- Where the library that applied this looks for its own table.
set local search_path = scheduler;
