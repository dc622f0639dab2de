import type { Variable } from '../base/config.ts';
import type { Line } from '../base/log.ts';

export { decimal, flag, type Variable } from '../base/config.ts';
export { configurationError } from '../base/errors.ts';
export type { Line };

/** The run's instant as listeners read it. In brackets, it is made once for a whole batch. */
export const STAMP = '(select scheduler.iso(:now::timestamptz))';

/**
 * One named pass over one kind of row. A job says what is due and what then changes, as SQL with the guard in plain
 * sight; the engine says how: batches, transactions, events, failures, records. SQL may use these parameters:
 *
 *   :now        the run's one instant
 *   :zone       SCHEDULER_TIMEZONE, for wall-clock schedules
 *   :dbZone     SCHEDULER_DB_TIMEZONE, for columns without a zone (see scheduler.at)
 *   and each setting that the job itself declares.
 */
export interface Job {
  name: string;
  summary: string;
  everyMinutes: number;
  /** Its place in a tick. Hand-offs are rows in tables, so the order saves a minute's wait and nothing else. */
  order: number;
  /** The tables it works on and the columns it needs there; the first is the one whose rows it names. */
  tables: Record<string, string[]>;
  /** The migration's function that makes or adopts those tables. */
  adopt: string;
  /** Environment variables of its own, by the parameter name its SQL uses. */
  settings?: Record<string, Variable<string | boolean>>;
  /** The setting, if any, that can switch the job off in `tick`. */
  switch?: string;
  rules: Rule[];
  /** What the job watches, due or not: a query for --debug only, as it costs what the table holds. */
  survey?: string;
  lines: Lines;
}

/** One way for a row to become due, and what is then done with all rows that are. */
export interface Rule {
  name: string;
  /** The table and its alias: "packages p". */
  row: string;
  /** The type of its id, where it is not a row of the job's first table. */
  idType?: string;
  /** Where `row` is only the part of a table that is worth looking at: all of it, for explaining, and what the part stands for. */
  whole?: { row: string; part: string };
  /** The due time, as an expression on the row that an index holds in order; or AT_ONCE. */
  at: string;
  /** Named conditions that must all hold, besides the due time having come. */
  when: Record<string, string>;
  /** A sentence on why the row cannot be acted on, or null. Such a row is a failure and the rest go on. */
  wrong?: string;
  /**
   * For rows that must change one after the other: what they have in common, and a query that locks those keys of `due`
   * (id, due_at, key and what is carried) which nobody else holds and answers them as `key`. With `family` all due rows of
   * a key change together instead, and with them its other rows that meet this condition.
   */
  each?: { key: string; lock: string; family?: string; others?: Others };
  /**
   * Rows besides its own that somebody else's lock on keeps it from changing. For explaining: queries from `due` (id, due_at,
   * key and what is carried) to tableoid, id and xmax. Where one of `free` is locked, the row is left alone; those of
   * `awaited` are waited for, a moment only, and then the row fails.
   */
  needs?: { free?: string; awaited?: string };
  /** More columns of the row as it was before the change, for `todo` and for a query that locks. */
  carry?: string;
  /**
   * Comma-separated common table expressions that change the rows of `todo` (id, due_at and what is carried) and end in
   * `outcome` (step, transition, type, entity_id, due_at, channels, data): one row per transition, in the order of
   * `step`. A null type is counted without an event; a null transition is bookkeeping, and not counted. Rows are best changed
   * in the order of `todo`: of a batch that fails, the number of those changed tells which row was refused.
   */
  change: string;
  act?: Act;
  /** More parameters for the change, made anew for each batch of up to so many rows: secrets, say, which SQL must not make. */
  make?(rows: number): Record<string, unknown>;
}

/** For rows that are due as soon as they meet the conditions, in the order of their ids. */
export const AT_ONCE = "'-infinity'::timestamptz";

/** A transition that a change makes of the other rows of the key that meet these conditions. For explaining. */
export interface Others {
  transition: string;
  when: Record<string, string>;
}

/**
 * Work outside the database (SMS, RADIUS) for the rows that the change has claimed. The claim must set when the row may be
 * tried again, for the case that nobody lives to answer.
 */
export interface Act {
  /** Throws when the settings do not suffice, before anything is claimed. */
  prepare?(values: Record<string, unknown>): void;
  /** Does the work, many at once; it ends early when the signal says so, and answers for each row when it is known. */
  perform(claimed: Outcome[], world: World): Promise<void>;
  /** Common table expressions from `answer` (id text, result jsonb) to `outcome`, as in a change. */
  record: string;
}

export interface World {
  /** What SQL knows as :name parameters, the job's own settings among them. */
  values: Record<string, unknown>;
  signal: AbortSignal;
  answer(id: string, result: Record<string, unknown>): void;
  say(line: Line): void;
}

export interface Answer {
  id: string;
  result: Record<string, unknown>;
}

export interface Outcome {
  transition: string;
  step: number;
  entity_id: string;
  data: Record<string, unknown>;
}

/** What a pass says in the log, in the words that its operators search for. */
export interface Lines {
  started: Line;
  surveyed?(row: Record<string, unknown>): Line;
  found?(rule: string, count: number): Line | undefined;
  done(outcome: Outcome): Line[];
  failed(rule: string, id: string, error: string): Line;
  /** The failures are the first so many; `failed` counts them all. `surveyed` counts what the survey found, if there was one. */
  finished(
    changed: Record<string, number>,
    failures: { id: string; rule: string; error: string }[],
    failed: number,
    surveyed?: number,
  ): Line[];
}

/** SQL on whether a row that failed waits for its next attempt, or for an operator. Both are given as expressions. */
export const waits = (job: string, id: string): string => `exists (
    select from scheduler.failures f
    where f.job = ${job} and f.entity_id = ${id}::text and f.next_attempt_at > :now::timestamptz
  )`;

/**
 * SQL that joins each answer of `read` to the row it is about, as `sent`. One by one: to the planner an index of rows under way
 * looks empty, and then it would search all of it, with every row of a backlog that was under way before. For the same
 * reason the update's own guard on the status stands where no index can serve it.
 */
export const answeredRow = (table: string, status: string): string => `cross join lateral (
        select s.id from ${table} s where s.id::text = read.id and s.${status} = 'sending' offset 0
      ) as sent`;

export const tableOf = (job: Job): string => Object.keys(job.tables)[0]!;
export const aliasOf = (rule: Rule): string => rule.row.split(' ').at(-1)!;

export const info = (message: string, fields?: Line['fields']): Line => ({
  level: 'info',
  message,
  ...(fields && { fields }),
});
export const warning = (message: string, fields?: Line['fields']): Line => ({
  level: 'warn',
  message,
  ...(fields && { fields }),
});
export const failure = (message: string, fields?: Line['fields']): Line => ({
  level: 'error',
  message,
  ...(fields && { fields }),
});
