-- Auctions that keep their highest bid. A bid in the last minutes moves ends_at; the rule then waits for the new time.
create table auctions (
  id serial primary key,
  title text not null,
  state text not null default 'open',
  ends_at timestamptz not null,
  reserve_price numeric not null default 0,
  top_bid numeric,
  top_bidder_id integer
);

create table orders (
  id bigserial primary key,
  auction_id integer not null unique references auctions,
  buyer_id integer not null,
  price numeric not null,
  ordered_at timestamptz not null
);

insert into auctions (title, ends_at, reserve_price, top_bid, top_bidder_id) values
  ('Lamp', '2026-03-10 11:58Z', 10, 25, 7),
  ('Vase', '2026-03-10 11:59Z', 100, 60, 8),
  ('Chair', '2026-03-10 11:00Z', 0, null, null),
  ('Desk', '2026-03-10 12:05Z', 0, 40, 7);
