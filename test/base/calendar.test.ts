import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inWords, parseInstant, parseSpan, readable, relative } from '../../src/base/calendar.ts';
import { plain } from '../../src/base/plain.ts';

test('spans are read in every unit, and nothing else is one', () => {
  const units = { '90s': 90, '90m': 5400, '2 hours': 7200, '1d': 86_400, '1 week': 604_800 };
  for (const [text, seconds] of Object.entries(units)) assert.equal(parseSpan(text, '--within'), seconds);
  for (const text of ['', '1', '-1h', '1 fortnight']) assert.throws(() => parseSpan(text, '--within'), /--within is "/);
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

test('a time without an offset is read in the zone; an age lies in the past', async () => {
  assert.equal(await parseInstant('2026-03-01 10:00', '--at', 'Africa/Nairobi'), '2026-03-01T07:00:00.000Z');
  assert.ok(Date.parse(await parseInstant('2h', '--at', 'UTC')) < Date.now());
});

test('marks that turn the direction of writing, and control characters, are shown by their numbers', () => {
  assert.equal(plain('a\u202eb\u2066c\u001bd\ne'), 'a\\u202eb\\u2066c\\u001bd\\ne');
  assert.equal(plain('a\nb\tc\r', true), 'a\nb\tc\\r');
});
