import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answer, fakeGateway } from '../support/fakes.ts';
import { type FreeRadius, startFreeRadius } from '../support/freeradius.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { hotspotPackage, online, pay, theUser } from '../support/hotspot-rows.ts';

// The whole story on a real FreeRADIUS: what the jobs write lets people in and out, and what it reports is counted.

const soon = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString();

async function hotspot() {
  const db = await database();
  const server = await startFreeRadius(db);
  const gateway = await fakeGateway(answer(200, { id: 'msg' }));
  const env = {
    SCHEDULER_SMS: 'webhook',
    SCHEDULER_SMS_URL: gateway.url,
    SCHEDULER_SMS_SECRET: 'key',
    SCHEDULER_RADIUS_PORT: String(server.nas.port),
  };
  return {
    db,
    server,
    env,
    sms: () => JSON.parse(gateway.asked.at(-1)!.body).text as string,
    tick: async (at?: string) => {
      const result = await db.tick(at, { env });
      for (const job of result.jobs) assert.equal(job.error, undefined);
      return result;
    },
    /** Accounting has its slots; a person need not wait for them. */
    account: () => db.tick(undefined, { env, only: ['accounting'], by: 'test' }),
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

const credentials = (sms: string) => {
  const [, username, password] = /user (\S+), password (\S+?)\./.exec(sms)!;
  return { username: username!, password: password! };
};

const paid = (db: TestDatabase, id: unknown) => pay(db, id, { updated_at: new Date() });
const login = (server: FreeRadius, { username, password }: { username: string; password: string }) =>
  server.login(username, password);

test('payment, login with what the SMS says, usage, extension, end, disconnect, last bytes', async () => {
  await using story = await hotspot();
  const { db, server } = story;
  const basic = await hotspotPackage(db, { name: 'Ten minutes', duration: '10 minutes' });
  const fast = await hotspotPackage(db, {
    name: 'Fast',
    duration: '20 minutes',
    upload_speed: '10M',
    download_speed: '20M',
  });

  await paid(db, basic.id);
  assert.equal((await server.login('254712345678', 'anything')).accepted, false);
  await story.tick();
  const user = credentials(story.sms());
  const first = await login(server, user);
  assert.equal(first.accepted, true);
  const timeout = Number(first.attributes['Session-Timeout']);
  assert.ok(timeout > 570 && timeout <= 600, String(timeout));
  assert.equal(first.attributes['Mikrotik-Rate-Limit'], '2M/4M');
  assert.equal(first.attributes['Acct-Interim-Interval'], '300');
  assert.equal((await server.login(user.username, 'wrong')).accepted, false);

  const usage = {
    username: user.username,
    sessionId: '81000001',
    framedIp: '10.5.50.9',
    macAddress: 'AA-BB-CC-00-11-22',
  };
  await server.accounting('Start', usage);
  await story.account();
  const started = await db.one('select * from radius_sessions');
  assert.deepEqual([started.ip_address, started.nas_ip_address, started.total_bytes], ['10.5.50.9', '127.0.0.1', '0']);
  await server.accounting('Interim-Update', { ...usage, seconds: 60, bytesIn: 1000, bytesOut: 5_000_000_000 });
  await story.account();
  await story.account();
  assert.equal((await db.one('select total_bytes from radius_sessions')).total_bytes, '5000001000');
  assert.equal((await theUser(db)).data_used, '5000001000');

  await paid(db, fast.id);
  await story.tick();
  assert.deepEqual(credentials(story.sms()), user);
  const second = await login(server, user);
  const longer = Number(second.attributes['Session-Timeout']);
  assert.ok(longer > 1740 && longer <= 1800, String(longer));
  assert.equal(second.attributes['Mikrotik-Rate-Limit'], '10M/20M');

  // Half an hour later, as the tick sees it; the router reported a moment before.
  await db.query(`update radacct set acctupdatetime = now() + interval '29 minutes'`);
  await story.tick(soon(30));
  assert.equal((await login(server, user)).accepted, false);
  const disconnect = await db.one('select * from session_disconnections');
  assert.deepEqual([disconnect.status, disconnect.answer], ['disconnected', 'acknowledged']);

  await server.accounting('Stop', {
    ...usage,
    seconds: 1800,
    bytesIn: 3000,
    bytesOut: 5_000_000_000,
    cause: 'Admin-Reset',
  });
  await story.account();
  const sums =
    await db.one(`select sum(total_bytes)::text as bytes, (select sum(total_bytes) from data_usage_logs)::text as logged
    from radius_sessions`);
  assert.deepEqual(sums, { bytes: '5000003000', logged: '5000003000' });
  assert.deepEqual((await db.events()).map(({ type }) => type).sort(), [
    'CredentialsSent',
    'CredentialsSent',
    'HotspotUserCreated',
    'PaymentCompleted',
    'PaymentCompleted',
    'SessionExpired',
  ]);
});

test('a user who pays after the end gets in again, with another password', async () => {
  await using story = await hotspot();
  const { db, server } = story;
  const { id } = await hotspotPackage(db, { duration: '10 minutes' });
  await paid(db, id);
  await story.tick();
  const before = credentials(story.sms());
  await story.tick(soon(11));
  assert.equal((await login(server, before)).accepted, false);
  await pay(db, id, { updated_at: soon(11) });
  await story.tick(soon(12));
  const after = credentials(story.sms());
  assert.equal(after.username, before.username);
  assert.equal((await login(server, before)).accepted, false);
  assert.equal((await login(server, after)).accepted, true);
});

test('Simultaneous-Use is what was bought, and a session that fell silent keeps nobody out for ever', async () => {
  await using story = await hotspot();
  const { db, server } = story;
  const { id } = await hotspotPackage(db, { devices: 1 });
  await paid(db, id);
  await story.tick();
  const user = credentials(story.sms());
  await server.accounting('Start', { username: user.username, sessionId: '81000002' });
  assert.equal((await login(server, user)).accepted, false);
  await db.query(
    `update radacct set acctstarttime = now() - interval '20 minutes', acctupdatetime = now() - interval '16 minutes'`,
  );
  // Another router is heard, so RADIUS is not away.
  const now = new Date();
  await online(db, 'stranger', { acctstarttime: now, acctupdatetime: now, acctstoptime: now });
  await story.account();
  assert.equal((await login(server, user)).accepted, true);
});

test('a NAK 503 counts as gone; after a wrong secret the router is asked again', async () => {
  await using story = await hotspot();
  const { db, server } = story;
  const queue = async (username: string, over = {}) => {
    const { radacctid, acctsessionid } = await online(db, username, { nasipaddress: '127.0.0.1' });
    await db.insert('session_disconnections', {
      ...{ radius_session_id: 1, radacct_id: radacctid, username, acct_session_id: acctsessionid, ...over },
      ...{ nas_ip_address: '127.0.0.1', next_attempt_at: new Date() },
    });
  };
  await queue('gone', { radacct_id: null });
  await db.query('delete from radacct');
  await story.tick();
  const gone = await db.one('select * from session_disconnections');
  assert.deepEqual([gone.status, gone.answer], ['disconnected', 'refused with 503 (session not found)']);

  await db.query(`update nas set secret = 'another'`);
  await queue('stays');
  await story.tick();
  const failed = await db.one(`select * from session_disconnections where username = 'stays'`);
  assert.deepEqual([failed.status, failed.attempts], ['pending', 1]);
  assert.match(failed.answer, /^no answer/);
  const complaints = server.log().match(/invalid Message-Authenticator|Shared secret is incorrect/g) ?? [];
  assert.ok(complaints.length >= 3, server.log().slice(-2000));
});
