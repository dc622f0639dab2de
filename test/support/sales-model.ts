import { DateTime } from 'luxon';
import { type Change, instantOf } from './calendar.ts';

/** What the job `packages` must do with a repeated sale, told once more: luxon counts the days, the clock's changes say when. */

export interface Sale {
  repeats: 'daily' | 'weekly' | 'monthly';
  /** On the wall clock, as if it were UTC. */
  start: number;
  /** On the wall clock; or for so long, in milliseconds. */
  stop: { at: number } | { after: number };
}

export interface Step {
  transition: string;
  due: number;
  occurred: number;
}

const UNITS = { daily: 'days', weekly: 'weeks', monthly: 'months' } as const;

/** The n-th time that it is on. */
function occurrence(zone: string, all: Change[], sale: Sale, n: number) {
  const wall = DateTime.fromMillis(sale.start, { zone: 'UTC' })
    .plus({ [UNITS[sale.repeats]]: n })
    .toMillis();
  const start = instantOf(zone, all, wall);
  const length = 'at' in sale.stop ? sale.stop.at - sale.start : 0;
  return { start, stop: 'at' in sale.stop ? instantOf(zone, all, wall + length) : start + sale.stop.after };
}

/** What ticks at these times do to a sale that has not begun, and the window that it is left with. */
export function played(zone: string, all: Change[], sale: Sale, ticks: number[]) {
  const steps: Step[] = [];
  let n = 0;
  let on = false;
  let window = occurrence(zone, all, sale, n);
  for (const now of ticks) {
    if (window.stop <= now) {
      const over = window;
      const following = occurrence(zone, all, sale, n + 1);
      // One that a jump of the clock leaves no time for does not take place.
      do window = occurrence(zone, all, sale, ++n);
      while (window.stop <= now || window.stop <= window.start);
      // A window as long as its period or longer: the next one has begun when this one ends, and the sale goes on.
      const goesOn: boolean = on && following.start <= over.stop && window.start <= now;
      const due = on ? over.stop : Math.max(over.start, over.stop);
      if (!goesOn) steps.push({ transition: on ? 'deactivate' : 'miss', due, occurred: now });
      steps.push({ transition: 'repeat', due, occurred: now });
      on = goesOn;
    }
    if (!on && window.start <= now && now < window.stop) {
      steps.push({ transition: 'activate', due: window.start, occurred: now });
      on = true;
    }
  }
  return { steps, on, window };
}
