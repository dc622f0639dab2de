import { blamesRow, type Database, NOTIFY_QUEUE_FULL, sqlState, type Transaction, type Values } from './db.ts';
import { noteRefused, type Refusal } from './failures.ts';
import type { Job, Outcome, Rule } from './job.ts';
import type { Log } from './log.ts';
import { type Cursor, changed, claim, claimByKey, complete, picked } from './statement.ts';

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

const IN_ORDER = { inIndexOrder: true };

export interface Pass {
  job: Job;
  idType: string;
  /** What the rules' SQL may refer to. */
  values: Values;
  run: string;
  batchSize: number;
  /** With more rows than this in a batch, they are only counted. None: tell of each. */
  detail: number | null;
  notify: boolean;
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
  for (let attempt = 1; pass.notify; attempt++) {
    try {
      return { ...(await work({ ...values, notify: true })), unsent: 0 };
    } catch (error) {
      if (sqlState(error) !== NOTIFY_QUEUE_FULL) throw error;
      if (attempt === 1 && (await isThereRoomNow(db))) continue;
      log.warn(
        'The notification queue is full: a listener is stuck. Changes and events are kept; listeners are not woken.',
      );
      pass.notify = false;
    }
  }
  const done = await work({ ...values, notify: false });
  return { ...done, unsent: total(done.changed) };
}

/** The next batch of a rule, changed, recorded and told in one transaction. */
export function nextBatch(db: Database, pass: Pass, rule: Rule, cursor: Cursor | undefined, log: Log): Promise<Batch> {
  const { batchSize } = pass;
  const idType = rule.idType ?? pass.idType;
  return telling(db, pass, log, async (common) => {
    const values = {
      ...common,
      ...(!rule.each && rule.make?.(batchSize)),
      ...cursor,
      rule: rule.name,
      limit: batchSize,
      detail: pass.detail,
    };
    try {
      if (rule.each) return await db.transaction((tx) => oneByKey(tx, rule, idType, cursor, values, false), IN_ORDER);
      const sql = complete(rule, claim(rule, idType, cursor));
      const [batch] = await db.transaction((tx) => tx.query<Batch>(sql, values), IN_ORDER);
      return { ...batch!, more: batch!.claimed === batchSize };
    } catch (error) {
      if (!blamesRow(error)) throw error;
    }
    // Some row of this batch cannot be changed. Once more, looking for it.
    return db.transaction(async (tx) => {
      await tx.query(`select set_config('lock_timeout', '${CAREFUL_LOCK_TIMEOUT}', true)`);
      if (rule.each) return oneByKey(tx, rule, idType, cursor, values, true);
      const rows = await tx.query<Claimed>(
        `select id::text as id, place::text as place, due_at::text as due_at from (${claim(rule, idType, cursor)}) as claimed`,
        values,
      );
      return { ...(await changeRows(tx, rule, idType, rows, values, true)), more: rows.length === batchSize };
    }, IN_ORDER);
  });
}

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
  rule: Rule,
  idType: string,
  cursor: Cursor | undefined,
  values: Values,
  careful: boolean,
): Promise<Batch> {
  const rows = await tx.query<Keyed>(claimByKey(rule, idType, cursor), values);
  const free = rows.filter((row) => row.free);
  const made = { ...values, ...rule.make?.(free.length) };
  if (rule.each!.family) {
    const due = rows.filter((row) => !row.joined);
    const batch = await changeRows(tx, rule, idType, free, made, careful);
    return { ...batch, last: toCursor(due.at(-1)), more: due.length === values.limit };
  }
  const seen = new Set<string>();
  const first = free.filter(({ key }) => !seen.has(key) && seen.add(key));
  const batch = await changeRows(tx, rule, idType, first, made, careful);
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

// A failing batch is first cut into this many pieces: with few bad rows most pieces are clean at once.
const PIECES = 16;

/** Changes the rows just locked. Careful, it finds the failing ones first, so that the others are still done together. */
async function changeRows(
  tx: Transaction,
  rule: Rule,
  idType: string,
  rows: Claimed[],
  values: Values,
  careful: boolean,
): Promise<Batch> {
  const pick = picked(rule, idType);
  const chosen = (some: Claimed[]) => ({
    ...values,
    places: some.map((row) => row.place),
    ids: some.map((row) => row.id),
  });
  const batches: Batch[] = [];
  const change = async (some: Claimed[]) => {
    const [batch] = await tx.query<Batch>(complete(rule, pick), chosen(some));
    batches.push(batch!);
  };
  const refused: Refusal[] = [];
  if (careful) {
    const trial = (some: Claimed[]) =>
      tx.attempt('undo', async () => {
        await tx.query(`${changed(rule, pick)} select count(*) from outcome`, chosen(some));
        await tx.query('set constraints all immediate');
      });
    for (const piece of cut(rows, PIECES)) refused.push(...(await bisect(piece, trial)));
    const bad = new Set(refused.map((row) => row.id));
    const good = rows.filter((row) => !bad.has(row.id));
    // Normally one statement; what fails only together with its event is taken apart here.
    const attempt = (some: Claimed[]) =>
      tx.attempt('keep', async () => {
        await change(some);
        await tx.query('set constraints all immediate');
      });
    if (good.length > 0) refused.push(...(await bisect(good, attempt)));
    await noteRefused(tx, { job: values.job as string, rule: rule.name, now: values.now as string }, refused);
  } else if (rows.length > 0) {
    await change(rows);
  }
  return {
    ...addUp(batches),
    claimed: rows.length,
    last: toCursor(rows.at(-1)),
    more: false,
    refused: [...refused, ...batches.flatMap((batch) => batch.refused)],
  };
}

const toCursor = (row: Claimed | undefined): Cursor | null => (row ? { from: row.due_at, after: row.id } : null);

async function bisect(rows: Claimed[], attempt: (rows: Claimed[]) => Promise<unknown>): Promise<Refusal[]> {
  const error = await attempt(rows);
  if (!error) return [];
  if (rows.length === 1) return [{ id: rows[0]!.id, error: (error as Error).message }];
  const refused: Refusal[] = [];
  for (const half of cut(rows, 2)) refused.push(...(await bisect(half, attempt)));
  return refused;
}

function cut<T>(items: T[], pieces: number): T[][] {
  const size = Math.max(1, Math.ceil(items.length / pieces));
  return Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size));
}

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
