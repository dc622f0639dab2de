import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { iso, kinds, sale, statuses, theRow, tick } from '../support/one-sale.ts';
import { TENANT } from '../support/schema.ts';

/** A sale: its window, what is told of it, and the ends of time. */

test('a package whose sale window has begun is switched on, and told about', async () => {
  await using db = await database();
  const { id } = await db.insert('packages', sale());
  const result = await tick(db, '2026-03-01T10:00:30Z');
  const row = await theRow(db);
  assert.equal(row.status, 'active');
  assert.equal(row.is_active, true);
  assert.equal(iso(row.activated_at), '2026-03-01T10:00:30Z');
  assert.equal(iso(row.updated_at), '2026-03-01T10:00:30Z');
  assert.equal(row.deactivated_at, null);
  assert.deepEqual(result.jobs[0]!.changed, { activate: 1 });
  const event = await db.one('select * from scheduler.events');
  assert.equal(event.type, 'package.status.changed');
  assert.equal(event.job, 'packages');
  assert.equal(event.transition, 'activate');
  assert.equal(iso(event.due_at), '2026-03-01T10:00:00Z');
  assert.equal(iso(event.occurred_at), '2026-03-01T10:00:30Z');
  assert.deepEqual(event.channels, ['private-packages', 'private-admin-notifications']);
  assert.equal(event.entity_id, String(id));
  assert.deepEqual(event.data, {
    package_id: Number(id),
    package_name: 'Weekend Special',
    package_type: 'hotspot',
    old_status: 'inactive',
    new_status: 'active',
    is_active: true,
    scheduled_activation_time: '2026-03-01T10:00:00Z',
    timestamp: '2026-03-01T10:00:30Z',
    message: "Package 'Weekend Special' status changed from inactive to active",
  });
});

test('a package whose sale window is over is switched off, and told about', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:30Z');
  await tick(db, '2026-03-01T12:01:00Z');
  const row = await theRow(db);
  assert.equal(row.status, 'inactive');
  assert.equal(row.is_active, false);
  assert.equal(iso(row.deactivated_at), '2026-03-01T12:01:00Z');
  assert.equal(iso(row.updated_at), '2026-03-01T12:01:00Z');
  assert.equal(iso(row.activated_at), '2026-03-01T10:00:30Z');
  const event = (await db.events()).at(-1)!;
  assert.equal(event.type, 'package.status.changed');
  assert.equal(iso(event.due_at), '2026-03-01T12:00:00Z');
  assert.deepEqual(
    [event.data.old_status, event.data.new_status, event.data.is_active, event.data.message],
    ['active', 'inactive', false, "Package 'Weekend Special' status changed from active to inactive"],
  );
});

test('a listener hears of each change on both channels, with the id of the event', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  const heard: { channel: string; payload: string }[] = [];
  const { default: pg } = await import('pg');
  const listener = new pg.Client({ connectionString: db.url });
  await listener.connect();
  listener.on('notification', ({ channel, payload }) => heard.push({ channel, payload: payload! }));
  await listener.query('listen "private-packages"; listen "private-admin-notifications"');
  await tick(db, '2026-03-01T10:00:30Z');
  await listener.query('select 1');
  await listener.end();
  const event = await db.one('select * from scheduler.events');
  assert.deepEqual(heard.map(({ channel }) => channel).sort(), ['private-admin-notifications', 'private-packages']);
  for (const { payload } of heard) {
    assert.deepEqual(JSON.parse(payload), {
      id: Number(event.id),
      event: 'package.status.changed',
      ...TENANT,
      data: event.data,
    });
  }
});

test('a window is half-open: on at its start, off at its end, to the microsecond', async () => {
  await using db = await database();
  await db.insert('packages', sale({ scheduled_activation_time: '2026-03-01T10:00:00.000001Z' }));
  assert.deepEqual(
    await statuses(db, [
      '2026-03-01T10:00:00.000000Z',
      '2026-03-01T10:00:00.000001Z',
      '2026-03-01T12:00:00.000000Z',
      '2026-03-01T12:00:00.000001Z',
    ]),
    ['inactive', 'active', 'active', 'inactive'],
  );
});

test('a late tick does not lengthen a sale: its end counts from the scheduled start', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  assert.deepEqual(await statuses(db, ['2026-03-01T11:50:00Z', '2026-03-01T11:59:59Z', '2026-03-01T12:00:00Z']), [
    'active',
    'active',
    'inactive',
  ]);
});

test('a given stop ends the window, whatever the validity says', async () => {
  await using db = await database();
  await db.insert('packages', sale({ scheduled_deactivation_time: '2026-03-01T10:30:00Z', validity: 'banana' }));
  assert.deepEqual(await statuses(db, ['2026-03-01T10:29:59Z', '2026-03-01T10:30:00Z']), ['active', 'inactive']);
});

test('a window without stop and validity never ends', async () => {
  await using db = await database();
  await db.insert('packages', sale({ validity: null }));
  assert.deepEqual(await statuses(db, ['2026-03-01T10:00:00Z', '2126-03-01T10:00:00Z']), ['active', 'active']);
});

test('without enable_schedule, or without a start, nothing happens', async () => {
  await using db = await database();
  await db.insert('packages', sale({ enable_schedule: false }));
  await db.insert('packages', sale({ enable_schedule: false, status: 'active' }));
  await db.insert('packages', sale({ scheduled_activation_time: null, validity: null }));
  await db.insert('packages', sale({ scheduled_activation_time: null, validity: 'banana' }));
  const before = await db.query('select * from packages order by id');
  for (const at of ['2026-03-01T10:00:30Z', '2026-03-01T12:00:30Z', '2027-03-01T12:00:30Z']) await tick(db, at);
  assert.deepEqual(await db.query('select * from packages order by id'), before);
  assert.deepEqual(await db.events(), []);
});

test('a stop without a start takes a package off sale', async () => {
  await using db = await database();
  const stop = { scheduled_activation_time: null, validity: null, scheduled_deactivation_time: '2026-03-01T10:00:00Z' };
  await db.insert('packages', sale({ ...stop, status: 'active', is_active: true }));
  assert.deepEqual(await statuses(db, ['2026-03-01T09:59:59Z', '2026-03-01T10:00:00Z']), ['active', 'inactive']);
});

test('a window that passed without a tick is missed: closed, told about, never on sale', async () => {
  await using db = await database();
  const { id, updated_at } = await db.insert('packages', sale());
  const result = await tick(db, '2026-03-01T12:00:00Z');
  const row = await theRow(db);
  assert.equal(row.status, 'inactive');
  assert.equal(row.activated_at, null);
  assert.equal(iso(row.deactivated_at), '2026-03-01T12:00:00Z');
  assert.deepEqual(row.updated_at, updated_at);
  assert.deepEqual(result.jobs[0]!.changed, { miss: 1 });
  const event = await db.one('select * from scheduler.events');
  assert.equal(event.type, 'package.schedule.missed');
  assert.equal(event.data.package_id, Number(id));
  assert.equal(event.data.sale_end, '2026-03-01T12:00:00Z');
  await tick(db, '2026-03-01T12:01:00Z');
  await tick(db, '2026-03-02T12:01:00Z');
  assert.deepEqual(await kinds(db), ['miss']);
});

test('a stop before the start is an empty window: missed at its start, once', async () => {
  await using db = await database();
  await db.insert('packages', sale({ scheduled_deactivation_time: '2026-03-01T09:00:00Z' }));
  await tick(db, '2026-03-01T09:30:00Z');
  assert.deepEqual(await kinds(db), []);
  for (const at of ['2026-03-01T10:00:00Z', '2026-03-01T10:01:00Z']) await tick(db, at);
  assert.deepEqual(await kinds(db), ['miss']);
  assert.equal((await theRow(db)).status, 'inactive');
});

test('exactly one on and one off, over ticks of every kind', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  const start = Date.parse('2026-03-01T09:58:00Z');
  const minutes = [...Array(8).keys(), 60, ...[...Array(8).keys()].map((n) => 118 + n), 600, 1440, 44640, 525600];
  for (const minute of minutes) await tick(db, new Date(start + minute * 60_000).toISOString());
  assert.deepEqual(await kinds(db), ['activate', 'deactivate']);
});

test('sales at the ends of time neither fail nor hang', async () => {
  await using db = await database();
  for (const scheduled_activation_time of ['-infinity', 'infinity', '4713-01-01 BC', '294276-12-31', '290000-01-01']) {
    for (const scheduled_deactivation_time of [null, '-infinity', 'infinity', '4713-01-01 BC', '294276-12-31']) {
      for (const repeats of [null, 'daily', 'monthly']) {
        for (const status of ['inactive', 'active']) {
          for (const validity of [null, '1 day', '12000 months']) {
            await db.insert(
              'packages',
              sale({ scheduled_activation_time, scheduled_deactivation_time, repeats, status, validity }),
            );
          }
        }
      }
    }
  }
  for (const at of ['2026-03-01T10:00:00Z', '2026-03-01T10:01:00Z', '2026-03-02T10:01:00Z']) {
    const result = await tick(db, at);
    assert.equal(result.exitCode, 0, JSON.stringify(result));
  }
});

test('the log tells each change', async () => {
  await using db = await database();
  const { id } = await db.insert('packages', sale());
  const bad = await db.insert('packages', sale({ validity: 'banana' }));
  const env = { SCHEDULER_LOG_LEVEL: 'info' };
  const lines = async (at: string) => {
    const { err } = await db.cli(['packages', '--at', at], { env });
    return err
      .trim()
      .split('\n')
      .map((line) => {
        const { time, ...rest } = JSON.parse(line);
        assert.match(time, /^\d{4}-.*Z$/);
        return rest;
      });
  };
  const which = { package_id: Number(id), package_name: 'Weekend Special' };
  const [started, found, activated, failed, completed, ...rest] = await lines('2026-03-01T10:00:00Z');
  assert.deepEqual(started, { level: 'info', msg: 'ProcessScheduledPackages job started' });
  assert.deepEqual(found, { level: 'info', msg: 'Found packages to activate', count: 2 });
  assert.deepEqual(activated, {
    level: 'info',
    msg: 'Package activated',
    ...which,
    scheduled_time: '2026-03-01T10:00:00Z',
  });
  assert.equal(failed.level, 'error');
  assert.equal(failed.msg, 'Failed to activate package');
  assert.equal(failed.package_id, bad.id);
  assert.match(failed.error, /banana/);
  assert.deepEqual(completed, { level: 'warn', msg: 'ProcessScheduledPackages job ended: 1 row failed' });
  assert.deepEqual(rest, []);
  const later = await lines('2026-03-01T12:00:00Z');
  assert.deepEqual(later[1], {
    level: 'info',
    msg: 'Package deactivated',
    ...which,
    reason: 'Scheduled validity expired',
  });
});

test('a missed window is a warning', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  const { err, code } = await db.cli(['tick', '--at', '2026-03-01T13:00:00Z']);
  const line = JSON.parse(err);
  assert.equal(line.level, 'warn');
  assert.equal(line.msg, 'Package missed its whole sale window');
  assert.equal(code, 0);
});

test('above a hundred rows a batch one line gives the count, and each row is told at debug', async () => {
  await using db = await database();
  for (let n = 0; n < 101; n++) await db.insert('packages', sale());
  const { err } = await db.cli(['tick', '--at', '2026-03-01T10:00:00Z'], { env: { SCHEDULER_LOG_LEVEL: 'info' } });
  assert.ok(!err.includes('Package activated'), err);
  assert.equal(err.match(/packages: activate changed 101 rows/g)?.length, 1);
  await db.query("update packages set opened_start = null, status = 'inactive'");
  const debug = await db.cli(['tick', '--debug', '--at', '2026-03-01T10:00:00Z']);
  assert.equal(debug.err.match(/"level":"debug".*"Package activated"/g)?.length, 101);
});
