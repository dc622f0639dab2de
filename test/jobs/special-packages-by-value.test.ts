import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../support/harness.ts';

/** The last day that was acted on is remembered by value: late ticks, hands after the closing, and edits of the last day. */

const special = (over: object = {}) => ({
  name: 'Bridal Day',
  scheduled: true,
  schedule_date: '2026-03-01',
  schedule_time: '10:00',
  auto_activate: true,
  auto_deactivate: true,
  valid_until: '2026-03-05',
  ...over,
});

const kinds = async (db: TestDatabase) => (await db.events()).map((event) => event.transition);
const edit = (db: TestDatabase, set: string) => db.query(`update special_packages set ${set}`);

async function states(db: TestDatabase, times: string[]) {
  const seen: boolean[] = [];
  for (const time of times) {
    await db.tick(time, { only: ['special-packages'], env: { SCHEDULER_RETENTION: '36500' } });
    seen.push((await db.one('select * from special_packages')).is_active);
  }
  return seen;
}

test('one that is on and misses its window is switched off like any other, and is no miss', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ is_active: true }));
  assert.deepEqual(await states(db, ['2026-03-06T00:00:00Z', '2026-03-06T00:01:00Z', '2026-03-09T00:00:00Z']), [
    false,
    false,
    false,
  ]);
  assert.deepEqual(await kinds(db), ['deactivate']);
  // Ticks in time would have seen to its schedule on the first day.
  assert.equal((await db.one('select * from special_packages')).scheduled, false);
});

test('one that its last day does not close is activated even by a late tick', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ auto_deactivate: false }));
  assert.deepEqual(await states(db, ['2026-03-09T00:00:00Z', '2026-03-10T00:00:00Z']), [true, true]);
  assert.deepEqual(await kinds(db), ['activate']);
});

test('one that its last day is to close after all is switched off at once', async () => {
  await using db = await database();
  await db.insert('special_packages', special({ auto_deactivate: false }));
  assert.deepEqual(await states(db, ['2026-03-09T00:00:00Z']), [true]);
  await edit(db, 'auto_deactivate = true');
  assert.deepEqual(await states(db, ['2026-03-09T00:01:00Z', '2026-03-09T00:02:00Z']), [false, false]);
  assert.deepEqual(await kinds(db), ['activate', 'deactivate']);
});

test('a hand after the closing wins, until the last day is edited', async () => {
  await using db = await database();
  await db.insert('special_packages', special());
  assert.deepEqual(await states(db, ['2026-03-01T10:00:00Z', '2026-03-06T00:00:00Z']), [true, false]);
  await edit(db, 'is_active = true');
  assert.deepEqual(await states(db, ['2026-03-06T00:01:00Z', '2026-04-06T00:00:00Z']), [true, true]);
  await edit(db, `valid_until = '2026-03-04'`);
  assert.deepEqual(await states(db, ['2026-04-06T00:01:00Z', '2026-04-06T00:02:00Z']), [false, false]);
  assert.deepEqual(await kinds(db), ['activate', 'deactivate', 'deactivate']);
});

for (const [what, schedule_date] of [
  ['whose date lies ahead', '2026-06-01'],
  ['without a date', null],
] as const) {
  test(`a hand after the last day wins for one that has a schedule ${what}`, async () => {
    await using db = await database();
    await db.insert('special_packages', special({ schedule_date }));
    assert.deepEqual(await states(db, ['2026-03-06T00:00:00Z']), [false]);
    await edit(db, 'is_active = true');
    assert.deepEqual(await states(db, ['2026-03-06T00:01:00Z', '2026-04-06T00:00:00Z']), [true, true]);
  });
}

test('a hand after the closing wins when other columns are edited', async () => {
  await using db = await database();
  await db.insert('special_packages', special());
  await states(db, ['2026-03-01T10:00:00Z', '2026-03-06T00:00:00Z']);
  await edit(db, 'is_active = true');
  for (const set of [
    `name = 'Other', updated_at = '2026-03-06T00:00:30Z'`,
    `schedule_date = '2026-03-02', schedule_time = null`,
    'auto_deactivate = false',
    'auto_deactivate = true',
    `timezone = 'UTC'`,
  ]) {
    await edit(db, set);
    assert.deepEqual(await states(db, ['2026-03-06T00:01:00Z']), [true], set);
  }
});

test('a last day that is edited while it is on closes it at the new end, to earlier and to later', async () => {
  await using db = await database();
  await db.insert('special_packages', special());
  assert.deepEqual(await states(db, ['2026-03-01T10:00:00Z']), [true]);
  await edit(db, `valid_until = '2026-03-08'`);
  assert.deepEqual(await states(db, ['2026-03-06T00:00:00Z']), [true]);
  await edit(db, `valid_until = '2026-03-02'`);
  assert.deepEqual(await states(db, ['2026-03-06T00:01:00Z', '2026-03-09T00:00:00Z']), [false, false]);
  assert.deepEqual(await kinds(db), ['activate', 'deactivate']);
});

test('one that is scheduled again for a window that is over is missed again', async () => {
  await using db = await database();
  await db.insert('special_packages', special());
  assert.deepEqual(await states(db, ['2026-03-06T00:00:00Z']), [false]);
  await edit(db, 'scheduled = true');
  assert.deepEqual(await states(db, ['2026-03-06T00:01:00Z', '2026-03-06T00:02:00Z']), [false, false]);
  assert.deepEqual(await kinds(db), ['miss', 'miss']);
});

test('one that is scheduled again after its closing opens and closes again', async () => {
  await using db = await database();
  await db.insert('special_packages', special());
  assert.deepEqual(await states(db, ['2026-03-01T10:00:00Z', '2026-03-06T00:00:00Z']), [true, false]);
  await edit(db, `scheduled = true, valid_until = '2026-03-07'`);
  assert.deepEqual(await states(db, ['2026-03-06T00:01:00Z', '2026-03-08T00:00:00Z']), [true, false]);
  assert.deepEqual(await kinds(db), ['activate', 'deactivate', 'activate', 'deactivate']);
});

test('one that is extended, opened again and taken back to its first last day is closed again', async () => {
  await using db = await database();
  await db.insert('special_packages', special());
  assert.deepEqual(await states(db, ['2026-03-01T10:00:00Z', '2026-03-06T00:00:00Z']), [true, false]);
  await edit(db, `scheduled = true, valid_until = '2026-03-07'`);
  assert.deepEqual(await states(db, ['2026-03-06T00:01:00Z']), [true]);
  await edit(db, `valid_until = '2026-03-05'`);
  assert.deepEqual(await states(db, ['2026-03-06T00:02:00Z', '2026-03-08T00:00:00Z']), [false, false]);
});
