import { setTimeout as sleep } from 'node:timers/promises';
import type { Database, Transaction } from '../db/client.ts';
import type { CompiledRule } from '../job/compile.ts';
import { failure, info } from '../job/define.ts';
import { addUp, type Batch, DETAIL, sum, total } from './batch.ts';
import { nextBatch } from './next-batch.ts';
import { workOutside } from './outside.ts';
import { type JobRecord, type Run, type Sweep, say } from './records.ts';
import { type Cursor, lastDue } from './statements.ts';

// Somebody else, another runner most often, lets go in a moment: its rows are looked at again before the run ends.
const LOOKS = 3;
const PAUSE_MS = 100;

// The ids of so many keys go along with each batch.
const MANY_KEYS = 10_000;

/**
 * All due rows of one rule; answers how many of them changed. Those of a backlog are shared by several connections, as a server
 * has more than one processor. These are to each other as runners without the lock: they can do no harm, but they can wait
 * for one another, where a trigger counts in a row of its own, say. So whatever goes wrong is left to one that goes on alone.
 */
export async function sweep(run: Run, rule: CompiledRule, record: JobRecord): Promise<number> {
  run.progress?.(rule, 0);
  if (!run.rehearsal) rule.outside?.prepare?.(run.values);
  const before = total(record.result.changed);
  const seen = record.seen.get(rule);
  const again = seen && [...seen];
  const alone: Sweep = { run, rule, record, cursor: undefined, careful: false, passedBy: new Set(), changes: 0, again };
  const mayShare = run.connections > 1 && !rule.outside && !run.dryRun;
  if (!(await advance(run.db, alone, 'a backlog'))) {
    const last = (tx: Transaction) => tx.query<Cursor>(lastDue(rule), run.values);
    if (!rule.together) [alone.end] = await run.db.transaction(last, { inIndexOrder: true });
    if (!(mayShare && (await share(alone)))) await advance(run.db, alone, 'the end');
  }
  return total(record.result.changed) - before;
}

/** Whether several connections have done everything from here on. */
async function share(begun: Sweep): Promise<boolean> {
  const { db, log, connections } = begun.run;
  const others = Array.from({ length: connections - 1 }, () => db.another('scheduler'));
  const parts = await Promise.allSettled(
    [db, ...others].map((each, number) =>
      advance(each, { ...begun, passedBy: new Set(begun.passedBy), part: { number, of: connections } }, 'the end'),
    ),
  );
  for (const other of others) await other.close();
  const faults = parts.flatMap((each) => (each.status === 'rejected' ? [(each.reason as Error).message] : []));
  if (faults.length > 0) log.info(`${begun.rule.job}: one connection goes on alone (${faults.join('; ')})`);
  return faults.length === 0;
}

/** Batch after batch, oldest first, until nothing is due or the run must end; or until more is due than one batch holds. */
async function advance(db: Database, sweep: Sweep, until: 'the end' | 'a backlog'): Promise<boolean> {
  const { run, rule, record, passedBy } = sweep;
  let looks = LOOKS;
  for (;;) {
    if (run.stop.reason) return true;
    if (run.most !== undefined && total(record.result.changed) + record.result.failed >= run.most) return true;
    const batch = await nextBatch(db, sweep);
    record.run ??= batch.run;
    // Rows that were only claimed for work outside the database are done when that work has been recorded.
    const done = rule.outside && (run.rehearsal || !run.dryRun) ? addUp(await workOutside(db, sweep, batch)) : batch;
    note(sweep, batch, done);
    sweep.changes += total(batch.changed);
    sweep.cursor = batch.last ?? undefined;
    if (batch.more && until === 'a backlog') {
      // The lock's connection lets go of what it saw: PostgreSQL would keep every version of a row replaced since. If that
      // connection is lost, the next question notices.
      await run.asking?.query('select').catch(() => {});
      return false;
    }
    if (batch.more && passedBy.size < MANY_KEYS) continue;
    if (sweep.changes > 0) looks = LOOKS;
    // A family may have more to change than fits into a batch: from the start, until there is nothing left of any.
    if (!rule.together?.family || sweep.changes === 0) {
      if (passedBy.size === 0 || looks === 0 || db.patience?.isOver) return true;
      looks--;
      db.patience?.spend(PAUSE_MS);
      await sleep(PAUSE_MS);
    }
    passedBy.clear();
    sweep.cursor = undefined;
    sweep.changes = 0;
  }
}

// The table has every failure. A run keeps enough of them to show.
const FAILURES_SHOWN = 100;

/** Adds a batch to what the job did, and tells the log. */
function note({ run, rule, record }: Sweep, batch: Batch, done: Batch): void {
  const { result, lines } = record;
  const { log } = run;
  result.changed = sum([result.changed, done.changed]);
  result.failed += batch.refused.length;
  result.lateSeconds = Math.max(result.lateSeconds, done.lateSeconds);
  result.unsent += done.unsent;
  const failures = batch.refused.map(({ id, error }) => ({ id, rule: rule.name, error }));
  result.failures.push(...failures.slice(0, FAILURES_SHOWN - result.failures.length));
  if (batch.claimed === 0) return;
  run.progress?.(rule, batch.claimed);
  run.rehearsal?.heard(rule.job, done.outcomes ?? [], failures);
  if (rule.mustEnd) {
    const seen = record.seen.get(rule) ?? new Set();
    record.seen.set(rule, seen);
    for (const { entity_id, due } of done.outcomes ?? []) seen.add(`${entity_id} ${due}`);
  }
  const found = lines.found(rule.name, batch.claimed);
  if (found) log.write(found);
  const isMany = batch.claimed > DETAIL;
  for (const line of (done.outcomes ?? []).flatMap(lines.done)) say(run, isMany ? { ...line, level: 'debug' } : line);
  const changed = total(done.changed);
  if (isMany && changed > 0)
    say(run, info(`${rule.job}: ${rule.name} changed ${changed} rows`, { changed: done.changed }));
  const haveManyFailed = failures.length > DETAIL;
  for (const failed of failures) say(run, { ...lines.failed(failed), ...(haveManyFailed && { level: 'debug' }) });
  if (haveManyFailed)
    say(run, failure(`${rule.job}: ${failures.length} rows failed to ${rule.name}`, { error: failures[0]!.error }));
}
