import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';

test('packages work on a table of other names, in another schema, with a key of another type', async () => {
  await using db = await database();
  await db.query(`create schema shop;
    create table shop.offers (
      "Id" uuid primary key default gen_random_uuid(), title varchar(80) not null, kind text not null default 'hotspot',
      scheduled boolean not null default true, publish_at timestamptz, unpublish_at timestamptz,
      state text not null default 'inactive', live boolean not null default false, validity text, deleted_at timestamptz
    );
    insert into shop.offers (title, publish_at, unpublish_at, validity) values
      ('one', now() - interval '1 hour', now() + interval '1 hour', 'the buyer''s'),
      ('two', now() + interval '1 hour', null, '1 day');
    insert into shop.offers (title, publish_at, deleted_at) values ('gone', now() - interval '1 hour', now())`);
  const yaml = `
jobs:
  offers:
    uses: packages
    table: shop.offers
    id: '"Id"'
    where: deleted_at is null
    columns:
      name: title
      type: kind
      enable_schedule: scheduled
      scheduled_activation_time: publish_at
      scheduled_deactivation_time: unpublish_at
      status: state
      is_active: live
      validity: null
      repeats: null
`;
  const plan = await apply(db, yaml, '--dry-run');
  console.log(plan.out, plan.err);
  const { out } = await applied(db, yaml, '--backlog', 'run');
  console.log(out);
  const tick = await db.cli(['tick']);
  console.log(tick.code, tick.out, tick.err);
  console.log(await db.query('select * from shop.offers order by title'));
  console.log(await db.events());
  console.log((await db.cli(['jobs'])).out);
  console.log((await db.cli(['doctor'])).out);
  assert.equal((await apply(db, yaml, '--check')).code, 0);
});
