import { DateTime, Duration } from 'luxon';
import { usageError } from './errors.ts';

/** The one owner of luxon: times that people write, and times that people read. Rows are compared in SQL. */

/** An instant as somebody types it: ISO 8601 (without an offset: in the given zone), or an age such as 90m, 2h, 7d. */
export function parseInstant(text: string, option: string, zone: string): string {
  const age = /^(\d{1,6})\s*(s|m|h|d|w)$/.exec(text.trim());
  const units = { s: 'seconds', m: 'minutes', h: 'hours', d: 'days', w: 'weeks' } as const;
  const at = age
    ? DateTime.utc().minus({ [units[age[2] as keyof typeof units]]: Number(age[1]) })
    : DateTime.fromISO(text.trim().replace(' ', 'T'), { zone });
  if (!at.isValid) {
    throw usageError(
      `${option} is "${text}", which is not a time; valid: 2026-11-20T10:00, 2026-11-20T10:00:00Z, or an age such as 2h or 7d.`,
    );
  }
  return at.toUTC().toISO();
}

export function parseSpan(text: string, option: string): number {
  const match = /^(\d{1,6})\s*(s|m|h|d|w)$/.exec(text.trim());
  const seconds = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
  if (!match)
    throw usageError(`${option} is "${text}", which is not a span; valid: a number and s, m, h, d or w, such as 24h.`);
  return Number(match[1]) * seconds[match[2] as keyof typeof seconds];
}

export const isFuture = (instant: string): boolean => DateTime.fromISO(instant) > DateTime.utc();

/** 0.4 → "0 s", 95 → "1 min 35 s", 90000 → "1 d 1 h": two units are as much as anybody reads. */
export function inWords(seconds: number): string {
  const parts = Duration.fromMillis(Math.round(seconds) * 1000)
    .shiftTo('days', 'hours', 'minutes', 'seconds')
    .toObject();
  const words = [
    [parts.days, 'd'],
    [parts.hours, 'h'],
    [parts.minutes, 'min'],
    [parts.seconds, 's'],
  ].filter(([count]) => Number(count) > 0);
  return words.length === 0
    ? '0 s'
    : words
        .slice(0, 2)
        .map(([count, unit]) => `${count} ${unit}`)
        .join(' ');
}
