import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { readSettings } from '../../src/base/config.ts';
import { Log } from '../../src/base/log.ts';
import { Database } from '../../src/db/client.ts';
import { listen } from '../../src/inspect/listener.ts';
import { findEvents } from '../../src/store/events.ts';
import { database } from '../support/harness.ts';
import { until } from '../support/until.ts';

const INSERT = `insert into scheduler.events (type, job, transition, entity_id, occurred_at, channels, data)
  select $1::text || ' ' || n, 'packages', 'activate', '1', '2026-03-01T10:00:00Z', '{a}', '{}' from generate_series(1, $2::integer) as n`;

test('a gap in the log is filled while the listener is more than a page behind', async () => {
  await using db = await database();
  const own = new Database(readSettings({}, {}, { databaseUrl: db.url }), new Log('silent'));
  const writer = new pg.Client(db.url);
  await writer.connect();
  const stop = new AbortController();
  const heard: string[] = [];
  try {
    await db.query(INSERT, ['before', 1]);
    await writer.query('begin');
    await writer.query(INSERT, ['late', 10]);
    await db.query(INSERT, ['early', 1]);
    const listening = (async () => {
      for await (const { type } of listen(own, new Log('silent'), {
        channels: ['a'],
        since: 0,
        stop: stop.signal,
        everyMs: 20,
      })) {
        heard.push(type);
        // Before the listener looks again: so many more that one page does not hold them, and the end of the gap.
        if (type !== 'early 1') continue;
        await db.query(INSERT, ['more', 2100]);
        await writer.query('commit');
      }
    })();
    await until('all of them', async () => heard.length >= 2112, 60_000);
    stop.abort();
    await listening;
    assert.equal(new Set(heard).size, 2112, 'each of them once');
    const numbered = (what: string, count: number) => Array.from({ length: count }, (_, n) => `${what} ${n + 1}`);
    const of = (what: string) => heard.filter((type) => type.startsWith(what));
    assert.deepEqual(of('late'), numbered('late', 10));
    assert.deepEqual(of('more'), numbered('more', 2100));
    // A span has its beginning, and not its end.
    const [from, to] = ['2026-03-01T10:00:00Z', '2026-03-01T10:00:01Z'];
    const all = { job: null, entity: null, type: 'early 1', limit: 9 };
    assert.equal((await findEvents(own, { ...all, since: from, until: to })).length, 1);
    assert.equal((await findEvents(own, { ...all, since: null, until: from })).length, 0);
  } finally {
    stop.abort();
    await writer.end();
    await own.close();
  }
});
