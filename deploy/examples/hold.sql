-- Seats that somebody holds while they pay, as Rails makes them; and the free places of each show.
create table shows (id bigserial primary key, title varchar not null, free_seats integer not null);

create table seat_holds (
  id bigserial primary key,
  show_id bigint not null references shows,
  seats integer not null,
  state varchar not null default 'held',
  held_until timestamp(6) not null,
  updated_at timestamp(6) not null default now()
);

create table seat_releases (show_id bigint not null, seats integer not null, released_at timestamptz not null);

-- The application counts the free seats in a trigger: it runs in the transaction of the release.
create function give_back() returns trigger language plpgsql as $$
begin
  update shows set free_seats = free_seats + new.seats where id = new.show_id;
  return new;
end $$;
create trigger give_back after update on seat_holds for each row
  when (old.state = 'held' and new.state = 'released') execute function give_back();

insert into shows (title, free_seats) values ('Hamlet', 10), ('Macbeth', 0);
insert into seat_holds (show_id, seats, state, held_until) values
  (1, 2, 'held', '2026-03-10 11:45'),
  (1, 3, 'held', '2026-03-10 12:10'),
  (2, 4, 'held', '2026-03-10 12:00'),
  (2, 1, 'paid', '2026-03-10 11:00');
