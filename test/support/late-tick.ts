import assert from 'node:assert/strict';
import fc from 'fast-check';
import { database, type TestDatabase } from './harness.ts';
import { NOW, passOf } from './hotspot-rows.ts';
import { shareOf } from './share.ts';
import { ticker } from './ticker.ts';

/**
 * One late tick leaves what many ticks leave, and both leave what a model says. Times are seconds since NOW. The models are
 * told when it ticks: what keeps the time of the act is checked against them, and left out where both are compared.
 */

export const MINUTE = 60;
export const HOUR = 3600;
export const DAY = 24 * HOUR;
export const END = 3 * HOUR;
const EVERY_5_MINUTES = Array.from({ length: END / 300 + 1 }, (_, n) => n * 300);
export const instant = (seconds: number | null) =>
  seconds === null ? null : new Date(Date.parse(NOW) + Math.round(seconds * 1000)).toISOString();
export const seconds = (at: Date | null) => at && (at.getTime() - Date.parse(NOW)) / 1000;

/** Also exactly at a tick, at the very end, long past, and a moment too late for the last tick. */
export const moment = fc.oneof(
  fc.integer({ min: 1, max: END }),
  fc.integer({ min: 0, max: 36 }).map((n) => n * 5 * MINUTE),
  fc.constantFrom(0, END, END + 0.001, -DAY),
);
export const few = <T>(of: fc.Arbitrary<T>, maxLength: number) => fc.array(of, { minLength: 1, maxLength });

const TABLES = `packages, payments, hotspot_users, radius_sessions, hotspot_credentials, session_disconnections, data_usage_logs,
  vouchers, radcheck, radreply, radacct, scheduler.accounted, scheduler.events, scheduler.runs, scheduler.failures`;

export async function put(db: TestDatabase, tables: Record<string, object[]>) {
  for (const [table, rows] of Object.entries(tables)) {
    const columns = Object.keys(rows[0] ?? {}).join(', ');
    const from = `json_populate_recordset(null::${table}, $1)`;
    if (columns)
      await db.query(`insert into ${table} (${columns}) select ${columns} from ${from}`, [JSON.stringify(rows)]);
  }
}

interface Play<World, Left> {
  runs: number;
  begin(db: TestDatabase, world: World): Promise<void>;
  /** What happens while it ticks. */
  steps?(world: World): { at: number; sql: string; values: unknown[] }[];
  left(db: TestDatabase): Promise<Left>;
  model(world: World, ticks: number[]): Left;
  alike(left: Left): unknown;
}

export async function compare<World, Left>(job: string, worlds: fc.Arbitrary<World>, play: Play<World, Left>) {
  await using db = await database();
  await using ticks = await ticker(db, [job], { by: 'test' });
  await db.query('alter table payments alter created_at drop not null, alter updated_at drop not null');
  const ticked = async (world: World, times: number[]) => {
    await db.query(`truncate ${TABLES} restart identity; update scheduler.accounted_up_to set id = 0`);
    await play.begin(db, world);
    const steps = play.steps?.(world).sort((a, b) => a.at - b.at) ?? [];
    for (const now of times) {
      while (steps[0] && steps[0].at <= now) {
        const { sql, values } = steps.shift()!;
        await db.query(sql, values);
      }
      passOf(await ticks.at(Date.parse(NOW) + now * 1000), job);
    }
    const left = await play.left(db);
    assert.deepEqual(left, play.model(world, times));
    return play.alike(left);
  };
  const compared = fc.asyncProperty(worlds, async (world) => {
    const often = await ticked(world, EVERY_5_MINUTES);
    assert.deepEqual(await ticked(world, [END]), often);
  });
  await fc.assert(compared, { numRuns: shareOf(play.runs), includeErrorInReport: true });
}
