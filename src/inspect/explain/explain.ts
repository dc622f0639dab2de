import { readable } from '../../base/calendar.ts';
import type { Settings } from '../../base/config.ts';
import { usageError } from '../../base/errors.ts';
import { commandFor } from '../../base/paste.ts';
import type { Database, Transaction } from '../../db/client.ts';
import { sqlState } from '../../db/states.ts';
import type { CompiledRule } from '../../job/compile.ts';
import type { Job } from '../../job/define.ts';
import { refuseElsewhere } from '../../store/adopted.ts';
import { type Event, findEvents } from '../../store/events.ts';
import { type Failure, listFailures } from '../../store/failures.ts';
import { unknownJob } from '../../store/own-jobs.ts';
import { earliestOf, only } from '../../store/standing.ts';
import { whyNotPrepared } from '../next.ts';
import { decides } from '../outlook.ts';
import { look } from '../standing.ts';
import { isOn, type JobStatus, reportOn } from '../status.ts';
import { describeHolder, isLocked, lockedTable, lockInTheWay, otherRun } from './locks.ts';
import { attempt, type Look, values } from './seen.ts';
import { explainRules, type Prospect, type TransitionExplained, type Verdict } from './transitions.ts';

/**
 * Why a row did or did not change, and what comes next. The job's own conditions are asked of the one row: what is said
 * here cannot differ from what a tick does.
 */
export interface Explanation extends Pick<JobStatus, 'job' | 'state' | 'why' | 'nextCheck'> {
  id: string;
  now: string;
  /** A row may have failed by several rules. */
  failures: Failure[];
  /** What concerns the job or the database as a whole at this moment, a sentence each. */
  remarks: string[];
  /** Why nothing can be said about the row, if so: somebody keeps everybody from reading the table. */
  unreadable: string | null;
  transitions: TransitionExplained[];
  /** The soonest of those that will happen or be tried, or are held up by a lock. */
  next: { transition: string; at: string } | null;
  /** The newest events of the row, oldest first. */
  events: Event[];
}

interface Asked {
  settings: Settings;
  jobs: Job[];
  name: string;
  id: string;
  at?: string | undefined;
}

/** What was read in one snapshot. */
type Read = Awaited<ReturnType<typeof readRow>>;

export async function explain(db: Database, asked: Asked): Promise<{ job: Job; explanation: Explanation }> {
  const read = await db.transaction((tx) => readRow(tx, { ...asked, tenant: db.tenant }), { snapshot: true });
  const { view, installed, state, prospects, events } = read;
  const { job } = view;
  if (installed && prospects && !prospects.some(({ found }) => found))
    throw usageError(`There is no row with the id ${asked.id} in ${job.table.name}.`);
  const transitions: TransitionExplained[] = [];
  const coming: TransitionExplained[] = [];
  for (const prospect of prospects ?? []) {
    const each = { ...prospect.transition, verdict: await withObstacle(db, read, prospect) };
    transitions.push(each);
    // A lock goes, and the tick after that does what was due.
    const isLocked = each.verdict.kind === 'held' && whyHeld(read, prospect) === undefined;
    if (isComing(each) || isLocked) coming.push(each);
  }
  // Where rules are due together, their own order stays.
  const [next] = coming.sort((a, b) => Date.parse(a.verdict.at!) - Date.parse(b.verdict.at!));
  const rules = new Map(transitions.map((each, n) => [each, prospects![n]!.rule]));
  const explanation = {
    ...{ job: job.name, id: view.id, now: view.now, state: state.state, why: state.why, nextCheck: state.nextCheck },
    failures: view.failures,
    remarks: remarksOf(read),
    unreadable: prospects
      ? null
      : ((await lockedTable(db, installed!)) ?? 'a table was locked a moment ago: ask again'),
    transitions: inSequence(rules, coming),
    next: next ? { transition: next.transition, at: next.verdict.at! } : null,
    events,
  };
  return { job, explanation };
}

async function readRow(
  tx: Transaction,
  { settings, jobs, name, id: typed, at, tenant }: Asked & { tenant: string | undefined },
) {
  const found = await look(tx, only(jobs, [name]), { at, dbZone: settings.dbTimezone });
  refuseElsewhere(found.elsewhere);
  const [standing] = found.jobs;
  if (!standing) throw await unknownJob(tx, jobs, name);
  const { job, installed } = standing;
  const {
    jobs: [state],
  } = await reportOn(tx, settings, found);
  const [database] = await tx.query<{ now: string; readOnly: string | null }>(
    `select scheduler.iso(:now::timestamptz) as now, case when pg_is_in_recovery() then 'it is a standby'
       when current_setting('default_transaction_read_only')::boolean then 'it is set to be read-only' end as "readOnly"`,
    { now: found.now },
  );
  const { now, readOnly } = database!;
  const id = installed ? await canonicalId(tx, job, typed, installed.rules[0]!.idType) : typed;
  const failures = installed ? await listFailures(tx, { tenant: installed.tenant, job: job.name, id }) : [];
  const view: Look = { tx, settings, job, id, now, earliest: earliestOf(standing, found, now), failures };
  // Undefined if a table is locked.
  const { value: prospects } = await attempt(tx, () => explainRules(view, installed?.rules ?? []), isLocked);
  return {
    ...{ view, tenant, installed, readOnly, prospects, state: state! },
    run: await otherRun(tx),
    events: await eventsOf(tx, [...jobs, job], { job, tenant: installed?.tenant }, id),
  };
}

/** The id as failures and events know it, whichever way it was typed. */
async function canonicalId(tx: Transaction, job: Job, id: string, type: string): Promise<string> {
  try {
    const [row] = await tx.query<{ id: string }>(`select (:id::text::${type})::text as id`, { id });
    return row!.id;
  } catch (error) {
    if (!/^2[23]/.test(sqlState(error) ?? '')) throw error;
    throw usageError(`"${id}" is not an id of ${job.table.name}, whose ids are of the type ${type}.`);
  }
}

const EVENTS_SHOWN = 5;

/** Other jobs on the same table are part of the row's story. */
async function eventsOf(
  tx: Transaction,
  jobs: Job[],
  { job, tenant }: { job: Job; tenant: string | undefined },
  id: string,
): Promise<Event[]> {
  const filter = { tenant, entity: id, type: null, since: null, until: null, limit: EVENTS_SHOWN };
  const found: Event[] = [];
  const names = jobs.flatMap(({ name, table }) => (table.name === job.table.name ? [name] : []));
  for (const name of new Set(names)) found.push(...(await findEvents(tx, { job: name, ...filter })));
  return found.sort((a, b) => a.id - b.id).slice(-EVENTS_SHOWN);
}

/** What a tick makes of the row after all: something else may be in the way. */
async function withObstacle(db: Database, read: Read, prospect: Prospect): Promise<Verdict> {
  const { verdict } = prospect.transition;
  const { view, run, installed } = read;
  if (verdict.kind === 'not') return verdict;
  let why = whyHeld(read, prospect);
  // A run that is at work must get every lock that it asks for.
  if (why === undefined && verdict.at === view.now && !run) {
    const lock = await lockInTheWay(db, installed!, prospect.rule, values(view, prospect.rule, view.now));
    if (lock?.isAwaited) return { ...verdict, kind: 'fails', sentence: `would fail now: ${lock.sentence}` };
    why = lock?.sentence;
  }
  if (why === undefined) return verdict;
  return { kind: 'held', at: verdict.at, sentence: `cannot happen because ${why}; else it ${verdict.sentence}` };
}

function whyHeld({ view, tenant, state, readOnly }: Read, { rule, failure }: Prospect): string | undefined {
  const { job, id, now } = view;
  if (failure?.quarantinedAt)
    return `it is in quarantine since ${readable(failure.quarantinedAt)}, after ${failure.attempts} attempts (${failure.error}), until somebody mends it or runs ${commandFor(tenant, `failures retry ${job.name}`, id)}`;
  // Here, "not installed" is a job that this role does not run.
  if (!isOn(state)) return `${job.name} is ${state.state.replace('installed', 'run')}: ${state.why}`;
  const unprepared = whyNotPrepared(rule, values(view, rule, now))?.replace(/\.$/, '');
  return unprepared ?? (readOnly ? `the database takes no changes: ${readOnly}` : undefined);
}

function remarksOf({ view: { job }, state: { lastRun }, run, readOnly }: Read): string[] {
  const last = `The last run of ${job.name}, at ${readable(lastRun?.at ?? null)},`;
  return [
    ...(readOnly ? [`The database takes no changes: ${readOnly}.`] : []),
    ...(run ? [`Another run is at work: ${describeHolder(run)}. Until it ends, a tick leaves the work to it.`] : []),
    ...(lastRun?.error ? [`${last} was stopped by an error: ${lastRun.error}`] : []),
    ...(lastRun?.workLeft && !lastRun.error ? [`${last} had to end before it was through with what was due.`] : []),
  ];
}

const isComing = ({ verdict: { kind } }: TransitionExplained) => kind !== 'not' && kind !== 'held';

/** A transition changes the row, so little is sure of those after it that read what it writes. */
function inSequence(
  rules: Map<TransitionExplained, CompiledRule>,
  coming: TransitionExplained[],
): TransitionExplained[] {
  return [...rules].map(([each, rule]) => {
    const before = coming.slice(0, Math.max(0, coming.indexOf(each)));
    const first = before.find((other) => rules.get(other) === rule || decides(rules.get(other)!, rule));
    if (!first || !isComing(each)) return each;
    const { verdict } = each;
    const sentence = `comes only after "${first.transition}", if that leaves it anything to do: it then ${verdict.sentence}`;
    return { ...each, verdict: { ...verdict, kind: 'after', sentence } };
  });
}
