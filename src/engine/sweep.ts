import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../base/log.ts';
import type { Stop } from '../base/stop.ts';
import type { Database, Values } from '../db/client.ts';
import type { Job, Rule } from '../job/define.ts';
import type { Refusal } from '../store/failures.ts';
import type { JobResult } from '../store/runs.ts';
import { addUp, type Batch, nextBatch, type Pass, sum, type Tally, total } from './batch.ts';
import { workOutside } from './outside.ts';
import type { Cursor } from './statement.ts';

/** A rule whose due rows are to be done, for a run that is on record. */
export interface Task {
  log: Log;
  job: Job;
  rule: Rule;
  idType: string;
  /** What the rule's SQL may refer to. */
  values: Values;
  run: string;
  /** Rows per transaction; none: as many as suit the backlog. */
  batchSize?: number | undefined;
  debug: boolean;
  dryRun: boolean;
  stop: Stop;
  /** What the run has done so far; it grows with each batch. */
  result: JobResult;
}

/** How far a pass has come. */
interface Sweep {
  pass: Pass;
  cursor: Cursor | undefined;
  /** Since it began at the oldest row. */
  changes: number;
}

// A tick's usual handful and most backlogs fit into one batch. A longer one is worked off in larger transactions, of which
// each costs a wait for the disk, as long as one takes no more than about a second: so long may somebody wait for a row of it.
const BATCH = 1000;
const LARGEST_BATCH = 4 * BATCH;
const SHORT_MS = 500;

// Above this many rows in a batch, their lines drop to debug and one line gives the count.
const DETAIL = 100;

// What somebody else holds, another runner most often, is let go of in a moment: it is looked at again before the run ends.
const LOOKS = 3;
const PAUSE_MS = 100;

// The ids of so many keys go along with each batch.
const MANY_KEYS = 10_000;

/**
 * All due rows of one rule. Those of a backlog are shared with a second connection, as a server has more than one processor.
 * The two are to each other as two runners without the lock: they can do no harm, but they can wait for one another, where a
 * trigger counts in a row of its own, say. So whatever goes wrong there is left to one that goes on alone.
 */
export async function sweep(db: Database, task: Task): Promise<void> {
  task.rule.act?.prepare?.(task.values);
  const queue = { full: task.result.unsent > 0 };
  const alone: Sweep = { pass: newPass(task, queue), cursor: undefined, changes: 0 };
  // Who asks for a size wants one transaction at a time.
  const mayShare = task.batchSize === undefined && !task.rule.act && !task.dryRun;
  if (mayShare) {
    if (await advance(db, task, alone, 'a backlog')) return;
    if (await share(db, task, alone)) return;
  }
  await advance(db, task, alone, 'the end');
}

const newPass = ({ rule, debug, batchSize, ...task }: Task, queue: Pass['queue']): Pass => ({
  ...{ job: task.job, idType: task.idType, values: task.values, run: task.run, queue },
  batchSize: batchSize ?? BATCH,
  detail: debug || rule.act ? null : DETAIL,
  careful: false,
  passedBy: new Set(),
});

/** Whether two connections have done everything from here on. */
async function share(db: Database, task: Task, begun: Sweep): Promise<boolean> {
  const second = db.another('scheduler');
  const half = (half: 0 | 1): Sweep => ({
    ...begun,
    pass: { ...begun.pass, passedBy: new Set(begun.pass.passedBy), half },
  });
  const halves = await Promise.allSettled([
    advance(db, task, half(0), 'the end'),
    advance(second, task, half(1), 'the end'),
  ]);
  await second.close();
  const faults = halves.flatMap((each) => (each.status === 'rejected' ? [(each.reason as Error).message] : []));
  if (faults.length > 0) task.log.info(`${task.job.name}: one connection goes on alone (${faults.join('; ')})`);
  return faults.length === 0;
}

/** Batch after batch, oldest first, until nothing is due or the run must end; or until more is due than one batch holds. */
async function advance(
  db: Database,
  { log, job, rule, dryRun, batchSize, stop, result }: Task,
  sweep: Sweep,
  until: 'the end' | 'a backlog',
): Promise<boolean> {
  const { pass } = sweep;
  let looks = LOOKS;
  for (;;) {
    if (stop.reason) {
      result.workLeft = true;
      return true;
    }
    const begun = performance.now();
    const batch = await nextBatch(db, pass, rule, sweep.cursor, log);
    // A claim for work outside is no larger than what can be under way at once.
    if (batchSize === undefined && !rule.act)
      pass.batchSize = nextSize(pass.batchSize, batch, performance.now() - begun);
    // What was only claimed for work outside the database is done when that work has been recorded.
    const claimed = rule.act && !dryRun ? (batch.outcomes ?? []) : undefined;
    const tallies = claimed ? await workOutside(db, pass, rule, claimed, stop, log) : [batch];
    const done = addUp(tallies);
    tally(result, rule, done, batch.refused);
    say(log, job, rule, batch.claimed, done, batch.refused);
    sweep.changes += total(batch.changed);
    sweep.cursor = batch.last ?? undefined;
    if (batch.more && until === 'a backlog') return false;
    if (batch.more && pass.passedBy.size < MANY_KEYS) continue;
    if (sweep.changes > 0) looks = LOOKS;
    // A family may have more to change than fits into a batch: from the start, until there is nothing left of any.
    if (!rule.each?.family || sweep.changes === 0) {
      if (pass.passedBy.size === 0 || looks === 0) return true;
      looks--;
      await sleep(PAUSE_MS);
    }
    pass.passedBy.clear();
    sweep.cursor = undefined;
    sweep.changes = 0;
  }
}

/** A failing row costs its batch a second look: then they stay small. */
function nextSize(size: number, batch: Batch, tookMs: number): number {
  if (batch.refused.length > 0) return BATCH;
  return tookMs < SHORT_MS ? Math.min(2 * size, LARGEST_BATCH) : size;
}

// Who wants every failure finds it in the table; a run keeps enough of them to show.
export const FAILURES_SHOWN = 100;

function tally(result: JobResult, rule: Rule, done: Tally, refused: Refusal[]): void {
  result.changed = sum([result.changed, done.changed]);
  result.failed += refused.length;
  result.lateSeconds = Math.max(result.lateSeconds, done.lateSeconds);
  result.unsent += done.unsent;
  for (const { id, error } of refused) {
    if (result.failures.length < FAILURES_SHOWN) result.failures.push({ id, rule: rule.name, error });
  }
}

function say(log: Log, job: Job, rule: Rule, claimed: number, done: Tally, refused: Refusal[]): void {
  if (claimed === 0) return;
  const found = job.lines.found?.(rule.name, claimed);
  if (found) log.write(found);
  for (const outcome of done.outcomes ?? []) {
    for (const line of job.lines.done(outcome)) log.write(claimed > DETAIL ? { ...line, level: 'debug' } : line);
  }
  if (claimed > DETAIL) {
    log.info(`${job.name}: ${rule.name} changed ${total(done.changed)} rows`, { changed: done.changed });
  }
  for (const { id, error } of refused) log.write(job.lines.failed(rule.name, id, error));
}
