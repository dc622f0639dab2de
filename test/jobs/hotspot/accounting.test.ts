import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../../support/harness.ts';
import {
  at,
  hotspotPackage,
  NOW,
  online,
  passOf,
  pay,
  repliesOf,
  theSession,
  theUser,
} from '../../support/hotspot-rows.ts';

const sync = async (db: TestDatabase, time: string, options = {}) =>
  passOf(await db.tick(time, { only: ['accounting'], by: 'test', ...options }), 'accounting');

async function paid(db: TestDatabase, over = {}) {
  const { id } = await hotspotPackage(db, over);
  await pay(db, id);
  await db.tick(NOW, { only: ['payments'] });
  return theUser(db);
}

const report = (db: TestDatabase, id: unknown, minutes: number, bytesIn: number, bytesOut: number) =>
  db.query(
    `update radacct set acctupdatetime = $2, acctsessiontime = $3, acctinputoctets = $4, acctoutputoctets = $5
     where radacctid = $1`,
    [id, at(minutes), minutes * 60, bytesIn, bytesOut],
  );

const stop = (db: TestDatabase, id: unknown, minutes: number) =>
  db.query('update radacct set acctstoptime = $2 where radacctid = $1', [id, at(minutes)]);

/** Somebody else was online at that time: RADIUS hears the routers. */
const heard = (db: TestDatabase, minutes: number) =>
  online(db, 'stranger', { acctstarttime: at(minutes), acctupdatetime: at(minutes), acctstoptime: at(minutes) });

/** The bytes of radacct must be found again, in each of the tables they are kept in. */
async function assertConserved(db: TestDatabase) {
  const sums = await db.one(`select
    (select coalesce(sum(acctinputoctets + acctoutputoctets), 0) from radacct)::text as radacct,
    (select coalesce(sum(total_bytes), 0) from radius_sessions)::text as sessions,
    (select coalesce(sum(bytes_in + bytes_out), 0) from radius_sessions)::text as both,
    (select coalesce(sum(total_bytes), 0) from data_usage_logs)::text as logs,
    (select coalesce(sum(data_used), 0) from hotspot_users)::text as users`);
  for (const [where, sum] of Object.entries(sums)) assert.equal(sum, sums.radacct, where);
}

const everything = async (db: TestDatabase) => ({
  sessions: await db.query('select * from radius_sessions order by id'),
  users: await db.query('select * from hotspot_users order by id'),
  logs: await db.query('select * from data_usage_logs order by id'),
  radacct: await db.query('select * from radacct order by radacctid'),
});

test('bytes, duration and address of an open session reach the session and its user', async () => {
  await using db = await database();
  const { username } = await paid(db);
  const { radacctid } = await online(db, username);
  await report(db, radacctid, 5, 1000, 5_000_000_000);
  assert.deepEqual((await sync(db, at(5))).changed, { sync: 1 });
  const session = await theSession(db);
  assert.deepEqual(
    [session.bytes_in, session.bytes_out, session.total_bytes, session.duration_seconds],
    ['1000', '5000000000', '5000001000', '300'],
  );
  assert.deepEqual(
    [session.radacct_id, session.ip_address, session.nas_ip_address],
    [radacctid, '10.5.50.7', '10.0.0.1'],
  );
  assert.equal((await theUser(db)).data_used, '5000001000');
  const log = await db.one('select * from data_usage_logs');
  assert.deepEqual([log.bytes_in, log.bytes_out, log.radacct_id], ['1000', '5000000000', radacctid]);
  await assertConserved(db);
});

test('the data that a router may let through is what is left', async () => {
  await using db = await database();
  const { username } = await paid(db, { data_limit: 5_000_000_000 });
  await db.insert('radreply', { username: 'other', attribute: 'Mikrotik-Total-Limit', op: ':=', value: '7' });
  const { radacctid } = await online(db, username);
  const left = async () => {
    const replies = await repliesOf(db, username);
    return [replies['Mikrotik-Total-Limit'], replies['Mikrotik-Total-Limit-Gigawords']];
  };
  await report(db, radacctid, 5, 1000, 0);
  await sync(db, at(5));
  assert.deepEqual(await left(), [String(5_000_000_000 - 1000 - 2 ** 32), '1']);
  await report(db, radacctid, 10, 4_000_000_000, 500_000_000);
  await sync(db, at(10));
  assert.deepEqual(await left(), ['500000000', '0']);
  // A limit of 0 would be none.
  await report(db, radacctid, 15, 4_000_000_000, 2_000_000_000);
  await sync(db, at(15));
  assert.deepEqual(await left(), ['1', '0']);
  assert.equal((await repliesOf(db, 'other'))['Mikrotik-Total-Limit'], '7');
  assert.equal((await repliesOf(db, username))['Mikrotik-Rate-Limit'], '2M/4M');
});

test('syncing twice changes nothing, not even a row', async () => {
  await using db = await database();
  const { username } = await paid(db);
  const open = await online(db, username);
  await report(db, open.radacctid, 5, 10, 20);
  await online(db, username, { acctstoptime: at(3), acctinputoctets: 7 });
  await online(db, username, { acctsessiontime: null, acctinputoctets: null, acctoutputoctets: null });
  await sync(db, at(5));
  const before = await everything(db);
  assert.deepEqual((await sync(db, at(6))).changed, {});
  assert.deepEqual(await everything(db), before);
});

test('each increase is one row of the usage log, and none is lost or counted twice', async () => {
  await using db = await database();
  const { username } = await paid(db);
  const open = await online(db, username);
  for (const [minutes, bytes] of [
    [5, 100],
    [10, 100],
    [15, 250],
    [20, 240],
    [25, 300],
  ] as const) {
    await report(db, open.radacctid, minutes, bytes, 0);
    await sync(db, at(minutes));
  }
  const logs = await db.query('select total_bytes from data_usage_logs order by id');
  assert.deepEqual(
    logs.map((row) => row.total_bytes),
    ['100', '150', '50'],
  );
  await assertConserved(db);
});

test('the use between the last look and the stop is counted, and so is a session that came and went unseen', async () => {
  await using db = await database();
  const { username } = await paid(db);
  const open = await online(db, username);
  await report(db, open.radacctid, 5, 100, 100);
  await sync(db, at(5));
  await report(db, open.radacctid, 7, 150, 150);
  await stop(db, open.radacctid, 7);
  await online(db, username, { acctstarttime: at(8), acctstoptime: at(9), acctinputoctets: 11, acctsessiontime: 60 });
  assert.deepEqual((await sync(db, at(10))).changed, { sync: 2 });
  const session = await theSession(db);
  assert.deepEqual([session.total_bytes, session.duration_seconds], ['311', '480']);
  await assertConserved(db);
  assert.deepEqual((await sync(db, at(15))).changed, {});
});

test('hundreds of sessions that came and went unseen are counted, though newer ones are open', async () => {
  await using db = await database();
  const { username } = await paid(db);
  const many = (count: number, closed: boolean) =>
    db.query(
      `insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctupdatetime, acctstoptime,
         acctinputoctets, acctoutputoctets)
       select 's', gen_random_uuid(), case when n % 3 = 0 then 'somebody' else $1 end, '10.0.0.1', $2, $2,
         case when $3 then $2::timestamptz end, case when n % 3 = 0 then 0 else n end, 0 from generate_series(1, $4::integer) as n`,
      [username, NOW, closed, count],
    );
  await many(700, true);
  await many(3, false);
  await many(300, true);
  await sync(db, at(5), { batchSize: 100 });
  await assertConserved(db);
  await many(7, true);
  await sync(db, at(10));
  await assertConserved(db);
  const { remembered } = await db.one('select count(*)::integer as remembered from scheduler.accounted');
  assert.ok(remembered < 500, `${remembered} rows remembered`);
});

test('devices of one user add up, and what comes after an extension counts for the new session', async () => {
  await using db = await database();
  const user = await paid(db);
  const [phone, laptop] = [await online(db, user.username), await online(db, user.username)];
  await report(db, phone.radacctid, 5, 10, 0);
  await report(db, laptop.radacctid, 5, 0, 20);
  await sync(db, at(5));
  assert.equal((await theSession(db)).total_bytes, '30');
  await pay(db, user.package_id, { updated_at: at(6) });
  await db.tick(at(6), { only: ['payments'] });
  await report(db, phone.radacctid, 10, 15, 0);
  await sync(db, at(10));
  assert.equal((await theSession(db)).total_bytes, '5');
  await assertConserved(db);
});

test('a stop that comes after the session expired still counts', async () => {
  await using db = await database();
  const { username } = await paid(db);
  const open = await online(db, username);
  await report(db, open.radacctid, 55, 10, 0);
  await sync(db, at(55));
  await db.tick(at(60), { only: ['hotspot-sessions'] });
  await report(db, open.radacctid, 60, 30, 0);
  await stop(db, open.radacctid, 60);
  await sync(db, at(65));
  assert.equal((await db.one('select total_bytes from radius_sessions')).total_bytes, '30');
  await assertConserved(db);
});

test('a session whose NAS fell silent for 3 intervals is closed at its last update, not at now', async () => {
  await using db = await database();
  const { username } = await paid(db);
  const open = await online(db, username);
  await report(db, open.radacctid, 10, 100, 0);
  assert.deepEqual((await sync(db, at(12))).changed, { sync: 1 });
  await heard(db, 24);
  assert.deepEqual((await sync(db, '2026-03-01T10:24:59Z')).changed, {});
  assert.deepEqual((await sync(db, at(25))).changed, { 'close silent': 1 });
  const row = await db.one(`select * from radacct where username <> 'stranger'`);
  assert.equal(row.acctstoptime.toISOString(), at(10));
  assert.equal(row.acctsessiontime, '600');
  assert.equal(row.acctterminatecause, 'Lost-Carrier');
  await assertConserved(db);
});

test('a silent session of before the last outage is closed by the first look', async () => {
  await using db = await database();
  const { username } = await paid(db);
  await online(db, username, { acctupdatetime: at(5), acctinputoctets: 9 });
  await heard(db, 39);
  const pass = await sync(db, at(40));
  assert.deepEqual(pass.changed, { sync: 2, 'close silent': 1 });
  assert.equal((await db.one(`select * from radacct where username <> 'stranger'`)).acctstoptime.toISOString(), at(5));
  await assertConserved(db);
});

test('silent sessions of more than one batch are closed', async () => {
  await using db = await database();
  const { username } = await paid(db);
  for (let n = 0; n < 3; n++) await online(db, username, { acctupdatetime: at(5), acctinputoctets: n });
  await heard(db, 39);
  const { jobs } = await db.tick(at(40), { only: ['accounting'], batchSize: 1 });
  assert.deepEqual([jobs[0]!.error, jobs[0]!.changed['close silent']], [undefined, 3]);
  await assertConserved(db);
});

test('a router that reports less often than asked is waited for three of its own intervals', async () => {
  await using db = await database();
  const { username } = await paid(db);
  await online(db, username, { acctupdatetime: at(5), acctinterval: 1200 });
  await heard(db, 64);
  await sync(db, at(64));
  assert.equal((await db.one(`select * from radacct where username <> 'stranger'`)).acctstoptime, null);
  await sync(db, at(65));
  assert.equal((await db.one(`select * from radacct where username <> 'stranger'`)).acctstoptime.toISOString(), at(5));
});

test('a router whose clock is years off is silent only when we hear nothing from it either', async () => {
  await using db = await database();
  const { username } = await paid(db);
  const open = await online(db, username, { acctstarttime: '1970-01-02', acctupdatetime: '1970-01-02' });
  await sync(db, at(5));
  for (const minutes of [10, 15, 20]) {
    await db.query(`update radacct set acctsessiontime = $1`, [minutes * 60]);
    await sync(db, at(minutes));
  }
  assert.equal((await db.one(`select * from radacct where username <> 'stranger'`)).acctstoptime, null);
  await heard(db, 34);
  assert.deepEqual((await sync(db, at(35))).changed, { 'close silent': 1 });
  assert.ok(open);
});

test('while no router is heard, RADIUS itself is away, and no session is closed', async () => {
  await using db = await database();
  const { username } = await paid(db);
  const [first, second] = [await online(db, username), await online(db, username)];
  for (const minutes of [5, 60]) {
    assert.equal((await sync(db, at(minutes))).changed['close silent'], undefined);
  }
  await report(db, first.radacctid, 61, 10, 0);
  assert.deepEqual((await sync(db, at(61))).changed, { sync: 1, 'close silent': 1 });
  const { acctstoptime } = await db.one('select * from radacct where radacctid = $1', [second.radacctid]);
  assert.equal(acctstoptime.toISOString(), at(0));
});

test('a late report of a session that was closed as silent is counted when it comes', async () => {
  await using db = await database();
  const { username } = await paid(db);
  const { radacctid } = await online(db, username);
  await report(db, radacctid, 5, 100, 0);
  await sync(db, at(5));
  await heard(db, 20);
  assert.deepEqual((await sync(db, at(20))).changed, { 'close silent': 1 });
  // Long after, when many other sessions have come and gone.
  await db.query(`insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctstoptime)
    select n, 'other' || n, 'stranger', '10.0.0.1', '${at(25)}', '${at(25)}' from generate_series(1, 500) as n`);
  await sync(db, at(30));
  await report(db, radacctid, 35, 700, 0);
  assert.deepEqual((await sync(db, at(35))).changed, { sync: 1 });
  await report(db, radacctid, 40, 900, 50);
  await db.query(`update radacct set acctstoptime = $2, acctterminatecause = 'User-Request' where radacctid = $1`, [
    radacctid,
    at(40),
  ]);
  assert.deepEqual((await sync(db, at(40))).changed, { sync: 1 });
  await assertConserved(db);
  assert.deepEqual((await sync(db, at(45))).changed, {});
  const { closed } = await db.one('select closed from scheduler.accounted where id = $1', [radacctid]);
  assert.equal(closed, true);
});

test('use that a Stop adds to a row that was closed already is counted, too', async () => {
  await using db = await database();
  const { username } = await paid(db);
  const { radacctid } = await online(db, username, { acctstoptime: at(4), acctinputoctets: 10 });
  await sync(db, at(5));
  await report(db, radacctid, 4, 30, 0);
  assert.deepEqual((await sync(db, at(10))).changed, { sync: 1 });
  await assertConserved(db);
});

test('a row that was closed as silent is forgotten a day later', async () => {
  await using db = await database();
  const { username } = await paid(db);
  await online(db, username);
  await sync(db, at(5));
  await heard(db, 20);
  await sync(db, at(20));
  const closed = async () => (await db.one('select closed from scheduler.accounted where id = 1')).closed;
  await sync(db, at(24 * 60 - 1));
  assert.equal(await closed(), false);
  await sync(db, at(24 * 60 + 1));
  assert.equal(await closed(), true);
});

test('use from before a renewal belongs to the session before it, though its Stop comes after', async () => {
  await using db = await database();
  const user = await paid(db, { data_limit: 1000 });
  const { radacctid } = await online(db, user.username);
  await report(db, radacctid, 5, 100, 0);
  await sync(db, at(5));
  await db.tick(at(60), { only: ['hotspot-sessions'] });
  await pay(db, user.package_id, { updated_at: at(62) });
  await db.tick(at(62), { only: ['payments'] });
  const next = await online(db, user.username, { acctstarttime: at(63), acctinputoctets: 7 });
  await report(db, radacctid, 61, 900, 50);
  await stop(db, radacctid, 61);
  await sync(db, at(64));
  const sessions = await db.query('select total_bytes from radius_sessions order by id');
  assert.deepEqual(
    sessions.map(({ total_bytes }) => total_bytes),
    ['950', '7'],
  );
  assert.equal((await theUser(db)).data_used, '7', 'the new package starts with nothing used');
  assert.equal((await db.one('select sum(total_bytes)::text as bytes from data_usage_logs')).bytes, '957');
  assert.ok(next);
});

test('sessions of others are neither counted nor closed, and nothing is said of them', async () => {
  await using db = await database();
  await paid(db);
  await online(db, 'pppoe-customer', { acctupdatetime: at(-600), acctinputoctets: 5 });
  await online(db, 'pppoe-customer', { acctstoptime: at(-600), acctinputoctets: 5 });
  assert.deepEqual((await sync(db, at(5))).changed, {});
  assert.equal((await db.query('select from radacct where acctstoptime is null')).length, 1);
  assert.deepEqual(await db.query('select * from data_usage_logs'), []);
});

test('use from before this program came is not counted', async () => {
  await using db = await database({ empty: true });
  await db.query(`
    create table radacct (radacctid bigserial primary key, acctsessionid text not null, acctuniqueid text not null unique,
      username text, nasipaddress inet not null, acctstarttime timestamptz, acctupdatetime timestamptz, acctstoptime timestamptz,
      acctinterval bigint, acctsessiontime bigint, acctinputoctets bigint, acctoutputoctets bigint, callingstationid text,
      acctterminatecause text, framedipaddress inet);
    create table radreply (id serial primary key, username text, attribute text, op varchar(2), value text)`);
  await online(db, 'anna', { acctinputoctets: 1000, acctstoptime: at(-60) });
  const open = await online(db, 'anna', { acctinputoctets: 500 });
  await db.migrate();
  await db.insert('hotspot_users', { username: 'anna', phone_number: '254700000001' });
  await db.insert('radius_sessions', { username: 'anna', hotspot_user_id: 1, session_start: NOW });
  assert.deepEqual((await sync(db, at(1))).changed, {});
  await report(db, open.radacctid, 2, 700, 0);
  await db.migrate();
  await sync(db, at(2));
  assert.equal((await theSession(db)).total_bytes, '200');
});

test('a data limit is enforced in the tick that counts it', async () => {
  await using db = await database();
  const { username } = await paid(db, { data_limit: 1000 });
  const open = await online(db, username);
  await report(db, open.radacctid, 5, 600, 400);
  const result = await db.tick(at(5), { only: ['accounting', 'hotspot-sessions'] });
  assert.deepEqual(passOf(result, 'hotspot-sessions').changed, { exhaust: 1 });
  assert.equal((await theUser(db)).has_active_subscription, false);
});

test('twelve runners at once without the lock count every byte once, whatever the batch size', async () => {
  await using db = await database({ withoutLock: true });
  const { id } = await hotspotPackage(db);
  for (let n = 0; n < 30; n++) await pay(db, id, { phone_number: `2547000000${String(n).padStart(2, '0')}` });
  await db.tick(NOW, { only: ['payments'] });
  await db.query(
    `insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctupdatetime,
      acctstoptime, acctinputoctets, acctoutputoctets, acctsessiontime)
    select 's', username || n, username, '10.0.0.1', $1, $1, case when n = 3 then $1::timestamptz end, 100 + n, 7, 60
    from hotspot_users, generate_series(1, 4) as n`,
    [NOW],
  );
  for (let round = 1; round <= 3; round++) {
    await db.query(`update radacct set acctinputoctets = acctinputoctets + 1000, acctsessiontime = acctsessiontime + 60
      where acctstoptime is null`);
    await db.query(`update radacct set acctstoptime = $1 where acctstoptime is null and acctuniqueid like '%' || $2`, [
      NOW,
      round === 3 ? 4 : round,
    ]);
    await Promise.all(
      Array.from({ length: 12 }, () => db.tick(at(round), { only: ['accounting'], by: 'test', batchSize: 11 })),
    );
    await sync(db, at(round));
    await assertConserved(db);
  }
  assert.deepEqual(await db.query('select * from scheduler.failures'), []);
});
