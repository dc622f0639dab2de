import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DUE_ROWS, NOW } from '../support/due-rows.ts';
import { database } from '../support/harness.ts';
import { SCHEMA } from '../support/schema.ts';
import { stranger } from '../support/stranger.ts';

/** An advisory lock can be taken by every role. Those of a stranger stop nothing. */

test('advisory locks of a stranger stop neither payments nor accounting', async () => {
  await using db = await database();
  await using mallory = await stranger(db);
  await mallory.query(
    'select pg_advisory_lock(kind, n) from unnest(array[60, 61]) as kind, generate_series(0, 1023) as n',
  );
  await db.query(`${DUE_ROWS.payments!.provision!.make}; ${DUE_ROWS.accounting!.sync!.make}`);
  const { jobs } = await db.tick(NOW, { only: ['payments', 'accounting'] });
  assert.deepEqual(
    jobs.map(({ job, changed, workLeft }) => [job, Object.values(changed).length > 0, workLeft]),
    [
      ['payments', true, false],
      ['accounting', true, false],
    ],
  );
});

test('the lock of the run in the hands of a stranger stops no tick, and is named by all who look', async () => {
  await using db = await database();
  await using mallory = await stranger(db);
  await mallory.query(`select pg_advisory_lock(hashtextextended('${SCHEMA}', 8314034311083879525))`);
  await db.query(DUE_ROWS.vouchers!.expire!.make);
  const who = new RegExp(`held by process \\d+ of the role \\\\?"${mallory.role}`);
  const tick = await db.cli(['tick']);
  assert.equal(tick.code, 0);
  assert.match(tick.err, who);
  assert.match(tick.out, /expire/);
  const status = await db.cli(['status', '--check']);
  assert.equal(status.code, 1);
  assert.match(status.out, who);
  const doctor = await db.cli(['doctor']);
  assert.equal(doctor.code, 1);
  assert.match(doctor.out, who);
});
