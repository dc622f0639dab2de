import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { readSettings } from '../../src/base/config.ts';
import { Log } from '../../src/base/log.ts';
import { jobVariables } from '../../src/context.ts';
import { Database } from '../../src/db/client.ts';
import { type Listening, listen } from '../../src/inspect/listener.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import type { Event } from '../../src/store/events.ts';
import { database, LAUNCHER, type TestDatabase } from '../support/harness.ts';
import { proxy } from '../support/proxy.ts';
import { TENANT } from '../support/schema.ts';
import { until } from '../support/until.ts';

const INSERT = `insert into scheduler.events (type, job, transition, entity_id, occurred_at, channels, data)
  values ($1, 'packages', 'activate', $1, now(), $2, '{}')`;

/** An event as the engine makes it: the row, and a notification for each channel. */
async function happen(db: TestDatabase, type: string, channels = ['a']): Promise<void> {
  await db.query(
    `with recorded as (${INSERT} returning id) select pg_notify(c, id::text) from recorded, unnest($2::text[]) as c`,
    [type, channels],
  );
}

/** A second session, whose transactions a test ends when it likes. */
async function session(db: TestDatabase) {
  const client = new pg.Client({ connectionString: db.url });
  client.on('error', () => {});
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

/** The real command, listening from when this resolves on. */
async function listening(db: TestDatabase, args: string[], env: Record<string, string> = {}) {
  const child = spawn(LAUNCHER, ['listen', ...args], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', HOME: '/', DATABASE_URL: db.url, SCHEDULER_LOG_LEVEL: 'info', ...env },
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => (out += chunk));
  child.stderr.on('data', (chunk) => (err += chunk));
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  await until('the listener listens', () => err.includes('"Listening"') || child.exitCode !== null);
  return {
    ended,
    out: () => out,
    err: () => err,
    types: () =>
      out
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line).type as string),
    stop: async (signal: NodeJS.Signals = 'SIGTERM') => {
      child.kill(signal);
      return ended;
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Many events of the log, 'old-1' and so on, that nobody was told about. */
const log = (db: TestDatabase, count: number) =>
  db.query(
    INSERT.replace('values ($1', 'select $1 || n').replace(
      ", $1, now(), $2, '{}')",
      ", $1 || n, now(), $2, '{}' from generate_series(1, $3::integer) as n",
    ),
    ['old-', ['a'], count],
  );

const backends = (db: TestDatabase) =>
  db.query(`select pid from pg_stat_activity where datname = current_database() and application_name = 'scheduler'`);

/** The listener inside this process, with less patience than the command has. */
async function inProcess(url: string, over: Partial<Listening> = {}) {
  const settings = readSettings({}, jobVariables(await loadJobs()), { databaseUrl: url });
  let begin = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const quiet = Object.assign(new Log('silent'), { info: () => begin() });
  const db = new Database(settings, quiet);
  const stop = new AbortController();
  const events: Event[] = [];
  const done = (async () => {
    const options = { channels: ['a'], stop: stop.signal, everyMs: 50, patienceMs: 500, ...over };
    for await (const event of listen(db, quiet, options)) events.push(event);
  })();
  await begun;
  return {
    types: () => events.map((event) => event.type),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await done;
      await db.close();
    },
  };
}

test('events are printed as they come, one JSON object a line, until a signal ends it with 0', async () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    await using db = await database();
    await happen(db, 'before');
    await using listener = await listening(db, ['a']);
    await db.insert('packages', {
      name: 'Weekend Special',
      enable_schedule: true,
      scheduled_activation_time: '2026-03-01T10:00:00Z',
    });
    await happen(db, 'one');
    await happen(db, 'two');
    await until('two lines', () => listener.types().length === 2);
    assert.deepEqual(listener.types(), ['one', 'two']);
    const [line] = listener.out().split('\n');
    const { id, ...rest } = JSON.parse(line!);
    assert.equal(id, 2);
    assert.deepEqual(Object.keys(rest), [
      'type',
      'job',
      'transition',
      'entityId',
      'dueAt',
      'occurredAt',
      'runId',
      'channels',
      'data',
      ...Object.keys(TENANT),
    ]);
    assert.equal(await listener.stop(signal), 0);
  }
});

test('a tick reaches a listener at once', async () => {
  await using db = await database();
  await using listener = await listening(db, ['private-packages']);
  await db.insert('packages', { name: 'X', enable_schedule: true, scheduled_activation_time: '2026-03-01T10:00:00Z' });
  await db.tick('2026-03-01T10:00:00Z');
  await until('the event', () => listener.types().length > 0, 1500);
  assert.deepEqual(listener.types(), ['package.status.changed']);
});

test('with --since the log comes first, then what happens, without gap or repetition', async () => {
  await using db = await database();
  await log(db, 2500);
  await using listener = await listening(db, ['--since', '100']);
  const writing = (async () => {
    for (let n = 1; n <= 200; n++) await happen(db, `new-${n}`);
  })();
  await writing;
  await until('all of them', () => listener.types().length >= 2600);
  await sleep(300);
  const expected = [
    ...Array.from({ length: 2400 }, (_, n) => `old-${n + 101}`),
    ...Array.from({ length: 200 }, (_, n) => `new-${n + 1}`),
  ];
  assert.deepEqual(listener.types(), expected);
});

test('an event that becomes visible after one with a higher id is not lost, nor is any repeated', async () => {
  await using db = await database();
  await using other = await session(db);
  await using listener = await inProcess(db.url);
  await other.query('begin');
  await other.query(INSERT, ['late 1', ['a']]);
  await other.query(INSERT, ['late elsewhere', ['b']]);
  await happen(db, 'early');
  await until('the early one', () => listener.types().includes('early'));
  await other.query(INSERT, ['late 2', ['a']]);
  await happen(db, 'next');
  await sleep(300); // looks without news in between
  await other.query('commit');
  await until('the late ones', () => listener.types().length >= 4);
  await sleep(300);
  assert.deepEqual(listener.types(), ['early', 'next', 'late 1', 'late 2']);
});

for (const since of [undefined, 1]) {
  test(`so is one that was already under way when the listener started ${since ? 'with' : 'without'} --since`, async () => {
    await using db = await database();
    await using other = await session(db);
    await happen(db, 'old');
    await other.query('begin');
    await other.query(INSERT, ['late', ['a']]);
    await happen(db, 'before');
    await using listener = await inProcess(db.url, since ? { since } : {});
    await happen(db, 'early');
    await until('the early one', () => listener.types().includes('early'));
    await other.query('commit');
    await until('the late one', () => listener.types().includes('late'));
    assert.deepEqual(listener.types(), [...(since ? ['before'] : []), 'early', 'late']);
  });
}

test('late events are found among those of other transactions that came and went', async () => {
  await using db = await database();
  await using listener = await inProcess(db.url, { everyMs: 5 });
  const expected: string[] = [];
  const writers = Array.from({ length: 8 }, async (_, writer) => {
    await using own = await session(db);
    for (let n = 0; n < 25; n++) {
      await own.query('begin');
      for (const part of ['x', 'y']) await own.query(INSERT, [`${writer}-${n}-${part}`, ['a']]);
      await sleep(Math.random() * 30);
      await own.query(n % 5 === 0 ? 'rollback' : 'commit');
      if (n % 5 !== 0) expected.push(`${writer}-${n}-x`, `${writer}-${n}-y`);
    }
  });
  await Promise.all(writers);
  await until('all of them', () => listener.types().length >= expected.length);
  await sleep(200);
  assert.deepEqual(listener.types().sort(), expected.sort());
});

test('an event on several channels is printed once; without channels all events are', async () => {
  await using db = await database();
  await using two = await listening(db, ['a', 'private-B']);
  await using all = await listening(db, []);
  await happen(db, 'on both', ['a', 'private-B']);
  await happen(db, 'on neither', ['c']);
  await happen(db, 'on one', ['private-B']);
  await happen(db, 'on none', []);
  await until('two and four', () => two.types().length === 2 && all.types().length === 4);
  assert.deepEqual(two.types(), ['on both', 'on one']);
  assert.deepEqual(all.types(), ['on both', 'on neither', 'on one', 'on none']);
});

test('a listener whose connection is ended comes back and misses nothing', async () => {
  await using db = await database();
  await using listener = await listening(db, ['a']);
  await happen(db, 'before');
  await until('the first', () => listener.types().length === 1);
  const [backend] = await backends(db);
  await db.query('select pg_terminate_backend($1)', [backend!.pid]);
  for (let n = 1; n <= 3; n++) await happen(db, `meanwhile-${n}`);
  await until('a new connection', async () => (await backends(db)).some(({ pid }) => pid !== backend!.pid));
  await until('the log read up', () => listener.types().length === 4);
  await sleep(200);
  await happen(db, 'after');
  await until('woken again by a notification', () => listener.types().length === 5, 1500);
  assert.deepEqual(listener.types(), ['before', 'meanwhile-1', 'meanwhile-2', 'meanwhile-3', 'after']);
  assert.equal(await listener.stop(), 0);
});

test('an event whose notification never came, as behind a pooler, is found by looking', async () => {
  await using db = await database();
  await using listener = await listening(db, ['a']);
  await db.query(INSERT, ['unheard', ['a']]);
  await until('the event', () => listener.types().length === 1, 5000);
});

test('a half-open connection, on which nothing is ever heard, is noticed and replaced', async () => {
  await using db = await database();
  using way = await proxy(db.tcpUrl);
  await using listener = await inProcess(way.url, { since: 0 });
  await happen(db, 'before');
  await until('the first', () => listener.types().length === 1);
  way.freeze();
  await happen(db, 'while frozen');
  await until('the second', () => listener.types().length === 2);
  assert.deepEqual(listener.types(), ['before', 'while frozen']);
});

test('a database that is away for a while is waited for', async () => {
  await using db = await database();
  using way = await proxy(db.tcpUrl);
  await using listener = await inProcess(way.url, { since: 0 });
  await happen(db, 'before');
  await until('the first', () => listener.types().length === 1);
  way.cut();
  await happen(db, 'meanwhile');
  await sleep(1500);
  way.mend();
  await until('the second', () => listener.types().length === 2);
});

test('a listener that is told to end while its connection is frozen ends', async () => {
  await using db = await database();
  using way = await proxy(db.tcpUrl);
  await using listener = await listening({ ...db, url: way.url }, ['a']);
  way.freeze();
  await sleep(2500);
  const began = Date.now();
  assert.equal(await listener.stop(), 0);
  assert.ok(Date.now() - began < 2000);
});

test('--exec runs a command per event, one after the other, and says when one fails', async () => {
  await using db = await database();
  // In the order of their beginning and end, so that two at once would show.
  const command = `read -r line; type=$(echo "$line" | sed 's/.*"type":"\\([a-z]*\\)".*/\\1/'); echo "$type begins"; sleep 0.1; echo "$type ends"; test "$type" != bad || exit 3`;
  await using listener = await listening(db, ['a', '--exec', command]);
  for (const type of ['one', 'bad', 'two']) await happen(db, type);
  await until('all three', () => listener.out().includes('two ends'));
  assert.equal(listener.out(), ['one', 'bad', 'two'].map((type) => `${type} begins\n${type} ends\n`).join(''));
  assert.match(listener.err(), /The command failed for event 2 with exit code 3; the next one follows/);
  assert.equal(await listener.stop(), 0);
});

test('--exec gives a command the environment, but nothing that opens the database or a gateway', async () => {
  await using db = await database();
  await using listener = await listening(db, ['a', '--exec', 'env | sort; echo end']);
  await happen(db, 'one');
  await until('it', () => listener.out().includes('end\n'));
  assert.match(listener.out(), /^PATH=/m);
  assert.doesNotMatch(listener.out(), /^(DATABASE_URL|PG\w+|SCHEDULER_\w+)=/m);
  assert.equal(await listener.stop(), 0);
});

test('--exec bears a command that reads nothing', async () => {
  await using db = await database();
  await using listener = await listening(db, ['a', '--exec', 'echo ran']);
  await db.query(INSERT.replace("'{}'", `'"${'x'.repeat(1_000_000)}"'`), ['one', ['a']]);
  await happen(db, 'two');
  await until('both', () => listener.out() === 'ran\nran\n');
  assert.equal(await listener.stop(), 0);
});

test('a reader that goes away, as head does, ends it quietly', async () => {
  await using db = await database();
  await log(db, 5000);
  const child = spawn('/bin/sh', ['-c', `'${LAUNCHER}' listen --since 0 | head -2; echo "rest: $?"`], {
    cwd: '/',
    env: { PATH: `/usr/bin:/bin`, HOME: '/', DATABASE_URL: db.url },
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => (out += chunk));
  child.stderr.on('data', (chunk) => (err += chunk));
  await new Promise((resolve) => child.on('close', resolve));
  assert.deepEqual(
    out.split('\n').map((line) => line.slice(0, 8)),
    ['{"id":1,', '{"id":2,', 'rest: 0', ''],
  );
  assert.equal(err, '');
});

test('a --since beyond the end of the log is remarked on', async () => {
  await using db = await database();
  await using listener = await listening(db, ['--since', '77']);
  assert.match(listener.err(), /The log ends with event 0/);
});
