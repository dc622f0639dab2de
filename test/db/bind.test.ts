import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bind } from '../../src/db/bind.ts';

test('a parameter is numbered by its first use; casts are none, and one without a value is a defect', () => {
  assert.deepEqual(bind('select :b::text, :a, :b where x::text = :a', { a: 1, b: 2 }), {
    text: 'select $1::text, $2, $1 where x::text = $2',
    values: [2, 1],
  });
  assert.deepEqual(bind(':ids, :a', { a: 1 }, ['places', 'ids']), { text: '$2, $3', values: [1] });
  assert.throws(() => bind('select :a', {}), /:a has no value/);
});
