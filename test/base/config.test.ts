import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseEnv } from '../../src/base/config.ts';

test('a file of settings is read as a shell reads it, from Windows too', () => {
  const lines = [
    ['A=first', 'first'],
    ['  B = abc#def ', 'abc#def'],
    ['C=abc # a comment', 'abc'],
    [`D='a # "b" \\n'`, 'a # "b" \\n'],
    ['E="a \\"b\\" # \\\\ \\$c\\n \\d" # a comment', 'a "b" # \\ $c\n \\d'],
    ['export F=x', 'x'],
    ['G=', ''],
    ['H="not closed', '"not closed'],
    ["I='it''s", "'it''s"],
    ['J="two\nlines"', 'two\nlines'],
    ['K=#', '#'],
    ['# L=x', undefined],
    ['; M=x', undefined],
    ['N x', undefined],
    ['O=a=b', 'a=b'],
    ['P="a"b', '"a"b'],
    ['Q=postgresql://u:p%23w@h/d?a=b#c', 'postgresql://u:p%23w@h/d?a=b#c'],
    ['R=1\nR=2', '2'],
    ['S=\t# nothing', ''],
  ] as const;
  const expected = Object.fromEntries(
    lines.flatMap(([line, value]) =>
      value === undefined ? [] : [[/(\w)[ =]/.exec(line.replace('export ', ''))![1], value]],
    ),
  );
  for (const [end, mark] of [
    ['\n', ''],
    ['\r\n', '\ufeff'],
  ] as const) {
    const text = mark + lines.map(([line]) => line.replaceAll('\n', end)).join(end);
    assert.deepEqual({ ...parseEnv(text) }, expected);
    assert.deepEqual({ ...parseEnv(`${text}${end}`) }, expected);
  }
});
