import type { Log } from '../base/log.ts';
import {
  BLAMING,
  BLAMING_OF_TWO,
  bind,
  blamesRow,
  type Database,
  NOTIFY_QUEUE_FULL,
  sqlState,
  type Transaction,
  type Values,
} from '../db/client.ts';
import type { Job, Outcome, Rule } from '../job/define.ts';
import type { Refusal } from '../store/failures.ts';
import { type Cursor, claim, claimByKey, complete, gradual, type InPieces, picked, trial } from './statement.ts';

export interface Tally {
  changed: Record<string, number>;
  lateSeconds: number;
  /** What happened to each row, unless there are too many to tell one by one. */
  outcomes: Outcome[] | null;
  /** Events whose notifications were given up because the queue was full. */
  unsent: number;
}

export interface Batch extends Tally {
  claimed: number;
  last: Cursor | null;
  /** Whether the sweep has to go on after it. */
  more: boolean;
  refused: Refusal[];
}

export interface Pass {
  job: Job;
  idType: string;
  /** What the rules' SQL may refer to. */
  values: Values;
  run: string;
  batchSize: number;
  /** With more rows than this in a batch, they are only counted. None: tell of each. */
  detail: number | null;
  /** Of listeners' notifications; full, it stays so for the rest of the run. */
  queue: { full: boolean };
  /** Where two connections share the rows of a rule: the half of this one. What goes wrong there is not tried again there. */
  half?: 0 | 1;
  /** The last batch had failing rows, so the next one is likely to. */
  careful: boolean;
  /**
   * Keys that somebody else held when the sweep came to them: their younger rows are left alone too, as they would overtake
   * the older ones.
   */
  passedBy: Set<string>;
}

// Below this, a queue that was full a moment ago has got room again.
const ROOM = 0.9;

/** Once full, the queue stays so though everybody has read on: only who asks makes PostgreSQL let go of what was read. */
async function isThereRoomNow(db: Database): Promise<boolean> {
  const [queue] = await db.query<{ usage: number }>('select pg_notification_queue_usage() as usage');
  return queue!.usage < ROOM;
}

/** Does the work with notifications, and without them for the rest of the run once their queue is full. */
export async function telling<T extends Tally>(
  db: Database,
  pass: Pass,
  log: Log,
  work: (values: Values) => Promise<T>,
): Promise<T> {
  const values = { ...pass.values, job: pass.job.name, run: pass.run };
  for (let attempt = 1; !pass.queue.full; attempt++) {
    try {
      return { ...(await work({ ...values, notify: true })), unsent: 0 };
    } catch (error) {
      if (sqlState(error) !== NOTIFY_QUEUE_FULL) throw error;
      if (attempt === 1 && (await isThereRoomNow(db))) continue;
      // Where two share a backlog, the other one may have said so.
      if (!pass.queue.full)
        log.warn(
          'The notification queue is full: a listener is stuck. Changes and events are kept; listeners are not woken.',
        );
      pass.queue.full = true;
    }
  }
  const done = await work({ ...values, notify: false });
  return { ...done, unsent: total(done.changed) };
}

/** The next batch of a rule, changed, recorded and told in one transaction. */
export function nextBatch(db: Database, pass: Pass, rule: Rule, cursor: Cursor | undefined, log: Log): Promise<Batch> {
  const { batchSize, half } = pass;
  const blames = half === undefined ? BLAMING : BLAMING_OF_TWO;
  const options = { inIndexOrder: true, patient: true, ...(half !== undefined && { attempts: 1 }) };
  const idType = rule.idType ?? pass.idType;
  return telling(db, pass, log, async (common) => {
    const values = {
      ...common,
      ...(!rule.each && rule.make?.(batchSize)),
      ...cursor,
      half,
      blames,
      rule: rule.name,
      limit: batchSize,
      detail: pass.detail,
    };
    if (!pass.careful) {
      try {
        if (rule.each)
          return await db.transaction((tx) => oneByKey(tx, pass, rule, cursor, values, undefined), options);
        const sql = complete(rule, claim(rule, idType, { cursor, half }));
        const [batch] = await db.transaction((tx) => tx.query<Batch>(sql, values), options);
        return { ...batch!, more: batch!.claimed === batchSize };
      } catch (error) {
        if (!blamesRow(error, blames)) throw error;
      }
    }
    // Some row of this batch cannot be changed. Once more, looking for it.
    const search = (care: Care) =>
      db.transaction(async (tx) => {
        await tx.query(`select set_config('lock_timeout', '${CAREFUL_LOCK_TIMEOUT}', true)`);
        if (rule.each) return oneByKey(tx, pass, rule, cursor, values, care);
        const rows = await tx.query<Claimed>(
          `select id::text as id, place::text as place, due_at::text as due_at from (${claim(rule, idType, { cursor, half })}) as claimed`,
          values,
        );
        return { ...(await changeRows(tx, rule, idType, rows, values, care)), more: rows.length === batchSize };
      }, options);
    const batch = await search('events together').catch((error) => {
      if (!blamesRow(error, blames)) throw error;
      return search('trial first');
    });
    pass.careful = batch.refused.length > 0;
    return batch;
  });
}

/**
 * Rows are changed in pieces and their events told together: in pieces, these would cost as much again. That works unless
 * some row fails only by its event, which a trial of everything then finds first.
 */
type Care = 'events together' | 'trial first';

interface Claimed {
  id: string;
  place: string;
  due_at: string;
}

interface Keyed extends Claimed {
  key: string;
  free: boolean;
  /** Not due by this rule, but of the family of one that is. */
  joined: boolean;
}

/**
 * Rows of one key (a customer, say) change one after the other, each seeing what the one before it did, or all together.
 * The key is locked by one statement and the change made by the next: only a statement that starts after the lock sees
 * what it guards.
 */
async function oneByKey(
  tx: Transaction,
  pass: Pass,
  rule: Rule,
  cursor: Cursor | undefined,
  values: Values,
  care: Care | undefined,
): Promise<Batch> {
  const idType = rule.idType ?? pass.idType;
  const passedBy = pass.passedBy.size > 0 ? { passedBy: [...pass.passedBy] } : undefined;
  const rows = await tx.query<Keyed>(claimByKey(rule, idType, { cursor, half: pass.half }, passedBy !== undefined), {
    ...values,
    ...passedBy,
  });
  for (const row of rows) if (!row.free) pass.passedBy.add(row.key);
  const free = rows.filter((row) => row.free);
  const made = { ...values, ...rule.make?.(free.length) };
  if (rule.each!.family) {
    const due = rows.filter((row) => !row.joined);
    const batch = await changeRows(tx, rule, idType, free, made, care);
    return { ...batch, last: toCursor(due.at(-1)), more: due.length === values.limit };
  }
  const seen = new Set<string>();
  const first = free.filter(({ key }) => !seen.has(key) && seen.add(key));
  const batch = await changeRows(tx, rule, idType, first, made, care);
  // The sweep goes on from just before the first row that had to wait for another one of its key.
  const taken = new Set<Claimed>(first);
  const waiting = rows.findIndex((row) => row.free && !taken.has(row));
  return {
    ...batch,
    last: toCursor(waiting === -1 ? rows.at(-1) : rows[waiting - 1]),
    more: waiting !== -1 || rows.length === values.limit,
  };
}

// A row that waits for somebody else's lock does so in every trial that it is part of.
const CAREFUL_LOCK_TIMEOUT = '300ms';

// A failing batch is first cut into pieces of so many rows: with one bad row in a hundred most of them are clean.
const PIECE = 32;

/** Changes the rows just locked. With care, it finds the failing ones, and the others are changed all the same. */
async function changeRows(
  tx: Transaction,
  rule: Rule,
  idType: string,
  rows: Claimed[],
  values: Values,
  care: Care | undefined,
): Promise<Batch> {
  const pick = picked(rule, idType);
  const share = { claimed: rows.length, last: toCursor(rows.at(-1)), more: false };
  if (rows.length === 0) return { ...addUp([]), ...share, refused: [] };
  if (!care) {
    const [batch] = await tx.query<Batch>(complete(rule, pick), { ...values, ...placesOf(rows) });
    return { ...batch!, ...share };
  }
  let good = rows;
  let piece = PIECE;
  let before: Refusal[] = [];
  // What one statement must change together is tried in pieces, and then changed as one.
  if (care === 'trial first' || rule.each?.family || rule.make) {
    const tried = await inPieces<Part>(tx, rule, trial(rule, pick), rows, values, { piece, keep: false });
    before = tried.flatMap((part) => part.refused);
    const bad = new Set(before.map((row) => row.id));
    good = rows.filter((row) => !bad.has(row.id));
    piece = good.length;
  }
  const how = { piece, keep: true, claimed: rows.length, before };
  const parts = await inPieces<Part & Tally>(tx, rule, gradual(rule, pick), good, values, how);
  return { ...addUp(parts), ...share, refused: parts.flatMap((part) => part.refused) };
}

const placesOf = (rows: Claimed[]) => ({ places: rows.map((row) => row.place), ids: rows.map((row) => row.id) });

// Well below what a statement may take, as rows that wait for somebody else's lock may fill it.
const PATIENCE = '10s';

// A part of a table that a rule looks at is a query.
const named = (rule: Rule) => (rule.row.startsWith('(') ? null : rule.row.split(' ')[0]);

interface Part {
  rows: number;
  refused: Refusal[];
}

/** Changes rows, or only tries to, in pieces; a piece that fails is taken apart until its bad rows stand alone. */
async function inPieces<T extends Part>(
  tx: Transaction,
  rule: Rule,
  { piece, whole }: InPieces,
  rows: Claimed[],
  values: Values,
  how: { piece: number; keep: boolean; claimed?: number; before?: Refusal[] },
): Promise<T[]> {
  const { text: statement, values: parameters } = bind(piece, values, ['places', 'ids']);
  const parts: T[] = [];
  let { before } = how;
  let from = 0;
  do {
    const [part] = await tx.query<T>(whole, {
      ...{ ...values, ...how, statement, parameters, ...placesOf(rows.slice(from)), before: JSON.stringify(before) },
      ...{ table: named(rule), patience: PATIENCE },
    });
    parts.push(part!);
    before = [];
    from += part!.rows;
  } while (from < rows.length);
  return parts;
}

const toCursor = (row: Claimed | undefined): Cursor | null => (row ? { from: row.due_at, after: row.id } : null);

export function sum(counts: Record<string, number>[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const each of counts) for (const [name, count] of Object.entries(each)) all[name] = (all[name] ?? 0) + count;
  return all;
}

export const addUp = (tallies: Tally[]): Tally => ({
  changed: sum(tallies.map((tally) => tally.changed)),
  lateSeconds: Math.max(0, ...tallies.map((tally) => tally.lateSeconds)),
  outcomes: tallies.flatMap((tally) => tally.outcomes ?? []),
  unsent: tallies.reduce((all, tally) => all + tally.unsent, 0),
});

export const total = (counts: Record<string, number>): number =>
  Object.values(counts).reduce((all, count) => all + count, 0);
