import { type Also, bounded, type Event, type Job, type Rule, STAMP, type Tables } from './define.ts';
import { columnsIn, NOW, namesIn, quoteName, quoteText, reading, template } from './expressions.ts';
import { conditionsOf } from './lay.ts';
import { type Found, physical, storedKey, storedName, TEXT } from './tables.ts';

interface Compiling {
  job: Job;
  tables: Tables;
  found: Found;
  columns: string[];
  dbZone: string;
  /** An expression as it is asked of the row r. */
  of: (sql: string) => string;
}

export interface Changing {
  /** More columns for `todo`. */
  carry: string[];
  /** Common table expressions from `todo` to `outcome`. */
  change: string;
}

/** A text of a row in an event or a message is cut here: a value of any size must cost no more than its own row. */
const LONGEST_IN_MESSAGE = 200;

/** What a rule carries along, and the common table expressions from `todo` to `outcome`. */
export function change(name: string, rule: Rule, compiling: Compiling): Changing {
  const { of, tables } = compiling;
  const carried = Object.entries(rule.carry ?? {}).map(([as, sql]) => `${of(sql)} as ${quoteName(as)}`);
  if (rule.change) return { carry: carried, change: rule.change(tables) };
  const events = [rule.event ?? {}].flat();
  const read = readBy(rule, events, compiling.columns);
  const also = (rule.also ?? []).map((each, n) => `also_${n + 1} as (${alsoOf(each, compiling)}),\n    `).join('');
  return {
    carry: [...read.map((column) => `r.${quoteName(column)}`), ...carried],
    change: `changed as (${write(rule, read, compiling)}),
    ${also}outcome as (${events.map((event, n) => told(event, n + 1, name, rule, compiling)).join('\n      union all\n      ')})`,
  };
}

/** In the statement, the columns have the names of the table; and it sees none that the engine has added. */
function alsoOf({ reads, sql }: Also, { job }: Compiling): string {
  const columns = reads.map((name) => `c.${quoteName(name)} as ${quoteName(storedName(job.table, name))}`);
  return `with changed as (select ${columns.join(', ')} from changed as c) ${sql}`;
}

/** The columns of the row that its new values, its events and its other statements are made from. */
function readBy({ set = {}, carry = {}, also = [] }: Rule, events: Event[], columns: string[]): string[] {
  const texts = events.flatMap(({ data = {}, when = '', due = '', message = '', channels = [] }) => [
    ...Object.values(data),
    when,
    due,
    ...[message, ...channels].flatMap(columnsIn).map(quoteName),
  ]);
  const sql = [...Object.values(set), ...texts, ...also.flatMap(({ reads }) => reads.map(quoteName))];
  return namesIn(sql.join(' , '), columns).filter((column) => column !== 'id' && !Object.hasOwn(carry, column));
}

/** The statement that changes or deletes the rows of `todo`. */
function write(rule: Rule, read: string[], compiling: Compiling): string {
  const { job, tables, found, dbZone } = compiling;
  const { table } = job;
  const carried = Object.keys(rule.carry ?? {});
  const before = reading(
    'todo',
    { columns: ['id', ...read, ...carried], quoted: table.quoted },
    { due_at: 'todo.due_at' },
  );
  const set = Object.fromEntries(Object.entries(rule.set ?? {}).map(([column, sql]) => [column, before(sql)]));
  const isIt = `it.${quoteName(storedKey(table))} = todo.id`;
  const after = (column: string) => `${physical(table, found, column, dbZone, 'it.')} as ${quoteName(column)}`;
  const returning = [
    ...['todo.id', 'todo.due_at', ...read.map(after)],
    ...carried.map((as) => `todo.${quoteName(as)}`),
    ...(rule.also?.length ? [`${NOW} as now`] : []),
    ...(rule.mustEnd ? [`${refusedIfStillDue(rule, compiling)} as ended`] : []),
  ].join(', ');
  const ofTable = tables[table.name]!;
  return rule.delete
    ? ofTable.delete(() => ({ using: 'todo', where: isIt, returning }))
    : ofTable.update(() => ({ set, from: 'todo', where: isIt, returning }));
}

/** Faults of a rule, which are found on rows. */
export const STILL_DUE = 'the change left it due';
export const TWICE = 'one pass would change it twice by this rule, for the same time';

/** Asked of the row as the change and the triggers of its table left it. */
function refusedIfStillDue(rule: Rule, { job, tables, found, columns, dbZone }: Compiling): string {
  const { due } = rule;
  const { table } = job;
  const meanings = Object.fromEntries(columns.map((name) => [name, physical(table, found, name, dbZone, 'it.')]));
  const after = reading('it', { columns: [], quoted: table.quoted, meanings }, { due_at: 'todo.due_at' });
  // A change makes one of these false, mostly, and then the due time is not worked out once more.
  const isFor = Object.values(conditionsOf(rule, tables, job.name)).map((each) => `(${after(each)})`);
  const isDue = [...isFor, `${after(due)} <= least(todo.due_at, ${NOW})`];
  return `case when ${isDue.join(' and ')} then scheduler.refuse('${STILL_DUE}') end`;
}

function told(event: Event, step: number, rule: string, { carry = {} }: Rule, compiling: Compiling): string {
  const { job, columns, found } = compiling;
  const { quoted } = job.table;
  const of = reading(
    'changed',
    { columns: ['id', ...columns, ...Object.keys(carry)], quoted },
    { due_at: 'changed.due_at' },
  );
  const isInstant = (sql: string) =>
    sql === 'due_at' || (job.table.columns[sql]?.kind === 'instant' && !Object.hasOwn(carry, sql));
  const value = (sql: string, otherwise = of(sql)) => {
    if (sql === 'now') return STAMP;
    return isInstant(sql) ? `scheduler.iso(${of(sql)})` : otherwise;
  };
  const isText = (sql: string) => {
    const { reads, type } = job.table.columns[sql] ?? {};
    return (
      !Object.hasOwn(carry, sql) &&
      TEXT.test((reads === undefined ? found.columns[storedName(job.table, sql)] : type) ?? '')
    );
  };
  const inData = (sql: string) => value(sql, isText(sql) ? bounded(of(sql)) : of(sql));
  const data = Object.entries(event.data ?? { id: 'id' }).map(([as, sql]) => `${quoteText(as)}, ${inData(sql)}`);
  const name = (column: string) => (quoted ? quoteName(column) : column);
  const shown = (column: string) => value(column, `left(${of(name(column))}::text, ${LONGEST_IN_MESSAGE})`);
  if (event.message) data.push(`'message', ${template(event.message, shown, true)}`);
  // A name that somebody's row decides must not be cut to that of another channel.
  const ofChannel = (sql: string) => (quoted ? `scheduler.channel(${sql})` : sql);
  const channels = (event.channels ?? []).map((channel) =>
    ofChannel(template(channel, (column) => `${of(name(column))}::text`, false)),
  );
  return `
      select ${step} as step, ${quoteText(event.transition ?? rule)} as transition, ${event.type ? quoteText(event.type) : 'null::text'} as type,
        ${channels.length > 0 ? `array_remove(array[${channels.join(', ')}]::text[], null)` : "'{}'::text[]"} as channels,
        changed.id::text as entity_id, ${event.due ? of(event.due) : 'changed.due_at'} as due_at, jsonb_build_object(${data.join(', ')}) as data
      from changed${event.when ? ` where ${of(event.when)}` : ''}`;
}
