import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Database } from '../db/client.ts';
import type { CompiledRule } from '../job/compile.ts';
import type { World } from '../job/define.ts';
import { RECORD_AND_TELL } from '../store/events.ts';
import { CLEAR_SUCCEEDED } from '../store/failures.ts';
import { BEGIN_RUN } from '../store/runs.ts';
import { type Batch, EMPTY } from './batch.ts';
import { telling } from './next-batch.ts';
import type { Sweep } from './records.ts';
import { TALLIED, TALLY } from './statements.ts';

/** What came of it, written to the rows that were claimed. */
export const record = (rule: CompiledRule): string => `
  with answer as materialized (
    select id, result from json_to_recordset(:answers::json) as a (id text, result jsonb)
  ),
  ${rule.outside!.recording},
  ${BEGIN_RUN},
  ${RECORD_AND_TELL},
  cleared as (${CLEAR_SUCCEEDED}),
  ${TALLIED}
  select ${TALLY('true')}`;

/**
 * Work that reaches outside the database is never done inside a transaction: the claim is committed, the work is done for
 * many rows at once, and each answer is recorded as it comes. A run that dies in between leaves rows that are claimed and
 * not answered; the claim itself says when they are tried again.
 */
export async function workOutside(db: Database, sweep: Sweep, { handed }: Batch): Promise<Batch[]> {
  const { run, rule } = sweep;
  const batches: Batch[] = [];
  const waiting: { id: string; result: Record<string, unknown> }[] = [];
  let recording: Promise<void> = Promise.resolve();
  const write = (answers: string) =>
    telling(
      sweep,
      async (notify) => {
        const values = { ...run.values, job: rule.job, rule: rule.name, run: sweep.record.run, notify, answers };
        const [batch] = await db.transaction((tx) => tx.query<Batch>(record(rule), values));
        return { ...EMPTY, ...batch! };
      },
      db,
    );
  const recordWaiting = async () => {
    if (waiting.length === 0) return;
    // Answers that arrive at once, or while others are being recorded, are recorded together.
    await nextTurn();
    while (waiting.length > 0) batches.push(await write(JSON.stringify(waiting.splice(0))));
  };
  const world: World = {
    values: run.values,
    signal: run.stop.signal,
    say: (line) => run.log.write(line),
    answer: (id, result) => {
      waiting.push({ id, result });
      recording = recording.then(recordWaiting);
      // Thrown below, once everything under way has ended.
      recording.catch(() => {});
    },
  };
  await rule.outside!.perform(handed, world);
  await recording;
  return batches;
}
