-- Leases that go on for a year unless somebody gives notice.
create table leases (
  id serial primary key,
  tenant text not null,
  state text not null default 'running',
  runs_until date not null,
  notice_on date,
  terms integer not null default 1
);

insert into leases (tenant, runs_until, notice_on) values
  ('Ann', '2026-03-10', null),
  ('Bob', '2026-03-10', '2025-12-01'),
  ('Cem', '2026-05-31', null);
