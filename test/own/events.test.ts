import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied } from '../support/own.ts';

test('an event tells JSON as JSON, each time in ISO 8601, and nothing that is kept for "repeat"', async () => {
  await using db = await database();
  await db.query(`create table items (id serial primary key, at timestamptz, plain timestamp default '2026-03-01 12:00', day date default '2026-03-01',
    meta jsonb, old json, told timestamptz, n integer default 0)`);
  const yaml = `
jobs:
  items:
    table: items
    zone: Europe/Berlin
    rules:
      tell: { due: at, once: told, event: { type: item.told, data: [plain, day, meta, old] } }
      again: { due: plain, repeat: 1 day, set: n = n + 1, event: item.again }
`;
  for (let times = 0; times < 2; times++) await applied(db, yaml);
  const long = { words: 'x'.repeat(3000) };
  await db.query(
    `insert into items (at, plain, meta, old) values ('2026-03-01Z', '2026-03-10 09:00', $1::json, $1::json), ('2026-03-01Z', 'infinity', $2, null)`,
    [JSON.stringify({ a: [1, null], b: { c: 'd' } }), JSON.stringify(long)],
  );
  const { jobs } = await db.tick('2026-03-10T12:00:00Z', { only: ['items'], env: { SCHEDULER_DB_TIMEZONE: 'UTC' } });
  assert.deepEqual([jobs[0]!.error, jobs[0]!.failures], [undefined, []]);
  const [first, second, again, ...others] = (await db.events()).map(({ data }) => data);
  const meta = { a: [1, null], b: { c: 'd' } };
  assert.deepEqual(first, { id: 1, plain: '2026-03-10T09:00:00Z', day: '2026-03-01', meta, old: meta });
  // A text that is cut is no JSON any more.
  const cut = JSON.stringify(long).replace(':', ': ').slice(0, 200);
  assert.deepEqual(second, { id: 2, plain: 'infinity', day: '2026-03-01', meta: cut, old: null });
  assert.deepEqual(again, { id: 1, plain: '2026-03-11T09:00:00Z', n: 1 });
  assert.deepEqual(others, []);
});
