-- Laravel's own table: the address is the key.
create table password_reset_tokens (
  email varchar(255) primary key,
  token varchar(255) not null,
  created_at timestamp(0)
);

insert into password_reset_tokens values
  ('ann@example.com', 'a-hash', '2026-03-10 10:59'),
  ('bob@example.com', 'a-hash', '2026-03-10 11:01');
