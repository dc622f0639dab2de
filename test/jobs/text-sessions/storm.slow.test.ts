import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../../support/harness.ts';
import { everyMinute, faults, found, instant, put, RATE, type World } from '../../support/text-sessions-model.ts';

const SESSIONS = 5000;
const PROCESSES = 12;

test('twelve processes at once without the lock deduct each block and end each session exactly once', async () => {
  await using db = await database({ withoutLock: true });
  const patient = (n: number) => Math.floor(n / 2);
  const world: World = {
    credits: Array.from({ length: SESSIONS }, (_, n) => ({
      user: patient(n),
      credits: n % 4,
      since: -(n % 7),
      expires: n % 5 === 0 ? 1500 : null,
      active: n % 11 > 0,
    })),
    sessions: Array.from({ length: SESSIONS }, (_, n) => ({
      patient: patient(n),
      doctor: n % 50,
      activated: (n * 7) % 900,
      counter: n % 3 === 0 ? null : 0,
      allowed: n % 2 === 0 ? n % 6 : null,
    })),
    rates: Array.from({ length: 50 }, (_, n) => [undefined, null, 3][n % 3]),
  };
  await put(db, world);
  await db.query('analyze');
  const end = 3000;
  const env = { SCHEDULER_SESSION_RATE: String(RATE) };
  const commands = ['tick', 'deductions', 'session-endings'];
  const runs = await Promise.all(
    Array.from({ length: PROCESSES }, (_, n) =>
      db.cli([commands[n % 3]!, '--at', instant(end).toISOString(), '--batch-size', String(100 + 50 * n)], {
        env,
        timeoutMs: 300_000,
      }),
    ),
  );
  for (const { code, err } of runs) assert.equal(code, 0, err);
  assert.deepEqual(await faults(db, world), []);
  assert.deepEqual(await found(db), everyMinute(world, end));
  const before = await db.events();
  await db.tick(instant(end).toISOString(), { env });
  assert.equal((await db.events()).length, before.length, 'nothing is left for a later tick');
});
