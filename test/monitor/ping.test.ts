import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { test } from 'node:test';
import { type Asked, answer, fakeGateway, hang, hangUp, type Reply } from '../support/fakes.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { until } from '../support/until.ts';

const due = { name: 'Weekend Special', enable_schedule: true, scheduled_activation_time: '2026-03-01T10:00:00Z' };
const SECRET = '5f6e9a2c-uuid';

async function tick(db: TestDatabase, url: string, env: Record<string, string> = {}) {
  const begun = Date.now();
  const finished = await db.cli(['tick', '--ping-url', `${url}/${SECRET}`], { env });
  assert.ok(!finished.err.includes(SECRET), finished.err);
  return { ...finished, ms: Date.now() - begun };
}

const paths = (asked: Asked[]) => asked.map(({ path }) => path.replace(/\?rid=[\w-]{36}$/, '?rid'));

const onStart =
  (atStart: Reply, otherwise: Reply): Reply =>
  (response, asked) =>
    (asked.path.includes('/start') ? atStart : otherwise)(response, asked);

test('the monitor hears of the start, then of the exit code, with a summary', async () => {
  await using db = await database();
  await using monitor = await fakeGateway(answer(200, 'OK'));
  await db.insert('packages', due);
  const { code, err } = await tick(db, monitor.url);
  assert.deepEqual([code, err], [0, '']);
  assert.deepEqual(paths(monitor.asked), [`/${SECRET}/start?rid`, `/${SECRET}/0?rid`]);
  assert.equal(monitor.asked[0]!.path.split('?')[1], monitor.asked[1]!.path.split('?')[1], 'one run');
  assert.ok(monitor.asked.every(({ method }) => method === 'POST'));
  assert.match(
    monitor.asked[1]!.body,
    /^exit code 0: done, after \d+\.\d s\npackages: activate 1, late by up to \d+ d( \d+ (h|min))?$/,
  );
});

test('the query of the URL stays', async () => {
  await using db = await database();
  await using monitor = await fakeGateway(answer(200, 'OK'));
  await db.cli(['tick'], { env: { SCHEDULER_PING_URL: `${monitor.url}/key/slug/?create=1&rid=mine` } });
  assert.deepEqual(paths(monitor.asked), ['/key/slug/start?create=1&rid=mine', '/key/slug/0?create=1&rid=mine']);
});

test('a tick that fails is told by its exit code, without the words of the error', async () => {
  await using db = await database();
  await using monitor = await fakeGateway(answer(200, 'OK'));
  await db.insert('packages', { ...due, name: 'Private', validity: 'banana' });
  assert.equal((await tick(db, monitor.url)).code, 1);
  const unreachable = { DATABASE_URL: 'postgresql://me:hunter2@127.0.0.1:9/x', PGCONNECT_TIMEOUT: '1' };
  assert.equal((await tick(db, monitor.url, unreachable)).code, 69);
  await db.query('drop schema scheduler cascade');
  assert.equal((await tick(db, monitor.url)).code, 78);
  const ends = monitor.asked.filter(({ path }) => !path.includes('/start'));
  assert.deepEqual(paths(ends), [`/${SECRET}/1?rid`, `/${SECRET}/69?rid`, `/${SECRET}/78?rid`]);
  assert.match(ends[0]!.body, /^exit code 1: done, but some rows failed, after .*\npackages: failed 1$/);
  assert.match(ends[1]!.body, /^exit code 69: the database cannot be reached, after \d+\.\d s$/);
  for (const { body } of ends) assert.doesNotMatch(body, /banana|Private|hunter2|127\.0\.0\.1/);
});

test('a monitor that never answers holds a tick up for five seconds at most, and is a warning', async () => {
  await using db = await database();
  await using monitor = await fakeGateway(hang);
  await db.insert('packages', due);
  const { code, err, ms } = await tick(db, monitor.url);
  assert.equal(code, 0);
  assert.ok(ms < 2 * 5000, `${ms} ms, of which starting takes some`);
  assert.match(
    JSON.parse(err).msg,
    /^The monitor was not told that the tick ended: 127\.0\.0\.1:\d+ did not answer within .* The tick itself is not affected\.$/,
  );
  assert.equal((await db.one('select status from packages')).status, 'active');
  assert.equal(monitor.asked.length, 3, 'the start, the end and the end again');
});

test('a start that hangs does not keep the end from being told', async () => {
  await using db = await database();
  await using monitor = await fakeGateway(onStart(hang, answer(200, 'OK')));
  const { code, err, ms } = await tick(db, monitor.url);
  assert.deepEqual([code, err], [0, '']);
  assert.ok(ms < 4900, `${ms} ms`);
  assert.deepEqual(paths(monitor.asked), [`/${SECRET}/start?rid`, `/${SECRET}/0?rid`]);
});

test('a signal during the work does not cut off a slow monitor, and nothing left is no 75', async () => {
  await using db = await database();
  await db.insert('packages', due);
  // The last batch is at work when the signal comes, and the monitor takes longer than a batch may.
  await db.query(`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return new; end $$;
    create trigger slow before update on packages for each row execute function slow()`);
  let child: ChildProcess | undefined;
  await using monitor = await fakeGateway((response, asked) => {
    if (asked.path.includes('/start')) return void response.end('OK');
    setTimeout(() => response.end('OK'), 2000);
  });
  const running = db.cli(['tick', '--ping-url', `${monitor.url}/${SECRET}`], {
    started: (started) => (child = started),
  });
  await until('the batch', async () => {
    const found = await db.query(
      `select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`,
    );
    return found.length > 0;
  });
  child!.kill('SIGTERM');
  const { code, err } = await running;
  assert.deepEqual([code, err], [0, '']);
  assert.deepEqual(paths(monitor.asked), [`/${SECRET}/start?rid`, `/${SECRET}/0?rid`]);
  assert.equal((await db.one('select status from packages')).status, 'active');
});

test('the work does not wait for the start to arrive', async () => {
  await using db = await database();
  await db.insert('packages', due);
  const answered: boolean[] = [];
  await using monitor = await fakeGateway((response, asked) => {
    if (!asked.path.includes('/start')) return void response.end('OK');
    void until(
      'the package is active',
      async () => (await db.one('select status from packages')).status === 'active',
    ).then(() => {
      answered.push(!response.destroyed);
      response.end('OK');
    });
  });
  await tick(db, monitor.url);
  assert.deepEqual(answered, [true]);
});

test('one fault that passes is tried again', async () => {
  await using db = await database();
  for (const fault of [hangUp, answer(503, '')]) {
    let ends = 0;
    await using monitor = await fakeGateway(
      onStart(answer(200, 'OK'), (response, asked) => (ends++ === 0 ? fault : answer(200, 'OK'))(response, asked)),
    );
    const { code, err } = await tick(db, monitor.url);
    assert.deepEqual([code, err, ends], [0, '', 2]);
  }
});

test('a monitor that does not know the URL is a warning, and not asked again', async () => {
  await using db = await database();
  for (const [reply, words] of [
    [answer(404, 'not found'), /answered 404\. The tick/],
    [answer(200, 'OK (not found)'), /answered "OK \(not found\)"\. The tick/],
  ] as const) {
    await using monitor = await fakeGateway(reply);
    const { code, err } = await tick(db, monitor.url);
    assert.equal(code, 0);
    assert.match(JSON.parse(err).msg, words);
    assert.equal(monitor.asked.length, 2);
  }
});

test('nobody at that address is a warning', async () => {
  await using db = await database();
  const { code, err, ms } = await tick(db, 'http://127.0.0.1:9');
  assert.equal(code, 0);
  assert.match(JSON.parse(err).msg, /127\.0\.0\.1:9 cannot be reached \(ECONNREFUSED\)/);
  assert.ok(ms < 4900, `${ms} ms`);
});

test('a dry run and a job by hand tell nobody', async () => {
  await using db = await database();
  await using monitor = await fakeGateway(answer(200, 'OK'));
  const env = { SCHEDULER_PING_URL: monitor.url };
  await db.cli(['tick', '--dry-run'], { env });
  await db.cli(['packages'], { env });
  assert.deepEqual(monitor.asked, []);
});

test('a URL that is none is refused, without being repeated', async () => {
  await using db = await database();
  for (const url of ['hc-ping.com/secret', 'ftp://hc-ping.com/secret', 'https://']) {
    const { code, err } = await db.cli(['tick', '--ping-url', url]);
    assert.equal(code, 2);
    assert.match(err, /--ping-url is not usable; valid: a URL such as https:\/\/hc-ping\.com/);
    assert.doesNotMatch(err, /secret/);
    const asSetting = await db.cli(['tick'], { env: { SCHEDULER_PING_URL: url } });
    assert.equal(asSetting.code, 78);
    assert.doesNotMatch(asSetting.err, /secret/);
  }
});
