import { type Claimed, type Outcome, Sealed } from '../job/define.ts';
import type { Refusal } from '../store/failures.ts';
import type { Cursor } from './statements.ts';

/** What came of some rows of a rule. */
export interface Batch {
  changed: Record<string, number>;
  lateSeconds: number;
  /** What happened to each row, unless there are too many to tell one by one. */
  outcomes: Outcome[] | null;
  refused: Refusal[];
  /** Events whose notifications were given up because the queue was full. */
  unsent: number;
  /** How many rows were claimed, and the last of them. */
  claimed: number;
  last: Cursor | null;
  /** Whether the sweep has to go on after it. */
  more: boolean;
  /** The record of the job's run. */
  run: string | null;
  /** For work outside the database: the rows claimed for it. */
  handed: Claimed[];
}

export const EMPTY: Batch = {
  ...{ changed: {}, lateSeconds: 0, outcomes: [], refused: [], unsent: 0 },
  ...{ claimed: 0, last: null, more: false, run: null, handed: [] },
};

// Above this many rows in a batch, their lines drop to debug and one line gives the count.
export const DETAIL = 100;

/** A batch as SQL answers it. */
export type Answered = Partial<Omit<Batch, 'handed'>> & {
  handed?: { id: string; sealed: Record<string, unknown> }[] | null;
};

export const made = ({ handed, ...batch }: Answered): Batch => ({
  ...{ ...EMPTY, ...batch },
  handed: (handed ?? []).map(({ id, sealed }) => ({ id, sealed: new Sealed(sealed) })),
});

/** A row that is locked by its transaction, by its place. */
export interface Row {
  id: string;
  place: string;
  due_at: string;
}

export const placesOf = (rows: Row[]) => ({ places: rows.map((row) => row.place), ids: rows.map((row) => row.id) });

export function sum(counts: Record<string, number>[]): Record<string, number> {
  const all = new Map<string, number>();
  for (const each of counts)
    for (const [name, count] of Object.entries(each)) all.set(name, (all.get(name) ?? 0) + count);
  return Object.fromEntries(all);
}

/** Several batches as one. */
export const addUp = (batches: Batch[]): Batch => ({
  ...EMPTY,
  changed: sum(batches.map((batch) => batch.changed)),
  lateSeconds: Math.max(0, ...batches.map((batch) => batch.lateSeconds)),
  outcomes: batches.flatMap((batch) => batch.outcomes ?? []),
  refused: batches.flatMap((batch) => batch.refused),
  unsent: batches.reduce((all, batch) => all + batch.unsent, 0),
  handed: batches.flatMap((batch) => batch.handed),
  run: batches.find((batch) => batch.run)?.run ?? null,
});

export const total = (counts: Record<string, number>): number =>
  Object.values(counts).reduce((all, count) => all + count, 0);
