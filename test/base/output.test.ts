import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Column, tableOf } from '../../src/base/table.ts';
import { cut, widthOf, wrap } from '../../src/base/wrap.ts';

test('a text is broken between words, and within one only where it is longer than a line', () => {
  assert.deepEqual(wrap('the quick brown fox', 9), ['the quick', 'brown fox']);
  assert.deepEqual(wrap('special-packages', 10), ['special-', 'packages']);
  assert.deepEqual(wrap('a abcdefghij b', 4), ['a', 'abcd', 'efgh', 'ij b']);
  assert.deepEqual([wrap('', 4), wrap('abcd', 4), wrap('a b', Number.POSITIVE_INFINITY)], [[''], ['abcd'], ['a b']]);
});

test('a table that is too wide loses no letter, and keeps numbers whole', () => {
  const why = `duplicate key ${'x'.repeat(90)} violates a constraint`;
  const rows = [
    ['special-packages', '2026-11-29 01:34:41Z', 12345, why],
    ['packages', '', 1, 'short'],
  ];
  for (const width of [40, 60, 80]) {
    const lines = tableOf(['job', 'last tried', 'attempts', 'why'], rows, width).lines.flat();
    assert.ok(Math.max(...lines.map((line) => line.length)) <= width, lines.join('\n'));
    assert.equal(lines.join('').match(/x/g)!.length, 90);
    assert.match(lines.join('\n'), /\b12345\b/);
  }
  assert.equal(
    tableOf(['job', 'last tried', 'attempts', 'why'], rows, Number.POSITIVE_INFINITY).lines.flat().length,
    3,
  );
});

test('East Asian characters take two columns, and combining marks none', () => {
  assert.equal(widthOf('e\u0301t\u00e9'), 3);
  assert.equal(widthOf('予約 3'), 6);
  assert.deepEqual(wrap('予約予約', 5), ['予約', '予約']);
  assert.equal(cut('予約予約', 6), '予約…');
  assert.deepEqual(
    tableOf(
      ['a', 'b'],
      [
        ['予約', 'x'],
        ['e\u0301', 'y'],
      ],
      80,
    ).lines.flat(),
    ['a     b', '予約  x', 'e\u0301     y'],
  );
});

test('where a row does not fit into one line, what matters least goes first, and --wide brings it back', () => {
  const columns: Column[] = ['job', ['took', 2], ['by', 1], ['error', 'below'], ['does', 'cut']];
  const rows = [['packages', '0.1 s', 'tick on host', 'it is wrong', 'puts packages on sale and takes them off again']];
  const all = tableOf(columns, rows, 200);
  assert.deepEqual([all.lines.flat().length, all.isLess], [2, false]);
  const { lines, isLess } = tableOf(columns, rows, 46);
  assert.deepEqual(
    [lines, isLess],
    [[['job       took   does'], ['packages  0.1 s  puts packages on sale and ta…', '  it is wrong']], true],
  );
  assert.equal(tableOf(columns, rows, 70).isLess, true, 'a column is left out, and nothing is cut');
  const wide = tableOf(columns, rows, 46, true);
  assert.equal(wide.isLess, false);
  assert.match(wide.lines.flat().join(''), /tick/);
});

test('a time is broken last, and a text goes below its row where cutting would leave too little of it', () => {
  const columns: Column[] = [['at', 'whole'], 'job', 'row', ['event', 'cut']];
  const rows = [['2026-11-29 01:34:41Z', 'special-packages', 'x'.repeat(36), 'package.is.over']];
  const { lines, isLess } = tableOf(columns, rows, 70);
  assert.equal(isLess, false);
  assert.match(lines.flat().join('\n'), /^2026-11-29 01:34:41Z +special- +x{36}\n +packages\n {2}package\.is\.over$/m);
});
