-- What the program keeps for itself. Everything else it touches belongs to the application.

create table scheduler.runs (
  id bigint generated always as identity primary key,
  job text not null,
  -- The cadence window this run stands for; null when a person started it.
  slot bigint,
  -- The run's "now", which every comparison used.
  at timestamptz not null,
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  changed jsonb not null default '{}',
  failed integer not null default 0,
  late_by interval not null default '0',
  unsent integer not null default 0,
  work_left boolean not null default false,
  error text,
  started_by text,
  host text not null,
  version text not null,
  unique (job, slot)
);
comment on table scheduler.runs is 'One row per job and cadence slot; runs by hand have no slot.';
comment on column scheduler.runs.unsent is 'Notifications given up because the notification queue was full; their event rows exist.';

create index runs_by_start on scheduler.runs (started_at);

create table scheduler.events (
  id bigint generated always as identity primary key,
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
  job text not null,
  entity_id text not null,
  transition text not null,
  attempts integer not null,
  error text not null,
  first_failed_at timestamptz not null,
  last_failed_at timestamptz not null,
  -- 'infinity' once quarantined: the one comparison that skips waiting rows skips these too.
  next_attempt_at timestamptz not null,
  quarantined_at timestamptz,
  primary key (job, entity_id)
);
comment on table scheduler.failures is 'Rows that failed, until they succeed or an operator drops them.';

create table scheduler.controls (
  id bigint generated always as identity primary key,
  job text,
  action text not null check (action in ('start', 'stop')),
  at timestamptz not null default now(),
  by text not null,
  reason text
);
comment on table scheduler.controls is 'Who paused or resumed which job (null: all of them), when and why. The latest row that applies is the state.';

-- Stable, like what it is made of: only then does the planner write its body into the query, at a fifth of the cost.
create function scheduler.iso(at timestamptz) returns text
  language sql stable parallel safe
  return case when isfinite(at) then (to_json(at at time zone 'UTC') #>> '{}') || 'Z' else at::text end;
comment on function scheduler.iso is 'An instant as listeners read it: ISO 8601 in UTC, whatever the session''s time zone and date style.';

-- A name of the zone database. PostgreSQL also takes 'UTC+3', and reads it as three hours to the west: whoever writes that
-- means the east, so it must not pass.
create function scheduler.known_zone(zone text) returns boolean
  language plpgsql immutable strict
as $$
begin
  if zone ~ '[0-9<]' and zone !~* '^((Etc/)?GMT[+-]?0|Etc/GMT[+-][0-9]{1,2}|EST5EDT|CST6CDT|MST7MDT|PST8PDT)$' then
    return false;
  end if;
  perform now() at time zone zone;
  return true;
exception
  when others then
    return false;
end
$$;

-- Wall-clock time to instant. PostgreSQL's own "at time zone" takes the second of a repeated hour and moves a skipped
-- time forward by the gap; here a repeated time is its first occurrence and a skipped one the first instant after the gap.
-- It never raises, because indexes on the application's tables are built on it: an unknown zone is due at once
-- (-infinity), so that the job finds the row and can say what is wrong with it.
create function scheduler.instant(wall timestamp, zone text) returns timestamptz
  language plpgsql immutable strict
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
  if zone ~ '[0-9<]' and not scheduler.known_zone(zone) then
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

-- An application's column as an instant, whether it carries a zone or not. The zone is written out in index and query
-- alike, because what depends on the session's cannot be indexed.
create function scheduler.at(at timestamptz, zone text) returns timestamptz
  language sql immutable parallel safe
  return at;

create function scheduler.at(at timestamp, zone text) returns timestamptz
  language sql immutable parallel safe
  return at at time zone zone;

create function scheduler.has_columns(relation regclass, variadic names text[]) returns boolean
  language sql stable
as $$
  select exists (select from pg_class where oid = relation and relkind in ('r', 'p')) and not exists (
    select from unnest(names) as name
    where not exists (
      select from pg_attribute where attrelid = relation and attname = name and attnum > 0 and not attisdropped
    )
  )
$$;
comment on function scheduler.has_columns is 'Whether a table is recognisably the one a job looks for.';

-- Whether a column can hold these words: an enum of the application may know others.
create function scheduler.may_hold(relation regclass, name text, variadic words text[]) returns boolean
  language sql stable
as $$
  select not exists (
    select from pg_attribute a
    join pg_type t on t.oid = a.atttypid and t.typtype = 'e'
    cross join unnest(words) as word
    where a.attrelid = relation and a.attname = name and not a.attisdropped
      and not exists (select from pg_enum e where e.enumtypid = t.oid and e.enumlabel = word)
  )
$$;

-- "create index if not exists" that also notices a changed definition (a later version, another SCHEDULER_DB_TIMEZONE).
-- An index of that name which an operator built beforehand, say concurrently, carries no comment and is left alone.
create function scheduler.ensure_index(name text, relation regclass, definition text) returns void
  language plpgsql
as $$
declare
  place text := (select quote_ident(n.nspname) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation);
  present regclass := to_regclass(place || '.' || quote_ident(name));
begin
  if present is not null and coalesce(obj_description(present, 'pg_class'), definition) = definition then
    return;
  end if;
  if present is not null then
    execute format('drop index %s', present);
  end if;
  execute format('create index %I on %s %s', name, relation, definition);
  execute format('comment on index %s.%I is %L', place, name, definition);
end
$$;

-- The type that a table gives its instants, so that columns added to it look like the ones it has.
create function scheduler.type_of(relation regclass, name text) returns text
  language sql stable
as $$
  select format_type(atttypid, atttypmod) from pg_attribute where attrelid = relation and attname = name and not attisdropped
$$;
