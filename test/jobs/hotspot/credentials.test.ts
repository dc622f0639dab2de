import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { answer, type FakeGateway, fakeGateway, hangUp, type Reply } from '../../support/fakes.ts';
import { database, LAUNCHER, type TestDatabase } from '../../support/harness.ts';
import { at, checksOf, hotspotPackage, NOW, passOf, pay, theUser } from '../../support/hotspot-rows.ts';

const webhook = (url: string) => ({
  SCHEDULER_SMS: 'webhook',
  SCHEDULER_SMS_URL: url,
  SCHEDULER_SMS_SECRET: 'signing-key',
});

const send = async (db: TestDatabase, time: string, env: Record<string, string>, options = {}) =>
  passOf(await db.tick(time, { only: ['credentials'], env, ...options }), 'credentials');

async function paid(db: TestDatabase, phones = ['254712345678']) {
  const { id } = await hotspotPackage(db);
  for (const phone_number of phones) await pay(db, id, { phone_number });
  await db.tick(NOW, { only: ['payments'] });
}

const phones = (count: number) => Array.from({ length: count }, (_, n) => `2547000${String(n).padStart(5, '0')}`);
const stored = (db: TestDatabase) => db.one('select * from hotspot_credentials');
const toldOf = async (db: TestDatabase) =>
  (await db.events()).filter(({ type }) => type === 'CredentialsSent').map(({ data }) => data);
const asked = ({ asked: all }: FakeGateway) => all.map(({ body }) => JSON.parse(body));

test('the SMS tells user name, password, package and end; then the stored password is wiped', async () => {
  await using db = await database();
  await using gateway = await fakeGateway(answer(200, { id: 'msg-1' }));
  await paid(db);
  const { username } = await theUser(db);
  const { 'Cleartext-Password': password } = await checksOf(db, username);
  const pass = await send(db, at(1), { ...webhook(gateway.url), SCHEDULER_TIMEZONE: 'Africa/Nairobi' });
  assert.deepEqual(pass.changed, { sent: 1 });
  assert.equal(pass.lateSeconds, 60);
  const row = await stored(db);
  assert.deepEqual(asked(gateway), [
    {
      to: '+254712345678',
      text: `Your WiFi access: user ${username}, password ${password}. 1 Hour, until 2026-03-01 14:00.`,
      reference: row.sms_reference,
    },
  ]);
  assert.deepEqual([row.sms_status, row.sms_message_id, row.plain_password], ['sent', 'msg-1', null]);
  assert.equal(row.sms_sent_at.toISOString(), at(1));
  assert.deepEqual(await toldOf(db), [
    { phone_number: '2547****678', sms_status: 'sent', sent_at: '2026-03-01T10:01:00Z' },
  ]);
  await send(db, at(2), webhook(gateway.url));
  assert.equal(gateway.asked.length, 1);
});

test('a passing refusal is tried 3 times with growing pauses, then given up and the password wiped', async () => {
  await using db = await database();
  await using gateway = await fakeGateway(answer(503, ''));
  await paid(db);
  const env = webhook(gateway.url);
  const tries: number[] = [];
  for (let minute = 0; minute < 60; minute++) {
    const before = gateway.asked.length;
    await send(db, at(minute), env);
    if (gateway.asked.length > before) tries.push(minute);
    if (minute === 0) {
      const row = await stored(db);
      assert.deepEqual([row.sms_status, row.sms_error], ['pending', 'the webhook answered HTTP 503']);
      assert.ok(row.plain_password);
    }
  }
  assert.deepEqual(tries, [0, 3, 18]);
  const row = await stored(db);
  assert.deepEqual([row.sms_status, row.sms_attempts, row.plain_password], ['failed', 3, null]);
  assert.deepEqual(await toldOf(db), [{ phone_number: '2547****678', sms_status: 'failed', sent_at: null }]);
});

test('a permanent refusal is not retried', async () => {
  await using db = await database();
  await using gateway = await fakeGateway(answer(422, ''));
  await paid(db);
  assert.deepEqual((await send(db, NOW, webhook(gateway.url))).changed, { failed: 1 });
  await send(db, at(30), webhook(gateway.url));
  assert.equal(gateway.asked.length, 1);
  const row = await stored(db);
  assert.deepEqual([row.sms_status, row.sms_attempts, row.plain_password], ['failed', 1, null]);
});

test('an SMS that was given up is a failure as long as its access lasts: "status --check" names it', async () => {
  await using db = await database();
  await using gateway = await fakeGateway(answer(422, ''));
  await paid(db);
  const env = webhook(gateway.url);
  for (const [minutes, failed] of [0, 1].entries()) assert.equal((await send(db, at(minutes), env)).failed, failed);
  const [failure, ...others] = await db.query('select * from scheduler.failures');
  assert.deepEqual(
    [failure!.rule, failure!.error, others],
    ['report', 'the SMS to 2547****678 was given up: the webhook answered HTTP 422', []],
  );
  for (const minutes of [6, 36]) assert.equal((await send(db, at(minutes), env)).failed, 1);
  assert.match((await db.cli(['status', '--check'])).out, /credentials has 1 row in quarantine/);
  assert.equal((await stored(db)).given_up_at.toISOString(), at(0));
  assert.deepEqual((await send(db, at(60), env)).changed, { forget: 1 });
  await send(db, at(66), env);
  assert.deepEqual(await db.query('select * from scheduler.failures'), []);
});

test('an outcome that is unknown is recorded as such and retried within the 3 tries, with the same reference', async () => {
  await using db = await database();
  await using gateway = await fakeGateway(hangUp);
  await paid(db);
  const env = webhook(gateway.url);
  assert.deepEqual((await send(db, at(0), env)).changed, { 'try again': 1 });
  assert.equal((await stored(db)).sms_status, 'unknown');
  await send(db, at(3), env);
  assert.deepEqual((await send(db, at(18), env)).changed, { unknown: 1 });
  const row = await stored(db);
  assert.deepEqual([row.sms_status, row.plain_password], ['unknown', null]);
  assert.deepEqual(
    asked(gateway).map(({ reference }) => reference),
    Array(3).fill(row.sms_reference),
  );
  await send(db, at(59), env);
  assert.equal(gateway.asked.length, 3);
});

test('a gateway that is down uses up a try of a few SMS, not of all that wait', async () => {
  await using db = await database();
  await using gateway = await fakeGateway(answer(500, ''));
  await paid(db, phones(100));
  await send(db, NOW, webhook(gateway.url));
  const { tried, untried } = await db.one(`select
    (select count(*) from hotspot_credentials where sms_attempts = 1 and sms_status = 'pending')::integer as tried,
    (select count(*) from hotspot_credentials where sms_attempts = 0 and sms_status = 'pending')::integer as untried`);
  assert.equal(tried, gateway.asked.length);
  assert.ok(tried <= 32 && untried === 100 - tried, `${tried} tried`);
});

const africa = (statusCode: number) =>
  answer(201, { SMSMessageData: { Recipients: [{ statusCode, status: 'x', messageId: 'ATXid_1' }] } });
const africasTalking = (url: string) => ({
  ...{ SCHEDULER_SMS: 'africastalking', SCHEDULER_SMS_URL: url },
  ...{ SCHEDULER_SMS_USERNAME: 'operator', SCHEDULER_SMS_SECRET: 'key' },
});

test('1,000 SMS leave in one tick, though each twentieth is refused for its recipient', async () => {
  await using db = await database();
  const codes = [403, 407, 409, 406];
  let asked = 0;
  await using gateway = await fakeGateway((...to) => {
    const n = asked++;
    africa(n % 20 === 0 ? codes[(n / 20) % 4]! : 101)(...to);
  });
  await paid(db, phones(1000));
  const { changed } = await send(db, NOW, africasTalking(gateway.url));
  assert.deepEqual(changed, { sent: 950, failed: 37, 'try again': 13 });
  assert.equal(gateway.asked.length, 1000);
});

test('one fault of the gateway among many answers stops nothing', async () => {
  await using db = await database();
  let asked = 0;
  await using gateway = await fakeGateway((...to) => africa(asked++ % 3 === 0 ? 500 : 101)(...to));
  await paid(db, phones(60));
  assert.deepEqual((await send(db, NOW, africasTalking(gateway.url))).changed, { sent: 40, 'try again': 20 });
});

test('a short Retry-After is waited for at once, a long one by the SMS that are left', async () => {
  await using db = await database();
  let asked = 0;
  await using gateway = await fakeGateway((...to) =>
    (asked++ < 3 ? answer(429, '', { 'retry-after': '1' }) : answer(200, ''))(...to),
  );
  await paid(db, phones(20));
  assert.deepEqual((await send(db, NOW, webhook(gateway.url))).changed, { sent: 20 });
  assert.equal(asked, 23);
});

test('no SMS that waited for a long Retry-After is sent before it is over', async () => {
  await using db = await database();
  await using gateway = await fakeGateway(answer(429, '', { 'retry-after': '600' }));
  await paid(db, phones(100));
  await send(db, NOW, webhook(gateway.url), { batchSize: 30 });
  const { length } = gateway.asked;
  assert.ok(length <= 16, 'later batches of the run are spared too');
  for (const minutes of [1, 5, 9.9]) await send(db, at(minutes), webhook(gateway.url));
  assert.equal(gateway.asked.length, length);
  await send(db, at(10), webhook(gateway.url));
  assert.ok(gateway.asked.length > length);
});

test('SMS whose access is over are not sent any more', async () => {
  await using db = await database();
  await using gateway = await fakeGateway(answer(200, ''));
  await paid(db);
  assert.deepEqual((await send(db, at(60), webhook(gateway.url))).changed, { failed: 1 });
  assert.equal(gateway.asked.length, 0);
  const row = await stored(db);
  assert.deepEqual([row.sms_error, row.plain_password], ['the access was over before it could be sent', null]);
  // If one may have arrived, its status stays "unknown".
  await db.query(
    `update hotspot_credentials set sms_status = 'unknown', sms_attempts = 1, sms_next_attempt_at = '${NOW}'`,
  );
  assert.deepEqual((await send(db, at(60), webhook(gateway.url))).changed, { unknown: 1 });
});

test('with the gateway "log" nothing is sent; the password stays for whoever hands it out, until the access is over', async () => {
  await using db = await database();
  await paid(db);
  assert.deepEqual((await send(db, NOW, {})).changed, { logged: 1 });
  const row = await stored(db);
  assert.deepEqual([row.sms_status, row.sms_next_attempt_at], ['logged', null]);
  assert.ok(row.plain_password);
  await db.tick(at(60), { only: ['hotspot-sessions'] });
  assert.equal((await stored(db)).plain_password, null);
});

test('settings that lack something stop the job with exit 78 before a row is claimed', async () => {
  await using db = await database();
  await paidForAMonth(db);
  const before = await stored(db);
  const { code, err } = await db.cli(['tick'], { env: { SCHEDULER_SMS: 'twilio' } });
  assert.equal(code, 78);
  assert.match(err, /SCHEDULER_SMS is \\?"twilio\\?", so set SCHEDULER_SMS_USERNAME: the Account SID/);
  assert.deepEqual(await stored(db), before);
});

test('a dry run sends nothing and shows no secret', async () => {
  await using db = await database();
  await using gateway = await fakeGateway(answer(200, ''));
  const { id } = await hotspotPackage(db, { duration: '30 days' });
  await pay(db, id, { updated_at: new Date() });
  await db.cli(['payments']);
  const row = await stored(db);
  const { code, out, err } = await db.cli(['tick', '--dry-run', '--debug', '--json'], { env: webhook(gateway.url) });
  assert.equal(code, 0, err);
  assert.match(out, /"send":1/);
  assert.ok(!(out + err).includes(row.plain_password) && !(out + err).includes('712345678'));
  assert.equal(gateway.asked.length, 0);
  assert.deepEqual(await stored(db), row);
});

// ── A run that is killed

/** A real tick, killed the moment that the gateway has its first request. */
async function killedTick(db: TestDatabase, reply: (child: ChildProcess) => Reply): Promise<void> {
  let child: ChildProcess | undefined;
  await using gateway = await fakeGateway((response, request) => reply(child!)(response, request));
  child = spawn(LAUNCHER, ['credentials'], {
    env: { PATH: '/usr/bin:/bin', HOME: '/', DATABASE_URL: db.programUrl, ...webhook(gateway.url) },
    stdio: 'ignore',
  });
  await once(child, 'exit');
}

async function paidForAMonth(db: TestDatabase) {
  const { id } = await hotspotPackage(db, { duration: '30 days' });
  await pay(db, id, { updated_at: new Date() });
  await db.cli(['payments']);
}

const nextTry = (db: TestDatabase) =>
  db.query(`update hotspot_credentials set sms_next_attempt_at = now() where sms_next_attempt_at is not null`);

test('killed between sending and recording, the SMS is tried again with the same reference, 3 times in all', async () => {
  await using db = await database();
  await paidForAMonth(db);
  const { sms_reference: reference } = await stored(db);
  const references: string[] = [];
  for (let n = 1; n <= 3; n++) {
    await killedTick(db, (child) => (_, { body }) => {
      references.push(JSON.parse(body).reference);
      child.kill('SIGKILL');
    });
    const row = await stored(db);
    assert.deepEqual([row.sms_status, row.sms_attempts], ['sending', n]);
    assert.ok(row.sms_next_attempt_at > new Date(), 'nobody takes it at once');
    await nextTry(db);
  }
  await using gateway = await fakeGateway(answer(200, ''));
  const { code } = await db.cli(['credentials'], { env: webhook(gateway.url) });
  assert.equal(code, 0);
  assert.deepEqual(references, Array(3).fill(reference));
  assert.equal(gateway.asked.length, 0);
  const row = await stored(db);
  assert.deepEqual([row.sms_status, row.plain_password], ['unknown', null]);
  assert.equal(row.sms_error, 'the run that sent it did not live to see the answer');
  assert.equal((await toldOf(db)).length, 1);
});

test('killed between claiming and sending, the SMS is sent by a later run', async () => {
  await using db = await database();
  await paidForAMonth(db);
  // The state that such a run leaves: the claim is committed, and nothing else was done.
  await db.query(
    `update hotspot_credentials set sms_status = 'sending', sms_attempts = 1, sms_next_attempt_at = now()`,
  );
  await using gateway = await fakeGateway(answer(200, { id: 'msg-2' }));
  await db.cli(['credentials'], { env: webhook(gateway.url) });
  const row = await stored(db);
  assert.deepEqual([gateway.asked.length, row.sms_status, row.sms_attempts], [1, 'sent', 2]);
});

test('the claim is committed before the SMS leaves', async () => {
  await using db = await database();
  await paid(db);
  const seen: unknown[] = [];
  await using gateway = await fakeGateway(async (response) => {
    const row = await stored(db);
    seen.push([row.sms_status, row.sms_attempts]);
    response.writeHead(200).end();
  });
  await send(db, NOW, webhook(gateway.url));
  assert.deepEqual(seen, [['sending', 1]]);
});

test('five runners at once without the lock send each SMS once', async () => {
  await using db = await database({ withoutLock: true });
  await using gateway = await fakeGateway(answer(200, ''));
  await paid(db, phones(60));
  const env = webhook(gateway.url);
  await Promise.all(Array.from({ length: 5 }, () => db.tick(NOW, { only: ['credentials'], env, batchSize: 7 })));
  await send(db, NOW, env);
  const references = asked(gateway).map(({ reference }) => reference);
  assert.equal(references.length, 60);
  assert.equal(new Set(references).size, 60);
  assert.equal((await toldOf(db)).length, 60);
});
