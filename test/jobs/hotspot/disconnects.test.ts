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

test('NAK 503 "session not found" is success; another NAK is a failure that says why', async () => {
  await using db = await database();
  await using nas = await fakeNas((request) => {
    const found = request.attributes.get(44)?.toString() === 'stays';
    request.send(request.reply(NAK, cause(found ? 504 : 503)));
  });
  await known(db, nas);
  await queued(db);
  await queued(db, { acct_session_id: 'stays' });
  assert.deepEqual((await send(db, nas)).changed, { disconnected: 1, failed: 1 });
  const rows = await db.query('select status, answer from session_disconnections order by id');
  assert.deepEqual(rows, [
    { status: 'disconnected', answer: 'refused with 503 (session not found)' },
    { status: 'failed', answer: 'refused with 504 (session not removable)' },
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
  assert.deepEqual((await send(db, nas)).changed, { failed: 1 });
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

test('a NAS that nas does not know is a failure that names it', async () => {
  await using db = await database();
  await queued(db, { nas_ip_address: '10.9.9.9' });
  await queued(db, { nas_ip_address: null });
  assert.deepEqual((await send(db, { port: 3799 })).changed, { failed: 2 });
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

test('a router that is silent keeps nobody waiting: a few are tried and fail, the rest stay for the next tick', async () => {
  await using db = await database();
  await using dead = await fakeNas(() => {});
  await known(db, dead);
  for (let n = 0; n < 50; n++) await queued(db);
  const began = performance.now();
  const { changed } = await send(db, dead);
  assert.ok(performance.now() - began < 12_000);
  assert.deepEqual(changed, { failed: 32 });
  for (const request of dead.requests.filter(({ times }) => times === 1)) {
    assert.equal(dead.requests.filter(({ packet }) => packet.equals(request.packet)).length, 3);
  }
  const left = await db.one(
    `select count(*)::integer as n from session_disconnections
    where status = 'pending' and attempts = 0 and next_attempt_at = $1`,
    [NOW],
  );
  assert.equal(left.n, 18);
});

test('killed between asking and recording, the session is asked for again, 3 times in all', async () => {
  await using db = await database();
  let kill = () => {};
  await using nas = await fakeNas(() => kill());
  await known(db, nas);
  await queued(db);
  const env = { SCHEDULER_RADIUS_PORT: String(nas.port) };
  for (let n = 1; n <= 3; n++) {
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
  await db.cli(['disconnects'], { env });
  const row = await stored(db);
  assert.deepEqual([row.status, row.next_attempt_at], ['failed', null]);
  assert.equal(row.answer, 'the run that asked did not live to see the answer');
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
