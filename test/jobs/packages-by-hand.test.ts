import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { kinds, sale, statuses, tick } from '../support/one-sale.ts';

/** An operator's hand wins over a schedule, until the schedule is edited. */

test('a hand that switches a package off inside its window wins, until the schedule is edited', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set status = 'inactive', is_active = false`);
  assert.deepEqual(
    await statuses(db, [
      '2026-03-01T10:01:00Z',
      '2026-03-01T11:59:00Z',
      '2026-03-01T12:00:00Z',
      '2026-03-02T12:00:00Z',
    ]),
    ['inactive', 'inactive', 'inactive', 'inactive'],
  );
  assert.deepEqual(await kinds(db), ['activate']);
  await db.query(`update packages set scheduled_activation_time = '2026-03-03T10:00:00Z'`);
  assert.deepEqual(await statuses(db, ['2026-03-03T09:59:00Z', '2026-03-03T10:00:00Z', '2026-03-03T12:00:00Z']), [
    'inactive',
    'active',
    'inactive',
  ]);
});

test('a repeated sale switched off by hand does not come back by itself', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'daily' }));
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set status = 'inactive'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:00:00Z', '2026-03-02T10:00:00Z', '2026-03-03T10:30:00Z']), [
    'inactive',
    'inactive',
    'inactive',
  ]);
});

test('a hand that switches a package on before its window and off inside it wins as well', async () => {
  await using db = await database();
  await db.insert('packages', sale({ status: 'active', is_active: true }));
  assert.deepEqual(await statuses(db, ['2026-03-01T09:59:00Z', '2026-03-01T10:00:00Z']), ['active', 'active']);
  await db.query(`update packages set status = 'inactive'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T10:02:00Z', '2026-03-01T11:59:00Z']), ['inactive', 'inactive']);
  assert.deepEqual(await db.events(), []);
});

test('a package that was on already when its window began ends with it', async () => {
  await using db = await database();
  await db.insert('packages', sale({ status: 'active', is_active: true }));
  assert.deepEqual(await statuses(db, ['2026-03-01T10:00:00Z', '2026-03-01T12:00:00Z']), ['active', 'inactive']);
  assert.deepEqual(await kinds(db), ['deactivate']);
});

for (const [what, times] of [
  ['after it was on', ['2026-03-01T10:00:00Z', '2026-03-01T12:00:00Z']],
  ['after it was missed', ['2026-03-01T12:00:00Z']],
] as const) {
  test(`a hand that switches a package on after its window, ${what}, wins`, async () => {
    await using db = await database();
    await db.insert('packages', sale());
    for (const at of times) await tick(db, at);
    const before = (await db.events()).length;
    await db.query(`update packages set status = 'active', is_active = true`);
    assert.deepEqual(await statuses(db, ['2026-03-01T12:01:00Z', '2026-03-09T12:01:00Z']), ['active', 'active']);
    assert.equal((await db.events()).length, before);
  });
}

test('a hand that switches a package off inside its window and on after it wins both times', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set status = 'inactive'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T11:00:00Z', '2026-03-01T12:00:00Z']), ['inactive', 'inactive']);
  await db.query(`update packages set status = 'active'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:01:00Z', '2026-03-02T12:01:00Z']), ['active', 'active']);
});

test('a package switched off and on again inside its window gets its normal end', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set status = 'inactive'`);
  await tick(db, '2026-03-01T10:30:00Z');
  await db.query(`update packages set status = 'active'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T11:00:00Z', '2026-03-01T12:00:00Z']), ['active', 'inactive']);
});

test('an end moved later during the sale, and one moved earlier, is what counts', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set validity = '3 hours'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:00:00Z']), ['active']);
  await db.query(`update packages set validity = '150 minutes'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T12:29:00Z', '2026-03-01T12:30:00Z']), ['active', 'inactive']);
});

test('a missed window that is edited to one still open begins anew', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T13:00:00Z');
  await db.query(`update packages set validity = '6 hours'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T13:01:00Z', '2026-03-01T16:00:00Z']), ['active', 'inactive']);
});
