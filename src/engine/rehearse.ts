import type { Transaction } from '../db/client.ts';
import type { Installed } from '../job/compile.ts';
import { NOW } from '../job/expressions.ts';
import { lastEventId } from '../store/events.ts';
import { type Context, onePass, parameters } from './run.ts';
import { conditionsAt, firstRow } from './statements.ts';

/** The ticks of a span of time, played from due instant to due instant in one transaction that is rolled back. */

export interface Happening {
  at: string;
  job: string;
  /** What was done, or "failed". */
  transition: string;
  id: string;
  /** Of a failure. */
  error?: string;
  /** What listeners would hear. */
  event?: { type: string; channels: string[]; data: unknown };
}

export interface Rehearsed {
  from: string;
  until: string;
  /** Where it stopped, if that was before the end, and why. */
  stopped: { at: string; why: string } | null;
  timeline: Happening[];
  /** Work outside the database that was taken for done. */
  assumed: string[];
}

interface Span {
  from: string;
  until: string;
  /** No more transitions than this. */
  limit: number;
  /** By performance.now(). */
  deadline: number;
}

export function rehearse(context: Context, { from, until, limit, deadline }: Span): Promise<Rehearsed> {
  const { db } = context;
  const timeline: Happening[] = [];
  const assumed = new Set<string>();
  return db.rehearse(async () => {
    let at = from;
    let last = await lastEventId(db);
    let stopped: Rehearsed['stopped'] = null;
    for (;;) {
      const heard: Happening[] = [];
      const request = {
        ...{ ...context.request, at, dryRun: true },
        heard: (job: string, outcomes: { transition: string; entity_id: string }[]) => {
          for (const { transition, entity_id } of outcomes) heard.push({ at, job, transition, id: entity_id });
        },
      };
      const { result, planned } = await onePass({ ...context, request });
      for (const { rules } of planned)
        for (const rule of rules)
          if (rule.outside && heard.some(({ job }) => job === rule.job)) assumed.add(`${rule.job}: ${rule.name}`);
      for (const { job, failures, error } of result.jobs) {
        for (const failure of failures)
          heard.push({ at, job, transition: 'failed', id: failure.id, error: failure.error });
        if (error !== undefined) stopped = { at, why: error };
      }
      const above = last;
      last = await db.transaction((tx) => addEvents(tx, heard, above));
      timeline.push(...heard);
      const next = await db.transaction((tx) => nextInstant(tx, context, planned, at, until));
      if (timeline.length >= limit) stopped ??= { at, why: `there are ${limit} transitions (see --limit)` };
      if (performance.now() > deadline) stopped ??= { at, why: 'the time for it is over (see --timeout)' };
      if (next === null || stopped) return { from, until, stopped, timeline, assumed: [...assumed] };
      at = next;
    }
  });
}

interface Recorded {
  id: number;
  job: string;
  transition: string;
  entity_id: string;
  type: string;
  channels: string[];
  data: Record<string, unknown>;
}

/** The events above an id belong to what the last pass did, in their order. Answers the highest id. */
async function addEvents(tx: Transaction, heard: Happening[], above: number): Promise<number> {
  const events = await tx.query<Recorded>(
    `select id::double precision as id, job, transition, entity_id, type, channels, data
     from scheduler.events where id > :above::bigint order by id`,
    { above },
  );
  for (const { job, transition, entity_id, type, channels, data } of events) {
    const mine = heard.find(
      (each) => !each.event && each.job === job && each.transition === transition && each.id === entity_id,
    );
    if (mine) mine.event = { type, channels, data };
  }
  return events.at(-1)?.id ?? above;
}

/** The first instant after this one at which something comes due, or is tried again. */
async function nextInstant(
  tx: Transaction,
  { settings }: Context,
  jobs: Installed[],
  at: string,
  until: string,
): Promise<string | null> {
  const rules = jobs.flatMap((job) => job.rules);
  const first = rules.map((rule) =>
    firstRow(rule, rule.at, [
      ...conditionsAt(rule, rule.at),
      `${rule.at} > ${NOW}`,
      `${rule.at} <= :until::timestamptz`,
    ]),
  );
  const [next] = await tx.query<{ at: string | null }>(
    `select scheduler.iso(least(${[
      ...first,
      `(
       select min(next_attempt_at) from scheduler.failures where next_attempt_at > ${NOW} and next_attempt_at <= :until::timestamptz
     )`,
    ].join(',\n')})) as at`,
    { ...parameters(settings, { now: at, tenant: 'public' }), until },
  );
  return next!.at;
}
