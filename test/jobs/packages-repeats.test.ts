import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { iso, kinds, sale, statuses, theRow, tick, windowAfter } from '../support/one-sale.ts';

/** A sale that repeats: the next window, the ends of months, changes of the clock. */

for (const [repeats, next] of [
  ['daily', ['2026-03-02T10:00:00Z', '2026-03-02T12:00:00Z']],
  ['weekly', ['2026-03-08T10:00:00Z', '2026-03-08T12:00:00Z']],
  ['monthly', ['2026-04-01T10:00:00Z', '2026-04-01T12:00:00Z']],
  ['Daily', ['2026-03-02T10:00:00Z', '2026-03-02T12:00:00Z']],
] as const) {
  test(`after a sale that repeats ${repeats}, the window moves on and opens again`, async () => {
    await using db = await database();
    if (repeats === 'Daily') await db.query('alter table packages drop constraint packages_repeats_check');
    await db.insert('packages', sale({ repeats, scheduled_deactivation_time: '2026-03-01T12:00:00Z' }));
    await tick(db, '2026-03-01T10:00:00Z');
    assert.deepEqual(await windowAfter(db, '2026-03-01T12:00:00Z'), next);
    assert.deepEqual(await statuses(db, ['2026-03-01T12:01:00Z', next[0], next[1]]), [
      'inactive',
      'active',
      'inactive',
    ]);
    const [, closed, event] = await db.events();
    assert.deepEqual(
      [closed!.type, closed!.transition],
      ['package.status.changed', 'deactivate'],
      'first the end, then the next start',
    );
    assert.deepEqual([event!.type, event!.transition], ['package.schedule.repeated', 'repeat']);
    assert.deepEqual(event!.channels, closed!.channels);
    assert.equal(event!.data.scheduled_activation_time, next[0]);
  });
}

test('a repeated window that ends by validity keeps its length', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'daily' }));
  await tick(db, '2026-03-01T10:00:00Z');
  assert.deepEqual(await windowAfter(db, '2026-03-01T12:00:00Z'), ['2026-03-02T10:00:00Z', undefined]);
  assert.deepEqual(await statuses(db, ['2026-03-02T10:00:00Z', '2026-03-02T11:59:00Z', '2026-03-02T12:00:00Z']), [
    'active',
    'active',
    'inactive',
  ]);
});

test('after a miss a window repeats too', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'weekly' }));
  assert.deepEqual(await windowAfter(db, '2026-03-03T00:00:00Z'), ['2026-03-08T10:00:00Z', undefined]);
  assert.deepEqual(await kinds(db), ['miss', 'repeat']);
});

test('a monthly sale on the 31st falls on the last day of shorter months, and comes back to the 31st', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'monthly', scheduled_activation_time: '2026-01-31T10:00:00Z' }));
  const starts: (string | undefined)[] = [];
  for (const day of ['01-31', '02-28', '03-31', '04-30', '05-31', '06-30']) {
    await tick(db, `2026-${day}T10:00:00Z`);
    starts.push((await windowAfter(db, `2026-${day}T12:00:00Z`))[0]);
  }
  assert.deepEqual(
    starts,
    ['02-28', '03-31', '04-30', '05-31', '06-30', '07-31'].map((day) => `2026-${day}T10:00:00Z`),
  );
  assert.equal((await kinds(db)).filter((kind) => kind === 'activate').length, 6);
});

test('a monthly sale on the 30th finds the 29th of February in a leap year', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'monthly', scheduled_activation_time: '2028-01-30T10:00:00Z' }));
  await tick(db, '2028-01-30T10:00:00Z');
  assert.equal((await windowAfter(db, '2028-01-30T12:00:00Z'))[0], '2028-02-29T10:00:00Z');
  await tick(db, '2028-02-29T10:00:00Z');
  assert.equal((await windowAfter(db, '2028-02-29T12:00:00Z'))[0], '2028-03-30T10:00:00Z');
});

for (const [first, second] of [
  ['2026-04-30', '2026-05-30'],
  ['2026-02-28', '2026-03-28'],
  ['2028-02-29', '2028-03-29'],
]) {
  test(`a monthly sale begun on the last day of a short month, ${first}, keeps that day: ${second}`, async () => {
    await using db = await database();
    await db.insert('packages', sale({ repeats: 'monthly', scheduled_activation_time: `${first}T10:00:00Z` }));
    assert.equal((await windowAfter(db, `${first}T12:00:00Z`))[0], `${second}T10:00:00Z`);
  });
}

test('a monthly sale moved by hand to another day repeats on that day', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'monthly', scheduled_activation_time: '2026-01-31T10:00:00Z' }));
  await tick(db, '2026-01-31T10:00:00Z');
  await tick(db, '2026-01-31T12:00:00Z');
  await db.query(`update packages set scheduled_activation_time = '2026-02-15T10:00:00Z'`);
  await tick(db, '2026-02-15T10:00:00Z');
  assert.equal((await windowAfter(db, '2026-02-15T12:00:00Z'))[0], '2026-03-15T10:00:00Z');
});

for (const [what, repeats, at, next] of [
  ['days', 'daily', '2026-03-09T13:00:00Z', '2026-03-10T10:00:00Z'],
  ['months, daily', 'daily', '2026-08-09T09:00:00Z', '2026-08-09T10:00:00Z'],
  ['months, weekly', 'weekly', '2026-08-09T13:00:00Z', '2026-08-16T10:00:00Z'],
  ['years, monthly', 'monthly', '2031-02-28T13:00:00Z', '2031-03-01T10:00:00Z'],
  ['99 years', 'monthly', '2125-02-28T13:00:00Z', '2125-03-01T10:00:00Z'],
] as const) {
  test(`after ${what} without a tick, the window moves to the first occurrence that is not over`, async () => {
    await using db = await database();
    await db.insert('packages', sale({ repeats }));
    await tick(db, '2026-03-01T10:00:00Z');
    assert.equal((await windowAfter(db, at))[0], next);
    assert.deepEqual(await kinds(db), ['activate', 'deactivate', 'repeat']);
  });
}

test('when the next window is open already, the same tick opens it', async () => {
  await using db = await database();
  await db.insert('packages', sale({ repeats: 'daily' }));
  await tick(db, '2026-03-01T10:00:00Z');
  await tick(db, '2026-03-05T11:00:00Z');
  const row = await theRow(db);
  assert.equal(row.status, 'active');
  assert.equal(iso(row.scheduled_activation_time), '2026-03-05T10:00:00Z');
  assert.deepEqual(await kinds(db), ['activate', 'deactivate', 'repeat', 'activate']);
  assert.deepEqual(await statuses(db, ['2026-03-05T11:01:00Z', '2026-03-05T12:00:00Z']), ['active', 'inactive']);
});

test('both ends of a repeated window keep their wall-clock time in SCHEDULER_TIMEZONE over a DST change', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  const saturday = {
    scheduled_activation_time: '2026-03-28T10:00:00+01:00',
    scheduled_deactivation_time: '2026-03-28T20:00:00+01:00',
  };
  await db.insert('packages', sale({ repeats: 'daily', ...saturday }));
  await tick(db, '2026-03-28T10:00:00Z', { env });
  assert.deepEqual(await windowAfter(db, '2026-03-28T20:00:00Z', { env }), [
    '2026-03-29T08:00:00Z',
    '2026-03-29T18:00:00Z',
  ]);
});

test('an occurrence that a DST change skips begins at the first instant after the gap, and the next one at its hour again', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  const night = { scheduled_activation_time: '2026-03-28T02:30:00+01:00' };
  await db.insert('packages', sale({ repeats: 'daily', validity: '1 hour', ...night }));
  await tick(db, '2026-03-28T01:30:00Z', { env });
  assert.equal((await windowAfter(db, '2026-03-28T03:00:00Z', { env }))[0], '2026-03-29T01:00:00Z');
  assert.equal((await windowAfter(db, '2026-03-29T02:00:00Z', { env }))[0], '2026-03-30T00:30:00Z');
});

test('an end that a DST change skips is at its hour again the next time, and so is a start that somebody moves', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  const night = {
    scheduled_activation_time: '2026-03-28T01:00:00+01:00',
    scheduled_deactivation_time: '2026-03-28T02:30:00+01:00',
  };
  await db.insert('packages', sale({ repeats: 'daily', ...night }));
  assert.deepEqual(await windowAfter(db, '2026-03-28T12:00:00Z', { env }), [
    '2026-03-29T00:00:00Z',
    '2026-03-29T01:00:00Z',
  ]);
  await db.query(`update packages set scheduled_activation_time = '2026-03-29T01:30:00+01:00'`);
  assert.deepEqual(await windowAfter(db, '2026-03-29T12:00:00Z', { env }), [
    '2026-03-29T23:30:00Z',
    '2026-03-30T00:30:00Z',
  ]);
  await db.query(`update packages set repeats = null`);
  await tick(db, '2026-04-01T12:00:00Z', { env });
  assert.equal((await theRow(db)).repeat_length, null);
});

test('a start that somebody moves to the hour after the gap is meant so', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  await db.insert('packages', sale({ repeats: 'daily', scheduled_activation_time: '2026-03-28T02:30:00+01:00' }));
  await tick(db, '2026-03-28T12:00:00Z', { env });
  await db.query(`update packages set scheduled_activation_time = '2026-03-29T04:00:00+02:00'`);
  assert.equal((await windowAfter(db, '2026-03-29T12:00:00Z', { env }))[0], '2026-03-30T02:00:00Z');
});

test('a sale that a DST change leaves no time for does not take place that day, and is not missed', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  const night = {
    scheduled_activation_time: '2026-03-28T02:10:00+01:00',
    scheduled_deactivation_time: '2026-03-28T02:50:00+01:00',
  };
  await db.insert('packages', sale({ repeats: 'daily', ...night }));
  await tick(db, '2026-03-28T01:10:00Z', { env });
  assert.deepEqual(await windowAfter(db, '2026-03-28T01:50:00Z', { env }), [
    '2026-03-30T00:10:00Z',
    '2026-03-30T00:50:00Z',
  ]);
});

test('a sale between the two times that a clock shows 02:30 lasts as long the next day', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Europe/Berlin' };
  const night = {
    scheduled_activation_time: '2026-10-25T02:30:00+02:00',
    scheduled_deactivation_time: '2026-10-25T02:30:00+01:00',
  };
  await db.insert('packages', sale({ repeats: 'daily', ...night }));
  assert.deepEqual(await windowAfter(db, '2026-10-25T12:00:00Z', { env }), [
    '2026-10-26T01:30:00Z',
    '2026-10-26T02:30:00Z',
  ]);
});
