import assert from 'node:assert/strict';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cli, database } from '../support/harness.ts';
import { proxy } from '../support/proxy.ts';
import { seconds } from '../support/timing.ts';
import { untilGone } from '../support/world.ts';
import { done, endedInOrder, NOW, nextTickGoesOn, slowlyDue, startTick, untilDone } from './packages.ts';
import { type OwnServer, ownServer, tinyDisk } from './server.ts';

/** Whatever becomes of the database while a tick runs: the run ends in order, nothing is lost, and the next tick goes on. */

describe('a server that goes away in the middle of a tick', () => {
  let server: OwnServer;
  before(async () => {
    server = await ownServer();
  });
  after(() => server[Symbol.asyncDispose]());

  for (const how of ['fast', 'immediate'] as const) {
    for (const away of [0, 2000]) {
      test(`${how} shutdown, and a start ${away ? `${away / 1000} s later` : 'at once'}: the next tick goes on`, async (t) => {
        await using db = await database({ server });
        await slowlyDue(db, 200);
        const { ended } = startTick(db.url);
        await untilDone(db, 20);
        await server.stop(how);
        await sleep(away);
        await server.start();
        const finished = await ended;
        t.diagnostic(`exit code ${finished.code}`);
        endedInOrder(finished);
        await nextTickGoesOn(db, 200);
      });
    }
  }

  test('a crash of one of its processes, after which it recovers by itself', async (t) => {
    await using db = await database({ server });
    await slowlyDue(db, 200);
    const { ended } = startTick(db.url);
    await untilDone(db, 20);
    const { pid } = await db.one('select pg_backend_pid() as pid');
    process.kill(pid, 'SIGKILL');
    const finished = await ended;
    t.diagnostic(`exit code ${finished.code}`);
    endedInOrder(finished);
    for (;;) {
      try {
        await db.query('select 1');
        break;
      } catch {
        await sleep(50);
      }
    }
    await nextTickGoesOn(db, 200);
  });

  test('down for good: 69, and what was begun is undone', async () => {
    await using db = await database({ server });
    await slowlyDue(db, 200);
    const { ended } = startTick(db.url);
    await untilDone(db, 20);
    await server.stop('fast');
    endedInOrder(await ended, [69]);
    endedInOrder(await db.cli(['tick', '--at', NOW]), [69]);
    await server.start();
    assert.equal((await done(db)) % 5, 0, 'whole batches only');
    await nextTickGoesOn(db, 200);
  });

  test('a server in recovery, which only answers questions: 75 with a sentence, and nothing is changed', async () => {
    await using db = await database({ server });
    await slowlyDue(db, 10, 0);
    await db.query('checkpoint');
    await server.stop('fast');
    const signal = join(server.dir, 'data', 'standby.signal');
    writeFileSync(signal, '');
    try {
      await server.start();
      for (const args of [['tick'], ['packages'], ['tick', '--dry-run']]) {
        const { code, err } = await db.cli([...args, '--at', NOW]);
        assert.equal(code, 75, err);
        assert.match(err, /^scheduler: The database takes no changes: .*It is a standby.*name the primary/);
      }
      assert.equal(await done(db), 0);
    } finally {
      await server.stop('fast');
      rmSync(signal);
      await server.start();
    }
    await nextTickGoesOn(db, 10);
  });

  test('a disk that is full: 75 with a sentence; the next tick after there is room goes on', async (t) => {
    await using db = await database({ server });
    const tiny = await tinyDisk(1, statSync(join(server.dir, 'data')));
    if (typeof tiny === 'string') return t.skip(`no small disk can be mounted here: ${tiny}`);
    await using disk = tiny;
    await db.query(`create tablespace tiny location '${disk.folder}'`);
    try {
      await slowlyDue(db, 2000, 0);
      await db.query(`update packages set description = repeat('x', 100)`);
      await db.query('alter table scheduler.events set tablespace tiny');
      const full = await db.cli(['tick', '--at', NOW, '--batch-size', '100', '--connections', '1']);
      assert.equal(full.code, 75, full.err);
      assert.match(
        full.err,
        /packages was interrupted by the database: could not extend file.*No space left.*The next run goes on/,
      );
      const some = await done(db);
      assert.ok(some > 0 && some < 2000 && some % 100 === 0, `${some} done`);
      assert.deepEqual(await db.query('select * from scheduler.failures'), [], 'no row is to blame');
      await db.query('alter table scheduler.events set tablespace pg_default');
      await nextTickGoesOn(db, 2000);
    } finally {
      await db.query('alter table scheduler.events set tablespace pg_default');
      await db.query('drop tablespace tiny');
    }
  });
});

describe('connections', { concurrency: 4 }, () => {
  test('all backends terminated again and again: the run goes on, or the next one does', async (t) => {
    await using db = await database();
    await slowlyDue(db, 300);
    const codes: unknown[] = [];
    for (let n = 0; n < 5; n++) {
      const { ended } = startTick(db.url);
      await sleep(250 + 150 * n);
      await db.query(`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name like 'scheduler%'`);
      const finished = await ended;
      codes.push(finished.code);
      endedInOrder(finished);
    }
    t.diagnostic(`exit codes ${codes}`);
    await nextTickGoesOn(db, 300);
  });

  test('cut wherever in the conversation, the run or the next one does each row once', async (t) => {
    await using db = await database();
    using way = await proxy(db.tcpUrl);
    const ends = new Map<string, number>();
    let rows = 0;
    for (let bytes = 50; bytes < 9000; bytes += 130) {
      await db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, validity)
        select 'p', true, timestamptz '${NOW}' - n * interval '1 second', '2 hours' from generate_series(1, 6) as n`);
      rows += 6;
      way.cutAfter(bytes);
      const ended = await db.tick(NOW, { url: way.url, only: ['packages'], batchSize: 2 }).then(
        ({ exitCode }) => String(exitCode),
        (error) => String(error.exitCode ?? error),
      );
      ends.set(ended, (ends.get(ended) ?? 0) + 1);
      assert.ok(['0', '69'].includes(ended), ended);
      await untilGone(db);
      way.cutAfter(Number.POSITIVE_INFINITY);
      assert.equal((await db.tick(NOW, { only: ['packages'] })).exitCode, 0);
      assert.equal(await done(db), rows);
      assert.equal((await db.events()).length, rows, `cut after ${bytes} bytes`);
    }
    t.diagnostic([...ends].map(([code, times]) => `${times} times ${code}`).join(', '));
  });

  for (const newOnes of [undefined, 'too'] as const) {
    test(`half-open, and new connections ${newOnes ? 'are dead too' : 'go through'}: the run does not wait for ever`, async (t) => {
      await using db = await database();
      using way = await proxy(db.tcpUrl);
      await slowlyDue(db, 60);
      const { ended } = startTick(way.url, [], { PGCONNECT_TIMEOUT: '2' });
      await untilDone(db, 20);
      const began = performance.now();
      way.freeze(newOnes);
      const finished = await ended;
      const took = (performance.now() - began) / 1000;
      t.diagnostic(`exit code ${finished.code} after ${Math.round(took)} s`);
      endedInOrder(finished, newOnes ? [69] : [0]);
      // Each of its two connections is given up after 65 seconds of silence.
      assert.ok(took < 145, `${took} s`);
      way[Symbol.dispose]();
      await nextTickGoesOn(db, 60);
    });
  }

  test('half-open: a signal ends the run within two seconds, a second one at once', async () => {
    for (const signals of [1, 2]) {
      await using db = await database();
      using way = await proxy(db.tcpUrl);
      await slowlyDue(db, 200);
      const { child, ended } = startTick(way.url);
      await untilDone(db, 20);
      way.freeze('too');
      await sleep(300);
      const began = performance.now();
      for (let n = 0; n < signals; n++) {
        child.kill('SIGTERM');
        await sleep(100);
      }
      const { code } = await ended;
      const took = performance.now() - began;
      assert.equal(code, 75);
      // Beside what this machine, which other tests use as well, needs for next to nothing.
      const needed = 1000 * (await seconds(() => db.cli(['--version'])));
      assert.ok(took < (signals === 1 ? 2000 : 600) + needed, `${took} ms; a start takes ${needed} ms`);
      way[Symbol.dispose]();
      await nextTickGoesOn(db, 200);
    }
  });

  test('too many connections, or one too few: 69 or 75 with a sentence, and the next tick goes on', async () => {
    await using db = await database();
    await slowlyDue(db, 10, 0);
    const role = `r_${db.name}`;
    await db.query(
      `create role ${role} login superuser; alter role ${role} nosuperuser; grant pg_read_all_data, pg_write_all_data to ${role}`,
    );
    await db.query(
      `grant usage on schema public, scheduler to ${role}; grant all on all sequences in schema scheduler, public to ${role}`,
    );
    try {
      const url = db.url.replace('postgres@', `${role}@`);
      const seen: Record<number, number | null> = {};
      for (const limit of [0, 1, 2]) {
        await db.query(`alter role ${role} connection limit ${limit}`);
        const finished = await cli(['tick', '--at', NOW], { env: { DATABASE_URL: url } });
        endedInOrder(finished, limit < 2 ? [69, 75] : [0]);
        if (limit < 2) assert.match(finished.err, /too many connections/);
        seen[limit] = await done(db);
        await untilGone(db);
      }
      assert.deepEqual(seen, { 0: 0, 1: 0, 2: 10 });
    } finally {
      await db.query(`drop owned by ${role}; drop role ${role}`);
    }
  });

  test('a runner killed inside a long statement: its lock and its rows are free within two seconds', async (t) => {
    await using db = await database();
    await slowlyDue(db, 1, 30);
    const { child, ended } = startTick(db.url);
    while (
      (await db.query(`select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`))
        .length === 0
    )
      await sleep(20);
    child.kill('SIGKILL');
    await ended;
    t.diagnostic(`after ${Math.round(await untilGone(db))} ms`);
    await nextTickGoesOn(db, 1);
  });
});
