import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { sale, statuses, tick } from '../support/one-sale.ts';

/** A validity and a repetition, as people spell them, and what cannot be read. */

test('a validity is a count and a unit: singular or plural, any case, spaces around', async () => {
  await using db = await database();
  const seconds = {
    '2 minutes': 120,
    '1 hour': 3600,
    '24 hours': 86400,
    '7 days': 604800,
    '1 week': 604800,
    '1 month': 2592000,
    '3 MONTHS': 7776000,
    '  5 Day\t': 432000,
    '1 minutes': 60,
    '002  weeks': 1209600,
  };
  for (const validity of Object.keys(seconds)) await db.insert('packages', sale({ name: validity, validity }));
  await tick(db, '2026-03-01T10:00:00Z');
  const active = async () =>
    (await db.query(`select name from packages where status = 'active' order by id`)).map(({ name }) => name);
  for (const time of [...new Set(Object.values(seconds))].sort((a, b) => a - b)) {
    const lasting = (end: number) => Object.entries(seconds).flatMap(([name, length]) => (length > end ? [name] : []));
    const end = Date.parse('2026-03-01T10:00:00Z') + time * 1000;
    await tick(db, new Date(end - 1).toISOString());
    assert.deepEqual(await active(), lasting(time - 1));
    await tick(db, new Date(end).toISOString());
    assert.deepEqual(await active(), lasting(time));
  }
});

const UNREADABLE = [
  '',
  ' ',
  '0 hours',
  '-1 day',
  'banana',
  '1.5 days',
  '1,5 days',
  '99999999999999999999 days',
  '999999999999 months',
  '9999999999 hours',
  '2',
  'hours',
  '2 hours 3 minutes',
  '2 hourss',
  '1e3 hours',
  '٢ hours',
  '2\u00a0hours',
  '⏰ 2 hours',
  "2 hours'); drop table packages; --",
  `2 hours${' '.repeat(10_000)}x`,
  '9'.repeat(10_240),
];

test('a validity that is not a count and a unit is that row’s failure, naming the value; the others are done', async () => {
  await using db = await database();
  for (const [n, validity] of UNREADABLE.entries()) {
    await db.insert('packages', sale({ id: 1000 + n, validity }));
    await db.insert('packages', sale({ id: 2000 + n }));
  }
  const result = await tick(db, '2026-03-01T10:00:00Z');
  assert.equal(result.exitCode, 1);
  assert.equal(result.jobs[0]!.failed, UNREADABLE.length);
  assert.deepEqual(result.jobs[0]!.changed, { activate: UNREADABLE.length });
  assert.deepEqual(await db.query(`select id from packages where (id < 2000) <> (status = 'inactive')`), []);
  const failures = await db.query('select * from scheduler.failures order by entity_id');
  for (const [n, validity] of UNREADABLE.entries()) {
    assert.equal(failures[n]!.entity_id, String(1000 + n));
    assert.ok(failures[n]!.error.includes(`'${[...validity].slice(0, 80).join('')}'`), failures[n]!.error);
    assert.ok(failures[n]!.error.length < 300);
  }
});

test('a validity that becomes unreadable during the sale is a failure, not a sale for ever', async () => {
  await using db = await database();
  await db.insert('packages', sale());
  await tick(db, '2026-03-01T10:00:00Z');
  await db.query(`update packages set validity = 'banana'`);
  const result = await tick(db, '2026-03-01T10:01:00Z');
  assert.equal(result.jobs[0]!.failed, 1);
  assert.match((await db.one('select * from scheduler.failures')).error, /'banana'/);
  await db.query(`update packages set validity = '1 hour'`);
  assert.deepEqual(await statuses(db, ['2026-03-01T10:59:00Z', '2026-03-01T11:00:00Z']), ['active', 'inactive']);
  assert.deepEqual(await db.query('select * from scheduler.failures'), []);
});

test('repeats that is none of daily, weekly, monthly is that row’s failure, naming the value', async () => {
  await using db = await database();
  await db.query('alter table packages drop constraint packages_repeats_check');
  await db.insert('packages', sale({ repeats: 'yearly' }));
  await db.insert('packages', sale({ repeats: '' }));
  const result = await tick(db, '2026-03-01T10:00:00Z');
  assert.match(result.jobs[0]!.failures[0]!.error, /^repeats 'yearly'/);
  assert.deepEqual(result.jobs[0]!.changed, { activate: 1 });
});

test('a validity has its bounds: a count, a space, a unit, and a thousand years', async () => {
  await using db = await database();
  const seconds = {
    '2 years': 63072000,
    '1000 years': 31536000000,
    '1001 years': null,
    '0 days': null,
    '2hours': null,
  };
  for (const [validity, expected] of Object.entries({
    ...seconds,
    '12345678901234567890 days': null,
    '5': null,
    days: null,
  })) {
    const { found } = await db.one('select scheduler.validity_seconds($1)::double precision as found', [validity]);
    assert.equal(found, expected, validity);
  }
});
