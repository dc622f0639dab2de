import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from './support/harness.ts';
import { applied, apply } from './support/own.ts';

test('rows that a job inserts get what the application requires', async () => {
  await using db = await database();
  await db.query(`create schema app;
    create table app.packs (id serial primary key, label text, cost numeric, hours text, bytes text);
    insert into app.packs (label, cost, hours) values ('day', 10, '24 hours');
    create table app.pays (id uuid primary key, msisdn varchar(20), pack_id integer, code text, receipt text, state text not null, paid numeric,
      created_at timestamptz, updated_at timestamptz);
    create table app.people (id uuid primary key, login varchar(64) not null, msisdn varchar(20), pack_id integer, pack text, has_access boolean not null,
      since timestamptz, until timestamptz, quota bigint, used bigint, state text not null, password text not null, tenant integer not null,
      created_at timestamp, updated_at timestamp)`);
  const yaml = `
jobs:
  sales:
    uses: payments
    table: app.pays
    columns: { phone_number: msisdn, mac_address: null, package_id: pack_id, transaction_id: code, mpesa_receipt: receipt, status: state, amount: paid }
    tables:
      packages:
        table: app.packs
        columns: { name: label, price: cost, duration: hours, data_limit: null, upload_speed: null, download_speed: null, devices: null }
      hotspot_users:
        table: app.people
        columns:
          username: login
          phone_number: msisdn
          package_id: pack_id
          package_name: pack
          has_active_subscription: has_access
          subscription_starts_at: since
          subscription_expires_at: until
          data_limit: quota
          data_used: used
          status: state
`;
  const { code, out } = await apply(db, yaml);
  assert.equal(code, 1, out);
  assert.match(
    out,
    /a row that the job inserts into app\.people has no "password", which is not null and has no default: say under "insert"/,
  );
  assert.match(out, /has no "tenant"/);
  await applied(
    db,
    `${yaml}        insert: { password: "md5(login)", tenant: "pack_id + 6" }\n        set: { tenant: "tenant + 100" }\n`,
  );
  const pay = (phone: string, code: string) =>
    db.query(
      `insert into app.pays (id, msisdn, pack_id, code, state, paid) values (gen_random_uuid(), $1, 1, $2, 'completed', 10)`,
      [phone, code],
    );
  await pay('+254711000001', 'first');
  console.log(
    await db.query('select * from app.pays'),
    (await db.cli(['explain', 'sales', String((await db.one('select id from app.pays')).id), '--debug'])).out,
  );
  const { jobs, skipped } = await db.tick(undefined, { only: ['sales'] });
  console.log(jobs, skipped);
  assert.deepEqual([jobs[0]!.changed, jobs[0]!.failures], [{ provision: 1, 'create user': 1 }, []]);
  const person = await db.one('select *, md5(login) = password as same from app.people');
  assert.deepEqual(
    [person.msisdn, person.pack, person.state, person.tenant, person.same],
    ['+254711000001', 'day', 'active', 7, true],
  );
  assert.ok(person.created_at && person.updated_at);
  await pay('+254711000001', 'second');
  await db.tick(undefined, { only: ['sales'] });
  assert.equal((await db.one('select tenant from app.people')).tenant, 107);
});
