import { bounded, type Event, type Job, type Rule, STAMP, type Tables } from './define.ts';
import { namesIn, quoteName, quoteText, reading, template } from './expressions.ts';
import { type Found, keyOf, physical, TEXT } from './tables.ts';

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
  return {
    carry: [...read.map((column) => `r.${quoteName(column)}`), ...carried],
    change: `changed as (${update(rule, read, compiling)}),
    outcome as (${events.map((event, n) => told(event, n + 1, name, rule, compiling)).join('\n      union all\n      ')})`,
  };
}

/** The columns of the row that its new values and its events are made from. */
function readBy({ set = {}, carry = {} }: Rule, events: Event[], columns: string[]): string[] {
  const texts = events.flatMap(({ data = {}, when = '', due = '', message = '', channels = [] }) => [
    ...Object.values(data),
    when,
    due,
    ...[...[message, ...channels].join(' ').matchAll(/\{(\w+)\}/g)].map(([, column]) => column!),
  ]);
  const names = namesIn([...Object.values(set), ...texts].join(' , '), columns);
  return names.filter((column) => column !== 'id' && !(column in carry));
}

function update(rule: Rule, read: string[], { job: { table }, tables, found, dbZone }: Compiling): string {
  const carried = Object.keys(rule.carry ?? {});
  const before = reading('todo', ['id', 'due_at', ...read, ...carried]);
  const set = Object.entries(rule.set ?? {}).map(([column, sql]) => `${quoteName(column)} = ${before(sql)}`);
  const after = read.map((column) => `${physical(table, found, column, dbZone, 't.')} as ${quoteName(column)}`);
  return `
      ${tables[table.name]!.update} as t set ${set.join(', ')}
      from todo where t.${quoteName(keyOf(table))} = todo.id
      returning ${['todo.id', 'todo.due_at', ...after, ...carried.map((as) => `todo.${quoteName(as)}`)].join(', ')}`;
}

function told(event: Event, step: number, rule: string, { carry = {} }: Rule, compiling: Compiling): string {
  const { job, columns, found } = compiling;
  const of = reading('changed', ['id', 'due_at', ...columns, ...Object.keys(carry)]);
  const isInstant = (sql: string) =>
    sql === 'due_at' || (job.table.columns[sql]?.kind === 'instant' && !(sql in carry));
  const value = (sql: string, otherwise = of(sql)) => {
    if (sql === 'now') return STAMP;
    return isInstant(sql) ? `scheduler.iso(${of(sql)})` : otherwise;
  };
  const isText = (sql: string) => TEXT.test(found.columns[sql] ?? '') && !(sql in carry);
  const inData = (sql: string) => value(sql, isText(sql) ? bounded(of(sql)) : of(sql));
  const data = Object.entries(event.data ?? { id: 'id' }).map(([as, sql]) => `${quoteText(as)}, ${inData(sql)}`);
  const shown = (column: string) => value(column, `left(${of(column)}::text, ${LONGEST_IN_MESSAGE})`);
  if (event.message) data.push(`'message', ${template(event.message, shown, true)}`);
  const channels = (event.channels ?? []).map((channel) => template(channel, (column) => `${of(column)}::text`, false));
  return `
      select ${step} as step, ${quoteText(event.transition ?? rule)} as transition, ${event.type ? quoteText(event.type) : 'null::text'} as type,
        ${channels.length > 0 ? `array_remove(array[${channels.join(', ')}]::text[], null)` : "'{}'::text[]"} as channels,
        changed.id::text as entity_id, ${event.due ? of(event.due) : 'changed.due_at'} as due_at, jsonb_build_object(${data.join(', ')}) as data
      from changed${event.when ? ` where ${of(event.when)}` : ''}`;
}
