import { nearest } from '../base/nearest.ts';
import { quoteName, quoteText } from '../job/expressions.ts';
import type { OwnJob, OwnRule } from './definition.ts';
import { columnName } from './sql.ts';

/** The times that a rule can be written with, as SQL that never raises. A column is written in quotes. */

/** The type of each column of a table. */
export type Types = Record<string, string>;

/** What to say of a name that no column has. */
export function noColumn(column: string, types: Types): string {
  const meant = nearest(column, Object.keys(types));
  return `the table has no column "${column}"; ${meant ? `did you mean "${meant}"?` : `it has ${Object.keys(types).join(', ')}`}`;
}

const COLUMN = String.raw`("(?:[^"]|"")+"|[A-Za-z_]\w*)`;
const UNIT = '(second|minute|hour|day|week|month|year)s?';
const FORM = new RegExp(
  String.raw`^${COLUMN}(?:\s*([+-])\s*(?:(\d{1,6})\s+${UNIT}|${COLUMN}(?:\s+${UNIT})?))?(?:\s+at\s+([01]?\d|2[0-3]):([0-5]\d))?$`,
  'i',
);

export class NotATime extends Error {
  /** The character of it. */
  readonly offset: number | undefined;

  constructor(message: string, offset?: number) {
    super(message);
    this.offset = offset;
  }
}

const MOVED = new RegExp(
  String.raw`^${COLUMN}\s*[+-]\s*(\d[\d.,]*|${COLUMN})\s+(?!at\s)([A-Za-z]\w*)\s*(?:at\s.*)?$`,
  'di',
);
const AT = /\sat\s+(\d\S*)$/di;
const VALID = {
  count: [/^([A-Za-z_"].*|\d{1,6})$/, 'is not a count: that is a whole number, such as 36 for 36 hours'],
  unit: [new RegExp(`^${UNIT}$`, 'i'), 'is not a unit; valid: second, minute, hour, day, week, month, year'],
  time: [/^([01]?\d|2[0-3]):[0-5]\d$/, 'is not a time of the day, from 00:00 to 23:59'],
} as const;

/** What looks like one of the forms, and is none of them. */
function refuse(due: string): void {
  const [, , count, , unit] = MOVED.exec(due)?.indices ?? [];
  for (const [name, place] of Object.entries({ count, unit, time: AT.exec(due)?.indices?.[1] })) {
    const [valid, sentence] = VALID[name as keyof typeof VALID];
    const part = place && due.slice(...place);
    if (part && !valid.test(part)) throw new NotATime(`"${part}" ${sentence}`, place[0]);
  }
}

/** SQL for the zone of a row. */
export const zoneOf = ({ zone }: Pick<OwnJob, 'zone'>, types: Types): string => {
  if (zone === undefined) return ':zone::text';
  return Object.hasOwn(types, zone) ? `coalesce(${quoteName(zone)}::text, :zone::text)` : quoteText(zone);
};

export interface Zones {
  /** SQL for the zone of the row. */
  zone: string;
  dbZone: string;
}

/** SQL for the instant of a due time that has one of the usual forms; undefined for any other SQL. */
export function dueOf(due: OwnRule['due'], types: Types, { zone, dbZone }: Zones): string | undefined {
  if (typeof due !== 'string') {
    const [date, time] = [known(columnName(due.date), types), known(columnName(due.time), types)];
    if (types[date] !== 'date' || !types[time]!.startsWith('time'))
      throw new NotATime(
        `"date" is a column of type date and "time" one of type time, not ${types[date]} and ${types[time]}`,
      );
    return `scheduler.instant(scheduler.opening(${quoteName(date)}, ${quoteName(time)}), ${zone})`;
  }
  const [, first, sign, count, unit, other, otherUnit, hour, minute] = FORM.exec(due.trim()) ?? [];
  if (first === undefined || (other !== undefined && /^at$/i.test(other))) {
    refuse(due);
    return undefined;
  }
  const column = known(columnName(first), types);
  const at = instantOf(quoteName(column), types[column]!, { zone, dbZone });
  if (!at)
    throw new NotATime(
      `"${column}" is of type ${types[column]}, which is neither a timestamp nor a date; write { date: COLUMN, time: COLUMN } for a time of a day`,
    );
  if (sign === undefined && hour === undefined) return at;
  const clock = hour === undefined ? 'null' : quoteText(`${hour}:${minute}`);
  return `scheduler.moved(${at}, ${spanOf({ sign, count, unit, other, otherUnit }, types)}, ${clock}::time, ${zone})`;
}

interface Span {
  sign: string | undefined;
  count: string | undefined;
  unit: string | undefined;
  other: string | undefined;
  otherUnit: string | undefined;
}

function spanOf({ sign = '+', count, unit, other, otherUnit }: Span, types: Types): string {
  if (count !== undefined) return `'${sign === '-' ? '-' : ''}${count} ${unit}'::interval`;
  if (other === undefined) return "'0'::interval";
  const column = known(columnName(other), types);
  const type = types[column]!;
  const minus = sign === '-' ? '-' : '';
  if (otherUnit === undefined) {
    if (type !== 'interval')
      throw new NotATime(`"${column}" is of type ${type}: write its unit behind it, as in "${column} hours"`);
    return `(${minus}${quoteName(column)})`;
  }
  if (!/^(smallint|integer|bigint)$/.test(type))
    throw new NotATime(`"${column}" is of type ${type}, and a count of ${otherUnit}s is a whole number`);
  return `scheduler.span(${minus}${quoteName(column)}::bigint, ${quoteText(otherUnit.toLowerCase())})`;
}

function known(column: string, types: Types): string {
  if (Object.hasOwn(types, column)) return column;
  throw new NotATime(noColumn(column, types));
}

/** An instant, as columns of times hold it; undefined for other types. */
export function instantOf(sql: string, type: string, { zone, dbZone }: Zones): string | undefined {
  if (/^timestamp.* with time zone/.test(type)) return sql;
  if (/^timestamp/.test(type)) return `(${sql} at time zone ${quoteText(dbZone)})`;
  return type === 'date' ? `scheduler.instant(scheduler.opening(${sql}, null), ${zone})` : undefined;
}

/** The column, where a text is the name of one and no more. */
export const columnOf = (text: string): string | undefined =>
  new RegExp(`^${COLUMN}$`).test(text) ? columnName(text) : undefined;

/** The column of a due time that is a column and no more. */
export const plainColumn = (due: OwnRule['due'], types: Types): string | undefined => {
  const name = typeof due === 'string' ? columnOf(due.trim()) : undefined;
  return name !== undefined && Object.hasOwn(types, name) ? name : undefined;
};
