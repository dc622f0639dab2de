import type { Values } from '../db/bind.ts';
import type { Database, Transaction } from '../db/client.ts';
import { blamesRow, NOTIFY_QUEUE_FULL, SPARING, SPARING_OF_TWO, sqlState } from '../db/states.ts';
import type { CompiledRule } from '../job/compile.ts';
import { valuesOf as recordValues } from '../store/requests.ts';
import { type Answered, type Batch, DETAIL, EMPTY, made, placesOf, type Row, total } from './batch.ts';
import { bisected } from './bisect.ts';
import { AllRefused } from './faults.ts';
import type { Run, Sweep } from './records.ts';
import { type Cursor, claim, claimByKey, complete, picked } from './statements.ts';

// Below this, a queue that was full a moment ago has got room again.
const ROOM = 0.9;

/** Once full, the queue stays so though everybody has read on: only a question makes PostgreSQL let go of what was read. */
async function isThereRoomNow(db: Database): Promise<boolean> {
  const [queue] = await db.query<{ usage: number }>('select pg_notification_queue_usage() as usage');
  return queue!.usage < ROOM;
}

/** Does the work with notifications, and without them for the rest of the run once their queue is full. */
export async function telling(
  db: Database,
  { log, queue }: Run,
  work: (notify: boolean) => Promise<Batch>,
): Promise<Batch> {
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
  const spares = part ? SPARING_OF_TWO : SPARING;
  const options = { inIndexOrder: true, patient: true, ...(part && { attempts: 1 }) };
  return telling(db, sweep.run, async (notify) => {
    const values = { ...valuesOf(sweep), notify, spares };
    const rethrowUnlessOfRow = async (error: unknown) => {
      // A row that is too large for an index meets the state of a full queue, too.
      const isQueue = notify && sqlState(error) === NOTIFY_QUEUE_FULL && !(await isThereRoomNow(db));
      if (isQueue || error instanceof AllRefused || !blamesRow(error, spares)) throw error;
      return undefined;
    };
    const plainly = () => db.transaction((tx) => (rule.together ? byKey : atOnce)(tx, sweep, values), options);
    const done = sweep.careful ? undefined : await plainly().catch(rethrowUnlessOfRow);
    if (done) return done;
    // Some row of this batch cannot be changed. Once more, looking for it.
    const search = (eventsToo: boolean) =>
      db.transaction(async (tx) => {
        await tx.query(
          `select set_config('lock_timeout', '${db.patience?.bound(CAREFUL_LOCK_TIMEOUT) ?? CAREFUL_LOCK_TIMEOUT}', true)`,
        );
        const change: Change = (...given) => bisected(...given, eventsToo);
        const batch = await (rule.together ? byKey : pieceByPiece)(tx, sweep, values, change);
        if (sweep.changes === 0) AllRefused.check(batch);
        return batch;
      }, options);
    // The events of a batch are told together, which is quicker. A row that fails only by its event needs a trial of both.
    const batch = (await search(false).catch(rethrowUnlessOfRow)) ?? (await search(true));
    sweep.careful = batch.refused.length > 0;
    return batch;
  });
}

function valuesOf({ run, rule, record, cursor, end, part, again }: Sweep): Values {
  return {
    ...{
      ...recordValues(run.requests, run.values, rule),
      ...(!rule.together && rule.make?.(run.batchSize)),
      ...cursor,
    },
    ...{ endFrom: end?.from, endAfter: end?.after },
    ...{ part: part?.number, parts: part?.of, rule: rule.name, run: record.run },
    ...(rule.mustEnd && { seen: JSON.stringify(again ?? []) }),
    // In a batch of more rows than this, their outcomes are only counted. Null: each is told.
    ...{ limit: run.batchSize, detail: run.debug || run.rehearsal || rule.outside || again ? null : DETAIL },
  };
}

/** One statement that claims and changes. */
async function atOnce(tx: Transaction, sweep: Sweep, values: Values): Promise<Batch> {
  const [batch] = await tx.query<Answered>(complete(sweep.rule, claim(sweep.rule, sweep)), values);
  return { ...made(batch!), more: batch!.claimed === sweep.run.batchSize };
}

interface Keyed extends Row {
  key: string;
  free: boolean;
  /** Not due by this rule, but of the family of one that is. */
  joined: boolean;
}

/** Changes rows that are locked already. */
type Change = (tx: Transaction, rule: CompiledRule, rows: Row[], values: Values) => Promise<Batch>;

const toCursor = (row: Row | undefined): Cursor | null => (row ? { from: row.due_at, after: row.id } : null);

async function pieceByPiece(tx: Transaction, sweep: Sweep, values: Values, change: Change): Promise<Batch> {
  const { rule, run } = sweep;
  const rows = await tx.query<Row>(
    `select id::text as id, place::text as place, due_at::text as due_at from (${claim(rule, sweep)}) as claimed`,
    values,
  );
  const batch = rows.length > 0 ? await change(tx, rule, rows, values) : EMPTY;
  return { ...batch, claimed: rows.length, last: toCursor(rows.at(-1)), more: rows.length === run.batchSize };
}

/**
 * Rows of one key (a customer, say) change one after the other, each seeing what the one before it did, or all together.
 * The key is locked by one statement and the change made by the next: only a statement that starts after the lock sees
 * what it guards.
 */
async function byKey(tx: Transaction, sweep: Sweep, values: Values, change: Change = together): Promise<Batch> {
  const { run, rule, passedBy } = sweep;
  const rows = await tx.query<Keyed>(claimByKey(rule, sweep), { ...values, passedBy: [...passedBy] });
  for (const row of rows) if (!row.free) passedBy.add(row.key);
  const free = rows.filter((row) => row.free);
  const changing = rule.together!.family ? free : firstOfKeys(free);
  const chosen = new Set(changing);
  // The sweep goes on from just before the first row that had to wait for another one of its key.
  const waiting = rows.findIndex((row) => row.free && !chosen.has(row));
  const due = rows.filter((row) => !row.joined);
  const all = { ...values, ...rule.make?.(free.length) };
  const batch = changing.length > 0 ? await change(tx, rule, changing, all) : EMPTY;
  return {
    ...{ ...batch, claimed: changing.length },
    last: toCursor(waiting === -1 ? due.at(-1) : rows[waiting - 1]),
    more: waiting !== -1 || due.length === run.batchSize,
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
