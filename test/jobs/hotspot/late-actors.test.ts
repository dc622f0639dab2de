import assert from 'node:assert/strict';
import { test } from 'node:test';
import { job as paymentsJob } from '../../../src/jobs/hotspot/payments.ts';
import { answer, fakeGateway } from '../../support/fakes.ts';
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
  theSession,
  theUser,
} from '../../support/hotspot-rows.ts';

/** What somebody else did a moment ago, or does a moment too late. */

const provision = async (db: TestDatabase, time = NOW) =>
  passOf(await db.tick(time, { only: ['payments'] }), 'payments');
const sync = async (db: TestDatabase, time: string) =>
  passOf(await db.tick(time, { only: ['accounting'], by: 'test' }), 'accounting');

async function paid(db: TestDatabase, over: object = {}) {
  const { id } = await hotspotPackage(db, over);
  await pay(db, id);
  await provision(db);
  return { id, user: await theUser(db) };
}

const gatewayOf = (url: string) => ({
  SCHEDULER_SMS: 'webhook',
  SCHEDULER_SMS_URL: url,
  SCHEDULER_SMS_SECRET: 'signing-key',
});

test('the answer to an SMS that comes after the next try was begun changes nothing', async () => {
  await using db = await database();
  await paid(db);
  await using gateway = await fakeGateway(async (response) => {
    // The time of this try is over, and another run has begun the next one.
    await db.query(`update hotspot_credentials set sms_attempts = 2`);
    answer(200, { id: 'first' })(response, gateway.asked[0]!);
  });
  await db.tick(NOW, { only: ['credentials'], env: gatewayOf(gateway.url) });
  const row = await db.one('select * from hotspot_credentials');
  assert.deepEqual(
    [gateway.asked.length, row.sms_status, row.sms_attempts, row.sms_message_id],
    [1, 'sending', 2, null],
  );
  assert.ok(row.plain_password);
});

test('an SMS that waits for a user whose access ended meanwhile is not sent, and its password is gone', async () => {
  await using db = await database();
  await paid(db);
  await db.query(`update hotspot_users set data_limit = 1, data_used = 1;
    update radius_sessions set data_limit = 1, total_bytes = 1`);
  await db.tick(at(1), { only: ['hotspot-sessions'] });
  await using gateway = await fakeGateway(answer(200, ''));
  await db.tick(at(1), { only: ['credentials'], env: gatewayOf(gateway.url) });
  const row = await db.one('select * from hotspot_credentials');
  assert.deepEqual([gateway.asked.length, row.sms_status, row.plain_password], [0, 'failed', null]);
  assert.equal(row.sms_error, 'the access was over before it could be sent');
});

test('rows of radacct whose transactions commit in the reverse order of their ids are both counted', async () => {
  await using db = await database();
  const { user } = await paid(db);
  const closed = { acctstoptime: at(5), acctsessiontime: 300, acctinputoctets: 1000 };
  await online(db, user.username, { radacctid: 2, ...closed });
  await sync(db, at(5));
  await online(db, user.username, { radacctid: 1, ...closed, acctinputoctets: 30, framedipaddress: '10.9.9.9' });
  await sync(db, at(10));
  const session = await theSession(db);
  assert.equal(session.total_bytes, '1030');
  assert.deepEqual([session.radacct_id, session.ip_address], ['2', '10.5.50.7'], 'the newest row tells where it is');
  await sync(db, at(15));
  assert.equal((await theSession(db)).total_bytes, '1030');
});

test('a row of radacct that is deleted is closed, and asked for no more', async () => {
  await using db = await database();
  const { user } = await paid(db);
  await online(db, user.username, { acctinputoctets: 1000 });
  await sync(db, at(5));
  await db.query('delete from radacct');
  assert.equal((await sync(db, at(10))).failed, 0);
  assert.deepEqual(await db.query('select closed, bytes_in::text from scheduler.accounted'), [
    { closed: true, bytes_in: '1000' },
  ]);
  assert.deepEqual((await sync(db, at(15))).changed, {});
});

test('a router that reports less than before, or opens a closed row again, takes nothing back', async () => {
  await using db = await database();
  const { user } = await paid(db);
  const { radacctid } = await online(db, user.username, { acctinputoctets: 1000, acctsessiontime: 60 });
  await sync(db, at(5));
  const set = (columns: string) => db.query(`update radacct set ${columns} where radacctid = $1`, [radacctid]);
  await set(`acctstoptime = '${at(6)}', acctinputoctets = 400, acctsessiontime = 30`);
  await sync(db, at(10));
  assert.deepEqual([(await theSession(db)).total_bytes, (await theSession(db)).duration_seconds], ['1000', '60']);
  await set(`acctstoptime = null, acctinputoctets = 900`);
  assert.deepEqual((await sync(db, at(15))).changed, { sync: 1 }, 'it is open again');
  await set('acctinputoctets = 1001');
  await sync(db, at(20));
  assert.equal((await theSession(db)).total_bytes, '1001');
});

test('a name that a user or RADIUS has already is given to nobody else', async () => {
  await using db = await database();
  const { id } = await hotspotPackage(db);
  await db.insert('hotspot_users', { username: 'taken', phone_number: '254700000009' });
  await db.insert('radcheck', { username: 'known', attribute: 'Cleartext-Password', op: ':=', value: 'x' });
  await pay(db, id);
  const make = () => ({ usernames: '["known", "taken", "free"]', passwords: '["p"]' });
  const job = { ...paymentsJob, rules: { provision: { ...paymentsJob.rules.provision!, make } } };
  assert.deepEqual((await db.tick(NOW, { jobs: { builtIn: [job], names: [job.name] } })).jobs[0]!.changed, {
    provision: 1,
    'create user': 1,
  });
  assert.equal(
    (await db.one(`select username from hotspot_users where phone_number <> '254700000009'`)).username,
    'free',
  );
});

test('whatever word bars a user, payments of that number wait', async () => {
  await using db = await database();
  const { id } = await hotspotPackage(db);
  const words = ['suspended', 'blocked', 'banned', 'disabled'];
  for (const status of words) {
    await db.insert('hotspot_users', { username: status, phone_number: `number ${status}`, status });
    await pay(db, id, { phone_number: `number ${status}` });
  }
  assert.equal((await provision(db)).failed, words.length);
  // A session that ends leaves the word as it is.
  await db.query(`insert into radius_sessions (hotspot_user_id, username, expected_end, status)
    select id, username, '${at(-1)}', 'active' from hotspot_users`);
  await db.tick(NOW, { only: ['hotspot-sessions'] });
  const after = await db.query('select username, status from hotspot_users order by id');
  assert.deepEqual(
    after,
    words.map((status) => ({ username: status, status })),
  );
});

test('where no index keeps receipts apart, empty ones are not alike, and one that was seen is not counted again', async () => {
  await using db = await database();
  const { id } = await hotspotPackage(db);
  await db.query('drop index payments_mpesa_receipt_once');
  const of = (phone_number: string, mpesa_receipt: string | null, over = {}) =>
    pay(db, id, { phone_number, mpesa_receipt, ...over });
  for (const phone of ['254700000001', '254700000002']) await of(phone, '');
  for (const phone of ['254700000003', '254700000004']) await of(phone, null);
  // One that has not been completed takes no receipt away from another.
  await of('254700000005', 'QX1', { status: 'pending', updated_at: at(-5) });
  await of('254700000006', 'QX1');
  const pass = await provision(db);
  assert.deepEqual([pass.changed.provision, pass.failed], [5, 0]);
  await of('254700000007', 'QX1');
  assert.equal((await provision(db)).failed, 1);
});

test('a user name outside ASCII is known to RADIUS as FreeRADIUS writes it', async () => {
  await using db = await database();
  const names = ['plain-1', "o'neill", 'müller', 'ö=', 'a\tb'];
  const { written } = await db.one(
    'select array_agg(scheduler.radius_name(name) order by n) as written from unnest($1::text[]) with ordinality as u (name, n)',
    [names],
  );
  assert.deepEqual(written, ['plain-1', 'o=27neill', 'müller', 'ö=3D', 'a=09b']);
  // Barred under both.
  const { id } = await hotspotPackage(db);
  await db.insert('hotspot_users', { username: "o'neill", phone_number: '254712345678' });
  await pay(db, id);
  await provision(db);
  assert.ok((await checksOf(db, 'o=27neill'))['Cleartext-Password']);
  await online(db, 'o=27neill');
  await db.tick(at(60), { only: ['hotspot-sessions'] });
  assert.deepEqual([await checksOf(db, 'o=27neill'), await repliesOf(db, 'o=27neill')], [{}, {}]);
  assert.equal((await db.one('select username from session_disconnections')).username, 'o=27neill');
});

test('the odd values of a package: no limit of data or speed, no devices, a hundred years', async () => {
  await using db = await database();
  const { user } = await paid(db, {
    data_limit: 0,
    devices: 0,
    duration: '100 years',
    upload_speed: '0',
    download_speed: null,
  });
  assert.equal(user.data_limit, null);
  const checks = await checksOf(db, user.username);
  assert.deepEqual([checks['Simultaneous-Use'], checks.Expiration], ['1', String(Date.UTC(2100, 0, 1) / 1000)]);
  const replies = Object.keys(await repliesOf(db, user.username));
  assert.deepEqual(
    replies.filter((name) => name.startsWith('Mikrotik')),
    [],
  );
});

test('a payment at the very end of an access starts anew, and so does one of a user whom an operator has ended', async () => {
  await using db = await database();
  const { id } = await paid(db);
  await pay(db, id, { updated_at: at(60) });
  assert.deepEqual((await provision(db, at(60))).changed, { provision: 1 });
  await db.query('update hotspot_users set has_active_subscription = false');
  await pay(db, id, { updated_at: at(70) });
  assert.deepEqual((await provision(db, at(70))).changed, { provision: 1 });
  assert.equal((await theUser(db)).subscription_expires_at.toISOString(), at(130));
});
