import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Database } from '../db/client.ts';
import type { Claimed, World } from '../job/define.ts';
import { type Answered, type Batch, made } from './batch.ts';
import { telling } from './next-batch.ts';
import type { Sweep } from './records.ts';
import { recordAnswers } from './statements.ts';

/**
 * Work that reaches outside the database is never done inside a transaction: the claim is committed, the work is done for
 * many rows at once, and each answer is recorded as it comes. A run that dies in between leaves rows that are claimed and
 * not answered; the claim itself says when they are tried again.
 */
export async function workOutside(db: Database, sweep: Sweep, { handed }: Batch): Promise<Batch[]> {
  const { run, rule, record } = sweep;
  const batches: Batch[] = [];
  const waiting: { id: string; result: Record<string, unknown> }[] = [];
  let recording: Promise<void> = Promise.resolve();
  const write = (answers: string) =>
    telling(db, run, async (notify) => {
      const values = {
        ...{ ...run.values, tenant: rule.tenant, job: rule.job, rule: rule.name },
        ...{ run: record.run, notify, answers },
      };
      const [batch] = await db.query<Answered>(recordAnswers(rule), values);
      return made(batch!);
    });
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
  if (run.rehearsal) assume(sweep, handed, world);
  else await rule.outside!.perform(handed, world);
  await recording;
  return batches;
}

function assume({ run, rule }: Sweep, handed: Claimed[], { answer }: World): void {
  if (handed.length > 0) run.rehearsal!.assumed(`${rule.job}: ${rule.name}`);
  for (const { id, sealed } of handed) {
    const { attempt, due } = sealed.open();
    answer(id, { ...rule.outside!.success, attempt, due });
  }
}
