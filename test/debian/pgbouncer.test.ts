import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { database } from '../harness.ts';
import { startPgBouncer } from '../pgbouncer.ts';

test('a tick works through PgBouncer in transaction mode', async () => {
  await using db = await database();
  await using pooler = await startPgBouncer(db.tcpUrl);
  await db.insert('packages', {
    name: 'Weekend Special',
    enable_schedule: true,
    scheduled_activation_time: '2026-03-01T10:00:00Z',
  });
  const { code, err } = await db.cli(['tick'], { env: { DATABASE_URL: pooler.url } });
  assert.equal(code, 0, err);
  assert.equal((await db.one('select status from packages')).status, 'active');
});

test('the pooler of these tests is a strict one: it refuses startup parameters', async () => {
  await using db = await database();
  await using pooler = await startPgBouncer(db.tcpUrl);
  const client = new pg.Client({ connectionString: pooler.url, statement_timeout: 1000 });
  await assert.rejects(client.connect(), /unsupported startup parameter/);
});
