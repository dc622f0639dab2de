import type { Settings } from '../base/config.ts';
import { OperatorError } from '../base/errors.ts';
import type { Database, Transaction } from '../db/client.ts';
import { jobError } from '../engine/faults.ts';
import { parameters } from '../engine/run.ts';
import type { CompiledRule, Installed } from '../job/compile.ts';
import { refuseElsewhere } from '../store/adopted.ts';
import { earliestOf, type Wanted } from '../store/standing.ts';
import { coming, overdue, triedAgain, withoutRisk } from './outlook.ts';
import { look } from './standing.ts';
import { isOn, isUnused, readScreen } from './status.ts';

/** What will happen and when, soonest first, as far as the rows tell today. */
export interface Outlook {
  now: string;
  until: string;
  transitions: Coming[];
  /** There is more in that time than was asked for. */
  more: boolean;
  /** Jobs, or transitions of one, that would do nothing, and why: theirs are not among the transitions. */
  held: { job: string; transition: string | null; why: string; unused?: boolean }[];
  /** Rows that will not be tried again by themselves. */
  quarantined: number;
  /** Why nothing will happen at all, if so. */
  notRunning: string | null;
}

/** Rows that come due by one rule within one minute. */
export interface Coming {
  job: string;
  transition: string;
  /** When the first of them comes due, or came. */
  at: string;
  /** The next tick does it. */
  overdue: boolean;
  rows: number;
  /** There are more than so many rows; they were not counted further. */
  orMore: boolean;
  /** The first of them. */
  id: string;
  /** How many of them would fail. */
  wouldFail: number;
  /** Set for rows that failed and are tried again: why the first of them failed. */
  retry: string | null;
  /** How many other reasons there are among them. */
  otherReasons: number;
}

/** The rows that are read at a time: a busy minute is "10000 or more", however many rows it has. */
const ROWS_READ = 10_000;

/** What one query answers: of the rows read, those that no other transition comes before. */
interface Minute extends Pick<Coming, 'rows' | 'id' | 'wouldFail' | 'retry' | 'otherReasons'> {
  at: string | null;
  read: number;
  over: string;
}

export async function readNext(
  db: Database,
  settings: Settings,
  jobs: Wanted,
  { within, limit }: { within: number; limit: number },
): Promise<Outlook> {
  const { status } = await readScreen(db, settings, jobs);
  const held: Outlook['held'] = status.jobs
    .filter((job) => !isOn(job))
    .map((each) => ({ job: each.job, transition: null, why: `${each.state}: ${each.why}`, unused: isUnused(each) }));
  return db.transaction(
    async (tx) => {
      await tx.query('set transaction read only');
      const found = await look(tx, jobs, { dbZone: settings.dbTimezone });
      refuseElsewhere(found.elsewhere);
      const [span] = await tx.query<{ now: string; until: string }>(
        `select scheduler.iso(:now::timestamptz) as now,
           scheduler.iso(:now::timestamptz + make_interval(secs => :within::double precision)) as until`,
        { now: found.now, within },
      );
      const soonest = soonestOf(limit, span!.until);
      const readers: Reader[] = [];
      for (const standing of found.jobs) {
        const { job, installed } = standing;
        if (!installed || held.some((each) => each.job === job.name)) continue;
        const values = {
          ...{ ...parameters(settings, span!.now), tenant: installed.tenant, job: job.name, most: ROWS_READ },
          ...{ earliest: earliestOf(standing, found, span!.now), until: span!.until },
        };
        for (const rule of installed.rules) {
          const obstacle = whyNotPrepared(rule, values);
          if (obstacle) held.push({ job: job.name, transition: rule.name, why: obstacle });
          else readers.push(readerOf(tx, installed, rule, { values, soonest, held }));
        }
      }
      await readAll(readers, found.anyFailures);
      return {
        ...span!,
        transitions: soonest.entries().slice(0, limit),
        more: soonest.entries().length > limit,
        held,
        quarantined: status.jobs.reduce((all, job) => all + job.quarantined, 0),
        notRunning: status.scheduler.isRunning ? null : status.message,
      };
    },
    { inIndexOrder: true },
  );
}

async function readAll(readers: Reader[], anyFailures: boolean): Promise<void> {
  for (const reader of readers) {
    await reader.readOverdue();
    if (anyFailures) await reader.readFailing();
  }
  // In turn: a row that one finds soon spares the others from looking far ahead.
  for (let unread = readers; unread.length > 0; ) {
    const more: Reader[] = [];
    for (const reader of unread) if (await reader.readOn()) more.push(reader);
    unread = more;
  }
}

/** A transition that works outside the database may lack the settings to do so. */
export function whyNotPrepared(rule: CompiledRule, values: Record<string, unknown>): string | undefined {
  try {
    rule.outside?.prepare?.(values);
    return undefined;
  } catch (error) {
    if (error instanceof OperatorError) return error.message;
    throw error;
  }
}

type Reader = ReturnType<typeof readerOf>;

interface Reading {
  values: Record<string, unknown> & Record<'now' | 'earliest' | 'until', string>;
  soonest: Soonest;
  /** Gets a rule that cannot be asked. */
  held: Outlook['held'];
}

/** Reads what one rule will do, and knows how far it has come. */
function readerOf(tx: Transaction, { job, rules }: Installed, rule: CompiledRule, { values, soonest, held }: Reading) {
  let from = values.now;
  let isBroken = false;
  let why = '';
  const { now, earliest } = values;
  const ask = (about: typeof coming, some: CompiledRule[]) =>
    tx.query<Minute>(about(some[rules.indexOf(rule)]!, { rules: some, everyMinutes: job.everyMinutes }), {
      ...values,
      from,
      until: soonest.until(),
    });
  const read = async (about: typeof coming): Promise<Minute[]> => {
    let found: Minute[] = [];
    if (isBroken) return found;
    for (const some of [rules, rules.map(withoutRisk)]) {
      const raised = await tx.attempt(async () => {
        found = await ask(about, some);
      });
      if (!raised) return found;
      why = jobError(job, raised).message;
    }
    // A column of its table was renamed, say: that is nothing to the other rules.
    held.push({ job: job.name, transition: rule.name, why });
    isBroken = true;
    return found;
  };
  const add = ({ at, over, ...minute }: Minute, also: Partial<Coming> = {}) => {
    if (at === null || minute.rows === 0) return;
    soonest.add(over, {
      ...{ job: job.name, transition: rule.name, at, overdue: false, rows: minute.rows, orMore: false },
      ...{
        id: minute.id,
        wouldFail: minute.wouldFail,
        retry: minute.retry,
        otherReasons: minute.otherReasons,
        ...also,
      },
    });
  };
  return {
    async readOverdue(): Promise<void> {
      for (const all of await read(overdue)) {
        const orMore = all.read === ROWS_READ;
        // If the job has done its slot, they wait for the next one.
        if (earliest === now) add(all, { overdue: true, orMore });
        else if (moment(earliest) <= moment(values.until)) add({ ...all, at: all.at && earliest }, { orMore });
      }
    },
    async readFailing(): Promise<void> {
      // A failure left over from a table with other ids is nobody's row.
      await tx.attempt(async () => {
        for (const minute of await read(triedAgain)) add(minute);
      });
    },
    /** Reads on, and answers whether there may be more. */
    async readOn(): Promise<boolean> {
      if (isBroken) return false;
      const minutes = await read(coming);
      const isFull = minutes.reduce((sum, minute) => sum + minute.read, 0) === ROWS_READ;
      for (const minute of minutes) add(minute, { orMore: isFull && minute === minutes.at(-1) });
      // The rest of a minute that was not read to its end is not counted.
      if (isFull) from = minutes.at(-1)!.over;
      return isFull;
    },
  };
}

type Soonest = ReturnType<typeof soonestOf>;

/** Only so many are wanted: as soon as they are there, nobody need look beyond the last of them. */
function soonestOf(limit: number, until: string) {
  let kept: { entry: Coming; over: string }[] = [];
  return {
    until: () => kept[limit]?.over ?? until,
    entries: () => kept.map(({ entry }) => entry),
    /** One more than wanted is kept, to know that there is more. Its minute is read to the end, so that counts are right. */
    add: (over: string, entry: Coming) => {
      kept = [...kept, { entry, over }].sort((a, b) => moment(a.entry.at) - moment(b.entry.at)).slice(0, limit + 1);
    },
  };
}

const moment = (at: string) => (at === '-infinity' ? Number.NEGATIVE_INFINITY : Date.parse(at));
