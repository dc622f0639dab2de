import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { readSettings } from '../../../src/base/config.ts';
import { EXIT, type OperatorError } from '../../../src/base/errors.ts';
import { type Provider, SMS_SETTINGS, type SmsGateway, smsGateway } from '../../../src/jobs/hotspot/settings.ts';
import type { Outcome } from '../../../src/jobs/hotspot/sms/dialect.ts';
import { sendSms } from '../../../src/jobs/hotspot/sms/send.ts';
import { inFlight } from '../../../src/net/in-flight.ts';
import { answer, breakOff, fakeGateway, hang, hangUp, type Reply } from '../../support/fakes.ts';

const SMS = { to: '254712345678', text: 'WiFi user kdfh3746 password 7thx9rkvpn', reference: 'credentials-42' };
const KEY = 'key-that-nobody-may-see';
const FROM = { africastalking: 'HOTSPOT', twilio: '+15005550006', webhook: '', log: '' };

const gateway = (provider: Provider, url: string, over: Partial<SmsGateway> = {}): SmsGateway => ({
  provider,
  url,
  username: 'operator',
  secret: KEY,
  from: FROM[provider],
  timeoutMs: 5000,
  ...over,
});

const never = () => new AbortController().signal;
const sendTo = (to: SmsGateway, signal = never(), sms = SMS) => sendSms(to, sms, signal, () => {});

/** One SMS to a gateway that replies like this. Whatever comes of it, it may show nothing that is secret. */
async function send(provider: Provider, reply: Reply, over: Partial<SmsGateway> = {}) {
  await using server = await fakeGateway(reply);
  const outcome = await sendTo(gateway(provider, server.url, over));
  assertDiscreet(outcome);
  return { outcome, asked: server.asked };
}

function assertDiscreet(outcome: Outcome): void {
  const shown = JSON.stringify(outcome);
  const secrets = [KEY, Buffer.from(KEY).toString('base64'), SMS.text, '7thx9rkvpn', 'kdfh3746', '712345678'];
  for (const secret of secrets) assert.ok(!shown.includes(secret), shown);
}

/** Why an SMS was not sent. Unless the refusal is permanent, another try may help. */
function reasonOf(outcome: Outcome, permanent = false): string {
  assert.equal(outcome.kind, permanent ? 'rejected' : 'refused');
  return (outcome as { reason: string }).reason;
}

/** The others may still be served. */
const isOfRecipient = (outcome: Outcome) =>
  outcome.kind === 'rejected' || (outcome.kind === 'refused' && outcome.ofRecipient === true);

const africa = (statusCode: number, status: string, messageId = 'ATXid_8f2c') =>
  answer(201, {
    SMSMessageData: {
      Message: 'Sent to 1/1 Total Cost: KES 0.8000',
      Recipients: [{ statusCode, number: '+254712345678', status, cost: 'KES 0.8000', messageId }],
    },
  });

const twilioError = (status: number, code: number) =>
  answer(status, {
    code,
    message: `The 'To' number +254712345678 with '${SMS.text}' is refused`,
    more_info: `https://www.twilio.com/docs/errors/${code}`,
    status,
  });

// ── Africa's Talking

test("Africa's Talking gets the form that its API wants", async () => {
  const { outcome, asked } = await send('africastalking', africa(101, 'Success'));
  assert.deepEqual(outcome, { kind: 'sent', messageId: 'ATXid_8f2c' });
  const [{ method, path, headers, body }] = asked as [(typeof asked)[0]];
  assert.equal(`${method} ${path}`, 'POST /version1/messaging');
  assert.equal(headers.apikey, KEY);
  assert.equal(headers.accept, 'application/json');
  assert.deepEqual(Object.fromEntries(new URLSearchParams(body)), {
    username: 'operator',
    to: '+254712345678',
    message: SMS.text,
    from: 'HOTSPOT',
  });
});

test("without a sender id Africa's Talking gets none", async () => {
  const { asked } = await send('africastalking', africa(100, 'Success'), { from: '' });
  assert.ok(!new URLSearchParams(asked[0]!.body).has('from'));
});

for (const code of [100, 101, 102]) {
  test(`status ${code} of Africa's Talking is accepted`, async () => {
    assert.equal((await send('africastalking', africa(code, 'Success'))).outcome.kind, 'sent');
  });
}

for (const [code, name, permanent] of [
  [401, 'RiskHold', false],
  [402, 'InvalidSenderId', false],
  [403, 'InvalidPhoneNumber', true],
  [404, 'UnsupportedNumberType', true],
  [405, 'InsufficientBalance', false],
  [406, 'UserInBlacklist', true],
  [407, 'CouldNotRoute', false],
  [409, 'DoNotDisturbRejection', true],
  [500, 'InternalServerError', false],
  [501, 'GatewayError', false],
  [502, 'RejectedByGateway', false],
] as const) {
  test(`${name} inside HTTP 201 is a ${permanent ? 'permanent' : 'passing'} refusal`, async () => {
    const { outcome } = await send('africastalking', africa(code, name, 'None'));
    const reason = reasonOf(outcome, permanent);
    assert.ok(reason.includes(`${code} (${name})`), reason);
    assert.equal(isOfRecipient(outcome), permanent || code === 407);
  });
}

test('a rejection of the whole request inside HTTP 201 is a refusal', async () => {
  const body = { SMSMessageData: { Message: 'InvalidSenderId', Recipients: [] } };
  const { outcome } = await send('africastalking', answer(201, body));
  assert.match(reasonOf(outcome), /rejected the request \(InvalidSenderId\)/);
});

test('an answer of success that says nothing of the message leaves its fate unknown', async () => {
  for (const body of ['', '<html>', '{}', 'null', '{"SMSMessageData":{}}']) {
    assert.equal((await send('africastalking', answer(201, body))).outcome.kind, 'unknown', body);
  }
});

test('a refused API key can be mended, so it is no reason to give up on the SMS', async () => {
  const { outcome } = await send('africastalking', answer(401, 'The supplied authentication is invalid'));
  assert.equal(reasonOf(outcome), "Africa's Talking refused the username or the API key (HTTP 401)");
});

test('a message that a gateway echoes is not repeated', async () => {
  const echo = { SMSMessageData: { Message: 'password', Recipients: [] } };
  assert.ok(!reasonOf((await send('africastalking', answer(201, echo))).outcome).includes('password'));
  assert.deepEqual((await send('africastalking', africa(101, 'Success', '7thx9rkvpn'))).outcome, { kind: 'sent' });
  const sid = 'SM254712345678';
  assert.deepEqual((await send('twilio', answer(201, { sid, status: 'queued' }))).outcome, { kind: 'sent' });
});

// ── Twilio

test('Twilio gets the form that its API wants', async () => {
  const { outcome, asked } = await send('twilio', answer(201, { sid: 'SM0123456789abcdef', status: 'queued' }), {
    username: 'AC0123',
  });
  assert.deepEqual(outcome, { kind: 'sent', messageId: 'SM0123456789abcdef' });
  const [{ method, path, headers, body }] = asked as [(typeof asked)[0]];
  assert.equal(`${method} ${path}`, 'POST /2010-04-01/Accounts/AC0123/Messages.json');
  assert.equal(headers.authorization, `Basic ${Buffer.from(`AC0123:${KEY}`).toString('base64')}`);
  assert.deepEqual(Object.fromEntries(new URLSearchParams(body)), {
    To: '+254712345678',
    From: '+15005550006',
    Body: SMS.text,
  });
});

test('a messaging service of Twilio takes the place of the number', async () => {
  const { asked } = await send('twilio', answer(201, {}), { from: 'MG0123' });
  const form = new URLSearchParams(asked[0]!.body);
  assert.equal(form.get('MessagingServiceSid'), 'MG0123');
  assert.ok(!form.has('From'));
});

for (const [status, code, permanent, ofRecipient] of [
  [400, 21211, true, true],
  [400, 21610, true, true],
  [400, 21614, true, true],
  [400, 21408, false, true],
  [400, 21608, false, true],
  [400, 21612, false, true],
  [400, 21606, false, false],
  [401, 20003, false, false],
  [429, 20429, false, false],
  [400, 29999, false, false],
] as const) {
  test(`Twilio's error ${code} is a ${permanent ? 'permanent' : 'passing'} refusal`, async () => {
    const { outcome } = await send('twilio', twilioError(status, code));
    const reason = reasonOf(outcome, permanent);
    assert.ok(reason.includes(`https://www.twilio.com/docs/api/errors/${code}`));
    assert.equal(isOfRecipient(outcome), ofRecipient);
  });
}

test("an answer of success is no SMS unless it is the gateway's own acceptance", async () => {
  const page = '\n<html><body>Log in to the airport WiFi</body></html>';
  for (const provider of ['africastalking', 'twilio', 'webhook'] as const) {
    assert.equal((await send(provider, answer(200, page))).outcome.kind, 'unknown', provider);
  }
  for (const body of ['', '{}', 'null', '{"status":"queued"}', '{"sid":"SM01"}', '{"sid":"SM01","status":"lost"}'])
    assert.equal((await send('twilio', answer(201, body))).outcome.kind, 'unknown', body);
});

test('a message that Twilio took and could not deliver is not sent', async () => {
  const failed = (error_code: unknown) => answer(201, { sid: 'SM01', status: 'failed', error_code });
  assert.ok(isOfRecipient((await send('twilio', failed(30003))).outcome));
  assert.match(reasonOf((await send('twilio', failed(null))).outcome), /Twilio took it and says "failed"/);
});

// ── The webhook

test('a webhook gets JSON whose signature covers the body, the time and the reference', async () => {
  await using server = await fakeGateway(answer(202, { id: 'm-1' }));
  const outcome = await sendTo(gateway('webhook', `${server.url}/hooks/sms/?tenant=7`));
  assert.deepEqual(outcome, { kind: 'sent', messageId: 'm-1' });
  const { path, headers, body } = server.asked[0]!;
  assert.equal(path, '/hooks/sms/?tenant=7');
  assert.deepEqual(JSON.parse(body), { to: '+254712345678', text: SMS.text, reference: 'credentials-42' });
  assert.equal(headers['idempotency-key'], 'credentials-42');
  const [, time, reference, signature] = /^t=(\d+),ref=([^,]+),v1=([0-9a-f]{64})$/.exec(
    headers['scheduler-signature'] as string,
  )!;
  assert.ok(Math.abs(Number(time) - Date.now() / 1000) < 5);
  assert.equal(reference, 'credentials-42');
  assert.equal(signature, createHmac('sha256', KEY).update(`${time}.${reference}.${body}`).digest('hex'));
});

test('two attempts at one SMS carry the same key, so that a webhook can send it once', async () => {
  await using server = await fakeGateway(answer(503, ''));
  for (let n = 0; n < 2; n++) await sendTo(gateway('webhook', server.url));
  assert.deepEqual(
    server.asked.map(({ headers }) => headers['idempotency-key']),
    ['credentials-42', 'credentials-42'],
  );
});

for (const [status, kind] of [
  [200, 'sent'],
  [204, 'sent'],
  [302, 'refused'],
  [400, 'rejected'],
  [401, 'refused'],
  [403, 'refused'],
  [404, 'refused'],
  [422, 'rejected'],
  [408, 'refused'],
  [425, 'refused'],
  [429, 'refused'],
  [500, 'refused'],
  [503, 'refused'],
] as const) {
  test(`HTTP ${status} of a webhook means ${kind}`, async () => {
    const { outcome } = await send('webhook', answer(status, '', { location: 'http://127.0.0.1:9/' }));
    assert.equal(outcome.kind, kind);
  });
}

// ── Any gateway

for (const provider of ['africastalking', 'twilio', 'webhook'] as const) {
  test(`${provider}: 429 and 5xx are worth another try`, async () => {
    for (const status of [429, 500, 502, 503]) {
      const { outcome } = await send(provider, answer(status, 'Too many requests: +254712345678'));
      assert.ok(reasonOf(outcome).includes(String(status)));
    }
  });

  test(`${provider}: Retry-After is read as seconds or as a date`, async () => {
    const inAMinute = new Date(Date.now() + 60_000).toUTCString();
    for (const [header, least, most] of [
      ['7', 7, 7],
      [inAMinute, 55, 61],
      ['999999', 3600, 3600],
    ] as const) {
      const { outcome } = await send(provider, answer(429, '', { 'retry-after': header }));
      const { wait } = outcome as { wait: number };
      assert.ok(wait >= least && wait <= most, `${header}: ${wait}`);
    }
    const { outcome } = await send(provider, answer(429, '', { 'retry-after': 'soon' }));
    assert.ok(!('wait' in outcome));
  });

  test(`${provider}: when the answer does not come in time, the fate of the SMS is unknown`, async () => {
    const began = performance.now();
    const { outcome } = await send(provider, hang, { timeoutMs: 100 });
    assert.equal(outcome.kind, 'unknown');
    assert.match((outcome as { reason: string }).reason, /^127\.0\.0\.1:\d+ did not answer within 0\.1 s$/);
    assert.ok(performance.now() - began < 2000);
  });

  test(`${provider}: when the connection is closed before the answer, the fate of the SMS is unknown`, async () => {
    const { outcome } = await send(provider, hangUp);
    assert.equal(outcome.kind, 'unknown');
    assert.match((outcome as { reason: string }).reason, /hung up without an answer/);
  });

  test(`${provider}: a gateway that cannot be reached has not sent the SMS`, async () => {
    const server = await fakeGateway(hang);
    await server[Symbol.asyncDispose]();
    assert.match(reasonOf(await sendTo(gateway(provider, server.url))), /cannot be reached \(ECONNREFUSED\)/);
  });

  test(`${provider}: the key does not follow a redirect`, async () => {
    await using elsewhere = await fakeGateway(answer(200, ''));
    const { outcome } = await send(provider, answer(307, '', { location: elsewhere.url }));
    assert.equal(outcome.kind, 'refused');
    assert.equal(elsewhere.asked.length, 0);
  });
}

test('an answer that breaks off after its status still counts as far as it goes', async () => {
  assert.equal((await send('webhook', breakOff(200, '{"id"'))).outcome.kind, 'sent');
  assert.equal((await send('twilio', breakOff(201, '{"sid"'))).outcome.kind, 'unknown');
  assert.equal((await send('africastalking', breakOff(201, '{"SMS'))).outcome.kind, 'unknown');
  assert.equal((await send('twilio', breakOff(500, ''))).outcome.kind, 'refused');
});

test('on a connection that served before, too, a lost answer leaves the fate of the SMS unknown', async () => {
  let port: number | undefined;
  let reused = false;
  await using server = await fakeGateway((response, asked) => {
    reused = port === response.socket!.remotePort;
    port = response.socket!.remotePort;
    (reused ? hangUp : answer(200, ''))(response, asked);
  });
  assert.equal((await sendTo(gateway('webhook', server.url))).kind, 'sent');
  assert.equal((await sendTo(gateway('webhook', server.url))).kind, 'unknown');
  assert.ok(reused);
});

test('an endless answer is not read to its end', async () => {
  const { outcome } = await send('webhook', (response) => {
    response.writeHead(200);
    const more = () => response.write('x'.repeat(16_384), () => response.destroyed || setImmediate(more));
    more();
  });
  assert.equal(outcome.kind, 'sent');
});

test('a server that does not speak TLS has not got the SMS', async () => {
  const server = createServer((socket) =>
    socket
      .on('error', () => {})
      .resume()
      .end('nonsense\n'),
  );
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const url = `https://127.0.0.1:${(server.address() as { port: number }).port}`;
  assert.match(reasonOf(await sendTo(gateway('webhook', url))), /cannot be reached/);
  await new Promise((done) => server.close(done));
});

test("the run's deadline ends every wait at once, and says what is unknown and what never left", async () => {
  const deadline = new AbortController();
  await using server = await fakeGateway(() => deadline.abort());
  const began = performance.now();
  const left = await sendTo(gateway('webhook', server.url), deadline.signal);
  const late = await sendTo(gateway('webhook', server.url), deadline.signal);
  assert.equal(left.kind, 'unknown');
  assert.equal(late.kind, 'refused');
  assert.equal(server.asked.length, 1);
  assert.ok(performance.now() - began < 2500);
});

test('a slow gateway is asked by many at once', async () => {
  await using server = await fakeGateway((response) => void setTimeout(() => response.writeHead(200).end(), 50));
  const signal = never();
  const began = performance.now();
  const items = Array.from({ length: 300 }, (_, n) => n);
  let sent = 0;
  await inFlight(items, { most: 32, mostEach: 32, destination: () => 'gateway', signal }, async () => {
    if ((await sendTo(gateway('webhook', server.url), signal)).kind === 'sent') sent++;
    return 'go on';
  });
  assert.equal(sent, 300);
  assert.ok(performance.now() - began < 5000);
});

test('the gateway "log" says that it would send, to whom in part, and not what', async () => {
  const said: string[] = [];
  const outcome = await sendSms(gateway('log', ''), SMS, never(), (sentence) => said.push(sentence));
  assert.deepEqual(outcome, { kind: 'logged' });
  assert.deepEqual(said, ['Would send an SMS of 38 characters to 2547****678; SCHEDULER_SMS names no gateway']);
});

test('numbers reach the gateway in the international form where they are in one', async () => {
  const forms = {
    '254712345678': '+254712345678',
    '+254 712-345 678': '+254712345678',
    '00254712345678': '+254712345678',
    '0712345678': '0712345678',
  };
  await using server = await fakeGateway(answer(200, ''));
  for (const to of Object.keys(forms)) await sendTo(gateway('webhook', server.url), never(), { ...SMS, to });
  assert.deepEqual(
    server.asked.map(({ body }) => JSON.parse(body).to),
    Object.values(forms),
  );
});

// ── Settings

const settingsOf = (env: Record<string, string>) =>
  readSettings(env, SMS_SETTINGS, { databaseUrl: 'postgresql://h/d' }).job;
const fault = (work: () => unknown): OperatorError => {
  try {
    work();
  } catch (error) {
    return error as OperatorError;
  }
  throw new Error('no fault');
};

test('without settings SMS are only logged', () => {
  assert.equal(smsGateway(settingsOf({})).provider, 'log');
});

test('each gateway names every setting it lacks', () => {
  const lacks = (env: Record<string, string>) => {
    const error = fault(() => smsGateway(settingsOf(env)));
    assert.equal(error.exitCode, EXIT.configuration);
    return [...error.message.matchAll(/SCHEDULER_SMS_\w+/g)].map(String);
  };
  assert.deepEqual(lacks({ SCHEDULER_SMS: 'africastalking' }), ['SCHEDULER_SMS_USERNAME', 'SCHEDULER_SMS_SECRET']);
  assert.deepEqual(lacks({ SCHEDULER_SMS: 'Twilio', SCHEDULER_SMS_SECRET: 'x' }), [
    'SCHEDULER_SMS_USERNAME',
    'SCHEDULER_SMS_FROM',
  ]);
  assert.deepEqual(lacks({ SCHEDULER_SMS: 'webhook' }), ['SCHEDULER_SMS_URL', 'SCHEDULER_SMS_SECRET']);
});

test('a setting that is not usable is named, and a secret one not shown', () => {
  const error = fault(() =>
    settingsOf({
      SCHEDULER_SMS: 'pigeon',
      SCHEDULER_SMS_URL: 'ftp://user:hidden@example.com',
      SCHEDULER_SMS_SECRET: 'hidden\r\nX-Header: 1',
    }),
  );
  assert.equal(error.exitCode, EXIT.configuration);
  assert.match(error.message, /SCHEDULER_SMS is "pigeon"; valid: africastalking, twilio, webhook, log\./);
  assert.match(error.message, /SCHEDULER_SMS_URL is not usable; valid: a URL/);
  assert.match(error.message, /SCHEDULER_SMS_SECRET is not usable/);
  assert.doesNotMatch(error.message, /hidden/);
});

test("the sandbox of Africa's Talking is reached through its username", async () => {
  const { africasTalking } = await import('../../../src/jobs/hotspot/sms/africastalking.ts');
  const url = (username: string) => africasTalking.ask(gateway('africastalking', '', { username }), SMS).url;
  assert.equal(url('sandbox'), 'https://api.sandbox.africastalking.com/version1/messaging');
  assert.equal(url('operator'), 'https://api.africastalking.com/version1/messaging');
});
