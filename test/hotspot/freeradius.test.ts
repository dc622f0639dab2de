import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Disconnected, disconnect, isGone } from '../../src/jobs/hotspot/radius/client.ts';
import { newPassword, newUsername } from '../../src/jobs/hotspot/secrets.ts';
import { type FreeRadius, startFreeRadius } from '../support/freeradius.ts';
import { database, type TestDatabase } from '../support/harness.ts';

// Our rows for FreeRADIUS and our packets to a NAS are only right if FreeRADIUS takes them so.

let db: TestDatabase;
let server: FreeRadius;

before(async () => {
  db = await database();
  server = await startFreeRadius(db);
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  await db?.[Symbol.asyncDispose]();
});

interface User {
  username: string;
  password: string;
}

/** A user as rows, the way the payments job writes them. */
async function user(check: Record<string, string> = {}, reply: Record<string, string> = {}): Promise<User> {
  const username = newUsername();
  const password = newPassword();
  for (const [attribute, value] of Object.entries({ 'Cleartext-Password': password, ...check })) {
    await db.insert('radcheck', { username, attribute, op: ':=', value });
  }
  for (const [attribute, value] of Object.entries(reply)) {
    await db.insert('radreply', { username, attribute, op: ':=', value });
  }
  return { username, password };
}

const login = ({ username, password }: User) => server.login(username, password);
const epoch = (seconds: number) => String(Math.floor(Date.now() / 1000) + seconds);

let sessions = 0;
async function session({ username }: User) {
  const sessionId = `8100${(++sessions).toString(16).padStart(4, '0')}`;
  await server.accounting('Start', { username, sessionId, framedIp: '10.5.50.77' });
  return { username, sessionId, nasIp: '127.0.0.1', framedIp: '10.5.50.77' };
}

test('a user without rows is rejected', async () => {
  assert.equal((await server.login(newUsername(), newPassword())).accepted, false);
});

test('a user with rows is accepted with what the rows reply', async () => {
  const paid = await user(
    {},
    { 'Session-Timeout': '3600', 'Acct-Interim-Interval': '300', 'Mikrotik-Rate-Limit': '2M/4M' },
  );
  const { accepted, attributes } = await login(paid);
  assert.equal(accepted, true);
  assert.equal(attributes['Session-Timeout'], '3600');
  assert.equal(attributes['Acct-Interim-Interval'], '300');
  assert.equal(attributes['Mikrotik-Rate-Limit'], '2M/4M');
});

test('another password is rejected', async () => {
  const { username } = await user();
  assert.equal((await server.login(username, newPassword())).accepted, false);
});

test('a login is rejected the moment its rows are gone', async () => {
  const paid = await user();
  assert.equal((await login(paid)).accepted, true);
  await db.query('delete from radcheck where username = $1', [paid.username]);
  assert.equal((await login(paid)).accepted, false);
});

test('an operator other than := in radcheck rejects every login', async () => {
  const username = newUsername();
  await db.query(`insert into radcheck (username, attribute, value) values ($1, 'Cleartext-Password', 'x')`, [
    username,
  ]);
  assert.equal((await server.login(username, 'x')).accepted, false);
});

test('Expiration in epoch seconds lets in until then, and Session-Timeout is clamped to what is left', async () => {
  const { accepted, attributes } = await login(await user({ Expiration: epoch(600) }, { 'Session-Timeout': '3600' }));
  assert.equal(accepted, true);
  const timeout = Number(attributes['Session-Timeout']);
  assert.ok(timeout > 590 && timeout <= 600, String(timeout));
});

test('Expiration in the future sets a Session-Timeout of its own', async () => {
  const { attributes } = await login(await user({ Expiration: epoch(900) }));
  const timeout = Number(attributes['Session-Timeout']);
  assert.ok(timeout > 890 && timeout <= 900, String(timeout));
});

test('Expiration in the past rejects', async () => {
  assert.equal((await login(await user({ Expiration: epoch(-1) }))).accepted, false);
});

test('Expiration as ISO 8601 rejects although it lies in the future', async () => {
  const iso = new Date(Date.now() + 3_600_000).toISOString();
  assert.equal((await login(await user({ Expiration: iso }))).accepted, false);
});

test('Max-All-Session counts every past session of the username', async () => {
  const paid = await user({ 'Max-All-Session': '600' });
  assert.equal((await login(paid)).accepted, true);
  const { sessionId } = await session(paid);
  await server.accounting('Stop', { ...paid, sessionId, seconds: 600, cause: 'User-Request' });
  assert.equal((await login(paid)).accepted, false);
});

test('Simultaneous-Use rejects a device more than paid for, until a session has ended', async () => {
  const paid = await user({ 'Simultaneous-Use': '1' });
  assert.equal((await login(paid)).accepted, true);
  const { sessionId } = await session(paid);
  assert.equal((await login(paid)).accepted, false);
  await server.accounting('Stop', { ...paid, sessionId, seconds: 1 });
  assert.equal((await login(paid)).accepted, true);
});

test('accounting keeps one row for a session, with counters beyond 32 bits in one number', async () => {
  const paid = await user();
  const { sessionId } = await session(paid);
  const usage = { ...paid, sessionId, framedIp: '10.5.50.77' };
  await server.accounting('Interim-Update', { ...usage, seconds: 60, bytesIn: 5_000_000_000, bytesOut: 1000 });
  const open = await db.one('select * from radacct where username = $1', [paid.username]);
  assert.equal(open.acctstoptime, null);
  assert.equal(open.acctinputoctets, '5000000000');
  assert.equal(open.acctsessiontime, '60');
  assert.equal(open.framedipaddress, '10.5.50.77');
  await server.accounting('Stop', {
    ...usage,
    seconds: 90,
    bytesIn: 5_000_000_001,
    bytesOut: 2000,
    cause: 'Idle-Timeout',
  });
  const closed = await db.one('select * from radacct where username = $1', [paid.username]);
  assert.ok(closed.acctstoptime);
  assert.equal(closed.acctoutputoctets, '2000');
  assert.equal(closed.acctterminatecause, 'Idle-Timeout');
});

test('the NAS acknowledges a Disconnect-Request for an open session', async () => {
  const open = await session(await user());
  const answer = await disconnect(server.nas, open);
  assert.equal(answer, 'ack');
  assert.ok(isGone(answer));
});

test('an acknowledgement is not yet the end: radacct stays open until the stop record', async () => {
  const paid = await user();
  const open = await session(paid);
  assert.equal(await disconnect(server.nas, open), 'ack');
  const openRows = `select from radacct where username = $1 and acctstoptime is null`;
  assert.equal((await db.query(openRows, [paid.username])).length, 1);
  await server.accounting('Stop', { ...open, seconds: 5, cause: 'Admin-Reset' });
  assert.equal((await db.query(openRows, [paid.username])).length, 0);
});

test('a session that has ended is answered with NAK 503, which counts as gone', async () => {
  const open = await session(await user());
  await server.accounting('Stop', { ...open, seconds: 5 });
  const answer = await disconnect(server.nas, open);
  assert.deepEqual(answer, { nak: 503 });
  assert.ok(isGone(answer));
});

test('a session of somebody else is not found', async () => {
  const open = await session(await user());
  assert.deepEqual(await disconnect(server.nas, { ...open, username: newUsername() }), { nak: 503 });
});

test('a wrong secret is met with silence on each of 3 tries, and FreeRADIUS says why', async () => {
  const open = await session(await user());
  const wrong = { ...server.nas, secret: 'another secret' };
  assert.equal(await disconnect(wrong, open, undefined, { timeoutMs: 300, tries: 3 }), 'silence');
  const complaints = server.log().match(/invalid Message-Authenticator|Shared secret is incorrect/g) ?? [];
  assert.ok(complaints.length >= 3, server.log().slice(-2000));
});

test('FreeRADIUS stores unusual characters as =27, so a NAS is asked with what they stand for', async () => {
  const open = { username: "o'brien", sessionId: "8'1" };
  await server.accounting('Start', open);
  const { username, acctsessionid } = await db.one(`select * from radacct where username like 'o%brien'`);
  assert.deepEqual({ username, acctsessionid }, { username: 'o=27brien', acctsessionid: '8=271' });
  assert.equal(await disconnect(server.nas, open), 'ack');
  assert.deepEqual(await disconnect(server.nas, { username, sessionId: acctsessionid }), { nak: 503 });
});

test('many sessions at once are each answered for themselves', async () => {
  const paid = await user();
  const open = await Promise.all(Array.from({ length: 5 }, () => session(paid)));
  const asked = Array.from({ length: 100 }, (_, n) => open[n] ?? { username: paid.username, sessionId: `gone-${n}` });
  const answers = await Promise.all(asked.map((each) => disconnect(server.nas, each)));
  assert.deepEqual(
    answers,
    asked.map((_, n): Disconnected => (n < 5 ? 'ack' : { nak: 503 })),
  );
});

test('a NAS that is down is met with silence within the time given', async () => {
  await using dead = await database();
  const other = await startFreeRadius(dead);
  await other[Symbol.asyncDispose]();
  const began = performance.now();
  const answer = await disconnect(other.nas, { username: 'kdfh3746' }, undefined, { timeoutMs: 100, tries: 3 });
  assert.equal(answer, 'silence');
  assert.ok(performance.now() - began < 1500);
});
