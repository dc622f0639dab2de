import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changes, compare } from '../support/calendar.ts';
import { database } from '../support/harness.ts';

/** scheduler.instant: wall-clock time to instant. The whole matrix of zones and years is in test/slow. */

const wall = (time: string) => Date.parse(`${time}Z`);

/** From a zone and a wall-clock time to the instant. */
async function areInstants(cases: Record<string, string>): Promise<void> {
  await using db = await database();
  for (const [given, expected] of Object.entries(cases)) {
    const [zone, ...time] = given.split(' ');
    const { at } = await db.one('select scheduler.iso(scheduler.instant($1::timestamp, $2)) as at', [
      time.join(' '),
      zone,
    ]);
    assert.equal(at, expected, given);
  }
}

test('a time that a DST change skips is the first instant after the gap, to the second, whatever its fraction', async () => {
  await areInstants({
    'Europe/Berlin 2026-03-29T02:00:00': '2026-03-29T01:00:00Z',
    'Europe/Berlin 2026-03-29T02:30:00.123456': '2026-03-29T01:00:00Z',
    'Europe/Berlin 2026-03-29T02:59:59.999999': '2026-03-29T01:00:00Z',
    'Australia/Lord_Howe 2026-10-04T02:15:00': '2026-10-03T15:30:00Z', // half an hour
    'Antarctica/Troll 2026-03-29T02:30:00': '2026-03-29T01:00:00Z', // two hours
    'Pacific/Apia 2011-12-30T12:00:00': '2011-12-30T10:00:00Z', // a whole day
    'Pacific/Apia 2011-12-30T23:59:59.9': '2011-12-30T10:00:00Z',
    'Africa/Cairo 2026-04-24T00:00:00': '2026-04-23T22:00:00Z', // midnight itself
  });
});

test('a time that a DST change repeats is the first of the two', async () => {
  await areInstants({
    'Europe/Berlin 2026-10-25T02:30:00': '2026-10-25T00:30:00Z',
    'Europe/Berlin 2026-10-25T03:00:00': '2026-10-25T02:00:00Z',
    'America/New_York 2026-11-01T01:59:59.999999': '2026-11-01T05:59:59.999999Z',
    'Australia/Lord_Howe 2026-04-05T01:45:00': '2026-04-04T14:45:00Z',
    'Antarctica/Troll 2026-10-25T01:30:00': '2026-10-24T23:30:00Z',
  });
});

test('around every change of five zones in two years it agrees with the offsets of luxon', async () => {
  await using db = await database();
  for (const zone of [
    'Europe/Berlin',
    'Australia/Lord_Howe',
    'Africa/Casablanca',
    'America/New_York',
    'Asia/Kathmandu',
  ]) {
    await compare(db, zone, changes(zone, wall('2025-01-01T00:00'), wall('2027-01-01T00:00')));
  }
});

test('a value that cannot be an instant is due at once or never, and never an error', async () => {
  await areInstants({
    'UTC infinity': 'infinity',
    'UTC -infinity': '-infinity',
    'UTC 294276-12-31': 'infinity',
    'UTC 4713-01-01 BC': '-infinity',
    'Mars/Olympus 2026-01-01': '-infinity',
    'UTC+3 2026-01-01': '-infinity',
    ' 2026-01-01': '-infinity',
  });
});

test('the answer does not depend on the session', async () => {
  await using db = await database();
  const answers = new Set<string>();
  for (const setting of [
    `timezone = 'Asia/Tokyo'`,
    `timezone = 'America/New_York'`,
    `datestyle = 'German'`,
    `intervalstyle = 'sql_standard'`,
  ]) {
    await db.query(`set ${setting}`);
    const { at } = await db.one(
      `select scheduler.iso(scheduler.instant('2026-03-29T02:30', 'Europe/Berlin')) || scheduler.iso(scheduler.sale_end('2026-03-01T10:00Z', null, '1 month')) as at`,
    );
    answers.add(at);
  }
  assert.deepEqual([...answers], ['2026-03-29T01:00:00Z2026-03-31T10:00:00Z']);
});

test('a zone that PostgreSQL reads the other way round than people mean it is no zone, but Etc/GMT-3 is', async () => {
  await using db = await database();
  const rows = await db.query(
    `select zone, scheduler.known_zone(zone) as known, scheduler.instant('2026-03-01 10:00', zone)::text as at
     from unnest(array['GMT+3', 'UTC+3', 'UTC-03:00', '+3', 'GMT0', 'Etc/GMT-3', 'EST5EDT']) with ordinality as z (zone, n) order by n`,
  );
  assert.deepEqual(
    rows.filter(({ known }) => known).map(({ zone }) => zone),
    ['GMT0', 'Etc/GMT-3', 'EST5EDT'],
  );
  for (const { known, at } of rows) assert.equal(at === '-infinity', !known);
});

test('a day beyond the range of timestamps is the end or the beginning of time', async () => {
  await using db = await database();
  const rows = await db.query(
    `select scheduler.opening(day, '10:00')::text as opens, scheduler.day_end(day)::text as ends
     from unnest(array['5874897-12-31', '4713-01-01 BC', '2026-03-01']::date[]) with ordinality as d (day, n) order by n`,
  );
  assert.deepEqual(rows, [
    { opens: 'infinity', ends: 'infinity' },
    { opens: '-infinity', ends: '-infinity' },
    { opens: '2026-03-01 10:00:00', ends: '2026-03-02 00:00:00' },
  ]);
});
