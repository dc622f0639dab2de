import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isOfTheRow, namesIn, quoteName, quoteText, reading, readsOf, template } from '../../src/job/expressions.ts';

test('bare names of columns are told from texts, functions, casts, arguments and parameters', () => {
  const of = reading('r', { columns: ['status', 'name', 'secs', 'text'] }, { due_at: '(r.at)' });
  const cases: [string, string][] = [
    ["status = 'status'", `r."status" = 'status'`],
    ["name = 'it''s name'", `r."name" = 'it''s name'`],
    ['status(name)', 'status(r."name")'],
    ['name::text', 'r."name"::text'],
    ['make_interval(secs => secs)', 'make_interval(secs => r."secs")'],
    [':name::text', ':name::text'],
    ['n.status and status', 'n.status and r."status"'],
    ['"status" is null', 'r."status" is null'],
    ['due_at < now', '(r.at) < :now::timestamptz'],
    ['name as status', 'r."name" as status'],
  ];
  for (const [sql, expected] of cases) assert.equal(of(sql), expected);
  assert.deepEqual(namesIn("status = 'name' and secs > 1", ['name', 'secs', 'status']), ['secs', 'status']);
});

test('an index holds what depends on the row alone, and on the zone', () => {
  assert.deepEqual(
    ["status = 'now'", 'at < now', 'due_at > at', 'exists (select from t)', 'at < :setting', 'f(at, :zone::text)'].map(
      isOfTheRow,
    ),
    [true, false, false, false, false, true],
  );
});

test('the columns and parameters that an expression reads are known by name', () => {
  assert.deepEqual(readsOf(`r."a b" > r.c and ':x' <> :limit::integer and n.d is null`), {
    columns: ['a b', 'c'],
    parameters: ['limit'],
  });
});

test('names and texts are quoted, and a text with values in it is SQL', () => {
  assert.deepEqual([quoteName('a"b'), quoteText("it's")], ['"a""b"', "'it''s'"]);
  assert.equal(
    template("it's {a}", (column) => column, true),
    "concat('it''s ', a)",
  );
  assert.equal(
    template('user.{a}', (column) => column, false),
    "'user.' || a",
  );
});
