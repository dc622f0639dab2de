import type { Variable } from '../base/config.ts';
import type { Line } from '../base/log.ts';
import type { Column } from './columns.ts';

export { spanInSeconds } from '../base/calendar.ts';
export { decimal, flag as setting, type Variable } from '../base/config.ts';
export { configurationError } from '../base/errors.ts';
export type { Line };

/**
 * A job is data: whose rows it looks at, when they are due, and what then changes. The engine says how.
 *
 * Its expressions are SQL on the columns of one row. They may also name:
 *
 *   now         the run's one instant
 *   due_at      when the row became due
 *   :zone       SCHEDULER_TIMEZONE, for wall-clock schedules
 *   :setting    each setting that the job declares
 *
 * A column that holds an instant is a timestamptz in every expression, whatever its type in the database.
 */
export interface Job {
  name: string;
  summary: string;
  everyMinutes: number;
  /** Its place in a tick. Hand-offs are rows in tables, so the order only saves a minute's wait. */
  order: number;
  /** The table whose rows it names. */
  table: Table;
  /** Other tables that its rules read or write, by the name that their SQL uses. */
  tables?: Record<string, Table>;
  /** Environment variables of its own, by the name that its SQL uses. */
  settings?: Record<string, Variable<string | boolean>>;
  /** The setting, if any, that can switch the job off in `tick`. */
  switch?: string;
  rules: Record<string, Rule>;
  /** A file lays it over tables of the application. */
  isLaid?: boolean;
  /** It keeps one memory for all tables: a file can use it once. */
  single?: boolean;
  /** Another job without which this one does harm, and which. */
  beside?: { job: string; or: string };
  /** All that the job watches, due or not: for --debug only, as it costs what the table holds. */
  survey?: { query: (tables: Tables) => string; line(row: Record<string, unknown>): Line };
  /** A statement of every migrate, once the tables are there. The second time it must do nothing. It may name :now and :tenant. */
  begin?: (tables: Tables) => string;
  /** What it says in the log, where its operators search for other words than the usual ones. */
  log?: Partial<Lines>;
}

export interface Table {
  name: string;
  /** Columns that tell it from another table of that name. */
  recognisedBy: string[];
  columns: Record<string, Column>;
  /** The columns that this job needs. Default: all but those that only a new table gets. */
  needs?: string[];
  /** Its expressions write each column in quotes: a bare word is none. */
  quoted?: boolean;
  /** Default: id. */
  key?: string;
  primaryKey?: string[];
  /** Columns of which no two rows may have the same value. */
  once?: string[];
  /** Columns that "on conflict" names: an old table gets a unique index on them where it has none. */
  unique?: string[];
  /** More indexes, by the end of their name; column names as above. */
  indexes?: Record<string, string>;
  /** Statements that make the table where there is none, instead of its columns. */
  make?: string;
  /** No application has one, as only the scheduler uses it: it is made unasked, where the job's other tables are there. */
  ours?: boolean;
  /** It is not made where one of these is there: another program's tables come all together. */
  unless?: string[];
  comment?: string;
  /** Which of the application's rows are there for the job. SQL on its columns, each in quotes, as in the next two. */
  where?: string;
  /** More values of rows that the job inserts. */
  insert?: Record<string, string>;
  /** More new values of rows that the job changes. */
  set?: Record<string, string>;
  /** What is done once, right after the table was made or adopted, with the tables in its braces. */
  begin?: (tables: Tables) => string;
}

/** A table of another job, of which this one needs some columns only. */
export const part = (table: Table, ...needs: string[]): Table => ({ ...table, needs });

/** For rows that are due as soon as they meet the conditions, in the order of their ids. */
export const AT_ONCE = "'-infinity'::timestamptz";

/** Conditions on a row, each by its name. */
export type Conditions = Record<string, string>;

/** One way for a row to become due, and what is then done with all rows that are. */
export interface Rule {
  /** The due time; an index holds it in order. */
  due: string;
  /** What must be so besides: one condition, or several with a name each. In a subquery the row is called r. */
  where?: string | Conditions | ((tables: Tables, job: string) => Conditions);
  /** Those conditions that may fail, or read other rows: they are asked of the rows of a batch, one by one if need be. */
  apart?: string[];
  /** Why a row cannot be acted on: sentences, each with its condition; or SQL that answers a sentence or null. */
  fails?: Conditions | ((tables: Tables) => string);
  /** More values of the row as it was, by name, for what follows. */
  carry?: Record<string, string>;
  /** Columns and their new values. */
  set?: Record<string, string>;
  /** The row goes. */
  delete?: boolean;
  /** More statements on the changed rows. */
  also?: Also[];
  /** A row that is still due for the same time after its change has failed: it would change again and again. Default: where `set` is all. */
  mustEnd?: boolean;
  /** What is told of each row that changed. */
  event?: Event | Event[];
  /**
   * Where columns and values do not suffice: common table expressions from `todo` (id, due_at, now and what is carried) to
   * `outcome` (step, transition, type, channels, entity_id, due_at, data). A null type is counted without an event, a null
   * transition not even counted. Change rows in the order of `todo`.
   */
  change?: (tables: Tables) => string;
  /** Where the change makes different transitions of different rows: the conditions of each. For explaining. */
  outcomes?: (tables: Tables) => Record<string, Conditions>;
  /** For rows that must change one after the other, or all at once. */
  together?: Together;
  /** Work outside the database for the rows that the change has claimed. */
  outside?: Outside;
  /** More parameters for the change, made anew for each batch of so many rows: passwords, say, which SQL must not make. */
  make?(rows: number): Record<string, unknown>;
  /** Where the row is not one of the job's own table. */
  row?: OtherRow;
}

/** A statement on `changed`, which has these columns of the changed rows; `now` and `due_at` are two more. */
export interface Also {
  reads: string[];
  sql: string;
}

export interface Event {
  /** How it is counted. Default: the name of the rule. */
  transition?: string;
  /** Without a type the transition is only counted. */
  type?: string;
  channels?: string[];
  /** Expressions on the changed row, by name. */
  data?: Record<string, string>;
  /** A sentence; {column} is the value of that column. */
  message?: string;
  /** Only of rows that meet this. */
  when?: string;
  /** When it was due, where that differs from the due time of the rule. */
  due?: string;
}

export interface OtherRow {
  /** What stands in "from": a table of the job, or a query. It has an id. */
  from: (tables: Tables) => string;
  /** Default: that of the key of the job's own table. */
  idType?: string;
  /** Where `from` is only the part of a table that is worth looking at: all of it, for explaining, and what the part stands for. */
  whole?: (tables: Tables) => string;
  part?: string;
}

export interface Together {
  /** What the rows have in common: a customer, say. */
  key: string;
  /** A query that locks those keys of `due` (id, due_at, key and what is carried) which nobody else holds, and answers them as `key`. */
  lock: (tables: Tables) => string;
  /** All due rows of a key change at once, and with them its other rows that meet this condition. */
  family?: string;
  /** What a change makes of the other rows of the key. For explaining. */
  others?: { transition: string; where: Conditions };
}

/** The columns of the row that a statement writes, as they are read. */
// biome-ignore lint/suspicious/noExplicitAny: the names are those of the table, and each access would need a "!"
export type Row = { readonly [column: string]: any };

export interface Update {
  set: Record<string, string>;
  from?: string;
  where: string;
  returning?: string;
}

export interface Insert {
  values: Record<string, string>;
  /** What follows the values: "from ...". */
  from: string;
  onConflict?: { column: string; set: Record<string, string> };
  returning?: string;
}

/**
 * A table in the SQL of a rule. As a text it is what stands in "from": its columns under the names of the definition, instants as
 * timestamptz. To write to it, make a statement: it gets the columns of the row that it writes.
 */
export interface TableName {
  toString(): string;
  update(make: (it: Row) => Update): string;
  delete(make: (it: Row) => { using?: string; where: string; returning?: string }): string;
  /** The id is made, if it has no default, and created_at and updated_at are filled, if the table has them. */
  insert(make: (it: Row) => Insert): string;
  /** The name of a column in the database. */
  name(column: string): string;
  typeOf(column: string): string;
  /** Whether no two rows can have the same value there. */
  storedOnce(column: string): string;
}

/** By name. A wrong one is an error of the first test that compiles the job. */
// biome-ignore lint/suspicious/noExplicitAny: the names are those of the job, and each access would need a "!"
export type Tables = { readonly [name: string]: TableName & any };

/** What only a gateway may read: it cannot be printed, logged or turned into JSON. */
export class Sealed {
  readonly #value: Record<string, unknown>;

  constructor(value: Record<string, unknown>) {
    this.#value = value;
  }

  open(): Record<string, unknown> {
    return this.#value;
  }
}

export interface Claimed {
  id: string;
  sealed: Sealed;
}

/**
 * SMS and RADIUS. The claim must set when the row may be tried again, for the case that the process dies before it can
 * answer. `outcome` of such a rule has one more column, `sealed`: what the work needs to know.
 */
export interface Outside {
  /** Throws when the settings do not suffice, before anything is claimed. */
  prepare?(values: Record<string, unknown>): void;
  /** Does the work, many at once; ends early when the signal says so, and answers for each row when it is known. */
  perform(claimed: Claimed[], world: World): Promise<void>;
  /** The answer if all goes well, which a rehearsal takes for given; with the "attempt" and "due" that were handed over. */
  success: Record<string, unknown>;
  /** Common table expressions from `answer` (id text, result jsonb) to `outcome`, as in a change. */
  record: (tables: Tables) => string;
}

export interface World {
  /** What SQL knows as :name parameters, the job's own settings among them. */
  values: Record<string, unknown>;
  signal: AbortSignal;
  answer(id: string, result: Record<string, unknown>): void;
  say(line: Line): void;
}

/** What happened to a row. */
export interface Outcome {
  transition: string;
  step: number;
  entity_id: string;
  due: string;
  data: Record<string, unknown>;
}

export interface Failed {
  id: string;
  rule: string;
  error: string;
}

/** What a pass says in the log. */
export interface Lines {
  started: Line;
  found(rule: string, count: number): Line | undefined;
  done(outcome: Outcome): Line[];
  failed(failed: Failed): Line;
  /** The failures are the first so many; `failed` counts them all. `surveyed` counts the rows of the survey, if there was one. */
  finished(changed: Record<string, number>, failures: Failed[], failed: number, surveyed?: number): Line[];
}

/** SQL on whether a row waits for another attempt after a failure, or for an operator. All four are SQL. */
export const waits = (job: string, rule: string, id: string, tenant = ':tenant::text'): string => `exists (
    select from scheduler.failures f
    where f.tenant = ${tenant} and f.job = ${job} and f.rule = ${rule} and f.entity_id = ${id}::text
      and f.next_attempt_at > :now::timestamptz
  )`;

export const defineJob = (job: Job): Job => job;

/** A text of a row, for an event or a gateway: a value of any size must cost no more than its own row. */
export const bounded = (sql: string): string => `left(${sql}::text, 10000)`;

/** Values of a numeric column that make every sum useless. */
export const NO_NUMBER = "'NaN', 'Infinity', '-Infinity'";

/** The run's instant as listeners read it. In brackets, it is made once for a whole batch. */
export const STAMP = '(select scheduler.iso(:now::timestamptz))';

const line =
  (level: Line['level']) =>
  (message: string, fields?: Line['fields']): Line => ({ ...{ level, message }, ...(fields && { fields }) });
export const info = line('info');
export const warning = line('warn');
export const failure = line('error');

/** The last line of a job, unless rows failed: a log that ends well is read no further. */
export const completed =
  (message: string): Lines['finished'] =>
  (_changed, _failures, failed) => [
    failed === 0
      ? info(message)
      : warning(`${message.replace(/ completed.*/, '')} ended: ${failed} ${failed === 1 ? 'row' : 'rows'} failed`),
  ];

/** The usual words, for what a job does not say in its own. */
export const linesOf = ({ name, log }: Job): Lines => ({
  started: info(`${name} started`),
  found: (rule, count) => info(`${name}: found rows to ${rule}`, { count }),
  done: ({ transition, entity_id }) => [info(`${name}: ${transition}`, { id: entity_id })],
  failed: ({ id, rule, error }) => failure(`${name}: failed to ${rule}`, { id, error }),
  finished: completed(`${name} completed`),
  ...log,
});
