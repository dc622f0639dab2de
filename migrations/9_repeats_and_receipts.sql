-- A repeated sale keeps its hours. One whose hour a change of the clock skips begins or ends at the first instant after the
-- gap, and it must be back at its hour the next time, which that instant does not tell. So the hour is written down.

create type scheduler.sale_window as (
  next_start timestamptz, next_stop timestamptz, aimed_day smallint, aimed_start timestamp, aimed_stop timestamp
);

-- The hour that the clock shows at an instant, or the one that was aimed at, unless somebody has moved the instant since.
create function scheduler.aimed_wall(at timestamptz, aimed timestamp, zone text) returns timestamp
  language sql immutable
  return case when scheduler.instant(aimed, zone) = at then aimed else at at time zone zone end;

-- The next occurrence that is not over at "now", at the same wall-clock time. Both ends of a window keep their wall-clock
-- time; an end given as a validity keeps its length.
create function scheduler.next_window(
  start timestamptz, stop timestamptz, validity text, repeats text, aimed_day smallint, aimed_start timestamp,
  aimed_stop timestamp, zone text, now timestamptz
) returns scheduler.sale_window
  language plpgsql immutable
as $$
declare
  upcoming scheduler.sale_window;
  wall timestamp := scheduler.aimed_wall(start, aimed_start, zone);
  next_wall timestamp;
  span interval;
  over timestamptz := scheduler.sale_end(start, stop, validity);
  next_over timestamptz;
  step_days integer := case lower(repeats) when 'daily' then 1 when 'weekly' then 7 else 31 end;
  steps integer;
  aim smallint := extract(day from wall);
begin
  -- A window without a beginning, or set so far off that no calendar reaches beyond it, has no next one.
  if start is null or not isfinite(start) or start > now + interval '1000 years' or over is null or not isfinite(over) then
    return null;
  end if;
  span := scheduler.aimed_wall(stop, aimed_stop, zone) - wall;
  -- From an hour that the clock showed twice to the same one again: only there is that a span of time.
  if span <= interval '0' and stop > start then
    span := stop - start;
  end if;
  if lower(repeats) = 'monthly' then
    -- The day it was given, unless a shorter month only pushed it forward to its last day.
    -- Of a null, "least" would take no notice.
    if aimed_day is not null
      and aim = least(aimed_day, extract(day from date_trunc('month', wall) + interval '1 month' - interval '1 day'))
    then
      aim := aimed_day;
    end if;
    upcoming.aimed_day := aim;
  end if;
  -- Jump to just before now, however long nobody ticked, then walk the last steps.
  steps := greatest(1, floor(extract(epoch from now - over) / 86400 / step_days)::integer - 1);
  loop
    next_wall := scheduler.later_wall(wall, repeats, steps, aim);
    upcoming.next_start := scheduler.instant(next_wall, zone);
    upcoming.next_stop := scheduler.instant(next_wall + span, zone);
    next_over := scheduler.sale_end(upcoming.next_start, upcoming.next_stop, validity);
    -- One that lies within what the clock skips does not take place; one that is always empty is missed each time.
    exit when next_over > now and (next_over > upcoming.next_start or over <= start);
    steps := steps + 1;
  end loop;
  -- Only what the clock did not show needs to be remembered.
  upcoming.aimed_start := nullif(next_wall, upcoming.next_start at time zone zone);
  upcoming.aimed_stop := nullif(next_wall + span, upcoming.next_stop at time zone zone);
  return upcoming;
end
$$;

create function scheduler.adopt_repeating_packages() returns void
  language plpgsql
as $$
begin
  perform scheduler.adopt_packages();
  if not scheduler.has_columns(to_regclass('packages'), 'scheduled_activation_time', 'repeat_day') then
    return;
  end if;
  alter table packages
    add column if not exists repeat_start timestamp,
    add column if not exists repeat_stop timestamp;
  comment on column packages.repeat_start is
    'The wall-clock start that a repeated sale aims at, where a change of the clock skips it; kept by the scheduler.';
  comment on column packages.repeat_stop is
    'The wall-clock stop that a repeated sale aims at, where a change of the clock skips it; kept by the scheduler.';
end
$$;

-- A value seen twice cannot be stored twice. Where a table holds it twice already, or is partitioned by something else and so
-- cannot promise it, the index only finds it, and who relies on it has to look.
create or replace function scheduler.ensure_once(name text, relation regclass, col text) returns void
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
  when unique_violation or feature_not_supported then
    execute format('create index %I on %s %s', name, relation, definition);
end
$$;
