import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inWords, parseInstant, readable, relative, spanInSeconds } from '../../src/base/calendar.ts';
import { plain } from '../../src/base/plain.ts';
import { cli, database } from '../support/harness.ts';

test('a span of time is written alike everywhere, also as the program writes it', () => {
  const all = { '90s': 90, '90m': 5400, '1h': 3600, '1h30m': 5400, '2 hours': 7200, '7d': 604_800, '12w': 7_257_600 };
  for (const [text, seconds] of Object.entries(all)) assert.equal(spanInSeconds(text), seconds, text);
  for (const seconds of [0, 59, 60, 95, 5400, 90_000, 604_800]) assert.equal(spanInSeconds(inWords(seconds)), seconds);
  for (const text of ['', '5', '1 month', 'h', '1h 30', '-5m', '1.5h'])
    assert.equal(spanInSeconds(text), undefined, text);
  assert.deepEqual(
    [spanInSeconds('55', 's'), spanInSeconds('90', 'd'), spanInSeconds('5m', 'd')],
    [55, 7_776_000, 300],
  );
});

test('a time that a clock shows twice is the first of the two, and one that it skips the first instant after the gap', async () => {
  for (const [zone, text, instant] of [
    ['Europe/Berlin', '2026-10-25T02:30', '2026-10-25T00:30:00.000Z'],
    ['Europe/Berlin', '2026-10-25T03:00', '2026-10-25T02:00:00.000Z'],
    ['Europe/Berlin', '2026-10-25T01:59:59.999', '2026-10-24T23:59:59.999Z'],
    ['Europe/Berlin', '2026-03-29T02:30', '2026-03-29T01:00:00.000Z'],
    ['Europe/Berlin', '2026-03-29T02:00', '2026-03-29T01:00:00.000Z'],
    ['Europe/Berlin', '2026-03-29T01:59', '2026-03-29T00:59:00.000Z'],
    ['Europe/Berlin', '2026-03-29T03:00', '2026-03-29T01:00:00.000Z'],
    ['America/New_York', '2026-11-01 01:30', '2026-11-01T05:30:00.000Z'],
    ['America/New_York', '2026-03-08T02:59:59', '2026-03-08T07:00:00.000Z'],
    ['Australia/Lord_Howe', '2026-10-04T02:10', '2026-10-03T15:30:00.000Z'],
    ['America/Santiago', '2026-09-06', '2026-09-06T04:00:00.000Z'],
    ['Pacific/Apia', '2011-12-30T12:00', '2011-12-30T10:00:00.000Z'],
    ['Africa/Nairobi', '2026-03-29T02:30', '2026-03-28T23:30:00.000Z'],
    ['Europe/Berlin', '2026-10-25T02:30+01:00', '2026-10-25T01:30:00.000Z'],
  ] as const) {
    let said = '';
    assert.equal(await parseInstant(text, '--at', zone, (sentence) => (said = sentence)), instant, `${zone} ${text}`);
    if (/\+/.test(text)) assert.equal(said, '');
    else assert.ok(said.startsWith(`--at ${text} is read in ${zone}: ${instant.slice(0, 10)} `), said);
  }
});

test('an age lies behind, with a plus a span lies ahead; what no calendar holds is a sentence', async () => {
  const ahead = async (text: string) => Date.parse(await parseInstant(text, '--at', 'UTC')) - Date.now();
  const about = (ms: number, hours: number) => assert.ok(Math.abs(ms - hours * 3_600_000) < 60_000, String(ms));
  about(await ahead('2h'), -2);
  about(await ahead('-1d'), -24);
  about(await ahead('+2h'), 2);
  for (const text of [
    '999999w',
    '+999999w',
    '0000-01-01',
    '-004400-03-15',
    '1899-12-31',
    '+010000-01-01',
    '999999w999999w',
  ])
    await assert.rejects(
      parseInstant(text, '--at', 'UTC'),
      /--at is ".*", which lies outside the years 1900 to 9999\.$/,
    );
  for (const text of ['-0044-03-15', '44 BC', '2026-02-30', '2026-11-20T25:00', '+', '-', ''])
    await assert.rejects(parseInstant(text, '--at', 'UTC'), /which is not a time/, text);
});

test('every command reads spans and times so, and a terminal hears the zone', async () => {
  await using db = await database();
  const env = { SCHEDULER_TIMEZONE: 'Africa/Nairobi', SCHEDULER_LOG_LEVEL: 'info' };
  const said = await db.cli(['tick', '--dry-run', '--at', '2026-11-28T10:00', '--timeout', '2m'], { env });
  assert.equal(said.code, 0, said.err);
  assert.match(said.err, /--at 2026-11-28T10:00 is read in Africa\/Nairobi: 2026-11-28 07:00:00Z"/);
  for (const args of [
    ['tick', '--dry-run', '--at', '+2h'],
    ['history', '--since', '-1d', '--until', '+1h'],
    ['next', '--within', '+2h'],
    ['next', '--within', '1h30m'],
  ])
    assert.deepEqual((await db.cli(args)).err, '');
  const spans = { SCHEDULER_RETENTION: '12w', PGCONNECT_TIMEOUT: '1m', SCHEDULER_RADIUS_INTERIM: '5m' };
  const pruned = await db.cli(['prune', '--json'], { env: spans });
  assert.equal(JSON.parse(pruned.out).retentionDays, 84);
  const refused = await cli(['tick', '--linger', '2h']);
  assert.match(refused.err, /'2h' is invalid\. Valid: from 1 s to 1 h, such as 55, 90s or 15m\./);
  assert.equal((await db.cli(['tick', '--at', '999999w'])).code, 2);
});

test('spans are told in two units', () => {
  assert.deepEqual([0.4, 95, 3600, 90_061].map(inWords), ['0 s', '1 min 35 s', '1 h', '1 d 1 h']);
});

test('an instant is told by where it lies', () => {
  const now = '2026-03-01T10:00:00Z';
  const instants = ['2026-03-01T10:00:20Z', '2026-03-01T09:55:00Z', now, 'infinity', '-infinity'];
  assert.deepEqual(
    instants.map((at) => relative(at, now)),
    ['in 20 s', '5 min ago', 'now', 'never', 'at once'],
  );
  assert.equal(readable('2026-03-01T10:00:20.123Z'), '2026-03-01 10:00:20Z');
});

test('marks that turn the direction of writing, and control characters, are shown by their numbers', () => {
  assert.equal(plain('a\u202eb\u2066c\u001bd\ne'), 'a\\u202eb\\u2066c\\u001bd\\ne');
  assert.equal(plain('a\nb\tc\r', true), 'a\nb\tc\\r');
});
