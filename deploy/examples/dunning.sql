-- Invoices with a day on which they are to be paid, and the fees for paying late.
create table invoices (
  id uuid primary key,
  number text not null,
  status text not null default 'open' check (status in ('open', 'paid', 'collection')),
  due_on date not null,
  amount numeric(12, 2) not null,
  dunning_level integer not null default 0
);

create table invoice_fees (
  id bigserial primary key,
  invoice_id uuid not null references invoices,
  amount numeric(12, 2) not null,
  charged_at timestamptz not null
);

insert into invoices (id, number, status, due_on, amount) values
  ('00000000-0000-4000-8000-000000000001', '2026-001', 'open', '2026-03-07', 120),
  ('00000000-0000-4000-8000-000000000002', '2026-002', 'open', '2026-02-24', 80),
  ('00000000-0000-4000-8000-000000000003', '2026-003', 'paid', '2026-02-01', 50),
  ('00000000-0000-4000-8000-000000000004', '2026-004', 'open', '2026-01-15', 990);
