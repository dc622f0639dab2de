import assert from 'node:assert/strict';
import { lookup } from 'node:dns/promises';
import { test } from 'node:test';
import { type Disconnected, describeDisconnect, disconnect, isGone } from '../../../src/jobs/hotspot/radius/client.ts';
import { encodeDisconnect } from '../../../src/jobs/hotspot/radius/packet.ts';
import { inFlight } from '../../../src/net/in-flight.ts';
import { ACK, cause, fakeNas, NAK, type Request } from '../../support/fakes.ts';

const SESSION = { username: 'kdfh3746', sessionId: '8100A3F2', nasIp: '10.5.0.1', framedIp: '10.5.50.77' };
const QUICK = { timeoutMs: 40, tries: 3 };
const acknowledge = (request: Request) => request.send(request.reply(ACK));

test('a session whose NAS acknowledges is gone', async () => {
  await using nas = await fakeNas(acknowledge);
  const answer = await disconnect(nas, SESSION);
  assert.equal(answer, 'ack');
  assert.ok(isGone(answer));
  assert.equal(nas.requests.length, 1);
});

test('a Disconnect-Request names the session and nothing else', async () => {
  await using nas = await fakeNas(acknowledge);
  const before = Math.floor(Date.now() / 1000);
  await disconnect(nas, SESSION);
  const { packet, attributes } = nas.requests[0]!;
  assert.equal(packet[0], 40);
  assert.equal(attributes.get(1)!.toString(), 'kdfh3746');
  assert.equal(attributes.get(44)!.toString(), '8100A3F2');
  assert.deepEqual([...attributes.get(4)!], [10, 5, 0, 1]);
  assert.deepEqual([...attributes.get(8)!], [10, 5, 50, 77]);
  assert.ok(attributes.get(55)!.readUInt32BE() - before <= 1);
  assert.deepEqual(
    [...attributes.keys()].sort((a, b) => a - b),
    [1, 4, 8, 44, 55, 80],
  );
});

test('unknown values of a session are left out, and IPv6 addresses have attributes of their own', async () => {
  await using nas = await fakeNas(acknowledge);
  await disconnect(nas, { username: 'kdfh3746', nasIp: null });
  await disconnect(nas, { username: 'kdfh3746', nasIp: '2001:db8::7/128', framedIp: '::ffff:10.0.0.1' });
  const [bare, six] = nas.requests.map(({ attributes }) => attributes) as [Map<number, Buffer>, Map<number, Buffer>];
  assert.deepEqual([...bare.keys()], [80, 1, 55]);
  assert.equal(six.get(95)!.toString('hex'), '20010db8000000000000000000000007');
  assert.equal(six.get(168)!.toString('hex'), '00000000000000000000ffff0a000001');
});

test('NAK 503 counts as gone, any other NAK does not', async () => {
  const answers = [cause(503), cause(501), Buffer.alloc(0)];
  await using nas = await fakeNas((request) => request.send(request.reply(NAK, answers.shift())));
  const given: Disconnected[] = [];
  for (let n = 0; n < 3; n++) given.push(await disconnect(nas, SESSION));
  assert.deepEqual(given, [{ nak: 503 }, { nak: 501 }, { nak: null }]);
  assert.deepEqual(given.map(isGone), [true, false, false]);
  assert.match(describeDisconnect(given[0]!), /503 \(session not found\)/);
});

test('silence is met with the same packet again, three times in all', async () => {
  await using nas = await fakeNas(() => {});
  assert.equal(await disconnect(nas, SESSION, undefined, QUICK), 'silence');
  assert.deepEqual(
    nas.requests.map(({ times }) => times),
    [1, 2, 3],
  );
});

test('a lost packet costs one more try', async () => {
  await using nas = await fakeNas((request) => request.times === 2 && acknowledge(request));
  assert.equal(await disconnect(nas, SESSION, undefined, { timeoutMs: 300, tries: 3 }), 'ack');
  assert.equal(nas.requests.length, 2);
});

test('with another secret than the NAS has, every try is met with silence', async () => {
  await using nas = await fakeNas(acknowledge);
  assert.equal(await disconnect({ ...nas, secret: 'wrong' }, SESSION, undefined, QUICK), 'silence');
  assert.equal(nas.requests.length, 0);
});

test('forged and broken answers are passed over for the true one', async () => {
  await using nas = await fakeNas((request) => {
    const truth = request.reply(ACK);
    const flipped = Buffer.from(truth);
    flipped[10]! ^= 1;
    request.send(request.reply(ACK, undefined, 'not the secret'));
    request.send(flipped);
    request.send(truth.subarray(0, 12));
    request.send(Buffer.alloc(0));
    request.send(request.reply(2));
    request.send(request.reply(ACK, Buffer.from([101, 9, 0])));
    request.send(request.reply(ACK, Buffer.concat([Buffer.of(80, 18), Buffer.alloc(16, 7)])));
    request.send(request.reply(NAK, cause(503)), 10);
  });
  assert.deepEqual(await disconnect(nas, SESSION), { nak: 503 });
});

test('a signed answer is taken, over the authenticator of the request or over zeros', async () => {
  for (const over of ['request', 'zeros'] as const) {
    await using nas = await fakeNas((request) => request.send(request.reply(ACK, request.signature(ACK, over))));
    assert.equal(await disconnect(nas, SESSION), 'ack', over);
  }
});

test('an answer from elsewhere is no answer', async () => {
  await using other = await fakeNas(() => {});
  await using nas = await fakeNas((request) => {
    void import('node:dgram').then(({ createSocket }) => {
      const socket = createSocket('udp4');
      socket.send(request.reply(ACK), request.from.port, request.from.address, () => socket.close());
    });
  });
  assert.equal(await disconnect(nas, SESSION, undefined, QUICK), 'silence');
  assert.equal(other.requests.length, 0);
});

test('a late answer is not taken for the answer to the request that has its identifier now', async () => {
  let late = false;
  await using nas = await fakeNas((request) => request.send((late ? nas.requests[0]! : request).reply(ACK)));
  for (let n = 0; n < 256; n++) assert.equal(await disconnect(nas, { username: `user${n}` }), 'ack');
  late = true;
  assert.equal(await disconnect(nas, { username: 'another' }, undefined, QUICK), 'silence');
  assert.equal(nas.requests.at(-1)!.identifier, nas.requests[0]!.identifier);
});

test('a NAS is reached over IPv6 as well, however its address is written', async (t) => {
  const nas = await fakeNas(acknowledge, '::1').catch(() => undefined);
  if (!nas) return t.skip('this machine has no IPv6 loopback');
  await using _ = nas;
  assert.equal(await disconnect({ ...nas, host: '0:0:0::1' }, SESSION), 'ack');
});

test('a NAS may be named', async () => {
  await using nas = await fakeNas(acknowledge, (await lookup('localhost')).address);
  assert.equal(await disconnect({ ...nas, host: 'localhost' }, SESSION), 'ack');
});

test('a packet that cannot be sent says why, and never shows the secret', async () => {
  const nas = { host: '127.0.0.1', port: 3799, secret: 'a-secret' };
  const refused = [
    await disconnect({ ...nas, host: 'no-such-host.invalid' }, SESSION),
    await disconnect({ ...nas, port: 0 }, SESSION),
    await disconnect({ ...nas, secret: '' }, SESSION),
    await disconnect(nas, { username: 'k'.repeat(254) }),
    await disconnect(nas, { username: 'kdfh3746', nasIp: 'router' }),
    await disconnect(nas, { username: '' }),
  ];
  const reasons = refused.map(describeDisconnect);
  assert.match(reasons[0]!, /not sent: the host name "no-such-host.invalid" of the NAS is not known \(E/);
  assert.match(reasons[1]!, /no port 0/);
  assert.match(reasons[2]!, /no secret/);
  assert.match(reasons[3]!, /the user name has 254 bytes/);
  assert.match(reasons[4]!, /"router" is not an IP address/);
  assert.match(reasons[5]!, /the user name has 0 bytes/);
  assert.doesNotThrow(() => encodeDisconnect({ username: 'k'.repeat(253) }, 'a-secret', 0, new Date()));
  assert.doesNotMatch(reasons.join(), /a-secret/);
});

test("the run's deadline ends every wait at once", async () => {
  const deadline = new AbortController();
  await using nas = await fakeNas(() => nas.requests.length === 3 && deadline.abort());
  const { signal } = deadline;
  const began = performance.now();
  const answers = await Promise.all([1, 2, 3].map(() => disconnect(nas, SESSION, signal)));
  assert.deepEqual(answers, ['stopped', 'stopped', 'stopped']);
  assert.ok(performance.now() - began < 2500);
  assert.equal(await disconnect(nas, SESSION, signal), 'stopped');
  assert.equal(nas.requests.length, 3);
});

test('more than 256 requests may wait for one NAS: no two have both the same port and the same identifier', async () => {
  await using nas = await fakeNas((request) => request.send(request.reply(ACK), 200));
  const sessions = Array.from({ length: 600 }, (_, n) => ({ username: `user${n}`, sessionId: `s${n}` }));
  const answers = await Promise.all(
    sessions.map((session) => disconnect(nas, session, undefined, { timeoutMs: 1000, tries: 3 })),
  );
  assert.ok(answers.every((answer) => answer === 'ack'));
  assert.equal(new Set(nas.requests.map(({ from, identifier }) => `${from.port} ${identifier}`)).size, 600);
});

test('a dead router does not hold up another, and is given up on after its first silence', async () => {
  await using dead = await fakeNas(() => {});
  await using alive = await fakeNas(acknowledge);
  const signal = AbortSignal.timeout(20_000);
  const work = Array.from({ length: 400 }, (_, n) => ({ nas: n % 2 === 0 ? dead : alive, username: `user${n}` }));
  let gone = 0;
  let lastGone = 0;
  let firstSilence = Number.POSITIVE_INFINITY;
  const began = performance.now();
  const left = await inFlight(
    work,
    { most: 64, mostEach: 16, destination: ({ nas }) => `${nas.host}:${nas.port}`, signal },
    async ({ nas, username }) => {
      const answer = await disconnect(nas, { username }, signal, { timeoutMs: 1000, tries: 3 });
      if (isGone(answer)) {
        gone++;
        lastGone = performance.now() - began;
      }
      if (answer !== 'silence') return 'go on';
      firstSilence = Math.min(firstSilence, performance.now() - began);
      return 'give up';
    },
  );
  assert.equal(gone, 200);
  assert.equal(left.length, 200 - 16);
  assert.ok(lastGone < firstSilence, `${lastGone} and ${firstSilence} ms`);
});
