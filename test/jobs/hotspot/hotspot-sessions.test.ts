import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../../support/harness.ts';
import {
  at,
  checksOf,
  hotspotPackage,
  NOW,
  online,
  passOf,
  pay,
  repliesOf,
  theUser,
} from '../../support/hotspot-rows.ts';

const tick = async (db: TestDatabase, time: string, options = {}) =>
  passOf(await db.tick(time, { only: ['hotspot-sessions'], ...options }), 'hotspot-sessions');

async function paid(db: TestDatabase, over = {}) {
  const bought = await hotspotPackage(db, over);
  await pay(db, bought.id);
  await db.tick(NOW, { only: ['payments'] });
  return { user: await theUser(db), bought };
}

test('a session whose time is up expires, and user and RADIUS access go with it', async () => {
  await using db = await database();
  const { user } = await paid(db);
  assert.deepEqual((await tick(db, '2026-03-01T10:59:59.999Z')).changed, {});
  assert.deepEqual((await tick(db, at(60))).changed, { expire: 1 });
  const session = await db.one('select * from radius_sessions');
  assert.equal(session.status, 'expired');
  assert.equal(session.disconnect_reason, 'time is up');
  assert.equal(session.session_end.toISOString(), at(60));
  const after = await theUser(db);
  assert.deepEqual([after.has_active_subscription, after.status], [false, 'expired']);
  assert.deepEqual(await checksOf(db, user.username), {});
  assert.deepEqual(await repliesOf(db, user.username), {});
  assert.equal((await db.one('select plain_password from hotspot_credentials')).plain_password, null);
});

test('SessionExpired tells session, user name, duration, data and reason, on the channel of the user too', async () => {
  await using db = await database();
  const { user } = await paid(db);
  await db.query('update radius_sessions set duration_seconds = 3000, total_bytes = 12345');
  await tick(db, at(61));
  const event = await db.one(`select * from scheduler.events where type = 'SessionExpired'`);
  assert.deepEqual(event.channels, ['dashboard-stats', `user.${user.id}`]);
  assert.deepEqual(event.data, {
    session_id: Number((await db.one('select id from radius_sessions')).id),
    username: user.username,
    duration: 3000,
    data_used: 12345,
    reason: 'time is up',
  });
  assert.equal(event.due_at.toISOString(), at(60));
});

test('a data limit that is reached ends the session before its time', async () => {
  await using db = await database();
  const { user } = await paid(db, { data_limit: 1000 });
  await db.query('update radius_sessions set total_bytes = 999; update hotspot_users set data_used = 999');
  assert.deepEqual((await tick(db, at(10))).changed, {});
  await db.query('update radius_sessions set total_bytes = 1000; update hotspot_users set data_used = 1000');
  assert.deepEqual((await tick(db, at(11))).changed, { exhaust: 1 });
  const session = await db.one('select * from radius_sessions');
  assert.deepEqual([session.status, session.disconnect_reason], ['expired', 'data limit reached']);
  assert.equal(session.session_end.toISOString(), at(11));
  assert.deepEqual(await checksOf(db, user.username), {});
});

test('an operator who raises the limit of a user, or takes it away, keeps the session', async () => {
  await using db = await database();
  await paid(db, { data_limit: 1000 });
  await db.query(
    'update radius_sessions set total_bytes = 1000; update hotspot_users set data_used = 1000, data_limit = 5000',
  );
  assert.deepEqual((await tick(db, at(11))).changed, {});
  await db.query('update hotspot_users set data_limit = null');
  assert.deepEqual((await tick(db, at(11))).changed, {});
});

test("a user's own data limit ends sessions that the application opened, too", async () => {
  await using db = await database();
  const user = { username: 'anna', phone_number: '254700000001', data_limit: 1000, data_used: 999 };
  const { id } = await db.insert('hotspot_users', { ...user, has_active_subscription: true });
  await db.insert('radius_sessions', { username: 'anna', hotspot_user_id: id, expected_end: at(600) });
  await db.insert('radcheck', { username: 'anna', attribute: 'Cleartext-Password', op: ':=', value: 'x' });
  assert.deepEqual((await tick(db, NOW)).changed, {});
  await db.query('update hotspot_users set data_used = 1000');
  assert.deepEqual((await tick(db, NOW)).changed, { exhaust: 1 });
  assert.deepEqual([(await theUser(db)).status, await checksOf(db, 'anna')], ['expired', {}]);
});

test('a limit of -1 or 0, as applications write it, is none', async () => {
  for (const none of [-1, 0]) {
    await using db = await database();
    const { bought } = await paid(db, { data_limit: 1000 });
    await db.query('update radius_sessions set total_bytes = 5000, data_limit = $1', [none]);
    await db.query('update hotspot_users set data_used = 5000, data_limit = $1', [none]);
    assert.deepEqual((await tick(db, at(10))).changed, {});
    await pay(db, bought.id, { updated_at: at(10) });
    assert.deepEqual(passOf(await db.tick(at(10), { only: ['payments'] }), 'payments').changed, { extend: 1 });
    assert.equal((await theUser(db)).data_limit, null);
    assert.deepEqual((await tick(db, at(60))).changed, {});
    assert.deepEqual((await tick(db, at(120))).changed, { expire: 1 });
    assert.equal((await theUser(db)).has_active_subscription, false);
  }
});

test('a disconnect is queued for every open session of the user, and for no other', async () => {
  await using db = await database();
  const { user } = await paid(db);
  const phone = await online(db, user.username);
  const laptop = await online(db, user.username, { nasipaddress: '10.0.0.2', framedipaddress: null });
  await online(db, user.username, { acctstoptime: at(20) });
  await online(db, 'somebody');
  await tick(db, at(60));
  const queued = await db.query('select * from session_disconnections order by radacct_id');
  assert.deepEqual(
    queued.map((row) => [row.radacct_id, row.username, row.acct_session_id, row.nas_ip_address, row.framed_ip_address]),
    [
      [phone.radacctid, user.username, phone.acctsessionid, '10.0.0.1', '10.5.50.7'],
      [laptop.radacctid, user.username, laptop.acctsessionid, '10.0.0.2', null],
    ],
  );
  for (const row of queued) assert.deepEqual([row.status, row.next_attempt_at.toISOString()], ['pending', at(60)]);
});

const disconnects = (db: TestDatabase) => db.query('select * from session_disconnections order by id');

test('a session that starts after the end is disconnected too, and one that stays online again and again', async () => {
  await using db = await database();
  const { user } = await paid(db);
  await tick(db, at(60));
  assert.deepEqual(await disconnects(db), []);
  // The router let somebody in a moment before, and reports it a moment later.
  const late = await online(db, user.username, { acctstarttime: at(60) });
  await online(db, 'somebody');
  assert.deepEqual((await tick(db, at(61))).changed, { disconnect: 1 });
  const [first] = await disconnects(db);
  assert.deepEqual([first!.radacct_id, first!.disconnect_reason], [late.radacctid, 'time is up']);
  assert.deepEqual((await tick(db, at(62))).changed, {}, 'it waits to be sent');
  const settle = (time: string) =>
    db.query(
      `update session_disconnections set status = 'disconnected', next_attempt_at = null, attempts = attempts + 1, updated_at = $1
      where next_attempt_at is not null`,
      [time],
    );
  await settle(at(62));
  assert.deepEqual((await tick(db, at(63))).changed, {}, 'the router has time to report the stop');
  assert.deepEqual((await tick(db, at(65))).changed, { disconnect: 1 });
  await settle(at(65));
  assert.deepEqual((await tick(db, at(67))).changed, {}, 'the pauses grow');
  assert.deepEqual((await tick(db, at(69))).changed, { disconnect: 1 });
  await settle(at(69));
  await db.query('update radacct set acctstoptime = now()');
  assert.deepEqual((await tick(db, at(300))).changed, {});
});

test('somebody whom RADIUS lets in is not disconnected, whatever the sessions say', async () => {
  await using db = await database();
  const { user } = await paid(db);
  await db.query(
    `update radius_sessions set status = 'expired'; update hotspot_users set has_active_subscription = false`,
  );
  await online(db, user.username);
  assert.deepEqual((await tick(db, at(1))).changed, {});
});

test('a user whose access the application renewed without a session of its own is not disconnected', async () => {
  await using db = await database();
  const { user } = await paid(db);
  await tick(db, at(60));
  await online(db, user.username);
  await db.query(
    `update hotspot_users set has_active_subscription = true, status = 'active', subscription_expires_at = $1`,
    [at(120)],
  );
  assert.deepEqual((await tick(db, at(61))).changed, {});
  assert.deepEqual((await tick(db, at(120))).changed, { disconnect: 1 });
});

test('a user who has paid again keeps the access, though the old session is closed and told about', async () => {
  await using db = await database();
  const { user, bought } = await paid(db);
  await pay(db, bought.id, { updated_at: at(60) });
  await db.tick(at(60), { only: ['payments'] });
  await online(db, user.username);
  assert.deepEqual((await tick(db, at(60))).changed, { expire: 1 });
  assert.equal((await theUser(db)).has_active_subscription, true);
  assert.ok((await checksOf(db, user.username))['Cleartext-Password']);
  assert.deepEqual(await db.query('select * from session_disconnections'), []);
  assert.equal((await db.query(`select from radius_sessions where status = 'active'`)).length, 1);
});

test('a session without a user, of a voucher for instance, is barred by its name', async () => {
  await using db = await database();
  await db.insert('radius_sessions', { username: "o'neill", expected_end: NOW });
  await db.insert('radcheck', { username: 'o=27neill', attribute: 'Cleartext-Password', op: ':=', value: 'x' });
  await db.insert('radcheck', { username: 'other', attribute: 'Cleartext-Password', op: ':=', value: 'x' });
  const open = await online(db, 'o=27neill');
  await tick(db, NOW);
  assert.deepEqual(
    (await db.query('select username from radcheck')).map((row) => row.username),
    ['other'],
  );
  assert.equal((await db.one('select radacct_id from session_disconnections')).radacct_id, open.radacctid);
  assert.deepEqual((await db.events())[0]?.channels, ['dashboard-stats']);
});

test('an operator who suspended a user finds the user suspended after the end too', async () => {
  await using db = await database();
  await paid(db);
  await db.query(`update hotspot_users set status = 'suspended'`);
  await tick(db, at(60));
  const user = await theUser(db);
  assert.deepEqual([user.status, user.has_active_subscription], ['suspended', false]);
});

test('twelve runners at once without the lock expire each session once', async () => {
  await using db = await database({ withoutLock: true });
  const { id } = await hotspotPackage(db);
  for (let n = 0; n < 60; n++) await pay(db, id, { phone_number: `2547000000${String(n).padStart(2, '0')}` });
  await db.tick(NOW, { only: ['payments'] });
  await db.query(`insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime)
    select 's' || id, 'u' || id, username, '10.0.0.1', now() from hotspot_users`);
  await Promise.all(Array.from({ length: 12 }, () => db.tick(at(60), { only: ['hotspot-sessions'], batchSize: 7 })));
  await tick(db, at(60));
  const counts = await db.one(`select
    (select count(*) from session_disconnections)::integer as disconnects,
    (select count(*) from radius_sessions where status = 'active')::integer as active,
    (select count(*) from radcheck)::integer as checks,
    (select count(*) from scheduler.events where type = 'SessionExpired')::integer as events`);
  assert.deepEqual(counts, { disconnects: 60, active: 0, checks: 0, events: 60 });
});

test('columns without a zone are read in SCHEDULER_DB_TIMEZONE', async () => {
  await using db = await database({ empty: true });
  await db.query(`
    create table hotspot_users (id uuid primary key default gen_random_uuid(), username varchar(255), phone_number varchar(20),
      package_id uuid, package_name varchar(255), has_active_subscription boolean, subscription_starts_at timestamp,
      subscription_expires_at timestamp, data_limit bigint, data_used bigint default 0, status varchar(20), created_at timestamp,
      updated_at timestamp);
    create table radius_sessions (id uuid primary key default gen_random_uuid(), hotspot_user_id uuid, payment_id uuid,
      package_id uuid, radacct_id bigint, username varchar(255), mac_address macaddr, ip_address inet, nas_ip_address inet,
      session_start timestamp, session_end timestamp, expected_end timestamp, duration_seconds integer default 0,
      bytes_in bigint default 0, bytes_out bigint default 0, total_bytes bigint default 0,
      status varchar(20) check (status in ('active', 'expired', 'disconnected')), disconnect_reason varchar(255),
      created_at timestamp, updated_at timestamp);
    insert into hotspot_users (username, phone_number, has_active_subscription, subscription_expires_at, status)
      values ('anna', '254700000001', true, '2026-03-01 13:00:00', 'active');
    insert into radius_sessions (hotspot_user_id, username, expected_end, status)
      select id, username, subscription_expires_at, 'active' from hotspot_users`);
  const env = { SCHEDULER_DB_TIMEZONE: 'Africa/Nairobi' };
  await db.migrate(env);
  assert.deepEqual((await tick(db, '2026-03-01T09:59:59Z', { env })).changed, {});
  await online(db, 'anna', { acctinputoctets: 5 });
  await db.tick('2026-03-01T09:59:59Z', { env, only: ['accounting'] });
  assert.deepEqual((await tick(db, NOW, { env })).changed, { expire: 1 });
  const row = await db.one('select session_end::text, host(ip_address) as ip, mac_address::text from radius_sessions');
  assert.deepEqual(row, { session_end: '2026-03-01 13:00:00', ip: '10.5.50.7', mac_address: 'aa:bb:cc:00:11:22' });
  assert.equal((await theUser(db)).has_active_subscription, false);
});
