import { isDeepStrictEqual } from 'node:util';
import type { Conditions, Job } from '../job/define.ts';
import { type Needed, usageOf } from '../job/rights.ts';
import type { OwnJob, Path } from './definition.ts';
import type { Types, Zones } from './due.ts';
import type { Reading, Refusal, Seen, Statement } from './server.ts';

/** What is made of the expressions of a job. */

export interface Built {
  job: Job;
  table: Seen;
  /** Columns that the table must get. */
  columns: Record<string, string>;
  /** What is worth knowing of it, and no fault. */
  notes: string[];
  functions: Record<string, string>;
  /** What it does with other tables, and uses of schemas. */
  needs: Needed[];
  /** Functions that its due times need, as statements. */
  makes: string[];
}

/** The way to the server, which reads expressions, and to the list of faults. */
export interface Building {
  /** As a new value of a column, where one is named. */
  read(expression: string, column: string | null, words: string[]): Promise<Reading | Refusal>;
  knowsZone(zone: string): Promise<boolean>;
  /** On the table with these columns added. */
  readStatement(statement: string, added: Record<string, string>): Promise<Statement | Refusal>;
  fault(path: Path, message: string, offset?: number): void;
  dbZone: string;
}

/** What an expression may name besides the columns. */
export const WORDS = ['now', 'due_at'];

export interface Making {
  own: OwnJob;
  table: Seen;
  key: string;
  types: Types;
  zones: Zones;
  building: Building;
  built: Pick<Built, 'columns' | 'notes' | 'functions' | 'needs' | 'makes'>;
  /** The conditions for every rule, and those of them that are asked of each row apart. */
  where: Conditions;
  apart: string[];
}

/** They wait, or reach out of the transaction. */
export const REACHING =
  /^(pg_catalog\.)?(pg_notify|nextval|setval|set_config|pg_(try_)?advisory|pg_sleep|pg_terminate|pg_cancel|pg_read|pg_ls|pg_logical|pg_reload|pg_rotate|lo_|dblink|\w+_to_xml)/;

export const mayAct = (names: string[]) =>
  `${names.join(', ').replaceAll('pg_catalog.', '')} may act, or answer another thing each time: an expression only reads the row`;

export const ofStrangers = (things: string[]) =>
  `${things.join(', ')}: its owner could change what the job does. A rule uses only things of PostgreSQL, the owner of the table or the owner of the schema "scheduler"`;

interface Wanted {
  column?: string;
  /** Words with a meaning of their own. Default: those that are no column. */
  words?: string[];
}

export function need({ needs }: Pick<Built, 'needs'>, ...more: Needed[]): void {
  needs.push(...more.filter((each) => !needs.some((known) => isDeepStrictEqual(known, each))));
}

export async function read(making: Making, sql: string, path: Path, wanted: Wanted = {}): Promise<Reading | undefined> {
  const { building, built } = making;
  const { column = null, words = WORDS.filter((word) => !(word in making.types)) } = wanted;
  const reading = await building.read(sql, column, words);
  if ('message' in reading) {
    building.fault(path, reading.message, reading.offset);
    return undefined;
  }
  Object.assign(built.functions, reading.functions);
  need(built, ...reading.tables.map((table) => ({ table, rights: ['select'] })), ...reading.schemas.map(usageOf));
  const reaching = reading.acting.filter((name) => column === null || REACHING.test(name));
  if (reading.strangers.length > 0) building.fault(path, ofStrangers(reading.strangers));
  else if (reaching.length > 0) building.fault(path, mayAct(reaching));
  else if (reading.together)
    building.fault(path, 'this is not about one row: aggregates, window functions and sets of rows have no place here');
  else return reading;
  return undefined;
}

/** Conditions by their names; those that may raise, or read other rows, are asked of each row of a batch. */
export async function conditions(
  making: Making,
  where: Conditions,
  path: Path,
): Promise<Pick<Making, 'where' | 'apart'>> {
  const made = { where: { ...making.where }, apart: [...making.apart] };
  for (const [name, sql] of Object.entries(where)) {
    const here = name === sql ? path : [...path, name];
    const reading = await read(making, sql, here);
    if (!reading) continue;
    const { fault } = making.building;
    if (Object.hasOwn(making.where, name) && name !== sql)
      fault(here, `the "where" of the job has a condition "${name}": give this one another name`);
    else if (reading.type !== 'boolean') fault(here, noCondition(reading));
    else if (readsClock(reading, sql))
      fault(here, 'a condition does not read the clock: what becomes true with time is a due time');
    else made.where[name] = reading.sql;
    if (reading.isSafe) continue;
    made.apart.push(name);
    making.built.notes.push(`${[...here].join('.')} is not part of an index, as ${whyApart(reading)}`);
  }
  return made;
}

const CLOCKS = new Set(['now', 'clock_timestamp', 'statement_timestamp', 'transaction_timestamp', 'timeofday', 'age']);

export const readsClock = ({ clock, sql, unsteady }: Reading, written: string) =>
  clock ||
  // The server takes 'now' for the instant at which it reads it, where a time is wanted.
  [...written.matchAll(/'\s*(now|today|tomorrow|yesterday)\s*'/gi)].some(([literal]) => !sql.includes(literal)) ||
  /\b(now|due_at)\b/.test(sql.replace(/'(?:[^']|'')*'|"(?:[^"]|"")+"/g, '')) ||
  unsteady.some((each) => CLOCKS.has(each.replace('pg_catalog.', '')));

export const noCondition = ({ type }: Reading) => `a condition is true or false, and this is of type ${type}`;

function whyApart({ subquery, unsteady }: Reading): string {
  if (subquery) return 'it reads other rows, as they are when a batch begins';
  if (unsteady.length > 0) return `${unsteady.join(', ')} may answer one thing today and another tomorrow`;
  return 'it may fail for some values';
}
