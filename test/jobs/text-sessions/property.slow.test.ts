import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { database, type TestDatabase } from '../../support/harness.ts';
import { shareOf } from '../../support/share.ts';
import { everyMinute, faults, found, instant, put, RATE, type World } from '../../support/text-sessions-model.ts';
import { ticker } from '../../support/ticker.ts';

const env = { SCHEDULER_SESSION_RATE: String(RATE) };
const PATIENTS = 3;
const DOCTORS = 3;
const HOURS = 3;
const RUNS = shareOf(150);

const seconds = (most: number) =>
  fc.oneof(
    fc.integer({ min: 0, max: most }),
    fc.integer({ min: 0, max: most / 600 }).map((n) => n * 600),
  );

const worlds: fc.Arbitrary<World> = fc.record({
  credits: fc.array(
    fc.record({
      user: fc.nat(PATIENTS - 1),
      credits: fc.nat(8),
      since: fc.integer({ min: -20, max: 20 }),
      expires: fc.option(seconds(HOURS * 3600), { freq: 2 }),
      active: fc.constantFrom(true, true, true, false),
    }),
    { maxLength: 8 },
  ),
  sessions: fc.array(
    fc.record({
      patient: fc.nat(PATIENTS - 1),
      doctor: fc.nat(DOCTORS - 1),
      activated: seconds(3600),
      counter: fc.constantFrom(null, 0, 0, 1),
      allowed: fc.option(fc.nat(9), { freq: 2 }),
    }),
    { minLength: 1, maxLength: 7 },
  ),
  rates: fc.array(fc.constantFrom(undefined, null, 3, 5), { minLength: DOCTORS, maxLength: DOCTORS }),
});

const ORDERS = [
  ['deductions', 'session-endings'],
  ['session-endings', 'deductions'],
];
const ticks = fc.array(
  fc.record({
    at: seconds(HOURS * 3600),
    order: fc.constantFrom(...ORDERS),
    batchSize: fc.constantFrom(1, 2, 1000),
    together: fc.boolean(),
  }),
  { minLength: 1, maxLength: 4 },
);
type Tick = typeof ticks extends fc.Arbitrary<(infer T)[]> ? T : never;

async function run(db: TestDatabase, { at, order, batchSize, together }: Tick): Promise<void> {
  const tick = (job: string) =>
    db.tick(instant(at).toISOString(), {
      only: [job],
      batchSize,
      env,
    });
  if (together) await Promise.all(order.map(tick));
  // A patient whom the other runner held is left to it, or to the next tick.
  for (const job of order) await tick(job);
}

test('however seldom, in whatever order and how many at a time: the state is that of minute-by-minute ticks', async () => {
  await using db = await database({ withoutLock: true });
  await fc.assert(
    fc.asyncProperty(worlds, ticks, async (world, history) => {
      await put(db, world);
      const sorted = history.toSorted((a, b) => a.at - b.at);
      for (const each of sorted) await run(db, each);
      assert.deepEqual(await faults(db, world), []);
      assert.deepEqual(await found(db), everyMinute(world, sorted.at(-1)!.at));
    }),
    { numRuns: RUNS },
  );
});

test('a late tick in the database ends as minute-by-minute ticks in the database do', async () => {
  await using db = await database();
  await using ticks = await ticker(db, ORDERS[0]!, { env });
  await fc.assert(
    fc.asyncProperty(worlds, async (world) => {
      const end = 2.5 * 3600;
      await put(db, world);
      for (let at = 0; at <= end; at += 60) {
        await ticks.at(instant(at).getTime());
      }
      const often = await found(db);
      const ledger = () =>
        db.query('select session_id, block, subscription_id, due_at from text_session_deductions order by 1, 2');
      const transactions = () =>
        db.query(
          `select doctor_id, amount, session_id, metadata from wallet_transactions order by session_id, metadata->'block'`,
        );
      const [rows, money] = [await ledger(), await transactions()];
      await put(db, world);
      await db.tick(instant(end).toISOString(), { env });
      assert.deepEqual(await found(db), often);
      assert.deepEqual(await ledger(), rows);
      assert.deepEqual(await transactions(), money);
    }),
    { numRuns: Math.ceil(RUNS / 30) },
  );
});

const steps = fc.array(
  fc.oneof(
    ticks.map(([tick]) => ({ ...tick!, does: 'tick' as const })),
    fc.record({ does: fc.constant('end' as const), at: seconds(HOURS * 3600), session: fc.nat(6) }),
    fc.record({
      does: fc.constant('sell' as const),
      at: seconds(HOURS * 3600),
      user: fc.nat(PATIENTS - 1),
      credits: fc.nat(4),
    }),
  ),
  { minLength: 3, maxLength: 10 },
);

test('with people who end sessions and buy credits meanwhile, everything still adds up to the unit', async () => {
  await using db = await database();
  await fc.assert(
    fc.asyncProperty(worlds, steps, async (world, history) => {
      await put(db, world);
      let sold = world.credits.reduce((sum, each) => sum + each.credits, 0);
      for (const step of history.toSorted((a, b) => a.at - b.at)) {
        if (step.does === 'tick') await run(db, step);
        else if (step.does === 'end')
          await db.query(
            `update text_sessions set status = 'ended', reason = 'by hand', ended_at = $2 where id = $1 and status = 'active'`,
            [step.session + 1, instant(step.at)],
          );
        else {
          sold += step.credits;
          await db.query(
            'insert into subscriptions (user_id, text_sessions_remaining, activated_at) values ($1, $2, $3)',
            [step.user, step.credits, instant(step.at)],
          );
        }
      }
      assert.deepEqual(await faults(db, world), []);
      const { left, paid } = await db.one(
        `select (select coalesce(sum(text_sessions_remaining), 0)::integer from subscriptions) as left,
           (select count(*)::integer from text_session_deductions) as paid`,
      );
      assert.equal(left + paid, sold);
    }),
    { numRuns: RUNS },
  );
});
