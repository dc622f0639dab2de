-- The end of a sale is worked out for each package that is due, and with every insert into an index that depends on it.
-- As an expression that the planner writes into the query, the usual validity costs a sixth of taking its words apart.

alter function scheduler.validity_seconds(text) rename to spelled_seconds;
comment on function scheduler.spelled_seconds is 'Seconds in a validity however it is spelled: any spaces, any case.';

-- Of digits before a space: no more of them than keep every unit under a thousand years, and no zero.
create function scheduler.small_count(validity text) returns bigint
  language sql immutable parallel safe
  return case when octet_length(split_part(validity, ' ', 1)) between 1 and 4 then nullif(split_part(validity, ' ', 1)::bigint, 0) end;

-- '7 days' and its like: digits, one space, a unit in small letters.
create function scheduler.validity_seconds(validity text) returns bigint
  language sql immutable parallel safe
  return coalesce(
    case ltrim(validity, '0123456789')
      when ' minute' then 60 * scheduler.small_count(validity)
      when ' minutes' then 60 * scheduler.small_count(validity)
      when ' hour' then 3600 * scheduler.small_count(validity)
      when ' hours' then 3600 * scheduler.small_count(validity)
      when ' day' then 86400 * scheduler.small_count(validity)
      when ' days' then 86400 * scheduler.small_count(validity)
      when ' week' then 604800 * scheduler.small_count(validity)
      when ' weeks' then 604800 * scheduler.small_count(validity)
      when ' month' then 2592000 * scheduler.small_count(validity)
      when ' months' then 2592000 * scheduler.small_count(validity)
    end,
    scheduler.spelled_seconds(validity)
  );
comment on function scheduler.validity_seconds is 'A day is 24 h, a week 7 days, a month 30 days. Null for what is no validity.';

create or replace function scheduler.sale_end(start timestamptz, stop timestamptz, validity text) returns timestamptz
  language plpgsql immutable parallel safe
as $$
begin
  return case
    when stop is not null or validity is null then stop
    when start < '290000-01-01 00:00:00+00' then start + make_interval(secs => scheduler.validity_seconds(validity))
    when scheduler.validity_seconds(validity) is not null then start
  end;
end
$$;

-- The planner cannot write the step of an aggregate into a query, and calling SQL costs five times as much as this.
create or replace function scheduler.draw_on(drawn bigint, credits bigint, reach bigint) returns bigint
  language plpgsql immutable parallel safe
as $$
begin
  return greatest(drawn, least(drawn + credits, reach));
end
$$;
