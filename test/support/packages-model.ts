import assert from 'node:assert/strict';
import { DateTime, IANAZone } from 'luxon';
import { type Change, changes, DAY, expected, FIRST, HOUR, LAST, MINUTE } from './calendar.ts';

/** The rules of packages once more, without SQL: one row after the other, in memory. */

export interface Package {
  enabled: boolean;
  /** Instants in milliseconds; null: none is set. */
  start: number | null;
  stop: number | null;
  validity: string | null;
  repeats: 'daily' | 'weekly' | 'monthly' | null;
  status: 'active' | 'inactive';
  isActive: boolean;
  /** The window that was last opened; an end of null is never. */
  opened: { start: number | null; end: number | null } | null;
  /** The end that was last acted on. */
  acted: number | null;
  /** The hours that a repetition meant, where a change of the clock or a short month showed others. Void once edited. */
  meant: { start: MeantStart | null; stop: Meant | null };
}

interface Meant {
  at: number;
  wall: number;
}

interface MeantStart extends Meant {
  /** The day of the month that a monthly sale comes back to. */
  day: number;
}

export type Schedule = Pick<Package, 'enabled' | 'start' | 'stop' | 'validity' | 'repeats' | 'status' | 'isActive'>;

export const fresh = (row: Schedule): Package => ({
  ...row,
  opened: null,
  acted: null,
  meant: { start: null, stop: null },
});

/** A clock on the wall of a zone. Wall times are milliseconds as if they were UTC. */
export class Clock {
  readonly #changes: Change[];
  readonly #offset: number;

  constructor(zone: string) {
    this.#changes = changes(zone, FIRST, LAST);
    this.#offset = this.#changes[0]?.before ?? IANAZone.create(zone).offset(FIRST) * MINUTE;
  }

  shown(at: number): number {
    return at + (this.#changes.findLast((change) => change.at <= at)?.after ?? this.#offset);
  }

  instant(wall: number): number {
    const near = this.#changes.find(({ at, before }) => Math.abs(wall - before - at) < 2 * DAY);
    return near ? expected(near, wall) : 2 * wall - this.shown(wall);
  }

  /** False for the second of two instants at which the clock shows the same time. */
  isFirst(at: number): boolean {
    return this.instant(this.shown(at)) === at;
  }
}

const UNITS: Record<string, number> = { minute: MINUTE, hour: HOUR, day: DAY, week: 7 * DAY, month: 30 * DAY };

export function lengthOf(validity: string): number {
  const [count, unit] = validity.split(' ') as [string, string];
  return Number(count) * UNITS[unit.replace(/s$/, '')]!;
}

export function endOf({ start, stop, validity }: Pick<Package, 'start' | 'stop' | 'validity'>): number | null {
  if (stop !== null) return stop;
  return start === null || validity === null ? null : start + lengthOf(validity);
}

const isOver = (row: Package, now: number) => endOf(row) !== null && endOf(row)! <= now;
const hasBegun = (row: Package, now: number) => row.start !== null && row.start <= now;
const wasActedOn = (row: Package) => row.acted !== null && row.acted === endOf(row);
const wasOpened = ({ opened, ...row }: Package) =>
  opened !== null && opened.start === row.start && opened.end === endOf(row);
const hasClosed = (row: Package, now: number) => row.enabled && isOver(row, now) && !wasActedOn(row);

interface Occurrence {
  start: MeantStart;
  stop: Meant | null;
  end: number | null;
}

const dayOf = (wall: number) => new Date(wall).getUTCDate();

function wallAfter({ wall, day }: MeantStart, repeats: Package['repeats'], n: number): number {
  if (repeats !== 'monthly') return wall + n * (repeats === 'daily' ? DAY : 7 * DAY);
  const month = DateTime.fromMillis(wall, { zone: 'UTC' }).set({ day: 1 }).plus({ months: n });
  return month.set({ day: Math.min(day, month.daysInMonth!) }).toMillis();
}

/** The n-th window after this one. */
function occurrence(row: Package, n: number, clock: Clock): Occurrence {
  const shown = (at: number) => ({ at, wall: clock.shown(at) });
  const { meant } = row;
  const first =
    meant.start?.at === row.start ? meant.start! : { ...shown(row.start!), day: dayOf(clock.shown(row.start!)) };
  const wall = wallAfter(first, row.repeats, n);
  const start = { at: clock.instant(wall), wall, day: row.repeats === 'monthly' ? first.day : dayOf(wall) };
  if (row.stop === null) return { start, stop: null, end: endOf({ ...row, start: start.at }) };
  const last = meant.stop?.at === row.stop ? meant.stop! : shown(row.stop);
  const stopWall = wall + last.wall - first.wall;
  const stop = { at: clock.instant(stopWall), wall: stopWall };
  return { start, stop, end: stop.at };
}

/** The next one that is not over. One that a change of the clock leaves no time for does not take place. */
function nextOpen(row: Package, now: number, clock: Clock): Occurrence {
  for (let n = 1; n < 10_000; n++) {
    const next = occurrence(row, n, clock);
    if (next.end === null || (next.end > now && next.end > next.start.at)) return next;
  }
  throw new Error(`no window after ${JSON.stringify(row)}`);
}

const CHANGED = 'package.status.changed';
const REPEATED = 'package.schedule.repeated repeat';

function remembersEnd(row: Package): void {
  row.acted = endOf(row);
}

/** An end that was acted on before this window counts as new, should somebody take it back. */
function open(row: Package): void {
  row.opened = { start: row.start, end: endOf(row) };
  row.acted = null;
}

function moveOn(row: Package, now: number, clock: Clock): string[] {
  if (row.repeats === null) return [];
  const { start, stop } = nextOpen(row, now, clock);
  Object.assign(row, { start: start.at, stop: stop?.at ?? null, meant: { start, stop } });
  return [REPEATED];
}

/** What it told, or nothing if the row is none of its business. */
type Rule = (row: Package, now: number, clock: Clock) => string[] | undefined;

const goOn: Rule = (row, now, clock) => {
  if (row.status !== 'active' || row.repeats === null || row.start === null || !hasClosed(row, now)) return;
  if (occurrence(row, 1, clock).start.at > endOf(row)!) return;
  // Late in a gap that a change of the clock or a long month leaves, it is off.
  if (nextOpen(row, now, clock).start.at > now) return;
  remembersEnd(row);
  return moveOn(row, now, clock);
};

const deactivate: Rule = (row, now, clock) => {
  if (row.status !== 'active' || !hasClosed(row, now)) return;
  remembersEnd(row);
  Object.assign(row, { status: 'inactive', isActive: false });
  return [`${CHANGED} deactivate`, ...moveOn(row, now, clock)];
};

const miss: Rule = (row, now, clock) => {
  if (row.status !== 'inactive' || !hasClosed(row, now) || !hasBegun(row, now)) return;
  if (row.opened?.start === row.start) return;
  remembersEnd(row);
  return ['package.schedule.missed miss', ...moveOn(row, now, clock)];
};

const settle: Rule = (row, now) => {
  if (row.status !== 'inactive' || !hasClosed(row, now)) return;
  if ((row.opened?.start ?? null) !== row.start) return;
  remembersEnd(row);
  return [];
};

const activate: Rule = (row, now) => {
  if (!row.enabled || row.status !== 'inactive') return;
  if (!hasBegun(row, now) || isOver(row, now) || wasOpened(row) || wasActedOn(row)) return;
  open(row);
  Object.assign(row, { status: 'active', isActive: true });
  return [`${CHANGED} activate`];
};

const keep: Rule = (row, now) => {
  if (!row.enabled || row.status !== 'active') return;
  if (!hasBegun(row, now) || wasOpened(row) || wasActedOn(row)) return;
  open(row);
  return [];
};

const RULES = [goOn, deactivate, miss, settle, activate, keep];

/** Changes the row as a pass must, and answers what it must tell. */
export function pass(row: Package, now: number, clock: Clock): string[] {
  const told: string[] = [];
  for (let rounds = 0; rounds < 100; rounds++) {
    const answers = RULES.map((rule) => rule(row, now, clock));
    if (answers.every((answer) => answer === undefined)) return told;
    told.push(...answers.flatMap((answer) => answer ?? []));
  }
  assert.fail(`there is no end to ${JSON.stringify(row)}`);
}
