import type { Line, Log } from '../base/log.ts';
import type { Stop } from '../base/stop.ts';
import type { Values } from '../db/bind.ts';
import type { Database, Transaction } from '../db/client.ts';
import type { CompiledRule } from '../job/compile.ts';
import type { Failed, Lines, Outcome } from '../job/define.ts';
import type { Requested } from '../store/requests.ts';
import type { JobResult } from '../store/runs.ts';
import type { Share } from './statements.ts';

/** Hears of each row. Work outside the database is taken for done, and named. */
export interface Rehearsal {
  heard(job: string, outcomes: Outcome[], failures: Failed[]): void;
  assumed(work: string): void;
}

/** Hears which rule is at work, and how many rows each batch had. At the end of a pass, no rule is. */
export type Heed = (rule: CompiledRule | undefined, rows: number) => void;

/** A run at work: what all its sweeps have in common. */
export interface Run {
  db: Database;
  log: Log;
  /** What the rules' SQL may refer to, and what the records need. */
  values: Values;
  /** Rows per transaction. */
  batchSize: number;
  /** A backlog is shared by so many. */
  connections: number;
  /** A job ends when it has changed so many rows. */
  most: number | undefined;
  rehearsal: Rehearsal | undefined;
  progress: Heed | undefined;
  debug: boolean;
  dryRun: boolean;
  stop: Stop;
  /** The queue of notifications. Once full, it counts as full for the rest of the run. */
  queue: { full: boolean };
  /** By the name of the job that somebody asked for. */
  requests: Map<string, Requested>;
  /** The lock's transaction, which asks what is due. With none, each job is asked by itself. */
  asking?: Transaction | undefined;
}

/** A dry run undoes its changes, so its lines say "would". */
export const say = ({ log, dryRun }: Run, line: Line): void =>
  log.write(dryRun ? { ...line, message: `Would happen: ${line.message}` } : line);

/** The record of a job's run, which begins with the first batch. */
export interface JobRecord {
  run: string | null;
  /** The job has done something since its record was last closed. */
  isOpen: boolean;
  result: JobResult;
  lines: Lines;
  /** By rule, what was changed for which time: a rule that would change it again feeds itself, by way of another perhaps. */
  seen: Map<CompiledRule, Set<string>>;
  /** With --debug: so many rows are watched. */
  surveyed: number | undefined;
}

/** A way through all due rows of one rule, and how far it has come. In a part, work that goes wrong is not tried again. */
export interface Sweep extends Share {
  run: Run;
  rule: CompiledRule;
  record: JobRecord;
  /** The last batch had failing rows, so the next one is likely to. */
  careful: boolean;
  /** Keys that somebody else held: their younger rows are left alone too, as they would overtake the older ones. */
  passedBy: Set<string>;
  /** In a second sweep of a rule: what the first ones changed, and for which time. */
  again: string[] | undefined;
  /** Since the sweep last began at the oldest row. */
  changes: number;
}
