-- Accounts on trial, as Prisma makes them: camel case, ids of text, times in UTC without zone, an enum.
create type "Plan" as enum ('TRIAL', 'FREE', 'PRO');

create table "Account" (
  id text primary key,
  "ownerId" integer not null,
  plan "Plan" not null default 'TRIAL',
  "trialEndsAt" timestamp(3),
  "timeZone" text,
  "updatedAt" timestamp(3) not null
);

insert into "Account" values
  ('berlin', 1, 'TRIAL', '2026-03-13 06:00', 'Europe/Berlin', '2026-03-01'),
  ('tomorrow', 2, 'TRIAL', '2026-03-11 14:00', null, '2026-03-01'),
  ('over', 3, 'TRIAL', '2026-03-10 11:59', null, '2026-03-01'),
  ('paid', 4, 'PRO', '2026-03-11 14:00', null, '2026-03-01');
