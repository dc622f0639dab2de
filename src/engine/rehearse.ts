import { usageError } from '../base/errors.ts';
import type { Transaction } from '../db/client.ts';
import type { Installed } from '../job/compile.ts';
import { NOW, quoteText } from '../job/expressions.ts';
import { lastEventId } from '../store/events.ts';
import { mayBeTried } from '../store/failures.ts';
import { isEveryTick, only, type Wanted } from '../store/standing.ts';
import type { Plan } from './plan.ts';
import type { Rehearsal } from './records.ts';
import { type Context, onePass, parameters } from './run.ts';
import { conditionsAt, firstRow } from './statements.ts';

/** The ticks of a span of time, played from due instant to due instant in one transaction that is rolled back. */

export interface Happening {
  at: string;
  job: string;
  /** What was done, or "failed". */
  transition: string;
  id: string;
  /** Set for a failure. */
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
  /** Jobs that a tick would leave out, and why. */
  skipped: Plan['skipped'];
}

interface Span {
  from: string;
  until: string;
  /** It stops after so many transitions. */
  limit: number;
  /** Only what happens to this row is told. */
  row?: string | undefined;
}

const BATCH = 1000;

export async function rehearse(context: Context, span: Span): Promise<Rehearsed> {
  const { stop, timeoutSeconds } = context.request;
  const deadline = setTimeout(() => stop.request('deadline'), timeoutSeconds * 1000);
  try {
    return await context.db.rehearse(() => play(context, span));
  } finally {
    clearTimeout(deadline);
  }
}

async function play({ request, ...context }: Context, { limit, row, ...given }: Span): Promise<Rehearsed> {
  const { db } = context;
  const assumed = new Set<string>();
  const iso = 'select scheduler.iso(:from::timestamptz) as from, scheduler.iso(:until::timestamptz) as until';
  const [{ from, until }] = (await db.query(iso, { from: given.from, until: given.until })) as [Span];
  const rehearsed: Rehearsed = { from, until, stopped: null, timeline: [], assumed: [], skipped: [] };
  const { timeline } = rehearsed;
  let last = await lastEventId(db);
  let first: Awaited<ReturnType<typeof onePass>> | undefined;
  let next: string | null = from;
  while (next !== null) {
    const at: string = next;
    const heard: Happening[] = [];
    const rehearsal: Rehearsal = {
      assumed: (work) => assumed.add(work),
      heard: (job, outcomes, failures) => {
        for (const { transition, entity_id: id } of outcomes) heard.push({ at, job, transition, id });
        for (const { id, rule, error } of failures)
          heard.push({ at, job, transition: 'failed', id, error: `${rule}: ${error}` });
      },
    };
    const left = limit - timeline.length;
    const jobs = first ? whoseTurn(request.jobs, first.planned, at) : request.jobs;
    // No more rows than are told of are locked.
    const bounds = { most: left, batchSize: Math.min(left, BATCH) };
    const pass = await onePass({ ...context, request: { ...request, ...bounds, jobs, at, rehearsal } });
    first ??= pass;
    const above = last;
    last = await db.transaction((tx) => addEvents(tx, heard, above));
    timeline.push(...heard);
    const broken = pass.result.jobs.find(({ error }) => error !== undefined);
    const why = broken?.error ?? whyStopped(request, timeline.length >= limit && limit);
    if (why) rehearsed.stopped = { at, why };
    const { planned } = first;
    next = why ? null : await db.transaction((tx) => nextInstant(tx, context, planned, { at, until }));
  }
  if (row !== undefined) rehearsed.timeline = await ofRow(context, first!, timeline, row);
  return { ...rehearsed, skipped: first!.result.skipped, assumed: [...assumed] };
}

/** A row that is nowhere is most likely a slip of the keyboard. */
async function ofRow(
  { db, settings }: Omit<Context, 'request'>,
  { found, planned }: Awaited<ReturnType<typeof onePass>>,
  timeline: Happening[],
  id: string,
): Promise<Happening[]> {
  const told = timeline.filter((each) => each.id === id);
  const values = parameters(settings, found.now);
  const isThere = async (tx: Transaction) => {
    for (const { row, idType } of planned.flatMap(({ rules }) => rules)) {
      let rows: object[] = [];
      // It may be no id of that type.
      await tx.attempt(async () => {
        rows = await tx.query(`select from ${row} where r.id = :id::text::${idType}`, { ...values, id });
      });
      if (rows.length > 0) return true;
    }
    return false;
  };
  if (told.length > 0 || planned.length === 0 || (await db.transaction(isThere))) return told;
  const tables = [...new Set(planned.map(({ job }) => job.table.name))];
  throw usageError(`There is no row with the id ${id} in ${tables.join(', ')}.`);
}

function whyStopped({ stop, timeoutSeconds }: Context['request'], limit: number | false): string | undefined {
  if (limit) return `there are ${limit} transitions (see --limit)`;
  return stop.reason && `${timeoutSeconds} s are over (see --timeout)`;
}

/** A job with a longer cadence acts at the beginning of each of its slots. */
function whoseTurn(jobs: Wanted, planned: Installed[], at: string): Wanted {
  const turn = planned.filter(({ job }) => Date.parse(at) % (job.everyMinutes * 60_000) === 0 || isEveryTick(job));
  const names = turn.map(({ job }) => job.name);
  return only(jobs.builtIn, names);
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

/** The first instant after this one at which something comes due, or is tried again, and its job has its turn. */
async function nextInstant(
  tx: Transaction,
  { settings }: Pick<Context, 'settings'>,
  jobs: Installed[],
  { at, until }: { at: string; until: string },
): Promise<string | null> {
  const inTime = (sql: string) => [`${sql} > ${NOW}`, `${sql} <= :until::timestamptz`];
  const first = jobs.flatMap(({ job, tenant, rules }) => {
    const retry = `(select min(next_attempt_at) from scheduler.failures
      where tenant = ${quoteText(tenant)} and job = ${quoteText(job.name)} and ${inTime('next_attempt_at').join(' and ')})`;
    const due = rules.map((rule) =>
      firstRow(rule, rule.at, [...conditionsAt(rule, rule.at), ...inTime(rule.at), mayBeTried(rule)]),
    );
    const earliest = `least(${[...due, retry].join(',\n')})`;
    if (isEveryTick(job)) return [earliest];
    const seconds = job.everyMinutes * 60;
    return [`to_timestamp(ceil(extract(epoch from ${earliest}) / ${seconds}) * ${seconds})`];
  });
  if (first.length === 0) return null;
  const [next] = await tx.query<{ at: string | null }>(
    `select scheduler.iso(at) as at from (select least(${first.join(',\n')}) as at) as next where at <= :until::timestamptz`,
    { ...parameters(settings, at), until },
  );
  return next?.at ?? null;
}
