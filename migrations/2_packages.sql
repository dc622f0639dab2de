-- Hotspot packages: a sale window [start, end) on the table "packages".

-- Seconds in '2 minutes', '1 hour', '7 days', ...; null for anything else. The bound of a thousand years keeps every sum
-- of a start and a validity inside PostgreSQL's range of dates. It is computed with every insert into an indexed table:
-- taking the words apart by hand is twice as fast as a regular expression that only looks at them.
create function scheduler.validity_seconds(validity text) returns bigint
  language plpgsql immutable strict parallel safe
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
    when 'month' then 2592000 when 'months' then 2592000
  end;
  return case when seconds between 1 and 31536000000 then seconds end;
end
$$;
comment on function scheduler.validity_seconds is 'A day is 24 h, a week 7 days, a month 30 days.';

-- The end of a sale window: the stop, else start + validity, else never (null, as for a validity that cannot be read).
create function scheduler.sale_end(start timestamptz, stop timestamptz, validity text) returns timestamptz
  language plpgsql immutable parallel safe
as $$
begin
  if stop is not null or validity is null then
    return stop;
  end if;
  return case
    when start < '290000-01-01 00:00:00+00' then start + make_interval(secs => scheduler.validity_seconds(validity))
    when scheduler.validity_seconds(validity) is not null then start
  end;
end
$$;

-- Where a wall-clock time falls n days, weeks or months later. A monthly sale aims at one day of the month: from the 31st
-- it goes to the last day of a shorter month and back to the 31st.
create function scheduler.later_wall(wall timestamp, repeats text, steps integer, day_of_month integer) returns timestamp
  language sql immutable parallel safe
  return case lower(repeats)
    when 'daily' then wall + make_interval(days => steps)
    when 'weekly' then wall + make_interval(days => 7 * steps)
    when 'monthly' then
      date_trunc('month', wall) + make_interval(months => steps) + (wall - date_trunc('day', wall))
        + make_interval(days => least(
            day_of_month,
            extract(day from date_trunc('month', wall) + make_interval(months => steps + 1) - interval '1 day')::integer
          ) - 1)
  end;

-- The next occurrence that is not over at "now", at the same wall-clock time. Both ends of a window keep their wall-clock
-- time; an end given as a validity keeps its length.
create type scheduler.sale as (next_start timestamptz, next_stop timestamptz, aimed_day smallint);

create function scheduler.next_sale(
  start timestamptz, stop timestamptz, validity text, repeats text, aimed_day smallint, zone text, now timestamptz
) returns scheduler.sale
  language plpgsql immutable
as $$
declare
  upcoming scheduler.sale;
  wall timestamp := start at time zone zone;
  span interval;
  over timestamptz := scheduler.sale_end(start, stop, validity);
  step_days integer := case lower(repeats) when 'daily' then 1 when 'weekly' then 7 else 31 end;
  steps integer;
  aim smallint := extract(day from wall);
begin
  -- A window without a beginning, or set so far off that no calendar reaches beyond it, has no next one.
  if start is null or not isfinite(start) or start > now + interval '1000 years' or over is null or not isfinite(over) then
    return null;
  end if;
  span := (stop at time zone zone) - wall;
  if lower(repeats) = 'monthly' then
    -- The day it was given, unless a shorter month only pushed it forward to its last day.
    if aim = least(aimed_day, extract(day from date_trunc('month', wall) + interval '1 month' - interval '1 day')) then
      aim := aimed_day;
    end if;
    upcoming.aimed_day := aim;
  end if;
  -- Jump to just before now, however long nobody ticked, then walk the last steps.
  steps := greatest(1, floor(extract(epoch from now - over) / 86400 / step_days)::integer - 1);
  loop
    upcoming.next_start := scheduler.instant(scheduler.later_wall(wall, repeats, steps, aim), zone);
    upcoming.next_stop := scheduler.instant(scheduler.later_wall(wall, repeats, steps, aim) + span, zone);
    exit when scheduler.sale_end(upcoming.next_start, upcoming.next_stop, validity) > now;
    steps := steps + 1;
  end loop;
  return upcoming;
end
$$;

-- Makes the table, or makes an existing one of that kind fit. Safe to call again: "scheduler migrate" does.
create function scheduler.adopt_packages() returns void
  language plpgsql
as $$
declare
  zone text := current_setting('TimeZone');
  instant text;
  start text;
  over text;
  switched_on text;
  switched_off text;
  not_yet_activated text;
  not_yet_closed text;
  awaited text;
begin
  create table if not exists packages (
    id bigint generated by default as identity primary key,
    name text not null,
    description text,
    type text not null default 'hotspot',
    price numeric(12, 2) not null default 0,
    duration text,
    data_limit bigint,
    upload_speed text,
    download_speed text,
    devices integer not null default 1,
    enable_schedule boolean not null default false,
    scheduled_activation_time timestamptz,
    scheduled_deactivation_time timestamptz,
    validity text,
    repeats text check (repeats in ('daily', 'weekly', 'monthly')),
    hide_from_client boolean not null default false,
    status text not null default 'inactive' check (status in ('active', 'inactive')),
    is_active boolean not null default false,
    activated_at timestamptz,
    deactivated_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
  );
  if not scheduler.has_columns(to_regclass('packages'), 'enable_schedule', 'scheduled_activation_time')
    or not scheduler.may_hold(to_regclass('packages'), 'status', 'active', 'inactive')
  then
    return;
  end if;

  instant := scheduler.type_of('packages', 'scheduled_activation_time');
  execute format(
    'alter table packages
      add column if not exists name text,
      add column if not exists type text,
      add column if not exists scheduled_deactivation_time %1$s,
      add column if not exists validity text,
      add column if not exists repeats text,
      add column if not exists repeat_day smallint,
      add column if not exists hide_from_client boolean not null default false,
      add column if not exists status text not null default ''inactive'',
      add column if not exists is_active boolean not null default false,
      add column if not exists activated_at %1$s,
      add column if not exists deactivated_at %1$s,
      add column if not exists updated_at %1$s',
    instant
  );
  comment on column packages.repeat_day is 'The day of the month that a monthly sale aims at; kept by the scheduler.';

  -- The predicates are the conditions of src/jobs/packages.ts, word for word: that is how PostgreSQL finds that they fit.
  start := format('scheduler.at(scheduled_activation_time, %L)', zone);
  over := format('scheduler.sale_end(%s, scheduler.at(scheduled_deactivation_time, %L), validity)', start, zone);
  switched_on := format('scheduler.at(activated_at, %L)', zone);
  switched_off := format('scheduler.at(deactivated_at, %L)', zone);
  not_yet_activated := format('coalesce(%s < %s, true)', switched_on, start);
  -- Seldom was it closed before: then its end need not be worked out.
  not_yet_closed := format('case when deactivated_at is null then true else coalesce(%s < %s, true) end', switched_off, over);
  awaited := format('enable_schedule and status = ''inactive'' and %s and %s', not_yet_activated, not_yet_closed);
  perform scheduler.ensure_index('packages_to_activate', 'packages', format('((%s), id) where %s', start, awaited));
  perform scheduler.ensure_index('packages_to_miss', 'packages', format(
    '((greatest(%1$s, %2$s)), id) where %3$s and scheduled_activation_time is not null and %2$s is not null', start, over, awaited
  ));
  perform scheduler.ensure_index('packages_to_deactivate', 'packages', format(
    '((coalesce(%1$s, case when validity is not null then %2$s end)), id)
     where enable_schedule and status = ''active'' and %3$s and coalesce(%4$s < %1$s, true)',
    over, start, not_yet_closed, switched_on
  ));
  perform scheduler.ensure_index('packages_to_settle', 'packages', format(
    '((%s), id) where enable_schedule and status = ''inactive'' and %s >= %s and %s', over, switched_on, start, not_yet_closed
  ));
  perform scheduler.ensure_index('packages_to_keep', 'packages', format(
    '((%s), id) where enable_schedule and status = ''active'' and %s and %s', start, not_yet_activated, not_yet_closed
  ));
end
$$;
