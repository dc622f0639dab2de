import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maskPhone } from '../../src/base/mask.ts';
import { cli, database } from '../support/harness.ts';

/** What is small, and was found by attackers all the same. */

test('a password of any characters is printed nowhere, as often as a connection fails', async () => {
  for (const url of [
    'postgresql://u:hunter 2 @x/y&z@127.0.0.1:1/d',
    'postgresql://127.0.0.1:1/d?user=u&password=hunter 2 x&connect_timeout=1',
    'postgresql://127.0.0.1:1/d?user=u&password=hunter 2 x',
    'postgresql://u:hunter 2@[bad/d',
  ]) {
    const { code, out, err } = await cli(['status', '--database-url', url]);
    assert.ok(code === 69 || code === 78, err);
    assert.doesNotMatch(out + err, /hunter| 2 ?x?|@x/, url);
  }
});

test('the masks of SQL and of the program hide the same, most of a short number', async () => {
  await using db = await database();
  for (const phone of ['+254712345678', '254 712 345 678', '0712345678', '712345', '07123', '', '+1 (212) 555-0100']) {
    const { masked } = await db.one('select scheduler.mask_phone($1) as masked', [phone]);
    assert.equal(masked, maskPhone(phone), phone);
    assert.ok(masked.replace(/\D/g, '').length <= Math.max(7, phone.replace(/\D/g, '').length / 3), phone);
  }
});

test('a zone that no calendar knows ends the search for the next window of a sale', async () => {
  await using db = await database();
  await db.query(`set statement_timeout = '10s'`);
  for (const zone of ['UTC+3', '<+03>-3', 'EST5EDT4,M3.2.0,M11.1.0', 'Nowhere', '']) {
    const { at } = await db
      .one(
        `select (scheduler.next_sale('2026-03-01T10:00Z', '2026-03-01T12:00Z', null, 'daily', '2026-03-01 10:00', '2 hours', 0, $1, '2026-03-09')).next_start as at`,
        [zone],
      )
      .catch((error) => {
        // "at time zone" itself may refuse the name: that is a row's failure.
        assert.match(error.message, /time zone .* not recognized/, zone);
        return { at: null };
      });
    assert.ok(at === null || at > new Date('2026-03-08'), `${zone}: ${at}`);
  }
});
