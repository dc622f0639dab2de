import { DateTime } from 'luxon';
import { changes, instantOf, MINUTE } from './calendar.ts';

/** What jobs of your own do, worked out with luxon. Nothing here comes from src. */

export interface Span {
  months?: number;
  days?: number;
  minutes?: number;
}

/** A due time: a moment of the row, moved by a span and set to a time of the day. */
export interface Form {
  span?: Span;
  /** "09:30". */
  hour?: string;
}

const FIRST = Date.UTC(2025, 0, 1);
const LAST = Date.UTC(2032, 0, 1);

/** The instant of a wall clock, which is written as milliseconds as if it were UTC. */
export const instant = (wall: number, zone: string): number => instantOf(zone, changes(zone, FIRST, LAST), wall);
export const wallOf = (at: number, zone: string): number =>
  DateTime.fromMillis(at, { zone }).setZone('UTC', { keepLocalTime: true }).toMillis();

const plus = (wall: number, { months = 0, days = 0 }: Span, times = 1): number =>
  DateTime.fromMillis(wall, { zone: 'UTC' })
    .plus({ months: months * times })
    .plus({ days: days * times })
    .toMillis();

export function dueOf(at: number, { span, hour }: Form, zone: string): number {
  const { minutes = 0 } = span ?? {};
  const byCalendar = hour !== undefined || span?.months || span?.days;
  if (!byCalendar) return at + minutes * MINUTE;
  const moved = instant(plus(wallOf(at, zone), span ?? {}), zone) + minutes * MINUTE;
  if (hour === undefined) return moved;
  const [hours, mins] = hour.split(':').map(Number) as [number, number];
  const day = DateTime.fromMillis(wallOf(moved, zone), { zone: 'UTC' }).startOf('day').toMillis();
  return instant(day + (hours * 60 + mins) * MINUTE, zone);
}

export interface ModelRow {
  id: string;
  zone: string;
  /** Null: never. */
  at: number | null;
  /** What a span in the row says, and a count. */
  span: Span;
  times: number;
  open: boolean;
  /** The rule that ends it fails on it. */
  bad: boolean;
  /** It was reminded for this time. */
  remindedFor: number | null;
  state: 'new' | 'over';
  endedAt: number | null;
  /** When it was changed, by the clock of the tick. */
  changedAt: number | null;
  again: number | null;
  firstAgain: number | null;
  count: number;
}

type SpanOf = Form & { ofRow?: 1 | -1; counted?: keyof Span };

export interface ModelJob {
  remind?: { due: SpanOf; lateMinutes?: number };
  end?: { due: SpanOf };
  /** Which is written before which does not matter to a row, unless a tick is late. */
  purge?: { span: Span };
  repeat?: { every: Span };
}

export interface Happened {
  at: number;
  rule: string;
  id: string;
}

const formOf = ({ ofRow, counted, span, hour }: SpanOf, row: ModelRow): Form => {
  const of = counted ? { [counted]: row.times } : ofRow ? negated(row.span, ofRow) : span;
  return { ...(of && { span: of }), ...(hour !== undefined && { hour }) };
};
const negated = ({ months = 0, days = 0, minutes = 0 }: Span, by: number): Span => ({
  ...{ months: months * by, days: days * by, minutes: minutes * by },
});

/** When the rules of a job next act on a row, whatever they do first. */
export function dues(job: ModelJob, row: ModelRow): { remind?: number; end?: number; purge?: number; repeat?: number } {
  const moment = ({ due }: { due: SpanOf }) => dueOf(row.at!, formOf(due, row), row.zone);
  const remind = job.remind && row.at !== null ? moment(job.remind) : undefined;
  return {
    ...(remind !== undefined && row.open && remind !== row.remindedFor && { remind }),
    ...(job.end && row.at !== null && row.open && !row.bad && row.state === 'new' && { end: moment(job.end) }),
    ...(job.purge &&
      row.state === 'over' &&
      row.endedAt !== null && { purge: dueOf(row.endedAt, { span: job.purge.span }, row.zone) }),
    ...(job.repeat && row.again !== null && { repeat: row.again }),
  };
}

const RULES = ['remind', 'end', 'purge', 'repeat'] as const;

/**
 * One tick. It changes the rows, and tells what it did to them. It asks which rules have a due row, works on those in the order
 * of the file, and asks again: so a rule that comes due by another one's work has its turn after those that were due before.
 */
export function tick(job: ModelJob, rows: ModelRow[], now: number): Happened[] {
  const told: Happened[] = [];
  const isDue = (row: ModelRow, rule: (typeof RULES)[number]) =>
    (dues(job, row)[rule] ?? Number.POSITIVE_INFINITY) <= now;
  for (;;) {
    const asked = RULES.filter((rule) => rows.some((row) => isDue(row, rule)));
    if (asked.length === 0) return told;
    for (const rule of asked)
      for (const row of rows.filter((each) => isDue(each, rule)))
        told.push({ at: now, rule: act(job, rows, row, rule, dues(job, row)[rule]!, now), id: row.id });
  }
}

function act(job: ModelJob, rows: ModelRow[], row: ModelRow, rule: string, due: number, now: number): string {
  if (rule === 'remind') {
    row.remindedFor = due;
    const { lateMinutes } = job.remind!;
    return lateMinutes !== undefined && now > due + lateMinutes * MINUTE ? 'remind (missed)' : 'remind';
  }
  if (rule === 'end') Object.assign(row, { state: 'over', endedAt: due, changedAt: now });
  if (rule === 'purge') rows.splice(rows.indexOf(row), 1);
  if (rule === 'repeat') {
    const { again, first } = nextOf(due, row.firstAgain, job.repeat!.every, row.zone, now);
    Object.assign(row, { again, firstAgain: first, count: row.count + 1 });
  }
  return rule;
}

function nextOf(due: number, kept: number | null, every: Span, zone: string, now: number) {
  if (every.minutes) {
    const length = every.minutes * MINUTE;
    return { again: due + (Math.floor((now - due) / length) + 1) * length, first: null };
  }
  let first = kept ?? wallOf(due, zone);
  let n = 0;
  while (instant(plus(first, every, n), zone) < due) n++;
  if (instant(plus(first, every, n), zone) !== due) [first, n] = [wallOf(due, zone), 0];
  let again = due;
  while (again <= now || again <= due) again = instant(plus(first, every, ++n), zone);
  return { again, first };
}

/** The next instant after this one at which any rule acts. */
export function nextDue(job: ModelJob, rows: ModelRow[], now: number): number | null {
  const all = rows.flatMap((row) => Object.values(dues(job, row))).filter((due) => due > now);
  return all.length > 0 ? Math.min(...all) : null;
}
