import type { Conditions, Event, Job, Rule } from '../job/define.ts';
import { columnsIn, quoteName, quoteText } from '../job/expressions.ts';
import type { OwnJob, OwnRule, Path } from './definition.ts';
import { dueOf, instantOf, NotATime, plainColumn, type Types, type Zones, zoneOf } from './due.ts';
import type { Reading, Refusal, Seen } from './server.ts';

/** Makes of a job in a file what the engine knows as a job. */

export interface Built {
  job: Job;
  table: Seen;
  /** Columns that the table must get. */
  columns: Record<string, string>;
  /** What is worth knowing of it, and no fault. */
  notes: string[];
  functions: Record<string, string>;
  /** Tables into which its statements insert. */
  inserts: string[];
}

/** Who reads expressions, and who is told of faults. */
export interface Building {
  read(expression: string, type: string | null): Promise<Reading | Refusal>;
  readStatement(statement: string): Promise<{ sql: string; tables: string[] } | Refusal>;
  fault(path: Path, message: string, offset?: number): void;
  dbZone: string;
}

const SECRET = /passw(or)?d|secret|token|api_?key|private_?key|(^|_)(pin|otp)$/i;
const ORDER = 1000;

export async function build(own: OwnJob, table: Seen, building: Building): Promise<Built | undefined> {
  const types: Types = { ...table.columns };
  const key = keyOf(own, table, building);
  if (key === undefined) return undefined;
  const built: Making['built'] = { columns: {}, notes: [], functions: {}, inserts: [] };
  const zones = { zone: zoneOf(own, types), dbZone: building.dbZone };
  const making: Making = { own, table, types, zones, building, built, where: {}, apart: [] };
  Object.assign(making, await conditions(making, own.where, ['where']));
  const rules: Record<string, Rule> = {};
  for (const [name, rule] of Object.entries(own.rules)) Object.assign(rules, await rulesOf(making, name, rule));
  const columns = { ...types, ...built.columns };
  const job: Job = {
    name: own.name,
    summary: own.summary ?? `${Object.keys(own.rules).join(', ')} on ${table.schema}.${table.name}`,
    everyMinutes: own.everyMinutes,
    order: ORDER,
    table: {
      name: table.name,
      recognisedBy: [],
      key,
      quoted: true,
      columns: Object.fromEntries(Object.entries(columns).map(([name, type]) => [name, { kind: 'plain', type }])),
    },
    rules,
  };
  return { job, table, ...built };
}

function keyOf({ id }: OwnJob, table: Seen, { fault }: Building): string | undefined {
  const { primaryKey, columns } = table;
  const key = id ?? (primaryKey.length === 1 ? primaryKey[0] : undefined);
  const place = `${table.schema}.${table.name}`;
  if (key === undefined)
    fault(
      ['table'],
      `the primary key of ${place} has ${primaryKey.length} columns: say with "id" which column names a row`,
    );
  else if (!(key in columns)) fault(['id'], `${place} has no column "${key}"`);
  else if (key !== 'id' && 'id' in columns)
    fault(['id'], `${place} has a column "id" that is not the key: a job needs it as the key`);
  else return key;
  return undefined;
}

interface Making {
  own: OwnJob;
  table: Seen;
  types: Types;
  zones: Zones;
  building: Building;
  built: Pick<Built, 'columns' | 'notes' | 'functions' | 'inserts'>;
  /** The conditions for every rule, and those of them that are asked of each row apart. */
  where: Conditions;
  apart: string[];
}

/** They wait, or reach out of the transaction. */
const REACHING =
  /^(pg_catalog\.)?(pg_notify|nextval|setval|set_config|pg_(try_)?advisory|pg_sleep|pg_terminate|pg_cancel|pg_read|pg_ls|pg_logical|pg_reload|pg_rotate|lo_|dblink|\w+_to_xml)/;

async function read(making: Making, sql: string, path: Path, type: string | null = null): Promise<Reading | undefined> {
  const { building, built } = making;
  const reading = await building.read(sql, type);
  if ('message' in reading) {
    building.fault(path, reading.message, reading.offset);
    return undefined;
  }
  Object.assign(built.functions, reading.functions);
  const reaching = reading.acting.filter((name) => type === null || REACHING.test(name));
  if (reaching.length > 0)
    building.fault(path, `${reaching.join(', ')} may act, or answer another thing each time: that has no place here`);
  else if (reading.together) building.fault(path, 'this is not about one row: it sums up several');
  else return reading;
  return undefined;
}

/** Conditions by their names; those that may raise, or read other rows, are asked of each row of a batch. */
async function conditions(making: Making, where: Conditions, path: Path): Promise<Pick<Making, 'where' | 'apart'>> {
  const made = { where: { ...making.where }, apart: [...making.apart] };
  for (const [name, sql] of Object.entries(where)) {
    const here = name === sql ? path : [...path, name];
    const reading = await read(making, sql, here);
    if (!reading) continue;
    const { fault } = making.building;
    const clock = reading.clock || /\bnow\b/.test(reading.sql.replace(/'(?:[^']|'')*'|"(?:[^"]|"")+"/g, ''));
    if (reading.type !== 'boolean') fault(here, `a condition is true or false, and this is of type ${reading.type}`);
    else if (clock || reading.unsteady.some((each) => CLOCKS.has(each)))
      fault(here, 'a condition does not read the clock: what becomes true with time is a due time');
    else made.where[name] = reading.sql;
    if (reading.isSafe) continue;
    made.apart.push(name);
    making.built.notes.push(`${[...here].join('.')} is not part of an index, as ${whyApart(reading)}`);
  }
  return made;
}

const CLOCKS = new Set(['now', 'clock_timestamp', 'statement_timestamp', 'transaction_timestamp', 'timeofday']);

function whyApart({ subquery, unsteady }: Reading): string {
  if (subquery) return 'it reads other rows, as they are when a batch begins';
  if (unsteady.length > 0) return `${unsteady.join(', ')} may answer one thing today and another tomorrow`;
  return 'it may fail for some values';
}

async function rulesOf(making: Making, name: string, rule: OwnRule): Promise<Record<string, Rule>> {
  const { types, zones } = making;
  const path: Path = ['rules', name];
  const due = await dueSql(making, rule.due, [...path, 'due']);
  if (due === undefined) return {};
  const { where, apart } = await conditions(making, rule.where, [...path, 'where']);
  const fails: Conditions = {};
  for (const [sentence, sql] of Object.entries(rule.fails)) {
    const reading = await read(making, sql, [...path, 'fails', sentence]);
    if (reading) fails[sentence] = reading.sql;
  }
  if (making.own.zone !== undefined && making.own.zone in types)
    fails[`the zone '{${making.own.zone}}' is not known`] = `not scheduler.known_zone(${zones.zone})`;
  if (rule.once !== undefined) keepOnce(making, rule.once, [...path, 'once']);
  const set = await setOf(making, rule, due, path);
  const made: Rule = { due, where, apart, mustEnd: !rule.delete, ...(Object.keys(fails).length > 0 && { fails }) };
  const event = eventOf(making, rule, Object.keys(set), path);
  if (rule.delete) Object.assign(made, { delete: true });
  else made.set = set;
  if (rule.also.length > 0) made.also = await alsoOf(making, rule.also, [...path, 'also']);
  if (event) made.event = event;
  if (rule.once === undefined) return { [name]: made };
  made.where = { ...where, 'it was not done for this time': `${quoteName(rule.once)} is distinct from ${due}` };
  if (rule.late === undefined) return { [name]: made };
  const end = `scheduler.moved(${due}, ${quoteText(rule.late)}::interval, null, ${zones.zone})`;
  const missed: Rule = {
    ...made,
    where: { ...made.where, [`it is later than ${rule.late}`]: `now > ${end}` },
    set: { [rule.once]: 'due_at' },
    event: { ...event!, type: `${event!.type}.missed` },
  };
  made.where = { ...made.where, [`it is no later than ${rule.late}`]: `now <= ${end}` };
  return { [`${name} (missed)`]: missed, [name]: made };
}

async function alsoOf({ building, built }: Making, statements: string[], path: Path): Promise<string[]> {
  const also: string[] = [];
  for (const [n, statement] of statements.entries()) {
    const reading = await building.readStatement(statement);
    if ('message' in reading) building.fault([...path, n], reading.message, reading.offset);
    else if (!/^\s*INSERT INTO/.test(reading.sql))
      building.fault([...path, n], '"also" is a statement "insert into ... select ... from changed"');
    else {
      also.push(reading.sql);
      built.inserts.push(...reading.tables);
    }
  }
  return also;
}

function keepOnce({ types, built, building }: Making, column: string, path: Path): void {
  const type = types[column];
  if (type === undefined) built.columns[column] = 'timestamp with time zone';
  else if (type !== 'timestamp with time zone')
    building.fault(path, `"${column}" is of type ${type}: it must be timestamptz, to keep the time exactly`);
}

async function dueSql(
  { types, zones, building, ...making }: Making,
  due: OwnRule['due'],
  path: Path,
): Promise<string | undefined> {
  try {
    const sql = dueOf(due, types, zones);
    if (sql !== undefined) return sql;
  } catch (error) {
    if (!(error instanceof NotATime)) throw error;
    building.fault(path, error.message);
    return undefined;
  }
  const reading = await read({ types, zones, building, ...making }, due as string, path);
  if (!reading) return undefined;
  const at = instantOf(reading.sql, reading.type, zones);
  if (!at) building.fault(path, `a due time is a timestamp or a date, and this is of type ${reading.type}`);
  else if (!reading.isSafe || reading.clock || /\bnow\b/.test(reading.sql))
    building.fault(
      path,
      'a due time in SQL may use columns, constants, coalesce, greatest, least and case: others may fail, or change by themselves; write COLUMN + 3 days for a span',
    );
  else return at;
  return undefined;
}

/** The new values of a row: those of "set", "once" and "repeat". */
async function setOf(making: Making, rule: OwnRule, due: string, path: Path): Promise<Record<string, string>> {
  const { types, zones, table, building, built } = making;
  const set: Record<string, string> = {};
  for (const [column, sql] of Object.entries(rule.set)) {
    const here = [...path, 'set'];
    if (!(column in types)) building.fault(here, `${table.schema}.${table.name} has no column "${column}"`);
    else if (table.generated.includes(column))
      building.fault(here, `the column "${column}" is generated: nobody can set it`);
    else {
      const reading = await read(making, sql, here, types[column]!);
      if (reading) set[column] = reading.sql;
    }
  }
  if (rule.once !== undefined) set[rule.once] = 'due_at';
  if (rule.repeat === undefined) return set;
  const column = plainColumn(rule.due, types);
  if (column === undefined) {
    building.fault([...path, 'repeat'], '"repeat" needs a due time that is a column and no more');
    return set;
  }
  // A name has 63 bytes at most; PostgreSQL would cut a longer one without a word.
  let short = column;
  while (Buffer.byteLength(short) > 57) short = [...short].slice(0, -1).join('');
  const first = `${short}_first`;
  if (!(first in types)) built.columns[first] = 'timestamp without time zone';
  const next = `scheduler.repeated(${due}, ${quoteName(first)}, ${quoteText(rule.repeat)}::interval, ${zones.zone}, now)`;
  set[column] = stored(`(${next}).next`, types[column]!, zones);
  set[first] = `(${next}).start`;
  return set;
}

/** An instant, as a column of that type holds it. */
function stored(instant: string, type: string, { zone, dbZone }: Zones): string {
  if (type === 'date') return `(${instant} at time zone ${zone})::date`;
  return type.includes('without') ? `${instant} at time zone ${quoteText(dbZone)}` : instant;
}

const AS_IS = /^(smallint|integer|bigint|numeric|real|double|boolean|date)/;
const LONGEST = 200;

function eventOf(making: Making, rule: OwnRule, set: string[], path: Path): Event | undefined {
  const { types, built, building, table } = making;
  if (!rule.event) return undefined;
  const { type, channels, message } = rule.event;
  const all = { ...types, ...built.columns };
  const ofDue = Object.keys(types).filter((column) =>
    typeof rule.due !== 'string'
      ? [rule.due.date, rule.due.time].includes(column)
      : new RegExp(`(^|\\W)${column.replace(/\W/g, '\\$&')}(\\W|$)`).test(rule.due),
  );
  const columns = rule.event.data ?? [...new Set([...ofDue, ...set])];
  const here = [...path, 'event'];
  for (const column of [...columns, ...channels.flatMap(columnsIn), ...columnsIn(message ?? '')]) {
    if (!(column in all)) building.fault(here, `${table.schema}.${table.name} has no column "${column}"`);
    else if (SECRET.test(column) && !rule.event.data?.includes(column))
      building.fault(here, `the column "${column}" looks like a secret: name it in "data" if listeners may read it`);
  }
  const data = Object.fromEntries(
    columns.filter((column) => column !== 'id').map((column) => [column, told(column, all[column] ?? 'text')]),
  );
  return { type, channels, data: { id: '"id"', ...data }, ...(message !== undefined && { message }) };
}

function told(column: string, type: string): string {
  const name = quoteName(column);
  if (/^timestamp.* with time zone/.test(type)) return `scheduler.iso(${name})`;
  return AS_IS.test(type) ? name : `left(${name}::text, ${LONGEST})`;
}
