-- Subscriptions: one takes over from another at its time, on the table "customer_packages".

-- For what a query finds out too late to leave the row alone: the change is undone, and the row is a recorded failure.
create function scheduler.refuse(reason text) returns text
  language plpgsql
as $$
begin
  raise exception using message = reason;
end
$$;

create function scheduler.adopt_subscriptions() returns void
  language plpgsql
as $$
declare
  zone text := current_setting('TimeZone');
begin
  -- No foreign key to the previous subscription: one that is gone must not keep its successor from starting.
  create table if not exists customer_packages (
    id text primary key default gen_random_uuid()::text,
    "userId" text not null,
    "packageId" text,
    status text not null default 'SCHEDULED',
    "isActive" boolean not null default false,
    "startDate" timestamptz,
    "endDate" timestamptz,
    "scheduledStartDate" timestamptz,
    "previousSubscriptionId" text,
    "createdAt" timestamptz not null default now(),
    "updatedAt" timestamptz not null default now()
  );
  if not scheduler.has_columns(to_regclass('customer_packages'), 'scheduledStartDate', 'previousSubscriptionId') then
    return;
  end if;

  -- No default for a status that was never there: it would start every old row.
  execute format(
    'alter table customer_packages
      add column if not exists "userId" text,
      add column if not exists "packageId" text,
      add column if not exists status text,
      add column if not exists "isActive" boolean not null default false,
      add column if not exists "startDate" %1$s,
      add column if not exists "endDate" %1$s,
      add column if not exists "createdAt" %1$s,
      add column if not exists "updatedAt" %1$s',
    scheduler.type_of('customer_packages', 'scheduledStartDate')
  );

  -- The predicates are the conditions of src/jobs/subscriptions.ts, word for word.
  perform scheduler.ensure_index('customer_packages_to_activate', 'customer_packages', format(
    '((scheduler.at("scheduledStartDate", %L)), id) where status = ''SCHEDULED''', zone
  ));
  perform scheduler.ensure_index('customer_packages_to_end', 'customer_packages', format(
    '((scheduler.at("endDate", %L)), id) where status = ''ACTIVE''', zone
  ));
  -- A customer's rows without their history.
  perform scheduler.ensure_index('customer_packages_of_customer', 'customer_packages',
    '("userId") where status in (''SCHEDULED'', ''ACTIVE'')');
end
$$;
