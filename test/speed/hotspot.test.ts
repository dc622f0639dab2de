import assert from 'node:assert/strict';
import { test } from 'node:test';
import { disconnect, isGone } from '../../src/jobs/hotspot/radius/client.ts';
import { inFlight } from '../../src/net/in-flight.ts';
import { CASES } from '../bench/cases.ts';
import { ACK, type FakeNas, fakeNas, type Request } from '../support/fakes.ts';
import { database } from '../support/harness.ts';
import { NOW, passOf } from '../support/hotspot-rows.ts';
import { bareSql, ratioOf, seconds } from '../support/timing.ts';

const BOUND = 1.3;
const ROUNDS = { least: 5, most: 30, bound: BOUND };
const ROWS = 10_000;

for (const name of ['payments', 'hotspot-sessions']) {
  test(`${ROWS} rows of ${name} in one tick take at most ${BOUND} times the bare SQL`, async (t) => {
    await using db = await database();
    const each = CASES.find(({ job }) => job === name)!;
    const fill = async () => {
      for (const sql of [each.empty, each.fill.replaceAll(':n', String(ROWS)), 'vacuum analyze']) await db.query(sql);
    };
    const bare = async () => {
      await fill();
      return bareSql(db.url, each.bare);
    };
    const ours = async () => {
      await fill();
      const took = await seconds(async () => passOf(await db.tick(undefined, { only: [name], by: 'test' }), name));
      assert.equal((await db.one(each.done)).n, ROWS);
      return took;
    };
    const { second, ratio } = await ratioOf(ROUNDS, bare, ours);
    t.diagnostic(`${second.toFixed(2)} s, ${ratio.toFixed(2)} times the bare SQL`);
    assert.ok(ratio <= BOUND, `${ratio} times`);
  });
}

test('1,000 disconnects to a NAS that answers in 50 ms finish in under 5 s', async (t) => {
  await using db = await database();
  await using nas = await fakeNas((request) => request.send(request.reply(ACK), 50));
  await db.insert('nas', { nasname: nas.host, shortname: 'test', secret: nas.secret });
  await db.query(
    `insert into session_disconnections (radius_session_id, username, acct_session_id, nas_ip_address, next_attempt_at)
    select n, 'user' || n, 's' || n, '127.0.0.1', $1 from generate_series(1, 1000) as n`,
    [NOW],
  );
  const env = { SCHEDULER_RADIUS_PORT: String(nas.port) };
  const took = await seconds(async () => {
    const { changed } = passOf(await db.tick(NOW, { only: ['disconnects'], env }), 'disconnects');
    assert.deepEqual(changed, { disconnected: 1000 });
  });
  t.diagnostic(`${took.toFixed(1)} s`);
  assert.ok(took < 5, `${took} s`);
});

test('10,000 disconnects to 20 routers, two of them dead: those to the others are done within 10 s', async (t) => {
  await using db = await database();
  const routers: FakeNas[] = [];
  let port = 0;
  for (let n = 1; n <= 20; n++) {
    const answer = (request: Request) => n > 2 && request.send(request.reply(ACK), 20);
    const nas = await fakeNas(answer, `127.0.0.${n}`, port);
    routers.push(nas);
    port = nas.port;
    await db.insert('nas', { nasname: nas.host, shortname: 'test', secret: nas.secret });
  }
  await db.query(
    `insert into session_disconnections (radius_session_id, username, acct_session_id, nas_ip_address, next_attempt_at)
    select n, 'user' || n, 's' || n, '127.0.0.' || 1 + n % 20, $1 from generate_series(1, 10000) as n`,
    [NOW],
  );
  const env = { SCHEDULER_RADIUS_PORT: String(port) };
  const took = await seconds(async () => {
    const { changed } = passOf(await db.tick(NOW, { only: ['disconnects'], env }), 'disconnects');
    assert.equal(changed.disconnected, 9000);
  });
  for (const router of routers) await router[Symbol.asyncDispose]();
  t.diagnostic(`${took.toFixed(1)} s`);
  assert.ok(took < 10, `${took} s`);
});

test('without a database, too', async (t) => {
  await using nas = await fakeNas((request) => request.send(request.reply(ACK), 50));
  const signal = AbortSignal.timeout(20_000);
  const sessions = Array.from({ length: 1000 }, (_, n) => ({ username: `user${n}`, sessionId: `s${n}` }));
  let gone = 0;
  const took = await seconds(() =>
    inFlight(sessions, { most: 256, mostEach: 64, destination: () => nas.host, signal }, async (session) => {
      if (isGone(await disconnect(nas, session, signal))) gone++;
      return 'go on';
    }),
  );
  assert.equal(gone, 1000);
  t.diagnostic(`${took.toFixed(1)} s`);
  assert.ok(took < 5, `${took} s`);
});
