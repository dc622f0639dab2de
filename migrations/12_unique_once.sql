-- Where the application itself sees to it that a value is stored once, an index of ours beside its own only costs: each new row
-- is written into both.

create function scheduler.stored_once(name text, relation regclass, col text) returns boolean
  language sql stable
as $$
  select exists (
    select from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = relation and i.indisunique and i.indimmediate and i.indisvalid
      and i.indnkeyatts = 1 and a.attname = col and (i.indpred is null or c.relname = name)
  )
$$;
comment on function scheduler.stored_once is
  'Whether an index sees to it that no two rows have the same value: one of the application, or ours of that name.';

create or replace function scheduler.ensure_once(name text, relation regclass, col text) returns void
  language plpgsql
as $$
declare
  place text := (select quote_ident(n.nspname) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation);
  ours regclass := to_regclass(place || '.' || quote_ident(name));
  definition text := format('(%1$I) where %1$I is not null and %1$I::text <> ''''', col);
begin
  -- No other one has this name.
  if scheduler.stored_once('', relation, col) then
    if exists (select from pg_index i where i.indexrelid = ours and i.indrelid = relation and i.indpred is not null) then
      execute format('drop index %s', ours);
    end if;
    return;
  end if;
  if ours is not null then
    return;
  end if;
  execute format('create unique index %I on %s %s', name, relation, definition);
exception
  when unique_violation or feature_not_supported then
    execute format('create index %I on %s %s', name, relation, definition);
end
$$;
