-- Posts of a blog, some with a time at which they appear.
create table posts (
  id serial primary key,
  title text,
  slug text,
  status text not null default 'draft',
  publish_at timestamptz,
  published_at timestamptz
);

insert into posts (title, slug, status, publish_at) values
  ('Spring', 'spring', 'scheduled', '2026-03-10 12:00Z'),
  ('Summer', 'summer', 'scheduled', '2026-04-01 12:00Z'),
  ('Not yet', 'not-yet', 'draft', '2026-03-01 12:00Z'),
  (' ', 'untitled', 'scheduled', '2026-03-10 09:00Z');
