import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Log } from '../base/log.ts';
import type { Stop } from '../base/stop.ts';
import type { Database } from '../db/client.ts';
import type { Answer, Outcome, Rule, World } from '../job/define.ts';
import { RECORD_AND_TELL } from '../store/events.ts';
import { CLEAR_SUCCEEDED } from '../store/failures.ts';
import { type Pass, type Tally, telling } from './batch.ts';
import { TALLIED, TALLY } from './statement.ts';

/** What came of it, written to the rows that were claimed. */
export const record = (rule: Rule) => `
  with answer as materialized (
    select id, result from json_to_recordset(:answers::json) as a (id text, result jsonb)
  ),
  ${rule.act!.record},
  ${RECORD_AND_TELL},
  cleared as (${CLEAR_SUCCEEDED}),
  ${TALLIED}
  select ${TALLY('true')}`;

/**
 * Work that reaches outside the database is never done inside a transaction: the claim is committed, the work is done for
 * many rows at once, and each answer is recorded as it comes. A run that dies in between leaves rows that are claimed and
 * not answered; the claim itself says when they are tried again.
 */
export async function workOutside(
  db: Database,
  pass: Pass,
  rule: Rule,
  claimed: Outcome[],
  stop: Stop,
  log: Log,
): Promise<Tally[]> {
  const tallies: Tally[] = [];
  const waiting: Answer[] = [];
  let recording: Promise<void> = Promise.resolve();
  const recordWaiting = async () => {
    if (waiting.length === 0) return;
    // Answers that arrive at once, or while others are being recorded, are recorded together.
    await nextTurn();
    while (waiting.length > 0) {
      const answers = JSON.stringify(waiting.splice(0));
      tallies.push(
        await telling(db, pass, log, async (values) => {
          const [tally] = await db.transaction((tx) =>
            tx.query<Tally>(record(rule), { ...values, rule: rule.name, answers }),
          );
          return tally!;
        }),
      );
    }
  };
  const world: World = {
    values: pass.values,
    signal: stop.signal,
    say: (line) => log.write(line),
    answer: (id, result) => {
      waiting.push({ id, result });
      recording = recording.then(recordWaiting);
      // Thrown below, once everything under way has ended.
      recording.catch(() => {});
    },
  };
  await rule.act!.perform(claimed, world);
  await recording;
  return tallies;
}
