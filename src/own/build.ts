import { entryOf } from '../base/entry.ts';
import type { Column } from '../job/columns.ts';
import type { Also, Conditions, Job, Rule } from '../job/define.ts';
import { isNamedIn, quoteName, quoteText } from '../job/expressions.ts';
import { usageOf } from '../job/rights.ts';
import { ALSO, type OwnJob, type OwnRule, type Path } from './definition.ts';
import { dueOf, instantOf, NotATime, noColumn, plainColumn, type Types, type Zones, zoneOf } from './due.ts';
import { checkText, eventOf, type Telling } from './event.ts';
import { notesOfKey } from './fit.ts';
import {
  type Building,
  type Built,
  conditions,
  type Making,
  mayAct,
  need,
  noCondition,
  ofStrangers,
  REACHING,
  read,
  readsClock,
  WORDS,
} from './making.ts';
import { innerNames, withInnerNames } from './names.ts';
import { guarded, whyNotGuarded } from './raising.ts';
import type { Seen } from './server.ts';

/** Makes of a job in a file what the engine knows as a job. */

const ORDER = 1000;

const HAS_COME = 'its due time has come';

export async function build(own: OwnJob, table: Seen, building: Building): Promise<Built> {
  const types: Types = { ...table.columns };
  const key = keyOf(own, table, building);
  const built: Making['built'] = { columns: {}, notes: [], functions: {}, needs: [], makes: [] };
  if (own.zone !== undefined && !Object.hasOwn(types, own.zone) && !(await building.knowsZone(own.zone)))
    building.fault(
      ['zone'],
      `"${own.zone}" is neither a column of the table nor a time zone that the server knows, such as Europe/Berlin`,
    );
  const zones = { zone: zoneOf(own, types), dbZone: building.dbZone };
  const making: Making = { own, table, key, types, zones, building, built, where: {}, apart: [] };
  built.notes.push(...notesOfKey(table, key));
  Object.assign(making, await conditions(making, own.where, ['where']));
  const rules: Record<string, Rule> = {};
  for (const [name, rule] of Object.entries(own.rules)) Object.assign(rules, await rulesOf(making, name, rule));
  // By now all columns are known that are added.
  for (const [name, { also }] of Object.entries(own.rules).filter(([, rule]) => rule.also.length > 0)) {
    const made = await alsoOf(making, also, ['rules', name, 'also']);
    for (const rule of [entryOf(rules, name), rules[`${name} (missed)`]]) if (rule) rule.also = made;
  }
  const columns = { ...types, ...built.columns };
  const inner = innerNames(Object.keys(columns), key);
  const inRules = withInnerNames(rules, inner);
  const isUsed = ([name]: [string, unknown]) => name === key || isNamedIn(inRules, name);
  const column = ([name, type]: [string, string]): [string, Column] => {
    const is = inner.get(name);
    return is === undefined ? [name, { kind: 'plain', type }] : [is, { kind: 'plain', type, is: name }];
  };
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
      columns: Object.fromEntries(Object.entries(columns).map(column).filter(isUsed)),
    },
    rules: inRules,
  };
  return { job, table, ...built };
}

function keyOf({ id }: OwnJob, table: Seen, { fault }: Building): string {
  const { primaryKey, columns } = table;
  const key = id ?? (primaryKey.length === 1 ? primaryKey[0] : undefined);
  const place = `${table.schema}.${table.name}`;
  if (key === undefined)
    fault(
      ['table'],
      `the primary key of ${place} has ${primaryKey.length} columns: say with "id" which column names a row`,
    );
  else if (!Object.hasOwn(columns, key)) fault(['id'], noColumn(key, columns));
  else if (!Object.hasOwn(table.notNull, key))
    fault(['id'], `"${key}" may be null: the column that names a row is "not null"`);
  else if (!table.isPartitioned && !table.unique.includes(key))
    fault(['id'], `two rows may have the same "${key}": the column that names a row has a unique index of its own`);
  return key ?? 'id';
}

async function rulesOf(making: Making, name: string, rule: OwnRule): Promise<Record<string, Rule>> {
  const { types, zones } = making;
  const path: Path = ['rules', name];
  // Where the due time is a column of that name, both are the same.
  const words = WORDS.filter((word) => plainColumn(rule.due, types) !== word);
  // A rule with a fault is read to its end, as all faults are named.
  const { due, apart: itself } = (await dueSql(making, rule.due, [...path, 'due'])) ?? { due: 'null' };
  const { where, apart } = await conditions(making, rule.where, [...path, 'where']);
  if (itself !== undefined) {
    where[HAS_COME] = itself;
    apart.push(HAS_COME);
  }
  const fails: Conditions = {};
  const telling: Telling = {
    key: making.key,
    types: { ...types, ...making.built.columns },
    zones,
    fault: making.building.fault,
  };
  for (const [sentence, sql] of Object.entries(rule.fails)) {
    const here = [...path, 'fails', sentence];
    const reading = await read(making, sql, here, { words });
    if (reading && reading.type !== 'boolean') making.building.fault(here, noCondition(reading));
    else if (reading) fails[sentence] = reading.sql;
    checkText(telling, sentence, here, [], 'it has no place in a sentence that is logged');
  }
  const usesZone = due.includes(zones.zone) || (rule.repeat ?? rule.late) !== undefined;
  if (usesZone && making.own.zone !== undefined && Object.hasOwn(types, making.own.zone))
    fails[`the zone '{${making.own.zone}}' is not known`] = `not scheduler.known_zone(${zones.zone})`;
  if (rule.once !== undefined) keepOnce(making, rule.once, rule, [...path, 'once']);
  const set = await setOf(making, rule, due, words, path);
  const made: Rule = { due, where, apart, mustEnd: !rule.delete, ...(Object.keys(fails).length > 0 && { fails }) };
  Object.assign(telling.types, making.built.columns);
  // Listeners need not know what "repeat" keeps for itself.
  const kept = rule.repeat === undefined ? undefined : firstOf(plainColumn(rule.due, types));
  const columns = Object.keys(set).filter((column) => column !== kept);
  const event = eventOf(telling, rule, columns, [...path, 'event']);
  if (rule.delete) Object.assign(made, { delete: true });
  else made.set = set;
  if (event) made.event = event;
  if (rule.once === undefined) return { [name]: made };
  made.where = { ...where, 'it was not done for this time': `${quoteName(rule.once)} is distinct from ${due}` };
  if (rule.late === undefined || !event) return { [name]: made };
  const end = `scheduler.moved(${due}, ${quoteText(rule.late)}::interval, null, ${zones.zone})`;
  const missed: Rule = {
    ...made,
    where: { ...made.where, [`it is later than ${rule.late}`]: `now > ${end}` },
    set: { [rule.once]: 'due_at' },
    event: { ...event, type: `${event.type}.missed` },
  };
  made.where = { ...made.where, [`it is no later than ${rule.late}`]: `now <= ${end}` };
  return { [`${name} (missed)`]: missed, [name]: made };
}

const targetOf = (sql: string) =>
  /^INSERT INTO ((?:"(?:[^"]|"")+"|[^\s."])+(?:\.(?:"(?:[^"]|"")+"|[^\s."])+)?)/.exec(sql)![1]!;

async function alsoOf({ building, built }: Making, statements: string[], path: Path): Promise<Also[]> {
  const also: Also[] = [];
  for (const [n, statement] of statements.entries()) {
    const fault = (message: string, offset?: number) => building.fault([...path, n], message, offset);
    const reading = await building.readStatement(statement, built.columns);
    if ('message' in reading) fault(reading.message, reading.offset);
    else if (!reading.sql.startsWith('INSERT INTO ') || reading.returns) fault(ALSO);
    else if (reading.strangers.length > 0) fault(ofStrangers(reading.strangers));
    else if (reading.acting.some((name) => REACHING.test(name))) fault(mayAct(reading.acting));
    else if (reading.views.includes(targetOf(reading.sql)))
      fault(`"also" inserts into a table: ${targetOf(reading.sql)} is not one`);
    else if (!reading.readsChanged)
      fault('"also" inserts what it reads from "changed", the rows that were changed: this does not read it');
    else {
      also.push({ reads: reading.columns, sql: reading.sql });
      for (const table of reading.tables) {
        const rights = reading.sql.startsWith(`INSERT INTO ${table} `) ? inserting(reading.sql) : ['select'];
        need(built, { table, rights });
      }
      need(built, ...reading.schemas.map(usageOf));
      Object.assign(built.functions, reading.functions);
    }
  }
  return also;
}

/** To see a conflict is to read. */
const inserting = (sql: string) => [
  'insert',
  ...(sql.includes('ON CONFLICT') ? ['select'] : []),
  ...(sql.includes('DO UPDATE') ? ['update'] : []),
];

function keepOnce({ types, built, building }: Making, column: string, { due, set }: OwnRule, path: Path): void {
  const type = entryOf(types, column);
  if (plainColumn(due, types) === column)
    building.fault(path, `"${column}" is the due time itself: name a column that keeps which one was done`);
  else if (Object.hasOwn(set, column))
    building.fault(path, `"once" sets "${column}", and so does "set": leave it out there`);
  else if (type === undefined) built.columns[column] = 'timestamp with time zone';
  else if (type !== 'timestamp with time zone')
    building.fault(path, `"${column}" is of type ${type}: it must be timestamptz, to keep the time exactly`);
}

/** When it is due; and a condition besides, where only the batch can ask the expression itself. */
async function dueSql(
  making: Making,
  due: OwnRule['due'],
  path: Path,
): Promise<{ due: string; apart?: string } | undefined> {
  const { types, zones, building, built } = making;
  try {
    const sql = dueOf(due, types, zones);
    if (sql !== undefined) return { due: sql };
  } catch (error) {
    if (!(error instanceof NotATime)) throw error;
    building.fault(path, error.message, error.offset);
    return undefined;
  }
  const reading = await read(making, due as string, path);
  if (!reading) return undefined;
  const at = instantOf(reading.sql, reading.type, zones);
  const obstacle = at ? whyNotGuarded(reading) : undefined;
  if (!at) building.fault(path, `a due time is a timestamp or a date, and this is of type ${reading.type}`);
  else if (readsClock(reading, due as string))
    building.fault(path, 'a due time does not read the clock: it is a time that the row tells');
  else if (reading.isSafe) return { due: at };
  else if (obstacle) building.fault(path, obstacle);
  else {
    const { sql, statement } = guarded(reading, types, zones.dbZone);
    built.makes.push(statement);
    return { due: instantOf(sql, reading.type, zones)!, apart: `${at} <= now` };
  }
  return undefined;
}

/** The new values of a row: those of "set", "once" and "repeat". */
async function setOf(
  making: Making,
  rule: OwnRule,
  due: string,
  words: string[],
  path: Path,
): Promise<Record<string, string>> {
  const { types, zones, table, building, built } = making;
  const set: Record<string, string> = {};
  for (const [column, sql] of Object.entries(rule.set)) {
    const here = [...path, 'set', column];
    if (!Object.hasOwn(types, column)) building.fault(here, noColumn(column, types));
    else if (column === making.key)
      building.fault(here, `the column "${column}" names the row: a rule does not change it`);
    else if (table.generated.includes(column))
      building.fault(here, `the column "${column}" is generated: nobody can set it`);
    else {
      const reading = await read(making, sql, here, { column, words });
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
  if (Object.hasOwn(set, column))
    building.fault([...path, 'set', column], `"repeat" sets "${column}": leave it out of "set"`);
  const first = firstOf(column);
  if (!Object.hasOwn(types, first)) built.columns[first] = 'timestamp without time zone';
  const next = `scheduler.repeated(${due}, ${quoteName(first)}, ${quoteText(rule.repeat)}::interval, ${zones.zone}, now)`;
  set[column] = stored(`(${next}).next`, types[column]!, zones);
  set[first] = `(${next}).start`;
  return set;
}

/** The column that keeps the wall clock of the first time. A name has 63 bytes; PostgreSQL would cut a longer one without a word. */
function firstOf(column = ''): string {
  let short = column;
  while (Buffer.byteLength(short) > 57) short = [...short].slice(0, -1).join('');
  return `${short}_first`;
}

/** An instant, as a column of that type holds it. */
function stored(instant: string, type: string, { zone, dbZone }: Zones): string {
  if (type === 'date') return `(${instant} at time zone ${zone})::date`;
  return type.includes('without') ? `${instant} at time zone ${quoteText(dbZone)}` : instant;
}
