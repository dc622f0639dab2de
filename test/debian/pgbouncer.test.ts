import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { database } from '../support/harness.ts';
import { startPgBouncer } from '../support/pgbouncer.ts';

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

test('doctor tells that a pooler is between, and that "listen" needs a direct connection', async () => {
  await using db = await database();
  await db.cli(['tick']);
  for (const mode of ['transaction', 'session'] as const) {
    await using pooler = await startPgBouncer(db.tcpUrl, { mode });
    const { code, out } = await db.cli(['doctor'], { env: { DATABASE_URL: pooler.url } });
    assert.equal(code, 0, out);
    assert.match(out, /^ok +pooler +through a pooler such as PgBouncer: .*"scheduler listen".*a direct connection$/m);
  }
  assert.match((await db.cli(['doctor'], { env: { DATABASE_URL: db.tcpUrl } })).out, /^ok +pooler +none: a direct/m);
});
