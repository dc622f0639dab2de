import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { active, due, startTick } from '../support/due-packages.ts';
import { database } from '../support/harness.ts';

test('a second signal stops at once and rolls the batch back', async () => {
  await using db = await database();
  await due(db, 3);
  await db.query(
    `update packages set scheduled_activation_time = scheduled_activation_time - interval '1 minute' where id = 1`,
  );
  await db.query(`create function slow() returns trigger language plpgsql as $$
      begin if old.id > 1 then perform pg_sleep(30); end if; return new; end $$;
    create trigger slow before update on packages for each row execute function slow()`);
  const { child, ended } = await startTick(db, ['--batch-size', '1']);
  child.kill('SIGTERM');
  await sleep(100);
  child.kill('SIGTERM');
  const at = Date.now();
  assert.equal(await ended, 75);
  assert.ok(Date.now() - at < 1000);
  assert.equal(await active(db), 1);
});
