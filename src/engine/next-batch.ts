import type { Values } from '../db/bind.ts';
import type { Database, Transaction } from '../db/client.ts';
import { BLAMING, BLAMING_OF_TWO, blamesRow, NOTIFY_QUEUE_FULL, sqlState } from '../db/states.ts';
import type { CompiledRule } from '../job/compile.ts';
import { type Answered, type Batch, EMPTY, made, placesOf, type Row, total } from './batch.ts';
import { bisected } from './bisect.ts';
import type { Sweep } from './records.ts';
import { type Cursor, claim, claimByKey, complete, picked } from './statements.ts';

// Below this, a queue that was full a moment ago has got room again.
const ROOM = 0.9;

/** Once full, the queue stays so though everybody has read on: only a question makes PostgreSQL let go of what was read. */
async function isThereRoomNow(db: Database): Promise<boolean> {
  const [queue] = await db.query<{ usage: number }>('select pg_notification_queue_usage() as usage');
  return queue!.usage < ROOM;
}

/** Does the work with notifications, and without them for the rest of the run once their queue is full. */
export async function telling<T extends Pick<Batch, 'changed' | 'unsent'>>(
  { run: { db: first, log, queue } }: Sweep,
  work: (notify: boolean) => Promise<T>,
  db: Database = first,
): Promise<T> {
  for (let attempt = 1; !queue.full; attempt++) {
    try {
      return await work(true);
    } catch (error) {
      if (sqlState(error) !== NOTIFY_QUEUE_FULL) throw error;
      if (attempt === 1 && (await isThereRoomNow(db))) continue;
      // Another connection of this run may have said so.
      if (!queue.full)
        log.warn(
          'The notification queue is full: a listener is stuck. Changes and events are kept; listeners are not woken.',
        );
      queue.full = true;
    }
  }
  const done = await work(false);
  return { ...done, unsent: total(done.changed) };
}

// A row that waits for somebody else's lock does so in every try that it is part of.
const CAREFUL_LOCK_TIMEOUT = '300ms';

/** The next batch of a rule, changed, recorded and told in one transaction. */
export function nextBatch(db: Database, sweep: Sweep): Promise<Batch> {
  const { rule, part } = sweep;
  const blames = part ? BLAMING_OF_TWO : BLAMING;
  const options = { inIndexOrder: true, patient: true, ...(part && { attempts: 1 }) };
  const tell = async (notify: boolean): Promise<Batch> => {
    const values = { ...valuesOf(sweep), notify, blames };
    if (!sweep.careful) {
      try {
        return await db.transaction((tx) => (rule.together ? byKey : atOnce)(tx, sweep, values), options);
      } catch (error) {
        if (!blamesRow(error, blames)) throw error;
      }
    }
    // Some row of this batch cannot be changed. Once more, looking for it.
    const search = (eventsToo: boolean) =>
      db.transaction(async (tx) => {
        await tx.query(`select set_config('lock_timeout', '${CAREFUL_LOCK_TIMEOUT}', true)`);
        const bisecting = (rows: Row[], made: Values) => bisected(tx, rule, rows, made, eventsToo);
        return rule.together ? byKey(tx, sweep, values, bisecting) : pieceByPiece(tx, sweep, values, bisecting);
      }, options);
    // The events of a batch are told together, which is quicker. A row that fails only by its event needs a trial of both.
    const batch = await search(false).catch((error) => {
      if (!blamesRow(error, blames)) throw error;
      return search(true);
    });
    sweep.careful = batch.refused.length > 0;
    return batch;
  };
  return telling(sweep, tell, db);
}

const valuesOf = (sweep: Sweep): Values => ({
  ...sweep.run.values,
  ...(!sweep.rule.together && sweep.rule.make?.(sweep.size)),
  ...sweep.cursor,
  ...{ part: sweep.part?.number, parts: sweep.part?.of },
  ...{ job: sweep.rule.job, rule: sweep.rule.name, run: sweep.record.run },
  ...{ limit: sweep.size, detail: sweep.detail },
});

/** One statement that claims and changes. */
async function atOnce(tx: Transaction, sweep: Sweep, values: Values): Promise<Batch> {
  const sql = complete(sweep.rule, claim(sweep.rule, sweep));
  const [batch] = await tx.query<Answered>(sql, values);
  return { ...made(batch!), more: batch!.claimed === sweep.size };
}

interface Keyed extends Row {
  key: string;
  free: boolean;
  /** Not due by this rule, but of the family of one that is. */
  joined: boolean;
}

/** Changes rows that are locked already. */
type Change = (rows: Row[], values: Values) => Promise<Batch>;

const toCursor = (row: Row | undefined): Cursor | null => (row ? { from: row.due_at, after: row.id } : null);

async function pieceByPiece(tx: Transaction, sweep: Sweep, values: Values, change: Change): Promise<Batch> {
  const rows = await tx.query<Row>(
    `select id::text as id, place::text as place, due_at::text as due_at from (${claim(sweep.rule, sweep)}) as claimed`,
    values,
  );
  const batch = rows.length > 0 ? await change(rows, values) : EMPTY;
  return { ...batch, claimed: rows.length, last: toCursor(rows.at(-1)), more: rows.length === sweep.size };
}

/**
 * Rows of one key (a customer, say) change one after the other, each seeing what the one before it did, or all together.
 * The key is locked by one statement and the change made by the next: only a statement that starts after the lock sees
 * what it guards.
 */
async function byKey(tx: Transaction, sweep: Sweep, values: Values, change?: Change): Promise<Batch> {
  const { rule, passedBy, size } = sweep;
  const some = passedBy.size > 0 ? { passedBy: [...passedBy] } : undefined;
  const rows = await tx.query<Keyed>(claimByKey(rule, sweep, some !== undefined), { ...values, ...some });
  for (const row of rows) if (!row.free) passedBy.add(row.key);
  const free = rows.filter((row) => row.free);
  const changing = rule.together!.family ? free : firstOfKeys(free);
  // The sweep goes on from just before the first row that had to wait for another one of its key.
  const waiting = rule.together!.family ? -1 : rows.findIndex((row) => row.free && !changing.includes(row));
  const due = rows.filter((row) => !row.joined);
  const all = { ...values, ...rule.make?.(free.length) };
  const batch =
    changing.length === 0
      ? EMPTY
      : await (change ?? ((some, values) => together(tx, rule, some, values)))(changing, all);
  return {
    ...batch,
    claimed: changing.length,
    last: toCursor(waiting === -1 ? due.at(-1) : rows[waiting - 1]),
    more: waiting !== -1 || due.length === size,
  };
}

function firstOfKeys(rows: Keyed[]): Keyed[] {
  const seen = new Set<string>();
  return rows.filter(({ key }) => !seen.has(key) && seen.add(key));
}

async function together(tx: Transaction, rule: CompiledRule, rows: Row[], values: Values): Promise<Batch> {
  const [batch] = await tx.query<Answered>(complete(rule, picked(rule)), { ...values, ...placesOf(rows) });
  return made(batch!);
}
