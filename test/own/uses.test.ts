import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';
import { here } from '../support/schema.ts';
import { stranger } from '../support/stranger.ts';

const OFFERS = `
  create schema shop;
  create table shop.offers (
    "Id" uuid primary key default gen_random_uuid(), title varchar(80) not null, kind text not null default 'hotspot',
    scheduled boolean not null default true, publish_at timestamp, unpublish_at timestamptz,
    state text not null default 'inactive', live boolean not null default false, validity text, changed integer not null default 0,
    deactivated_at timestamptz not null default 'epoch', deleted_at timestamptz
  );
  insert into shop.offers (title, publish_at, unpublish_at, validity) values
    ('one', '2026-03-01 10:00', '2026-03-01T12:00Z', 'the buyer''s'), ('two', '2026-03-01 11:00', null, '1 day');
  insert into shop.offers (title, publish_at, deleted_at) values ('gone', '2026-03-01 10:00', now())`;
const USE_OFFERS = `
  offers:
    uses: packages
    table: shop.offers
    id: '"Id"'
    where: deleted_at is null
    columns:
      name: title
      type: upper(kind)
      enable_schedule: scheduled
      scheduled_activation_time: publish_at
      scheduled_deactivation_time: unpublish_at
      status: state
      is_active: live
      validity: null
      repeats: null
    set: changed = changed + 1
`;

test('a built-in job works on a table of other names, columns and types, and on no other', async () => {
  await using db = await database();
  await db.query(OFFERS);
  await db.query(
    `insert into packages (name, enable_schedule, scheduled_activation_time) values ('ours', true, '2026-03-01T10:00Z')`,
  );
  const yaml = `jobs:${USE_OFFERS}`;
  const refused = await apply(db, yaml);
  assert.equal(refused.code, 2, refused.out);
  assert.match(refused.out, /the column shop\.offers\.opened_start \(timestamptz\) is added/);
  assert.match(refused.out, /activate: due now: 1 row, the oldest since 2026-03-01 11:00/);
  await applied(db, yaml, '--backlog', 'run');
  assert.equal((await apply(db, yaml, '--check')).code, 0);

  await db.tick('2026-03-01T10:30Z');
  await db.tick('2026-03-01T12:00Z');
  assert.deepEqual(
    await db.query(
      `select title, state, live, changed, scheduler.iso(deactivated_at) as at from shop.offers order by title`,
    ),
    [
      { title: 'gone', state: 'inactive', live: false, changed: 0, at: '1970-01-01T00:00:00Z' },
      { title: 'one', state: 'inactive', live: false, changed: 2, at: '2026-03-01T12:00:00Z' },
      { title: 'two', state: 'active', live: true, changed: 1, at: '1970-01-01T00:00:00Z' },
    ],
  );
  const [first] = await db.events();
  assert.equal(first!.job, 'offers');
  assert.equal(first!.data.package_name, 'one');
  assert.equal(first!.data.package_type, 'HOTSPOT');
  // The table of the usual name is nobody's business now.
  assert.equal((await db.one('select status from packages')).status, 'inactive');
  const { out } = await db.cli(['packages', '--json']);
  assert.deepEqual(
    JSON.parse(out).jobs.map((each: { job: string }) => each.job),
    ['offers'],
  );
  assert.match((await db.cli(['jobs'])).out, /^offers +uses packages +installed/m);
  const doctor = await db.cli(['doctor']);
  assert.equal(doctor.code, 0, doctor.out);
  assert.match(doctor.out, /^ok +offers +on shop\.offers/m);
  assert.doesNotMatch(doctor.out, /^ok +packages/m);
  await db.migrate();
  assert.equal((await db.cli(['doctor'])).code, 0);

  await db.query('alter table shop.offers rename publish_at to starts_at');
  const renamed = await db.cli(['doctor']);
  assert.equal(renamed.code, 1);
  assert.match(renamed.out, /offers +since it was applied: .*"publish_at".*did you mean/s);
});

test('a job is used twice, beside one that keeps its own table; each has failures of its own', async () => {
  await using db = await database();
  await db.query(`create schema a; create schema b;
    create table a.codes (no text primary key, word text, state text not null default 'unused', until timestamptz);
    create table b.codes (no bigserial primary key, word text, state text not null default 'unused', until date);
    insert into a.codes values ('x', 'w', 'unused', '2026-03-01Z');
    insert into b.codes (word, until) values ('w', '2026-03-01');`);
  const use = (schema: string) => `
  ${schema}-codes: { uses: vouchers, table: ${schema}.codes, id: no, columns: { code: word, status: state, expires_at: until } }`;
  const plan = await applied(db, `jobs:${use('a')}${use('b')}\n`, '--backlog', 'run');
  assert.match(plan, /columns\.expires_at is a date, and stands for the midnight that begins it/);
  assert.match(
    (await apply(db, `jobs:${use('a')}\n`, '--prune', '--dry-run')).out,
    /^- b-codes +on b\.codes; vouchers looks for a table of its usual name again$/m,
  );
  await db.query(`create function a.no() returns trigger language plpgsql as $$ begin raise 'not today'; end $$;
    create trigger no before update on a.codes for each row execute function a.no()`);
  const { jobs } = await db.tick('2026-03-02T00:00Z', { only: ['a-codes', 'b-codes'] });
  assert.deepEqual(
    jobs.map(({ job, changed, failed }) => [job, changed, failed]),
    [
      ['a-codes', {}, 1],
      ['b-codes', { expire: 1 }, 0],
    ],
  );
  assert.deepEqual(await db.query('select job, rule, entity_id from scheduler.failures'), [
    { job: 'a-codes', rule: 'expire', entity_id: 'x' },
  ]);
});

test('a column that does not fit gets a sentence at its place, and nothing is changed', async () => {
  await using db = await database();
  await db.query(`create type mood as enum ('ACTIVE', 'CANCELED');
    create table plans (id text primary key, owner text not null, mood mood not null, starts timestamp(3), ends timestamp(3), before text,
      since timestamp generated always as (starts) stored, must text not null);
    create table codes (id serial primary key, code text, status varchar(9) check (status in ('unused', 'active')), expires_at text);
    create table pays (id uuid primary key, phone text, package text, code text, state text, paid numeric, made timestamptz)`);
  const yaml = `
jobs:
  plans:
    uses: subscriptions
    table: plans
    columns:
      userId: owner
      packageId: null
      status: mood
      isActive: mood = 'ACTIVE'
      startDate: since
      endDate: ends
      scheduledStartDate: startz
      previousSubscriptionId: before
      createdOn: starts
  codes: { uses: vouchers, table: codes, columns: { expires_at: expires_at::timestamptz } }
  sold:
    uses: payment
    table: pays
  paid:
    uses: payments
    table: pays
    columns: { phone_number: phone, package_id: package, transaction_id: code, status: state, amount: paid }
    tables:
      packges: { table: plans }
`;
  const { code, out } = await apply(db, yaml);
  assert.equal(code, 1);
  const said = (line: number, sentence: RegExp) =>
    assert.ok(
      out.split('\n').some((each) => each.includes(`:${line}:`) && sentence.test(each)),
      `${line} ${sentence}\n${out}`,
    );
  said(13, /the table has no column "startz"; did you mean "starts"\?/);
  said(15, /"subscriptions?.*has no column "createdOn"|no column "createdOn"/);
  said(18, /"payment" is no built-in job; did you mean "payments"\?/);
  said(25, /"packges" is no other table of payments; did you mean "packages"\?/);
  const text = await apply(db, 'jobs:\n  codes: { uses: vouchers, table: codes }\n');
  assert.match(
    text.out,
    here(
      /:2:10: "expires_at" of public\.codes is of type text, and the job takes it for timestamptz: write an expression, expires_at: …/,
    ),
  );
  await db.query(`create table slips (id integer, code text, status text not null, expires_at timestamptz);
    create table deals (id serial primary key, title text not null, live boolean, state text, at timestamptz)`);
  const odd = await apply(
    db,
    `
jobs:
  slips: { uses: vouchers, table: slips, set: { id: id + 1, code: "null", status: "null" }, tables: { more: { table: slips } } }
  deals:
    uses: packages
    table: deals
    columns: { name: title, type: "'x'", enable_schedule: "true", scheduled_activation_time: at, scheduled_deactivation_time: at, status: state, is_active: live, activated_at: at, validity: null, repeats: null }
`,
  );
  assert.match(odd.out, /:3:\d+: the column "id" names the row: the job sets it itself/);
  assert.match(odd.out, here(/:3:\d+: "status" of public\.slips is "not null"/));
  assert.match(odd.out, /:3:\d+: vouchers has one table, which "table" names/);
  assert.match(odd.out, /5 faults/);
  const keyless = await apply(db, 'jobs:\n  slips: { uses: vouchers, table: slips }\n');
  assert.match(keyless.out, here(/"id" of public\.slips may be null: the column that names a row is "not null"/));
  await db.query('alter table slips alter id set not null');
  const double = await apply(db, 'jobs:\n  slips: { uses: vouchers, table: slips }\n');
  assert.match(double.out, here(/two rows of public\.slips may have the same "id"/));
  const twice = await apply(db, 'jobs:\n  a: { uses: accounting }\n  b: { uses: accounting }\n');
  assert.match(twice.out, /:3:14: "a" uses accounting already: how far it has counted is kept once/);
  const mended = yaml
    .replace('startz', 'starts')
    .replace(/ {6}createdOn.*\n/, '')
    .replace(/ {2}sold:[\s\S]*/, '');
  const second = await apply(db, mended);
  assert.equal(second.code, 1);
  assert.match(
    second.out,
    here(/:10:\d+: the job writes "isActive": name a column of public\.plans for it, not an expression/),
  );
  assert.match(
    second.out,
    here(/:11:\d+: the job writes "startDate", and the column "since" of public\.plans is generated/),
  );
  assert.match(second.out, /:15:\d+: an index is built on "expires_at", and this may fail for some values/);
  const third = await apply(
    db,
    mended.replace(/ {6}isActive.*\n {6}startDate.*\n/, '').replace('expires_at::timestamptz', 'null'),
  );
  assert.equal(third.code, 1);
  assert.match(
    third.out,
    here(
      /the enum type of "\w+" lacks a word that the job writes or looks for\. Add it: alter type public\.\w+ add value 'EXPIRED'/,
    ),
  );
  assert.match(third.out, here(/the check "codes_status_check" of "public"\."codes" refuses 'expired' in "status"/));
  assert.deepEqual(await db.query('select from scheduler.jobs'), []);
});

test('two names that a job writes are two columns, and a table that is gone is for apply', async () => {
  await using db = await database();
  await db.query(`create table offers (id serial primary key, title text, on_sale boolean, opens timestamptz, closes timestamptz, state text,
    last timestamptz)`);
  const yaml = (deactivated: string) => `
jobs:
  offers:
    uses: packages
    table: offers
    columns: { name: title, type: "'x'", enable_schedule: "true", scheduled_activation_time: opens, scheduled_deactivation_time: closes, status: state, is_active: on_sale, activated_at: last, validity: null, repeats: null${deactivated} }
`;
  const { code, out } = await apply(db, yaml(', deactivated_at: last'));
  assert.equal(code, 1, out);
  assert.match(
    out,
    /:6:\d+: "last" is the column of "activated_at" already, and the job writes both|"last" is the column of "deactivated_at" already/,
  );
  const plan = await applied(db, yaml(''));
  assert.match(plan, /opened_start \(timestamptz\) is added, and tells that what is past is done/);
  await db.query('alter table offers rename to sold');
  const tick = await db.cli(['tick']);
  assert.equal(tick.code, 78);
  assert.match(tick.err, /The tables of offers do not fit: .*scheduler apply.{1,3} with your files/);
  const why = here(
    /offers is not installed: the table public\.offers is gone; run "scheduler apply" with your files\./,
  );
  const asked = [
    ['next', 'offers'],
    ['explain', 'offers', '1'],
  ].map((args) => db.cli(args));
  for (const { code, out } of await Promise.all(asked))
    assert.match(`${code} ${out}`, new RegExp(`^0 .*${why.source}`, 's'));
  assert.match((await asked[1]!).out, /^offers 1: nobody can tell what comes next\.$/m);
  for (const list of ['jobs', 'status'])
    assert.match((await db.cli([list])).out, here(/^offers .*not installed .*the table public\.offers is gone/m));
});

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
  assert.match(
    out,
    here(
      /"payment_id" of public\.radius_sessions is of type bigint, and "id" of app\.pays, which it refers to, of type uuid/,
    ),
  );
  for (const table of ['radius_sessions', 'hotspot_credentials'])
    await db.query(
      `alter table ${table} drop column payment_id, drop column hotspot_user_id, add payment_id uuid, add hotspot_user_id uuid`,
    );
  await db.query('alter table radius_sessions alter package_id type integer');
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
  const { jobs } = await db.tick(undefined, { only: ['sales'] });
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

test('a table may be partitioned, and have domains and generated columns; a day may be a timestamp', async () => {
  await using db = await database();
  await db.query(`create domain word as varchar(12) check (value <> 'never');
    create table slips (no bigint, region text not null, label text not null, mood word not null default 'unused', ends timestamptz,
      shout text generated always as (upper(label)) stored, primary key (no, region)) partition by list (region);
    create table slips_a partition of slips for values in ('a');
    create table slips_b partition of slips for values in ('b');
    insert into slips (no, region, label, ends) values (1, 'a', 'x', '2026-03-01Z'), (2, 'b', 'y', '2026-03-01Z'), (3, 'b', 'z', '2036-03-01Z');
    create table deals (id serial primary key, title text, waits boolean, starts date, at_hour time, goes_on boolean, goes_off boolean, live boolean,
      until timestamp, zone text);
    insert into deals (title, waits, starts, at_hour, goes_on, goes_off, live, until) values
      ('d', true, '2026-03-01', '09:00', true, true, false, '2026-03-02 18:00')`);
  const yaml = `
jobs:
  slips: { uses: vouchers, table: slips, id: no, columns: { code: shout, status: mood, expires_at: ends } }
  deals:
    uses: special-packages
    table: deals
    columns:
      name: title
      scheduled: waits
      schedule_date: starts
      schedule_time: at_hour
      auto_activate: goes_on
      auto_deactivate: goes_off
      is_active: live
      valid_until: until
      timezone: zone
`;
  assert.match(
    await applied(db, yaml, '--backlog', 'run'),
    /nothing keeps "no" unique in all partitions: rows that share one are changed together/,
  );
  assert.equal((await apply(db, yaml, '--check')).code, 0);
  // A policy would hide rows from a role that ticks.
  await db.query(`alter table deals enable row level security`);
  await using poor = await stranger(db);
  const granted = await apply(db, yaml, '--role', poor.role);
  assert.equal(granted.code, 0, granted.out + granted.err);
  assert.match(granted.out + granted.err, here(/row-level security hides rows of public\.deals from/));
  const live = async (at: string) => {
    const { jobs } = await db.tick(at, { only: ['slips', 'deals'] });
    assert.deepEqual(
      jobs.map(({ error, failures }) => [error, failures]),
      [
        [undefined, []],
        [undefined, []],
      ],
    );
    return (await db.one('select live from deals')).live;
  };
  assert.equal(await live('2026-03-01T08:59Z'), false);
  assert.equal(await live('2026-03-01T09:00Z'), true);
  // The whole of its last day counts, whatever hour it names.
  assert.equal(await live('2026-03-02T23:59Z'), true);
  assert.equal(await live('2026-03-03T00:00Z'), false);
  assert.deepEqual(await db.query('select no::integer as no, mood from slips order by no'), [
    { no: 1, mood: 'expired' },
    { no: 2, mood: 'expired' },
    { no: 3, mood: 'unused' },
  ]);
});
