import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import pg from 'pg';
import { cli, database } from '../support/harness.ts';
import { startPgBouncer } from '../support/pgbouncer.ts';
import { done, endedInOrder, NOW, nextTickGoesOn, slowlyDue, startTick, untilDone } from './packages.ts';

/** A tick behind a pooler in transaction mode. "npm run test:pgbouncer" runs everything else through one. */

const poolOf = (connections: number) => ({ settings: { default_pool_size: connections } });

describe('through PgBouncer in transaction mode', { concurrency: 4 }, () => {
  test('a runner killed inside a statement holds neither lock nor rows two seconds later', async () => {
    await using db = await database();
    await using pooler = await startPgBouncer(db.tcpUrl);
    await slowlyDue(db, 1, 30);
    const { child, ended } = startTick(pooler.url);
    const asleep = `select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`;
    while ((await db.query(asleep)).length === 0);
    child.kill('SIGKILL');
    await ended;
    const began = performance.now();
    const locks = `select from pg_locks l join pg_stat_activity a using (pid)
      where a.datname = current_database() and a.pid <> pg_backend_pid() and (locktype = 'advisory' or mode = 'RowExclusiveLock')`;
    while ((await db.query(locks)).length > 0) assert.ok(performance.now() - began < 2000);
    await db.query('drop trigger slow on packages');
    const { code, err } = await db.cli(['tick', '--at', NOW], { env: { DATABASE_URL: pooler.url } });
    assert.deepEqual([code, err], [0, '']);
    assert.equal(await done(db), 1);
  });

  test('killed itself in the middle of a tick, another one in its place: the next tick goes on', async (t) => {
    await using db = await database();
    const pooler = await startPgBouncer(db.tcpUrl);
    await slowlyDue(db, 200);
    const { ended } = startTick(pooler.url);
    await untilDone(db, 20);
    await pooler.stop('SIGKILL');
    const finished = await ended;
    t.diagnostic(`exit code ${finished.code}`);
    endedInOrder(finished, [69, 75]);
    await using another = await startPgBouncer(db.tcpUrl);
    await nextTickGoesOn(db, 200, another.url);
  });

  test('twenty runners without the lock, in a pool with room for them, do each row once', async () => {
    await using db = await database({ withoutLock: true });
    await using pooler = await startPgBouncer(db.tcpUrl, poolOf(40));
    await slowlyDue(db, 2000, 0);
    const runs = await Promise.all(Array.from({ length: 20 }, () => startTick(pooler.url).ended));
    for (const { code, err } of runs) {
      assert.equal(code, 0, err);
      assert.match(err, /^\{"level":"error",[^\n]*of the role \\"stranger_[^\n]*\n$/);
    }
    await nextTickGoesOn(db, 2000, pooler.url);
  });

  test('a pool of one connection is too small, and says so within a minute; a pool of two is enough', async () => {
    await using db = await database();
    await slowlyDue(db, 10, 0);
    {
      await using small = await startPgBouncer(db.tcpUrl, poolOf(1));
      const began = performance.now();
      const finished = await cli(['tick', '--at', NOW], { env: { DATABASE_URL: small.url, PGCONNECT_TIMEOUT: '5' } });
      endedInOrder(finished, [69]);
      assert.match(finished.err, /no answer for 5 seconds/);
      assert.ok(performance.now() - began < 60_000);
    }
    assert.equal(await done(db), 0);
    await using enough = await startPgBouncer(db.tcpUrl, poolOf(2));
    await nextTickGoesOn(db, 10, enough.url);
  });

  test('no run leaves a setting of its own on the pooled connection', async () => {
    await using db = await database();
    await using pooler = await startPgBouncer(db.tcpUrl, poolOf(2));
    const settings = async () => {
      const client = new pg.Client({ connectionString: pooler.url });
      await client.connect();
      try {
        const { rows } = await client.query(
          `select name, setting from pg_settings where name <> 'application_name' and name not like 'plpgsql.%' order by 1`,
        );
        return rows;
      } finally {
        await client.end();
      }
    };
    const before = await settings();
    for (const args of [['tick', '--at', NOW], ['status'], ['failures'], ['prune'], ['migrate']]) {
      const { code, err } = await cli(args, { env: { DATABASE_URL: pooler.url } });
      assert.ok(code === 0 || args[0] === 'status', err);
      assert.deepEqual(await settings(), before, args[0]);
    }
  });
});
