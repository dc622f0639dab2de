import { usageError } from './errors.ts';

/**
 * The one owner of luxon: times that people write, and times that people read. Rows are compared in SQL. luxon is loaded
 * with the first time that somebody wrote, so that an idle tick does not pay for it.
 */

const SPAN = /^(\d{1,6})\s*(s|m|h|d|w|seconds?|min|minutes?|hours?|days?|weeks?)$/;
const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

const spanInSeconds = (text: string): number | undefined => {
  const match = SPAN.exec(text.trim().toLowerCase());
  return match ? Number(match[1]) * SECONDS[match[2]![0] as keyof typeof SECONDS] : undefined;
};

export function parseSpan(text: string, option: string): number {
  const seconds = spanInSeconds(text);
  if (seconds === undefined) {
    throw usageError(`${option} is "${text}", which is not a span of time; valid: 90m, 24h, 7d, "2 hours".`);
  }
  return seconds;
}

/** An instant as somebody types it: ISO 8601 (without an offset: in the given zone), or an age such as 90m, 2h, 7d. */
export async function parseInstant(text: string, option: string, zone: string): Promise<string> {
  const { DateTime } = await import('luxon');
  const age = spanInSeconds(text);
  const at =
    age === undefined
      ? DateTime.fromISO(text.trim().replace(' ', 'T'), { zone })
      : DateTime.utc().minus({ seconds: age });
  if (!at.isValid) {
    throw usageError(
      `${option} is "${text}", which is not a time; valid: 2026-11-20T10:00, 2026-11-20T10:00:00Z, or an age such as 2h or 7d.`,
    );
  }
  return at.toUTC().toISO();
}

/** As PostgreSQL writes an instant, "2026-11-20 10:00:00+00", in ISO 8601. */
export function toIso(instant: string): string {
  const at = new Date(instant);
  return Number.isNaN(at.getTime()) ? instant : at.toISOString();
}

export const isFuture = (instant: string): boolean => Date.parse(instant) > Date.now();

/** An instant as SQL answers it (ISO 8601 in UTC), for a table: to the second, which is as much as anybody compares. */
export const readable = (instant: string | null): string =>
  instant?.replace('T', ' ').replace(/(:\d\d)(\.\d+)?Z$/, '$1Z') ?? '';

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
