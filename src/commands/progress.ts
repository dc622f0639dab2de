import { inWords } from '../base/calendar.ts';
import { isQuietNow } from '../base/output.ts';
import { eraseLine, isSomebodyWatching, showLine } from '../base/status-line.ts';
import type { Context } from '../context.ts';
import type { Heed } from '../engine/records.ts';
import { countDue } from '../inspect/backlog.ts';
import type { CompiledRule } from '../job/compile.ts';

/** A pass that takes longer than a second shows on a terminal how far it is. */

const WAIT_MS = 1000;
const REDRAW_MS = 250;

interface Sweep {
  rule: CompiledRule;
  begin: number;
  done: number;
  /** How many rows were due. It is counted for people only, on a connection of its own. */
  due: number | undefined;
}

export interface Progress {
  heed: Heed;
  end: () => void;
}

export function watchProgress({ db, settings }: Context, now = new Date().toISOString()): Progress | undefined {
  if (!isSomebodyWatching() || isQuietNow()) return undefined;
  const counting = db.another('scheduler progress');
  let began = 0;
  let at: Sweep | undefined;
  let isCounting = false;
  const count = async (sweep: Sweep) => {
    const { done } = sweep;
    isCounting = true;
    sweep.due = done + (await countDue(counting, settings, sweep.rule, now).catch(() => Number.NaN));
    isCounting = false;
  };
  const draw = () => {
    if (!at || performance.now() - began < WAIT_MS) return;
    if (at.due === undefined && !isCounting) void count(at);
    showLine(nameOf(at), figuresOf(at));
  };
  const timer = setInterval(draw, REDRAW_MS).unref();
  return {
    heed: (rule, rows) => {
      if (at?.rule !== rule) {
        const begin = performance.now();
        if (at === undefined) began = begin;
        if (rule === undefined) eraseLine();
        at = rule && { rule, begin, done: 0, due: undefined };
      }
      if (at) at.done += rows;
    },
    end: () => {
      clearInterval(timer);
      eraseLine();
      counting.abandon();
    },
  };
}

const number = (value: number) => Math.round(value).toLocaleString('en');

const nameOf = ({ rule: { tenant, job, name } }: Sweep) =>
  [...(tenant === 'public' ? [] : [tenant]), job, name].join(', ');

function figuresOf({ begin, done, due = Number.NaN }: Sweep): string {
  const perSecond = done / ((performance.now() - begin) / 1000);
  const words = [due > done ? `${number(done)} of ${number(due)} rows` : `${number(done)} rows`];
  if (done > 0) words.push(`${number(perSecond)} a second`);
  if (done > 0 && due > done) words.push(`${inWords((due - done) / perSecond)} left`);
  return `: ${words.join(', ')}`;
}
