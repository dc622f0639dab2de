import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maskPhone } from '../../../src/base/mask.ts';
import { application, database, type TestDatabase } from '../../support/harness.ts';
import {
  at,
  checksOf,
  epoch,
  hotspotPackage,
  NOW,
  passOf,
  pay,
  repliesOf,
  theSession,
  theUser,
} from '../../support/hotspot-rows.ts';
import { SCHEMA } from '../../support/schema.ts';
import { until } from '../../support/until.ts';

const tick = async (db: TestDatabase, time = NOW, options = {}) =>
  passOf(await db.tick(time, { only: ['payments'], ...options }), 'payments');

const failures = async (db: TestDatabase) =>
  (await db.query('select error from scheduler.failures order by entity_id::bigint')).map(({ error }) => error);
const iso = (time: Date) => time.toISOString();

/** A user who has paid once, at 10:00, for the package of that id. */
async function customer(db: TestDatabase, over: object = {}) {
  const { id } = await hotspotPackage(db, over);
  await pay(db, id);
  await tick(db);
  return { id, username: (await theUser(db)).username };
}

test('a completed payment gives its phone number a user with access for the time that was bought', async () => {
  await using db = await database();
  const bought = await hotspotPackage(db);
  const payment = await pay(db, bought.id);
  assert.deepEqual((await tick(db)).changed, { provision: 1, 'create user': 1 });
  const user = await theUser(db);
  assert.equal(user.phone_number, '254712345678');
  assert.equal(user.has_active_subscription, true);
  assert.equal(user.status, 'active');
  assert.equal(user.package_name, '1 Hour');
  assert.equal(iso(user.subscription_expires_at), at(60));
  assert.deepEqual(
    [(await db.one('select provisioned_at from payments')).provisioned_at.toISOString()],
    ['2026-03-01T10:00:00.000Z'],
  );
  const session = await theSession(db);
  assert.equal(session.payment_id, payment.id);
  assert.equal(session.hotspot_user_id, user.id);
  assert.equal(session.mac_address, 'AA:BB:CC:00:11:22');
  assert.equal(iso(session.expected_end), at(60));
});

test('RADIUS gets the password, the end in epoch seconds, the devices, the time and the speed', async () => {
  await using db = await database();
  await pay(db, (await hotspotPackage(db)).id);
  await tick(db, at(1));
  const { username } = await theUser(db);
  const { 'Cleartext-Password': password, ...checks } = await checksOf(db, username);
  assert.match(password, /^[34679cdfhjknprtvxy]{10}$/);
  assert.deepEqual(checks, { Expiration: epoch(at(61)), 'Simultaneous-Use': '2' });
  assert.deepEqual(await repliesOf(db, username), {
    'Session-Timeout': '3600',
    'Idle-Timeout': '900',
    'Acct-Interim-Interval': '300',
    'Mikrotik-Rate-Limit': '2M/4M',
  });
});

test('the intervals that routers are told can be set, and a data limit beyond 32 bits fits', async () => {
  await using db = await database();
  const bought = await hotspotPackage(db, {
    data_limit: 5_000_000_000,
    upload_speed: null,
    download_speed: '512 kbps',
  });
  await pay(db, bought.id);
  await tick(db, NOW, { env: { SCHEDULER_RADIUS_IDLE: '0', SCHEDULER_RADIUS_INTERIM: '60' } });
  assert.deepEqual(await repliesOf(db, (await theUser(db)).username), {
    'Session-Timeout': '3600',
    'Acct-Interim-Interval': '60',
    'Mikrotik-Rate-Limit': '0/512k',
    'Mikrotik-Total-Limit': String(5_000_000_000 - 2 ** 32),
    'Mikrotik-Total-Limit-Gigawords': '1',
  });
  assert.equal((await theSession(db)).data_limit, '5000000000');
});

test('the SMS with the credentials is queued, due at once', async () => {
  await using db = await database();
  const payment = await pay(db, (await hotspotPackage(db)).id);
  await tick(db);
  const user = await theUser(db);
  const queued = await db.one('select * from hotspot_credentials');
  assert.equal(queued.payment_id, payment.id);
  assert.equal(queued.username, user.username);
  assert.equal(queued.plain_password, (await checksOf(db, user.username))['Cleartext-Password']);
  assert.equal(queued.sms_status, 'pending');
  assert.equal(iso(queued.sms_next_attempt_at), at(0));
  assert.equal(iso(queued.expires_at), at(60));
});

test('PaymentCompleted and HotspotUserCreated tell about it, with the number masked', async () => {
  await using db = await database();
  const bought = await hotspotPackage(db);
  const payment = await pay(db, bought.id);
  await tick(db);
  const user = await theUser(db);
  const [completed, created] = await db.events();
  assert.equal(completed?.type, 'PaymentCompleted');
  assert.deepEqual(completed?.channels, ['dashboard-stats', 'payments']);
  assert.deepEqual(completed?.data, {
    payment_id: Number(payment.id),
    amount: 50,
    phone_number: '2547****678',
    package_id: Number(bought.id),
    status: 'completed',
  });
  assert.equal(created?.type, 'HotspotUserCreated');
  assert.deepEqual(created?.channels, ['dashboard-stats', 'hotspot-users']);
  assert.deepEqual(created?.data, {
    user_id: Number(user.id),
    username: user.username,
    phone_number: '2547****678',
    package_name: '1 Hour',
    expires_at: '2026-03-01T11:00:00Z',
    payment_id: Number(payment.id),
    amount: 50,
  });
});

test('a payment that is pending, failed or already provisioned gives nothing', async () => {
  await using db = await database();
  const { id } = await hotspotPackage(db);
  await pay(db, id, { status: 'pending' });
  await pay(db, id, { status: 'failed' });
  await pay(db, id, { provisioned_at: NOW });
  await tick(db);
  assert.deepEqual(await db.query('select * from hotspot_users'), []);
});

test('a second tick gives nothing more', async () => {
  await using db = await database();
  await customer(db);
  const before = await db.query('select * from hotspot_users, radcheck, radius_sessions, hotspot_credentials');
  assert.deepEqual((await tick(db, at(1))).changed, {});
  assert.deepEqual(
    await db.query('select * from hotspot_users, radcheck, radius_sessions, hotspot_credentials'),
    before,
  );
});

test('a second payment before the end adds its time to what is left, and the password stays', async () => {
  await using db = await database();
  const { id, username } = await customer(db);
  const { 'Cleartext-Password': password } = await checksOf(db, username);
  const second = await pay(db, id, { updated_at: at(30) });
  assert.deepEqual((await tick(db, at(30))).changed, { extend: 1 });
  const user = await theUser(db);
  assert.equal(iso(user.subscription_starts_at), at(0));
  assert.equal(iso(user.subscription_expires_at), at(120));
  assert.deepEqual(await checksOf(db, username), {
    'Cleartext-Password': password,
    Expiration: epoch(at(120)),
    'Simultaneous-Use': '2',
  });
  assert.equal((await repliesOf(db, username))['Session-Timeout'], '5400');
  const session = await theSession(db);
  assert.equal(session.payment_id, second.id);
  assert.equal(iso(session.expected_end), at(120));
  const replaced = await db.one(`select * from radius_sessions where status <> 'active'`);
  assert.equal(replaced.disconnect_reason, `extended by payment ${second.id}`);
  assert.equal((await db.events()).filter(({ type }) => type === 'HotspotUserCreated').length, 1);
  const told = await db.one('select * from hotspot_credentials where payment_id = $1', [second.id]);
  assert.equal(told.plain_password, password);
  assert.equal(iso(told.expires_at), at(120));
});

test('a payment that came before the end extends, though the tick comes after it', async () => {
  await using db = await database();
  const { id } = await customer(db);
  await pay(db, id, { updated_at: at(59) });
  assert.deepEqual((await tick(db, at(61))).changed, { extend: 1 });
  assert.equal(iso((await theUser(db)).subscription_expires_at), at(121));
});

test('a payment after the end starts anew, with another password', async () => {
  await using db = await database();
  const { id, username } = await customer(db);
  const before = await checksOf(db, username);
  await pay(db, id, { updated_at: at(90) });
  assert.deepEqual((await tick(db, at(90))).changed, { provision: 1 });
  const user = await theUser(db);
  assert.equal(user.username, username);
  assert.equal(iso(user.subscription_starts_at), at(90));
  assert.equal(iso(user.subscription_expires_at), at(150));
  const after = await checksOf(db, username);
  assert.notEqual(after['Cleartext-Password'], before['Cleartext-Password']);
  assert.equal(after.Expiration, epoch(at(150)));
});

test('the same package again adds its data to what is left; another changes speed and limit', async () => {
  await using db = await database();
  const small = await hotspotPackage(db, { data_limit: 1000 });
  const large = await hotspotPackage(db, { data_limit: 9000, upload_speed: '10M', download_speed: '20M', devices: 5 });
  await pay(db, small.id);
  await tick(db);
  await db.query('update hotspot_users set data_used = 700');
  await pay(db, small.id, { updated_at: at(1) });
  await tick(db, at(1));
  let user = await theUser(db);
  assert.deepEqual([user.data_limit, user.data_used], ['2000', '700']);
  assert.equal((await theSession(db)).data_limit, '1300');
  assert.equal((await repliesOf(db, user.username))['Mikrotik-Total-Limit'], '1300');

  await pay(db, large.id, { updated_at: at(2) });
  await tick(db, at(2));
  user = await theUser(db);
  assert.deepEqual([user.data_limit, user.data_used, user.package_id], ['9000', '0', large.id]);
  assert.equal(iso(user.subscription_expires_at), at(180));
  const replies = await repliesOf(db, user.username);
  assert.equal(replies['Mikrotik-Rate-Limit'], '10M/20M');
  assert.equal(replies['Mikrotik-Total-Limit'], '9000');
  assert.equal((await checksOf(db, user.username))['Simultaneous-Use'], '5');
});

test('a payment of who has used up the data starts anew', async () => {
  await using db = await database();
  const { id } = await customer(db, { data_limit: 1000 });
  await db.query('update hotspot_users set data_used = 1000');
  await pay(db, id, { updated_at: at(10) });
  await tick(db, at(10));
  const user = await theUser(db);
  assert.deepEqual([user.data_limit, user.data_used, iso(user.subscription_expires_at)], ['1000', '0', at(70)]);
});

test('two payments of one phone number in one batch count both, whatever the batch size', async () => {
  for (const batchSize of [1, 2, 1000]) {
    await using db = await database();
    const { id } = await hotspotPackage(db);
    for (let n = 0; n < 3; n++) await pay(db, id);
    await pay(db, id, { phone_number: '254700000001' });
    assert.deepEqual((await tick(db, NOW, { batchSize })).changed, { provision: 2, extend: 2, 'create user': 2 });
    const user = await db.one(`select * from hotspot_users where phone_number = '254712345678'`);
    assert.equal(iso(user.subscription_expires_at), at(180));
    assert.equal((await checksOf(db, user.username)).Expiration, epoch(at(180)));
    const active = await db.query(`select from radius_sessions where status = 'active' and hotspot_user_id = $1`, [
      user.id,
    ]);
    assert.equal(active.length, 1);
  }
});

test('a payment that the application holds keeps the later ones of its number waiting, and nobody waits for it', async () => {
  await using db = await database();
  const [slow, fast] = [
    await hotspotPackage(db),
    await hotspotPackage(db, { upload_speed: '8M', download_speed: '8M' }),
  ];
  const held = await pay(db, slow.id);
  await pay(db, fast.id, { created_at: at(0.5), updated_at: at(0.5) });
  await using app = await application(db);
  await app.query('begin');
  await app.query('update payments set amount = amount where id = $1', [held.id]);
  assert.deepEqual((await tick(db, at(1))).changed, {});
  assert.deepEqual(await failures(db), []);
  await app.query('rollback');
  assert.deepEqual((await tick(db, at(2))).changed, { provision: 1, 'create user': 1, extend: 1 });
  assert.equal((await repliesOf(db, (await theUser(db)).username))['Mikrotik-Rate-Limit'], '8M/8M');
});

test('a payment is provisioned at once though the clock of the application is ahead', async () => {
  await using db = await database();
  const { id } = await hotspotPackage(db);
  await pay(db, id, { created_at: at(120), updated_at: at(120) });
  await pay(db, id, { updated_at: at(180) });
  assert.deepEqual((await tick(db)).changed, { provision: 1, 'create user': 1, extend: 1 });
  assert.equal(iso((await theUser(db)).subscription_expires_at), at(120));
  assert.deepEqual((await tick(db, at(240))).changed, {});
});

test('too small an amount fails that row, naming both amounts, and nobody else', async () => {
  await using db = await database();
  const { id } = await hotspotPackage(db);
  await pay(db, id, { amount: 49.99 });
  await pay(db, id, { phone_number: '254700000001', amount: 60 });
  const pass = await tick(db);
  assert.equal(pass.failed, 1);
  assert.deepEqual(await failures(db), [`its amount of 49.99 is less than the price of package ${id}, which is 50.00`]);
  assert.equal((await theUser(db)).phone_number, '254700000001');
});

test('a payment that buys nothing is told once, with the reason, and provisioned once it is mended', async () => {
  await using db = await database();
  const { id } = await hotspotPackage(db);
  const small = await pay(db, id, { amount: 49.99 });
  await pay(db, 4711, { phone_number: '254700000001' });
  await pay(db, id, { phone_number: '254700000002' });
  assert.deepEqual((await tick(db)).changed, { provision: 1, 'create user': 1, refuse: 2 });
  const told = async () => (await db.events()).filter(({ type }) => type === 'PaymentRefused');
  const [first, second] = await told();
  assert.deepEqual(first!.channels, ['dashboard-stats', 'payments']);
  assert.deepEqual(first!.data, {
    ...{
      payment_id: Number(small.id),
      amount: 49.99,
      phone_number: '2547****678',
      package_id: Number(id),
      status: 'refused',
    },
    reason: `its amount of 49.99 is less than the price of package ${id}, which is 50.00`,
  });
  assert.equal(second!.data.reason, 'its package 4711 does not exist');
  await tick(db, at(10));
  assert.equal((await told()).length, 2);
  await db.query('update payments set amount = 50 where id = $1', [small.id]);
  assert.deepEqual((await tick(db, at(50))).changed, { provision: 1, 'create user': 1 });
  assert.equal((await told()).length, 2);
});

test('an amount that is no number buys nothing', async () => {
  for (const type of ['numeric', 'double precision']) {
    await using db = await database();
    await db.query(`alter table payments alter amount type ${type}`);
    const { id } = await hotspotPackage(db);
    const amounts = ['NaN', ...(type === 'numeric' ? [] : ['Infinity', '-Infinity'])];
    for (const amount of amounts) await pay(db, id, { amount, phone_number: `25470000000${amount.length}` });
    await pay(db, id);
    const { changed, failed } = await tick(db);
    assert.deepEqual([changed.provision, failed], [1, amounts.length], type);
    assert.deepEqual(
      await failures(db),
      amounts.map((amount) => `its amount is ${amount}, which is no number`),
    );
  }
});

test('a package that is gone, a duration or a speed that cannot be read, and a suspended user fail their rows', async () => {
  await using db = await database();
  const good = await hotspotPackage(db);
  const odd = await hotspotPackage(db, { duration: 'a while' });
  const fast = await hotspotPackage(db, { upload_speed: 'fast' });
  const less = await hotspotPackage(db, { data_limit: -1 });
  await db.insert('hotspot_users', { username: 'x', phone_number: '254700000004', status: 'suspended' });
  const before = await db.query('select * from hotspot_users');
  await pay(db, 4711, { phone_number: '254700000001' });
  await pay(db, odd.id, { phone_number: '254700000002' });
  await pay(db, fast.id, { phone_number: '254700000003' });
  await pay(db, good.id, { phone_number: '254700000004' });
  await pay(db, good.id, { phone_number: ' ' });
  await pay(db, less.id, { phone_number: '254700000005' });
  assert.equal((await tick(db)).failed, 6);
  const user = before[0]!.id;
  assert.deepEqual(await failures(db), [
    'its package 4711 does not exist',
    `the duration 'a while' of package ${odd.id} is not a count and a unit, such as '1 hour'`,
    `the upload speed 'fast' of package ${fast.id} is not a number with k, M or G`,
    `hotspot user ${user} is suspended: payments of that number wait for an operator`,
    'it has no phone number',
    `the data limit of package ${less.id} is less than nothing, or cannot be read`,
  ]);
  assert.deepEqual(await db.query('select * from hotspot_users'), before);
});

test('a transaction or a receipt cannot be stored twice', async () => {
  await using db = await database();
  const { id } = await hotspotPackage(db);
  await pay(db, id, { transaction_id: 'T', mpesa_receipt: 'QX1' });
  await assert.rejects(pay(db, id, { transaction_id: 'T' }), { code: '23505' });
  await assert.rejects(pay(db, id, { mpesa_receipt: 'QX1' }), { code: '23505' });
  for (const none of [null, null, '', '']) await pay(db, id, { mpesa_receipt: none });
});

test('an application that stored one receipt twice has it counted once', async () => {
  await using db = await database();
  const { id } = await hotspotPackage(db);
  await db.query('drop index payments_mpesa_receipt_once');
  await pay(db, id, { mpesa_receipt: 'QX1' });
  await pay(db, id, { mpesa_receipt: 'QX1' });
  await db.migrate();
  assert.equal((await tick(db)).failed, 1);
  assert.match((await failures(db))[0], /^the same M-Pesa receipt was counted before, as payment \d+$/);
  assert.equal(iso((await theUser(db)).subscription_expires_at), at(60));
});

test("the operator's changes to a user's RADIUS rows stay when the user pays again", async () => {
  await using db = await database();
  const { id, username } = await customer(db);
  await db.insert('radreply', { username, attribute: 'Framed-Pool', op: ':=', value: 'vip' });
  await pay(db, id, { updated_at: at(1) });
  await tick(db, at(1));
  assert.equal((await repliesOf(db, username))['Framed-Pool'], 'vip');
});

test("an operator's change to a RADIUS row that is not committed yet stays when the user pays again", async () => {
  await using db = await database();
  const { id, username } = await customer(db);
  await using app = await application(db);
  await app.query(
    `begin; update radreply set attribute = 'Framed-Pool', value = 'vip' where attribute = 'Idle-Timeout'`,
  );
  await pay(db, id, { updated_at: at(1) });
  const second = tick(db, at(1));
  const waits = `select from pg_stat_activity where datname = current_database() and wait_event = 'transactionid'`;
  await until('one waits', async () => (await db.query(waits)).length > 0, 60_000);
  await app.query('commit');
  assert.equal((await second).failed, 0);
  assert.equal((await repliesOf(db, username))['Framed-Pool'], 'vip');
});

test('twelve runners at once without the lock count every payment once', async () => {
  await using db = await database({ withoutLock: true });
  const { id } = await hotspotPackage(db);
  for (let n = 0; n < 120; n++)
    await pay(db, id, { phone_number: `2547000000${String(Math.floor(n / 3)).padStart(2, '0')}` });
  for (let round = 0; round < 3; round++) {
    await Promise.all(Array.from({ length: 12 }, () => db.tick(NOW, { only: ['payments'], batchSize: 7 })));
  }
  const users = await db.query('select * from hotspot_users');
  assert.equal(users.length, 40);
  for (const user of users) {
    assert.equal(iso(user.subscription_expires_at), at(180));
    assert.equal((await checksOf(db, user.username)).Expiration, epoch(at(180)));
    await repliesOf(db, user.username);
  }
  assert.equal((await db.one(`select count(*)::integer as n from radius_sessions where status = 'active'`)).n, 40);
  assert.equal((await db.events()).filter(({ type }) => type === 'PaymentCompleted').length, 120);
  assert.deepEqual(await db.query('select * from scheduler.failures'), []);
});

test('a payment that two runners found wrong at the same time has failed once, and one of them says so', async () => {
  await using db = await database({ withoutLock: true });
  const { id } = await hotspotPackage(db);
  await pay(db, id, { amount: 5 });
  await db.query(`
    create sequence comers;
    alter function scheduler.try_hold rename to really_hold;
    create function scheduler.try_hold(kind integer, key text) returns boolean language plpgsql as $$
    begin
      if nextval('${SCHEMA}.comers') = 1 then perform pg_advisory_xact_lock(7); end if;
      return scheduler.really_hold(kind, key);
    end $$`);
  await using app = await application(db);
  await app.query('begin; select pg_advisory_xact_lock(7)');
  const slow = tick(db, NOW);
  const waits = `select from pg_stat_activity where datname = current_database() and wait_event = 'advisory'`;
  await until('one waits', async () => (await db.query(waits)).length > 0, 60_000);
  assert.equal((await tick(db, NOW)).failed, 1);
  await app.query('commit');
  assert.equal((await slow).failed, 0);
  assert.equal((await db.one('select attempts from scheduler.failures')).attempts, 1);
});

test('numbers are masked in SQL as they are in TypeScript', async () => {
  await using db = await database();
  const numbers = [
    ...['254712345678', '+254712345678', ' +254 712 345 678', '0712345678', '07123456789', '(0712) 345-678'],
    ...['712345678', '123456', '12345'],
    ...['', 'no digits', '+1', '2547+12345678', '٠١٢٣٤٥٦٧٨٩', '+٠١٢٣٤٥٦٧٨٩12', '00254712345678901'],
  ];
  for (const phone of numbers) {
    assert.equal((await db.one('select scheduler.mask_phone($1) as masked', [phone])).masked, maskPhone(phone), phone);
  }
});

test('speeds are read as people write them', async () => {
  await using db = await database();
  const read = async (speed: string | null) => (await db.one('select scheduler.speed($1) as speed', [speed])).speed;
  const readable = Object.entries({
    '5M': '5M',
    '5 Mbps': '5M',
    '512k': '512k',
    '1G': '1G',
    '10mbit/s': '10M',
    '2000000': '2000000',
  });
  const none = [null, '', 'unlimited'].map((written) => [written, '0'] as const);
  const unreadable = ['fast', '5X', '-1M', '1.5M'].map((written) => [written, null] as const);
  for (const [written, speed] of [...readable, ...none, ...unreadable]) {
    assert.equal(await read(written), speed, String(written));
  }
});

test('sizes are read as people write them, and none of them raises', async () => {
  await using db = await database();
  const sizes: Record<string, number | null> = {
    ...{
      '5 GB': 5 * 2 ** 30,
      '500MB': 500 * 2 ** 20,
      '1.5 GiB': 1.5 * 2 ** 30,
      '2t': 2 * 2 ** 40,
      '10 kb': 10_240,
      '0': 0,
    },
    ...{ '2048': 2048, '2048 bytes': 2048, ' 1\tB\n': 1, '1.9': 1, '': null, ' ': null, '-1': null, Unlimited: null },
    ...{
      fast: -1,
      '-5 GB': -1,
      '1,5 GB': -1,
      '5 XB': -1,
      GB: -1,
      '9e99': -1,
      NaN: -1,
      '٥ GB': -1,
      [`${'9'.repeat(19)}T`]: -1,
    },
    [`${'5'.repeat(100_000)}`]: -1,
  };
  for (const [written, bytes] of Object.entries(sizes)) {
    const [row] = await db.query('select scheduler.bytes($1)::text as bytes', [written]);
    assert.equal(row!.bytes, bytes === null ? null : String(bytes), written.slice(0, 40));
  }
  assert.equal((await db.one('select scheduler.bytes(null) as bytes')).bytes, null);
  // Also in an index, which an application's insert must get past.
  await db.query(`create table sold (size text); create index on sold (scheduler.bytes(size))`);
  await db.query('insert into sold select unnest($1::text[])', [Object.keys(sizes).map((size) => size.slice(0, 1000))]);
});

test('an application whose completed payments predate this program gets nobody provisioned again', async () => {
  await using db = await database({ empty: true });
  await db.query(`
    create table packages (id uuid primary key default gen_random_uuid(), name varchar(255), type varchar(20) default 'hotspot',
      price numeric(10,2), duration varchar(50), data_limit bigint, upload_speed varchar(20), download_speed varchar(20),
      devices integer, enable_schedule boolean default false, scheduled_activation_time timestamp, status varchar(20) default 'active',
      is_active boolean default true);
    create table payments (id uuid primary key default gen_random_uuid(), phone_number varchar(20), mac_address varchar(17),
      package_id uuid, amount numeric(10,2), transaction_id varchar(255), mpesa_receipt varchar(255), status varchar(20),
      created_at timestamp, updated_at timestamp);
    insert into packages (name, price, duration, devices, upload_speed, download_speed) values ('1 Hour', 50, '1 hour', 1, '2M', '4M');
    insert into payments (phone_number, package_id, amount, transaction_id, status, updated_at)
      select '254700000001', id, 50, 'old', 'completed', '2026-01-01' from packages`);
  const env = { SCHEDULER_DB_TIMEZONE: 'Africa/Nairobi' };
  await db.migrate(env);
  await db.query(`insert into payments (phone_number, package_id, amount, transaction_id, status, updated_at)
    select '254700000002', id, 50, 'new', 'completed', '2026-03-01 12:59:00' from packages`);
  assert.deepEqual((await tick(db, NOW, { env })).changed, { provision: 1, 'create user': 1 });
  const user = await theUser(db);
  assert.equal(user.phone_number, '254700000002');
  assert.equal(user.subscription_expires_at.toISOString(), at(60));
  const event = (await db.events())[0]!;
  assert.equal(event.due_at.toISOString(), '2026-03-01T09:59:00.000Z');
});

test('payments are not installed beside packages that have no price or duration', async () => {
  await using db = await database({ empty: true });
  await db.query(
    `create table packages (id bigint primary key, name text, enable_schedule boolean, scheduled_activation_time timestamptz)`,
  );
  await db.migrate();
  const { skipped } = await db.tick(NOW, { only: ['payments'] });
  assert.match(skipped[0]?.why ?? '', /^not installed: .*packages\.price, packages\.duration/);
  // To those that nobody puts on sale on time nothing is added.
  await db.query(`drop table packages; create table packages (id bigint primary key, name text, price numeric, duration text,
    data_limit bigint, upload_speed text, download_speed text, devices integer)`);
  await db.migrate();
  const { skipped: none } = await db.tick(NOW, { only: ['payments'] });
  const columns = await db.query(`select from pg_attribute where attrelid = 'packages'::regclass and attnum > 0`);
  assert.deepEqual([none, columns.length], [[], 8]);
});
