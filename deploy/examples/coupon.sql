-- Coupons of a shop, as Laravel makes them: a status with a check, a last valid day, timestamps without zone.
create table coupons (
  id bigserial primary key,
  code varchar(40) not null unique,
  status varchar(255) not null default 'active' check (status in ('active', 'used', 'expired')),
  valid_until date,
  created_at timestamp(0),
  updated_at timestamp(0)
);

insert into coupons (code, status, valid_until) values
  ('WINTER', 'active', '2026-02-28'),
  ('MARCH9', 'active', '2026-03-09'),
  ('MARCH10', 'active', '2026-03-10'),
  ('USED', 'used', '2026-02-28'),
  ('ALWAYS', 'active', null);
