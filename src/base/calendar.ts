import { usageError } from './errors.ts';

/**
 * The one owner of luxon: times that people write, and times that people read. Rows are compared in SQL. luxon is loaded
 * with the first time that somebody wrote, so that an idle tick does not pay for it.
 */

const PART = '(\\d{1,6})\\s*(seconds?|minutes?|min|hours?|days?|weeks?|[smhdw])\\s*';
const SPAN = new RegExp(`^(?:${PART})+$`);
const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };
type Unit = keyof typeof SECONDS;

/** 90m, 1h30m, "2 hours", and what inWords() writes. A bare number has the unit that its option always had. */
export function spanInSeconds(text: string, unitOfNumber?: Unit): number | undefined {
  const given = text.trim().toLowerCase();
  if (unitOfNumber && /^\d{1,9}$/.test(given)) return Number(given) * SECONDS[unitOfNumber];
  if (!SPAN.test(given)) return undefined;
  const parts = [...given.matchAll(new RegExp(PART, 'g'))];
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * SECONDS[unit![0] as Unit], 0);
}

export function parseSpan(text: string, option: string): number {
  const seconds = spanInSeconds(text.replace(/^\+/, ''));
  if (seconds === undefined) {
    throw usageError(`${option} is "${text}", which is not a span of time; valid: 90m, 24h, 7d, "2 hours".`);
  }
  return seconds;
}

/** No job is due before or after these years. PostgreSQL and JavaScript write the years beyond them in other ways. */
const [FIRST_YEAR, LAST_YEAR] = [1900, 9999];

/**
 * An instant as somebody types it: ISO 8601; a time ahead, such as +2h; an age, such as 7d or -7d. `say` hears in which zone a
 * time without an offset was read.
 */
export async function parseInstant(
  text: string,
  option: string,
  zone: string,
  say: (sentence: string) => void = () => {},
): Promise<string> {
  const { DateTime } = await import('luxon');
  const [, sign, rest] = /^\s*([+-]?)(.*)$/s.exec(text)!;
  const span = spanInSeconds(rest!);
  const iso = text.trim().replace(' ', 'T');
  const hasOffset = /T.*(z|[+-]\d\d(:?\d\d)?)$/i.test(iso);
  const offset = (at: number) => DateTime.fromMillis(at, { zone }).offset * 60_000;
  let at = DateTime.fromISO(iso, { zone: 'UTC' });
  if (span !== undefined) at = DateTime.utc().plus({ seconds: sign === '+' ? span : -span });
  else if (at.isValid && !hasOffset) at = DateTime.fromMillis(firstAt(at.toMillis(), offset), { zone: 'UTC' });
  if (!at.isValid && span === undefined) {
    throw usageError(
      `${option} is "${text}", which is not a time; valid: 2026-11-20T10:00, 2026-11-20T10:00:00Z, +2h, or an age such as 2h or 7d.`,
    );
  }
  if (!at.isValid || at.year < FIRST_YEAR || at.year > LAST_YEAR) {
    throw usageError(`${option} is "${text}", which lies outside the years ${FIRST_YEAR} to ${LAST_YEAR}.`);
  }
  const instant = at.toUTC().toISO();
  if (span === undefined && !hasOffset) say(`${option} ${text} is read in ${zone}: ${readable(instant)}`);
  return instant;
}

const DAY_MS = 86_400_000;

/** The first of two where a clock shows the time twice; the first instant after the gap where it never does. */
function firstAt(shown: number, offset: (at: number) => number): number {
  const around = [offset(shown - DAY_MS), offset(shown + DAY_MS)];
  let [early, late] = [shown - Math.max(...around), shown - Math.min(...around)];
  for (const each of [early, late]) if (each + offset(each) === shown) return each;
  const after = offset(late);
  while (late - early > 1) {
    const middle = Math.floor((early + late) / 2);
    if (offset(middle) === after) late = middle;
    else early = middle;
  }
  return late;
}

/** As PostgreSQL writes an instant, "2026-11-20 10:00:00+00", in ISO 8601. */
export function toIso(instant: string): string {
  const at = new Date(instant);
  return Number.isNaN(at.getTime()) ? instant : at.toISOString();
}

export const isFuture = (instant: string): boolean => Date.parse(instant) > Date.now();

let inZone: ((instant: string) => string | undefined) | undefined;

/** From now on people read times in this zone. */
export async function showTimesIn(zone: string): Promise<void> {
  if (zone === 'UTC') return;
  const { DateTime } = await import('luxon');
  inZone = (instant) => {
    const at = DateTime.fromISO(instant, { zone });
    return at.isValid ? at.toFormat('yyyy-MM-dd HH:mm:ssZZ') : undefined;
  };
}

/** An instant as SQL answers it (ISO 8601 in UTC), for a table: to the second, which is as much as anybody compares. */
export const readable = (instant: string | null): string =>
  inZone?.(instant ?? '') ?? instant?.replace('T', ' ').replace(/(:\d\d)(\.\d+)?Z$/, '$1Z') ?? '';

/** A sentence with instants in it, as SQL writes them. */
export const readableIn = (sentence: string): string =>
  sentence.replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, readable);

/** 0.4 → "0 s", 95 → "1 min 35 s", 90000 → "1 d 1 h": two units are as much as anybody reads. */
export function inWords(seconds: number): string {
  let left = Math.round(seconds);
  const words: string[] = [];
  for (const [unit, size] of Object.entries({ d: 86_400, h: 3600, min: 60, s: 1 })) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) words.push(`${count} ${unit}`);
  }
  return words.slice(0, 2).join(' ') || '0 s';
}

/** Where an instant lies: "in 3 h", "5 min ago", "now". */
export function relative(instant: string, now: string): string {
  const seconds = (Date.parse(instant) - Date.parse(now)) / 1000;
  if (Number.isNaN(seconds)) return instant === '-infinity' ? 'at once' : 'never';
  if (Math.abs(seconds) < 0.5) return 'now';
  return seconds > 0 ? `in ${inWords(seconds)}` : `${inWords(-seconds)} ago`;
}
