import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../../support/harness.ts';
import { at, NOW, passOf } from '../../support/hotspot-rows.ts';

test('unused and active vouchers past their end become expired, others stay as they are', async () => {
  await using db = await database();
  const put = (code: string, status: string, expires_at: string | null) =>
    db.insert('vouchers', { code, status, expires_at });
  await put('a', 'unused', NOW);
  await put('b', 'active', at(-5));
  await put('c', 'unused', at(1));
  await put('d', 'unused', null);
  await put('e', 'used', at(-5));
  const pass = passOf(await db.tick(NOW, { only: ['vouchers'] }), 'vouchers');
  assert.deepEqual(pass.changed, { expire: 2 });
  assert.equal(pass.lateSeconds, 300);
  assert.deepEqual(
    (await db.query('select status from vouchers order by code')).map((row) => row.status),
    ['expired', 'expired', 'unused', 'unused', 'used'],
  );
});

test('no log line names the code of a voucher', async () => {
  await using db = await database();
  await db.insert('vouchers', { code: 'K7TR-93HX', status: 'unused', expires_at: NOW });
  const { out, err, code } = await db.cli(['vouchers', '--debug']);
  assert.equal(code, 0);
  assert.match(err, /vouchers: expire/);
  assert.doesNotMatch(out + err, /K7TR/);
});
