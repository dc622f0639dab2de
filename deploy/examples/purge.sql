-- Documents that users delete go to a bin first, as Rails does with discarded_at. Their pages go with them.
create table documents (
  id uuid primary key,
  name text not null,
  legal_hold boolean not null default false,
  discarded_at timestamp(6)
);

create table document_pages (
  id bigserial primary key,
  document_id uuid not null references documents on delete cascade
);

insert into documents values
  ('00000000-0000-4000-8000-000000000001', 'old', false, '2026-02-01 10:00'),
  ('00000000-0000-4000-8000-000000000002', 'in the bin', false, '2026-03-01 10:00'),
  ('00000000-0000-4000-8000-000000000003', 'in a lawsuit', true, '2026-02-01 10:00'),
  ('00000000-0000-4000-8000-000000000004', 'in use', false, null);
insert into document_pages (document_id) select id from documents;
