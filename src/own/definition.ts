/** Jobs of your own, as a file describes them. */

export interface OwnJob {
  name: string;
  table: string;
  id?: string;
  /** A column or a zone. */
  zone?: string;
  where: Record<string, string>;
  everyMinutes: number;
  summary?: string;
  /** A former name. */
  was?: string;
  rules: Record<string, OwnRule>;
  /** Instead of rules: a built-in job. */
  uses?: OwnUse;
}

export interface OwnUse {
  job: string;
  /** What is said of the table of the job itself. */
  main: UsedTable;
  /** What is said of its other tables, by the names that it gives them. */
  tables: Record<string, UsedTable>;
}

/** How a table of a built-in job is in the application. */
export interface UsedTable {
  table?: string;
  id?: string;
  /** A column or an expression; null: there is no such thing. */
  columns: Record<string, string | null>;
  where: Record<string, string>;
  insert: Record<string, string>;
  set: Record<string, string>;
}

export interface OwnRule {
  due: string | { date: string; time: string };
  where: Record<string, string>;
  fails: Record<string, string>;
  /** Columns and their new values. */
  set: Record<string, string>;
  repeat?: string;
  delete?: true;
  once?: string;
  late?: string;
  also: string[];
  event?: { type: string; channels: string[]; data?: string[]; message?: string };
}

/** What is wrong in a file, and where. */
export interface Fault {
  file: string;
  line: number;
  column: number;
  message: string;
}

/** The way to a value in a file: names of keys, numbers of items. */
export type Path = (string | number)[];

/** The jobs of some files, and where in them each value stands. */
export interface Files {
  jobs: OwnJob[];
  faults: Fault[];
  /** The place of a value of a job, or of a character of it. */
  at(job: string, path: Path, offset?: number): Omit<Fault, 'message'>;
}

export const SPAN = /^(\d+)\s*(minute|hour|day|week|month|year)s?$/i;

export const ALSO = '"also" is one statement, "insert into … select … from changed", without "returning"';
