import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { ACK, cause, type FakeNas, fakeNas, NAK, type Request } from '../../support/fakes.ts';
import { database, LAUNCHER, type TestDatabase } from '../../support/harness.ts';
import { at, NOW, online, passOf } from '../../support/hotspot-rows.ts';

const send = async (db: TestDatabase, nas: { port: number }, time = NOW, options = {}) =>
  passOf(
    await db.tick(time, { only: ['disconnects'], env: { SCHEDULER_RADIUS_PORT: String(nas.port) }, ...options }),
    'disconnects',
  );

const known = (db: TestDatabase, nas: FakeNas, over: object = {}) =>
  db.insert('nas', { nasname: nas.host, shortname: 'test', secret: nas.secret, ...over });

/** As hotspot-sessions queues them. */
async function queued(db: TestDatabase, over: object = {}) {
  const open = await online(db, 'kdfh3746', { nasipaddress: '127.0.0.1' });
  return db.insert('session_disconnections', {
    radius_session_id: 1,
    radacct_id: open.radacctid,
    username: open.username,
    acct_session_id: open.acctsessionid,
    nas_ip_address: '127.0.0.1',
    framed_ip_address: '10.5.50.7',
    status: 'pending',
    next_attempt_at: NOW,
    ...over,
  });
}

const stored = (db: TestDatabase) => db.one('select * from session_disconnections');
const acknowledge = (request: Request) => request.send(request.reply(ACK));

test('an open session is ended with a request that names it, signed with the secret of its NAS', async () => {
  await using db = await database();
  await using nas = await fakeNas(acknowledge);
  await known(db, nas);
  const row = await queued(db);
  assert.deepEqual((await send(db, nas)).changed, { disconnected: 1 });
  const { attributes } = nas.requests[0]!;
  assert.equal(attributes.get(1)?.toString(), 'kdfh3746');
  assert.equal(attributes.get(44)?.toString(), row.acct_session_id);
  assert.deepEqual([...attributes.get(4)!], [127, 0, 0, 1]);
  assert.deepEqual([...attributes.get(8)!], [10, 5, 50, 7]);
  const after = await stored(db);
  assert.deepEqual([after.status, after.answer, after.next_attempt_at], ['disconnected', 'acknowledged', null]);
  assert.equal(after.disconnected_at.toISOString(), '2026-03-01T10:00:00.000Z');
  await send(db, nas, at(5));
  assert.equal(nas.requests.length, 1);
});

test('NAK 503 "session not found" is success; after another NAK it is tried again', async () => {
  await using db = await database();
  await using nas = await fakeNas((request) => {
    const found = request.attributes.get(44)?.toString() === 'stays';
    request.send(request.reply(NAK, cause(found ? 504 : 503)));
  });
  await known(db, nas);
  await queued(db);
  await queued(db, { acct_session_id: 'stays' });
  assert.deepEqual((await send(db, nas)).changed, { disconnected: 1, 'try again': 1 });
  const rows = await db.query('select status, answer from session_disconnections order by id');
  assert.deepEqual(rows, [
    { status: 'disconnected', answer: 'refused with 503 (session not found)' },
    { status: 'pending', answer: 'refused with 504 (session not removable)' },
  ]);
});

test('a session that has ended by itself is not asked for', async () => {
  await using db = await database();
  await using nas = await fakeNas(acknowledge);
  await known(db, nas);
  await queued(db);
  await db.query('update radacct set acctstoptime = $1', [NOW]);
  assert.deepEqual((await send(db, nas)).changed, { disconnected: 1 });
  assert.equal(nas.requests.length, 0);
  assert.equal((await stored(db)).answer, 'it had ended by itself');
});

test('the secret of the narrowest network in nas is used, the address itself before all', async () => {
  await using db = await database();
  await using nas = await fakeNas(acknowledge);
  for (const nasname of ['0.0.0.0/0', '127.0.0.0/8', 'router.example']) await known(db, nas, { nasname, secret: 'no' });
  await known(db, nas, { nasname: '127.0.0.0/24' });
  await queued(db);
  await send(db, nas);
  assert.equal((await stored(db)).status, 'disconnected');
  await db.query(`update nas set secret = 'no'`);
  await known(db, nas);
  await queued(db);
  assert.deepEqual((await send(db, nas)).changed, { disconnected: 1 });
});

test('a network that is wide enough to hold strangers does not aim a request at them', async () => {
  await using db = await database();
  await using nas = await fakeNas(acknowledge);
  for (const nasname of ['0.0.0.0/0', '127.0.0.0/8']) await known(db, nas, { nasname });
  await queued(db);
  assert.deepEqual((await send(db, nas)).changed, { 'try again': 1 });
  assert.equal(nas.requests.length, 0);
  const { answer } = await stored(db);
  assert.equal(
    answer,
    'nas has 127.0.0.1 only in the network 127.0.0.0/8, where strangers may be: give it a row of its own',
  );
  await known(db, nas, { nasname: '127.0.0.0/16' });
  await queued(db);
  assert.deepEqual((await send(db, nas)).changed, { disconnected: 1 });
});

test('a NAS that nas does not know is named, and tried again once somebody may have added it', async () => {
  await using db = await database();
  await queued(db, { nas_ip_address: '10.9.9.9' });
  await queued(db, { nas_ip_address: null });
  assert.deepEqual((await send(db, { port: 3799 })).changed, { failed: 1, 'try again': 1 });
  const rows = await db.query('select answer from session_disconnections order by id');
  assert.deepEqual(
    rows.map((row) => row.answer),
    ['the table nas knows no NAS 10.9.9.9', 'its NAS is not known'],
  );
});

test('a character that FreeRADIUS stored as =27 is sent to the NAS as itself', async () => {
  await using db = await database();
  await using nas = await fakeNas(acknowledge);
  await known(db, nas);
  await queued(db, { username: 'o=27neill', acct_session_id: '8=3D1' });
  await send(db, nas);
  assert.equal(nas.requests[0]!.attributes.get(1)?.toString(), "o'neill");
  assert.equal(nas.requests[0]!.attributes.get(44)?.toString(), '8=1');
});

const minutesOf = (from: string, to: Date) => (to.getTime() - Date.parse(from)) / 60_000;

test('a router that is silent costs a tick a second, whatever waits for it, and all of it waits as long', async () => {
  await using db = await database();
  await using dead = await fakeNas(() => {});
  await known(db, dead);
  for (let n = 0; n < 100; n++) await queued(db);
  const began = performance.now();
  const { changed } = await send(db, dead, NOW, { batchSize: 40 });
  assert.ok(performance.now() - began < 2000);
  assert.deepEqual(changed, { 'try again': 32 });
  for (const request of dead.requests.filter(({ times }) => times === 1)) {
    assert.equal(dead.requests.filter(({ packet }) => packet.equals(request.packet)).length, 3);
  }
  const left = await db.query(
    `select next_attempt_at from session_disconnections where status = 'pending' and attempts = 0`,
  );
  assert.equal(left.length, 68);
  for (const { next_attempt_at } of left) assert.ok(minutesOf(NOW, next_attempt_at) > 0.9);
});

test('as long as the session is open, the router is asked again with pauses that grow to half an hour', async () => {
  await using db = await database();
  let answers = false;
  await using nas = await fakeNas((request) => answers && request.send(request.reply(ACK)));
  await known(db, nas);
  await queued(db);
  const asked: number[] = [];
  for (let minute = 0; minute <= 120; minute++) {
    const before = nas.requests.length;
    const { next_attempt_at } = await stored(db);
    if (next_attempt_at <= new Date(at(minute))) await send(db, nas, at(minute));
    if (nas.requests.length > before) asked.push(minute);
  }
  assert.deepEqual(asked, [0, 1, 3, 7, 15, 30, 60, 90, 120]);
  answers = true;
  assert.deepEqual((await send(db, nas, at(150))).changed, { disconnected: 1 });
});

test('a session that stays online in spite of four requests is a failure that names the router', async () => {
  await using db = await database();
  await using nas = await fakeNas((request) => request.send(request.reply(NAK, cause(506))));
  await known(db, nas);
  await queued(db, { attempts: 3 });
  assert.equal((await send(db, nas)).failed, 1);
  const { error } = await db.one('select error from scheduler.failures');
  assert.equal(error, 'kdfh3746 is still online at the router 127.0.0.1: refused with 506 (resources unavailable)');
});

test('a user who has access again is not disconnected any more', async () => {
  await using db = await database();
  await using nas = await fakeNas(acknowledge);
  await known(db, nas);
  const user = {
    username: 'kdfh3746',
    phone_number: '1',
    has_active_subscription: true,
    subscription_expires_at: at(60),
  };
  const { id } = await db.insert('hotspot_users', user);
  await queued(db, { hotspot_user_id: id });
  assert.deepEqual((await send(db, nas)).changed, { cancelled: 1 });
  assert.equal(nas.requests.length, 0);
});

test('a router that nas has under a host name is found by its address', async () => {
  await using db = await database();
  await using nas = await fakeNas(acknowledge);
  await known(db, nas, { nasname: 'no-such-router.invalid', secret: 'no' });
  await known(db, nas, { nasname: 'localhost' });
  await queued(db);
  assert.deepEqual((await send(db, nas)).changed, { disconnected: 1 });
});

test('killed between asking and recording, the session is asked for again', async () => {
  await using db = await database();
  let kill = () => {};
  await using nas = await fakeNas(() => kill());
  await known(db, nas);
  await queued(db);
  const env = { SCHEDULER_RADIUS_PORT: String(nas.port) };
  for (let n = 1; n <= 2; n++) {
    const child = spawn(LAUNCHER, ['disconnects'], {
      env: { PATH: '/usr/bin:/bin', HOME: '/', DATABASE_URL: db.programUrl, ...env },
      stdio: 'ignore',
    });
    kill = () => void child.kill('SIGKILL');
    await once(child, 'exit');
    const row = await stored(db);
    assert.deepEqual([row.status, row.attempts], ['sending', n]);
    assert.ok(row.next_attempt_at > new Date());
    await db.query('update session_disconnections set next_attempt_at = now()');
  }
  await using alive = await fakeNas(acknowledge);
  await db.query('delete from nas');
  await known(db, alive);
  await db.cli(['disconnects'], { env: { SCHEDULER_RADIUS_PORT: String(alive.port) } });
  const row = await stored(db);
  assert.deepEqual([row.status, row.attempts, row.next_attempt_at], ['disconnected', 3, null]);
});

test('killed between claiming and asking, the session is asked for by a later run', async () => {
  await using db = await database();
  await using nas = await fakeNas(acknowledge);
  await known(db, nas);
  // The state that such a run leaves: the claim is committed, and nothing else was done.
  await queued(db, { status: 'sending', attempts: 1 });
  assert.deepEqual((await send(db, nas)).changed, { disconnected: 1 });
});

test('neither a dry run nor the log shows the secret of a NAS', async () => {
  await using db = await database();
  await using nas = await fakeNas(acknowledge);
  await known(db, nas);
  await queued(db);
  const env = { SCHEDULER_RADIUS_PORT: String(nas.port) };
  const dry = await db.cli(['disconnects', '--dry-run', '--debug', '--json'], { env });
  assert.match(dry.out, /"send":1/);
  assert.equal(nas.requests.length, 0);
  const real = await db.cli(['disconnects', '--debug', '--json'], { env });
  assert.match(real.out, /"disconnected":1/);
  for (const { out, err } of [dry, real]) assert.ok(!(out + err).includes(nas.secret));
});
