import assert from 'node:assert/strict';
import { DAY } from './calendar.ts';
import { Clock } from './packages-model.ts';

/** The rules of special packages once more, without SQL: one row after the other, in memory. */

export interface SpecialPackage {
  scheduled: boolean;
  /** Days like 2026-03-01, times like 10:00; null: none is set. */
  date: string | null;
  time: string | null;
  autoActivate: boolean;
  autoDeactivate: boolean;
  isActive: boolean | null;
  validUntil: string | null;
  /** Empty: the zone of the setting. */
  zone: string | null;
  /** The end that was last acted on. */
  acted: number | null;
}

const clocks = new Map<string, Clock>();

export function clockOf(zone: string): Clock {
  if (!clocks.has(zone)) clocks.set(zone, new Clock(zone));
  return clocks.get(zone)!;
}

const midnight = (day: string) => Date.parse(`${day}T00:00Z`);

function sinceMidnight(time: string): number {
  const [hours, minutes, seconds = 0] = time.split(':').map(Number) as [number, number, number?];
  return ((hours * 60 + minutes) * 60 + seconds) * 1000;
}

export function startOf({ date, time, zone }: SpecialPackage, setting: string): number | null {
  return date === null ? null : clockOf(zone || setting).instant(midnight(date) + sinceMidnight(time ?? '00:00'));
}

/** The midnight that follows the last valid day. */
export function endOf({ validUntil, zone }: SpecialPackage, setting: string): number | null {
  return validUntil === null ? null : clockOf(zone || setting).instant(midnight(validUntil) + DAY);
}

const CHANGED = 'special_package.status.changed';

/** What it told, or nothing if the row is none of its business. */
type Rule = (row: SpecialPackage, now: number, setting: string) => string[] | undefined;

const isOver: (...given: Parameters<Rule>) => boolean = (row, now, setting) => {
  const end = endOf(row, setting);
  return row.autoDeactivate && end !== null && end <= now;
};

const isDue: typeof isOver = (row, now, setting) => {
  const start = startOf(row, setting);
  return row.scheduled && row.autoActivate && start !== null && start <= now;
};

/** Its last day lies before its first. */
const isEmpty = (row: SpecialPackage, setting: string) => endOf(row, setting)! <= startOf(row, setting)!;

const isToClose: typeof isOver = (row, now, setting) => isOver(row, now, setting) && row.acted !== endOf(row, setting);

const activate: Rule = (row, now, setting) => {
  if (!isDue(row, now, setting)) return;
  // One that is on already is no miss: its schedule is done, and its last day closes it.
  if (isOver(row, now, setting) && (!row.isActive || isEmpty(row, setting))) return;
  const told = row.isActive ? [] : [`${CHANGED} activate`];
  // A schedule that is carried out is a new one: an end that was acted on before counts again.
  row.acted = null;
  Object.assign(row, { isActive: true, scheduled: false });
  return told;
};

const miss: Rule = (row, now, setting) => {
  if (row.isActive || !isDue(row, now, setting) || !isOver(row, now, setting)) return;
  Object.assign(row, { scheduled: false, acted: endOf(row, setting) });
  return ['special_package.schedule.missed miss'];
};

const deactivate: Rule = (row, now, setting) => {
  if (!row.isActive || !isToClose(row, now, setting)) return;
  Object.assign(row, { isActive: false, acted: endOf(row, setting) });
  return [`${CHANGED} deactivate`];
};

/** Its last day passed while it was off: a hand that switches it on later wins. */
const settle: Rule = (row, now, setting) => {
  if (row.isActive || !isToClose(row, now, setting)) return;
  row.acted = endOf(row, setting);
  return [];
};

const RULES = [activate, miss, deactivate, settle];

/** Changes the row as a pass must, and answers what it must tell. */
export function pass(row: SpecialPackage, now: number, setting: string): string[] {
  const told: string[] = [];
  for (let rounds = 0; rounds < 100; rounds++) {
    const answers = RULES.map((rule) => rule(row, now, setting));
    if (answers.every((answer) => answer === undefined)) return told;
    told.push(...answers.flatMap((answer) => answer ?? []));
  }
  assert.fail(`there is no end to ${JSON.stringify(row)}`);
}
