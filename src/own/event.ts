import type { Event } from '../job/define.ts';
import { columnsIn, quoteName } from '../job/expressions.ts';
import type { OwnRule, Path } from './definition.ts';
import { instantOf, noColumn, type Types, type Zones } from './due.ts';

/** What a rule tells of a row. */

export interface Telling {
  key: string;
  types: Types;
  zones: Zones;
  fault(path: Path, message: string): void;
}

const SECRET = /passw(or)?d|secret|token|api_?key|private_?key|(^|_)(pin|otp)$/i;
const AS_IS = /^(smallint|integer|bigint|numeric|real|double|boolean|date)/;
const LONGEST = 200;
const LONGEST_JSON = 2000;
const LONGEST_CHANNEL = 63;

const TELLS = 'name it in "data" if listeners may read it';

/** The columns in the braces of a text must be there, and no secrets. */
export function checkText(telling: Telling, text: string, path: Path, named: string[] = [], remedy = TELLS): void {
  for (const column of columnsIn(text)) checkColumn(telling, column, path, named, remedy);
}

function checkColumn({ types, fault }: Telling, column: string, path: Path, named: string[], remedy = TELLS): void {
  if (!Object.hasOwn(types, column)) fault(path, noColumn(column, types));
  else if (SECRET.test(column) && !named.includes(column))
    fault(path, `the column "${column}" looks like a secret: ${remedy}`);
}

/** In "set" are the columns that the rule sets. */
export function eventOf(telling: Telling, rule: OwnRule, set: string[], path: Path): Event | undefined {
  if (!rule.event) return undefined;
  const { key, types, zones, fault } = telling;
  const { type, channels, message, data: named } = rule.event;
  const ofDue = Object.keys(types).filter((column) =>
    typeof rule.due !== 'string'
      ? [rule.due.date, rule.due.time].includes(column)
      : new RegExp(`(^|\\W)${column.replace(/\W/g, '\\$&')}(\\W|$)`).test(rule.due),
  );
  const columns = named ?? [...new Set([...ofDue, ...set])];
  for (const [n, column] of columns.entries())
    checkColumn(telling, column, named ? [...path, 'data', n] : path, named ?? []);
  for (const [n, channel] of channels.entries()) {
    const here = [...path, 'channels', n];
    checkText(telling, channel, here, named);
    if (Buffer.byteLength(channel.replace(/\{[^{}]+\}/g, '')) > LONGEST_CHANNEL)
      fault(here, `a channel has up to ${LONGEST_CHANNEL} bytes, and "${channel}" has more`);
  }
  checkText(telling, message ?? '', [...path, 'message'], named);
  const data = Object.fromEntries(columns.map((column) => [column, told(column, types[column] ?? 'text', zones)]));
  return { type, channels, data: { id: quoteName(key), ...data }, ...(message !== undefined && { message }) };
}

function told(column: string, type: string, zones: Zones): string {
  const name = quoteName(column);
  if (/^timestamp/.test(type)) return `scheduler.iso(${instantOf(name, type, zones)})`;
  const text = `left(${name}::text, ${LONGEST})`;
  // Cut in its middle, it would be no JSON any more.
  if (/^jsonb?$/.test(type))
    return `case when length(${name}::text) <= ${LONGEST_JSON} then to_jsonb(${name}) else to_jsonb(${text}) end`;
  return AS_IS.test(type) ? name : text;
}
