import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dueOf } from '../../src/own/due.ts';
import { database } from '../support/harness.ts';
import { dueOf as expected } from '../support/own-model.ts';

/** Due times as they are written, and the instants that they mean. */

const TYPES = {
  at: 'timestamp with time zone',
  plain: 'timestamp without time zone',
  day: 'date',
  hour: 'time without time zone',
  span: 'interval',
  n: 'integer',
};

test('a text that only looks like one of the forms gets a sentence at its place', () => {
  const refused = (due: string) => {
    try {
      return dueOf(due, TYPES, { zone: 'zone', dbZone: 'UTC' });
    } catch (error) {
      const { offset, message } = error as { offset: number; message: string };
      return `${offset}: ${message}`;
    }
  };
  for (const [due, sentence] of [
    ['at at 25:00', /^6: "25:00" is not a time of the day, from 00:00 to 23:59$/],
    ['at - 1 day at 9am', /^14: "9am" is not a time of the day/],
    ['at + 1 fortnight', /^7: "fortnight" is not a unit; valid: second, minute, .*year$/],
    ['at + 1.5 days', /^5: "1\.5" is not a count: that is a whole number, such as 36 for 36 hours$/],
    ['at + 1.5 days at 09:00', /^5: "1\.5" is not a count/],
    ['at + n fortnights at 25:00', /^7: "fortnights" is not a unit/],
  ] as const)
    assert.match(String(refused(due)), sentence, due);
  for (const sql of ["at at time zone 'UTC'", "at + n * interval '1 day'", "at + span at time zone 'UTC'"])
    assert.equal(refused(sql), undefined, sql);
});

const BERLIN = 'Europe/Berlin';
const NEW_YORK = 'America/New_York';

// What is written, values of the columns that it names, the zone, the instant.
const CASES: [string | { date: string; time: string }, Record<string, string | null>, string, string | null][] = [
  ['at', { at: '2026-03-29T00:30Z' }, BERLIN, '2026-03-29T00:30Z'],
  ['at + 1 day', { at: '2026-03-28T01:30Z' }, BERLIN, '2026-03-29T01:00Z'],
  ['at + 24 hours', { at: '2026-03-28T01:30Z' }, BERLIN, '2026-03-29T01:30Z'],
  ['at + 1 day', { at: '2026-10-24T00:30Z' }, BERLIN, '2026-10-25T00:30Z'],
  ['at - 1 day', { at: '2026-10-26T01:30Z' }, BERLIN, '2026-10-25T00:30Z'],
  ['at + 1 month', { at: '2026-01-31T11:00Z' }, BERLIN, '2026-02-28T11:00Z'],
  ['at + 1 year', { at: '2028-02-29T11:00Z' }, BERLIN, '2029-02-28T11:00Z'],
  ['at - 1 month', { at: '2026-03-31T10:00Z' }, BERLIN, '2026-02-28T11:00Z'],
  ['at - 3 days at 09:00', { at: '2026-03-30T20:00Z' }, BERLIN, '2026-03-27T08:00Z'],
  ['at at 02:30', { at: '2026-03-29T12:00Z' }, BERLIN, '2026-03-29T01:00Z'],
  ['at at 02:30', { at: '2026-10-25T12:00Z' }, BERLIN, '2026-10-25T00:30Z'],
  ['at at 23:00', { at: '2026-06-01T03:00Z' }, NEW_YORK, '2026-06-01T03:00Z'],
  ['at + span', { at: '2026-03-28T01:30Z', span: '1 day 90 minutes' }, BERLIN, '2026-03-29T02:30Z'],
  ['at - span', { at: '2026-03-31T10:00Z', span: '1 month' }, BERLIN, '2026-02-28T11:00Z'],
  ['at + span', { at: '2026-03-31T10:00Z', span: null }, BERLIN, null],
  ['at + n days', { at: '2026-03-28T01:30Z', n: '-2' }, BERLIN, '2026-03-26T01:30Z'],
  ['at - n months', { at: '2026-03-31T10:00Z', n: '1' }, BERLIN, '2026-02-28T11:00Z'],
  ['at + n weeks', { at: '2026-03-28T01:30Z', n: null }, BERLIN, null],
  ['at + 1 day', { at: 'infinity' }, BERLIN, 'infinity'],
  ['at - 1 day at 09:00', { at: 'infinity' }, BERLIN, 'infinity'],
  ['at + 1 day', { at: null }, BERLIN, null],
  ['at + 1 day', { at: '2026-03-28T01:30Z' }, 'Mars/Base', '-infinity'],
  ['plain', { plain: '2026-03-28T01:30' }, BERLIN, '2026-03-28T01:30Z'],
  ['plain + 1 day', { plain: '2026-03-28T01:30' }, BERLIN, '2026-03-29T01:00Z'],
  ['day', { day: '2026-03-29' }, BERLIN, '2026-03-28T23:00Z'],
  ['day', { day: 'infinity' }, BERLIN, 'infinity'],
  ['day + 1 day at 09:00', { day: '2026-03-28' }, BERLIN, '2026-03-29T07:00Z'],
  [{ date: 'day', time: 'hour' }, { day: '2026-03-29', hour: '02:30' }, BERLIN, '2026-03-29T01:00Z'],
  [{ date: 'day', time: 'hour' }, { day: '2026-10-25', hour: '02:30' }, BERLIN, '2026-10-25T00:30Z'],
  [{ date: 'day', time: 'hour' }, { day: null, hour: '02:30' }, BERLIN, null],
];

test('each form of a due time means one instant, and an index of it holds the same', async () => {
  await using db = await database();
  await db.query(
    `create table times (id integer primary key, at timestamptz, plain timestamp, day date, hour time, span interval, n integer)`,
  );
  for (const [n, [due, values, zone]] of CASES.entries()) {
    await db.insert('times', { id: n, ...values });
    const sql = dueOf(due, TYPES, { zone: `'${zone}'::text`, dbZone: 'UTC' })!;
    const [answer] = await db.query(`select (${sql})::text as at from times where id = $1`, [n]);
    const want = CASES[n]![3];
    const [wanted] = await db.query('select $1::timestamptz::text as at', [want]);
    assert.equal(answer!.at, wanted!.at, JSON.stringify(CASES[n]));
  }
  // An index takes each of the forms, and every value that a row may have.
  const forms = new Set(CASES.map(([due, , zone]) => dueOf(due, TYPES, { zone: `'${zone}'::text`, dbZone: 'UTC' })));
  for (const sql of forms) {
    await db.query(`create index on times ((${sql}))`);
  }
  await db.query('set enable_seqscan = off');
  for (const sql of forms) {
    const count = `select count(*)::integer as n from times where ${sql} <= '2026-06-01Z'`;
    const [byIndex] = await db.query(count);
    await db.query('set enable_seqscan = on; set enable_indexscan = off; set enable_bitmapscan = off');
    const [byTable] = await db.query(count);
    await db.query('set enable_seqscan = off; set enable_indexscan = on; set enable_bitmapscan = on');
    assert.deepEqual(byIndex, byTable, sql);
  }
});

test('the model of random jobs agrees on the changes of a clock', () => {
  const at = (text: string) => Date.parse(text);
  assert.equal(expected(at('2026-03-28T01:30Z'), { span: { days: 1 } }, BERLIN), at('2026-03-29T01:00Z'));
  assert.equal(expected(at('2026-10-25T12:00Z'), { hour: '02:30' }, BERLIN), at('2026-10-25T00:30Z'));
  assert.equal(expected(at('2026-01-31T11:00Z'), { span: { months: 1 } }, BERLIN), at('2026-02-28T11:00Z'));
});
