-- Plans that customers buy ahead, as "prisma migrate" makes the tables: camel case, ids that the client makes (cuid), enum types,
-- times in UTC without zone, "updatedAt" without a default.
-- For the rows below: the time in UTC, so long ago.
create function pg_temp.ago(span interval) returns timestamp(3) language sql return (now() at time zone 'UTC') - span;

create table "_prisma_migrations" (
  id varchar(36) primary key not null,
  checksum varchar(64) not null,
  finished_at timestamptz,
  migration_name varchar(255) not null,
  logs text,
  rolled_back_at timestamptz,
  started_at timestamptz not null default now(),
  applied_steps_count integer not null default 0
);
insert into "_prisma_migrations" (id, checksum, finished_at, migration_name, started_at, applied_steps_count) values
  ('6b1f7c4e-52a0-4f7e-8f5e-2f3b8d1c9a10', repeat('a1', 32), '2025-10-01 08:00Z', '20251001080000_init', '2025-10-01 08:00Z', 1),
  ('d2a9e0b3-7c11-4b0a-9a52-0c4e6f7d8b21', repeat('b2', 32), '2026-01-12 08:00Z', '20260112080000_plans_bought_ahead', '2026-01-12 08:00Z', 1);

create type "SubscriptionStatus" as enum ('SCHEDULED', 'ACTIVE', 'EXPIRED', 'CANCELLED');
create type "InvitationStatus" as enum ('PENDING', 'ACCEPTED', 'EXPIRED');

create table "User" (
  "id" text not null,
  "email" text not null,
  "name" text,
  "createdAt" timestamp(3) not null default current_timestamp,
  "updatedAt" timestamp(3) not null,
  constraint "User_pkey" primary key ("id")
);

create table "Plan" (
  "id" text not null,
  "name" text not null,
  "priceInCents" integer not null,
  constraint "Plan_pkey" primary key ("id")
);

create table "Subscription" (
  "id" text not null,
  "userId" text not null,
  "planId" text not null,
  "status" "SubscriptionStatus" not null default 'ACTIVE',
  "isActive" boolean not null default false,
  "startsAt" timestamp(3) not null,
  "endsAt" timestamp(3),
  "scheduledFor" timestamp(3),
  "replacesId" text,
  "createdAt" timestamp(3) not null default current_timestamp,
  "updatedAt" timestamp(3) not null,
  constraint "Subscription_pkey" primary key ("id")
);

create table "Invitation" (
  "id" text not null,
  "email" text not null,
  "invitedById" text not null,
  "status" "InvitationStatus" not null default 'PENDING',
  "sentAt" timestamp(3) not null default current_timestamp,
  "updatedAt" timestamp(3) not null,
  constraint "Invitation_pkey" primary key ("id")
);

create unique index "User_email_key" on "User"("email");
create index "Subscription_userId_idx" on "Subscription"("userId");
create unique index "Subscription_replacesId_key" on "Subscription"("replacesId");
alter table "Subscription" add constraint "Subscription_userId_fkey" foreign key ("userId") references "User"("id")
  on delete restrict on update cascade;
alter table "Subscription" add constraint "Subscription_planId_fkey" foreign key ("planId") references "Plan"("id")
  on delete restrict on update cascade;
alter table "Subscription" add constraint "Subscription_replacesId_fkey" foreign key ("replacesId") references "Subscription"("id")
  on delete set null on update cascade;
alter table "Invitation" add constraint "Invitation_invitedById_fkey" foreign key ("invitedById") references "User"("id")
  on delete restrict on update cascade;

insert into "User" ("id", "email", "name", "updatedAt") values
  ('cm6a0000000001ann', 'ann@example.com', 'Ann', pg_temp.ago('30 days')), ('cm6a0000000002bob', 'bob@example.com', 'Bob', pg_temp.ago('30 days'));
insert into "Plan" ("id", "name", "priceInCents") values ('cm6b00000000basic', 'Basic', 900), ('cm6b00000000team', 'Team', 4900);
insert into "Subscription" ("id", "userId", "planId", "status", "isActive", "startsAt", "endsAt", "scheduledFor", "replacesId", "updatedAt") values
  -- Ann has bought Team ahead. Another purchase of hers is pending at the bank: ACTIVE, and not active.
  ('cm6c000000000ann1', 'cm6a0000000001ann', 'cm6b00000000basic', 'ACTIVE', true, pg_temp.ago('28 days'), pg_temp.ago('-4 days'), null, null, pg_temp.ago('28 days')),
  ('cm6c000000000ann2', 'cm6a0000000001ann', 'cm6b00000000team', 'SCHEDULED', false, pg_temp.ago('1 minute'), pg_temp.ago('-31 days'), pg_temp.ago('1 minute'), 'cm6c000000000ann1', pg_temp.ago('9 days')),
  ('cm6c000000000ann3', 'cm6a0000000001ann', 'cm6b00000000team', 'ACTIVE', false, pg_temp.ago('2 minutes'), null, null, null, pg_temp.ago('2 minutes')),
  -- A plan of Bob's is over, and one that he bought ahead waits.
  ('cm6c000000000bob1', 'cm6a0000000002bob', 'cm6b00000000basic', 'ACTIVE', true, pg_temp.ago('31 days'), pg_temp.ago('1 hour'), null, null, pg_temp.ago('31 days')),
  ('cm6c000000000bob2', 'cm6a0000000002bob', 'cm6b00000000team', 'SCHEDULED', false, pg_temp.ago('-2 days'), pg_temp.ago('-33 days'), pg_temp.ago('-2 days'), null, pg_temp.ago('9 days'));
insert into "Invitation" ("id", "email", "invitedById", "sentAt", "updatedAt") values
  ('cm6d0000000000001', 'dora@example.com', 'cm6a0000000001ann', pg_temp.ago('8 days'), pg_temp.ago('8 days')),
  ('cm6d0000000000002', 'emil@example.com', 'cm6a0000000001ann', pg_temp.ago('1 day'), pg_temp.ago('1 day'));
drop function pg_temp.ago;
