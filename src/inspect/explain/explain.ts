import { readable, relative } from '../../base/calendar.ts';
import type { Settings } from '../../base/config.ts';
import { usageError } from '../../base/errors.ts';
import { type Database, sqlState } from '../../db/client.ts';
import { aliasOf, type Job, type Rule, tableOf } from '../../job/define.ts';
import { type Event, findEvents } from '../../store/events.ts';
import { type Failure, listFailures } from '../../store/failures.ts';
import { readStanding, type Standing } from '../../store/runs.ts';
import { conditionsOf, dueBeside, nextBeside } from '../outlook.ts';
import { type JobStatus, readStatus } from '../status.ts';
import { readSurroundings } from './locks.ts';
import { describeHolder, lockOnTables, obstacleTo } from './obstacles.ts';
import {
  type Answer,
  answerAll,
  ask,
  type ConditionExplained,
  columnsIn,
  describe,
  type Look,
  noneIfUnanswerable,
  type Seen,
  seen,
  shown,
  text,
  type Verdict,
  values,
} from './seen.ts';

/**
 * Why a row did or did not change, and what comes next. The job's own conditions are asked of the one row: what is said
 * here cannot differ from what a tick does.
 */
export interface Explanation {
  job: string;
  id: string;
  now: string;
  state: JobStatus['state'];
  why: string | null;
  nextCheck: string | null;
  failure: Failure | null;
  /** What concerns the job or the database as a whole at this moment, a sentence each. */
  remarks: string[];
  /** Why nothing can be said about the row, if so: somebody keeps everybody from reading the table. */
  unreadable: string | null;
  transitions: TransitionExplained[];
  /** The soonest of those that will happen or be tried. */
  next: { transition: string; at: string } | null;
  /** The newest events of the row, oldest first. */
  events: Event[];
}

export interface TransitionExplained {
  transition: string;
  verdict: Verdict;
  due: string | null;
  dueValues: Seen;
  /** The moment for which conditions are answered: now, or the time to come at which they will count. */
  asOf: string;
  conditions: ConditionExplained[];
  /** Other rows of the same key (of one customer, say) that are due by this rule, and change before, after or with this one. */
  beside: string[];
}

const EVENTS_SHOWN = 5;
const BESIDE_SHOWN = 5;

export async function explain(
  db: Database,
  settings: Settings,
  jobs: Job[],
  job: Job,
  given: { id: string; at?: string | undefined },
): Promise<Explanation> {
  const [state] = (await readStatus(db, settings, [job])).jobs;
  const [standing] = await db.transaction((tx) => readStanding(tx, [job], { at: given.at, lock: false }));
  const [clock] = await db.query<{ now: string }>('select scheduler.iso(:now::timestamptz) as now', {
    now: standing!.now,
  });
  const installed = standing!.missing.length === 0;
  const typeOf = (rule: Rule) => rule.idType ?? standing!.idType!;
  const id = installed ? await canonicalId(db, job, given.id, typeOf(job.rules[0]!)) : given.id;
  const [failure] = await listFailures(db, { job: job.name, id });
  const surroundings = await readSurroundings(db);
  const view: Look = {
    ...{ db, settings, job, id, surroundings, now: clock!.now, earliest: earliestOf(job, standing!, clock!.now) },
    ...{ state: state!, failure: failure ?? null },
  };
  const { found, transitions, unreadable } = installed
    ? await explainRules(view, typeOf)
    : { found: true, transitions: [], unreadable: null };
  if (!found) throw usageError(`There is no row with the id ${given.id} in ${tableOf(job)}.`);
  const next = firstOf(transitions);
  return {
    ...{ job: job.name, id, now: view.now, state: state!.state, why: state!.why, nextCheck: state!.nextCheck },
    failure: view.failure,
    remarks: remarksOf(view),
    unreadable,
    transitions: inSequence(transitions, next),
    next: next ? { transition: next.transition, at: next.verdict.at! } : null,
    events: await eventsOf(db, jobs, job, id),
  };
}

/** The beginning of the next slot, if this one is done. */
function earliestOf({ everyMinutes }: Job, { slot, slotTaken }: Standing, now: string): string {
  if (!slotTaken || everyMinutes === 1) return now;
  return new Date((Number(slot) + 1) * everyMinutes * 60_000).toISOString().replace('.000Z', 'Z');
}

const LOCK_NOT_AVAILABLE = '55P03';

async function explainRules(
  view: Look,
  typeOf: (rule: Rule) => string,
): Promise<{ found: boolean; transitions: TransitionExplained[]; unreadable: string | null }> {
  const transitions: TransitionExplained[] = [];
  let found = false;
  for (const rule of view.job.rules) {
    try {
      const explained = await explainRule(view, rule, typeOf(rule));
      found ||= explained.found;
      transitions.push(explained.transition);
      if (explained.found && rule.each?.others) transitions.push(await explainOthers(view, rule, typeOf(rule)));
    } catch (error) {
      if (sqlState(error) !== LOCK_NOT_AVAILABLE) throw error;
      const unreadable = (await lockOnTables(view, rule, typeOf(rule))) ?? `${(error as Error).message}`;
      return { found: true, transitions: [], unreadable };
    }
  }
  return { found, transitions, unreadable: null };
}

function remarksOf({ job, state: { lastRun }, surroundings: { run, readOnly } }: Look): string[] {
  const last = `The last run of ${job.name}, at ${readable(lastRun?.at ?? null)},`;
  return [
    ...(readOnly ? [`The database takes no changes: ${readOnly}.`] : []),
    ...(run ? [`Another run is at work: ${describeHolder(run)}. Until it ends, a tick leaves the work to it.`] : []),
    ...(lastRun?.error ? [`${last} was stopped by an error: ${lastRun.error}`] : []),
    ...(lastRun?.workLeft && !lastRun.error ? [`${last} had to end before it was through with what was due.`] : []),
  ];
}

/** The id as failures and events know it, whichever way it was typed. */
async function canonicalId(db: Database, job: Job, id: string, type: string): Promise<string> {
  try {
    const [row] = await db.query<{ id: string }>(`select (:id::text::${type})::text as id`, { id });
    return row!.id;
  } catch (error) {
    if (!/^2[23]/.test(sqlState(error) ?? '')) throw error;
    throw usageError(`"${id}" is not an id of ${tableOf(job)}, whose ids are of the type ${type}.`);
  }
}

/** Other jobs on the same table are part of the row's story. */
async function eventsOf(db: Database, jobs: Job[], job: Job, id: string): Promise<Event[]> {
  const related = jobs.filter((each) => tableOf(each) === tableOf(job));
  const filter = { entity: id, type: null, since: null, until: null, limit: EVENTS_SHOWN };
  const found: Event[] = [];
  for (const { name } of related) found.push(...(await findEvents(db, { job: name, ...filter })));
  return found.sort((a, b) => a.id - b.id).slice(-EVENTS_SHOWN);
}

const COMING: Verdict['kind'][] = ['now', 'along', 'later', 'fails', 'fails later'];

/** What will happen or be tried first; in the order of the rules where they are due together. */
function firstOf(transitions: TransitionExplained[]): TransitionExplained | undefined {
  const coming = transitions.filter(({ verdict }) => COMING.includes(verdict.kind));
  return coming.sort((a, b) => Date.parse(a.verdict.at!) - Date.parse(b.verdict.at!))[0];
}

/** Whatever comes first changes the row: of the others only that much is sure. */
function inSequence(transitions: TransitionExplained[], first: TransitionExplained | undefined): TransitionExplained[] {
  return transitions.map((each) => {
    const { verdict } = each;
    if (each === first || !COMING.includes(verdict.kind)) return each;
    const sentence = `comes only after "${first!.transition}", if that leaves it anything to do: it then ${verdict.sentence}`;
    return { ...each, verdict: { ...verdict, kind: 'after', sentence } };
  });
}

async function explainRule(
  view: Look,
  rule: Rule,
  idType: string,
): Promise<{ found: boolean; transition: TransitionExplained }> {
  const { failure } = view;
  const { family } = rule.each ?? {};
  const due = await ask(view, rule, idType, view.earliest, {
    due: `scheduler.iso(${rule.at})`,
    moment: `select scheduler.iso(case when isfinite(at) then at else :earliest::timestamptz end)
      from (select greatest(${rule.at}, :next::timestamptz, :earliest::timestamptz) as at) as moment`,
    ...seen(rule, rule.at, 'd'),
    ...(family && { family }),
  });
  const asOf = text(due?.moment) ?? view.earliest;
  const asked = await answerAll(view, rule, idType, asOf, conditionsOf(rule, idType), {
    ...(rule.wrong && { wrong: rule.wrong }),
  });
  const explained: Omit<TransitionExplained, 'verdict'> = {
    transition: rule.name,
    due: text(due?.due),
    dueValues: shown(view, rule, rule.at, due, 'd', asOf),
    asOf,
    conditions: asked?.answers ?? [],
    beside: due && rule.each && rule.each.key !== `${aliasOf(rule)}.id` ? await besides(view, rule, idType) : [],
  };
  const verdict = async (): Promise<Verdict> => {
    if (!due || !asked) return { kind: 'not', at: null, sentence: `cannot happen because ${noRow(rule)}` };
    const why = whyNot(explained, due.due!.error);
    const free = why.length === 0 ? freeVerdict(view, explained, asked.also.wrong) : undefined;
    const isDueItself = free?.kind === 'now' || free?.kind === 'fails';
    const isOfFamily = !isDueItself && due.family?.value === true && explained.beside.length > 0 && !failure;
    const expected = isOfFamily ? alongWith(view, rule, explained.beside, text(asked.also.wrong)) : free;
    if (!expected) return { kind: 'not', at: null, sentence: `cannot happen because ${why.join(', and ')}` };
    return (await obstacleTo(view, rule, idType, expected)) ?? expected;
  };
  return { found: due !== undefined, transition: { ...explained, verdict: await verdict() } };
}

/** The id stands in for a key that is missing. */
const keyOf = (rule: Rule) =>
  Object.keys(columnsIn(rule, rule.each!.key))
    .filter((name) => name !== 'id')
    .join(', ');

/** A row that is not due, of a family of which some are. */
function alongWith({ now, earliest }: Look, rule: Rule, ids: string[], wrong: string | null): Verdict {
  const one = ids.length === 1;
  const others = `${ids.join(', ')}, which ${one ? 'is' : 'are'} due and ${one ? 'has' : 'have'} the same ${keyOf(rule)}`;
  const when = earliest === now ? 'now' : `at ${readable(earliest)}`;
  return wrong === null
    ? { kind: 'along', at: earliest, sentence: `is not due, but would happen ${when} along with ${others}` }
    : { kind: 'fails', at: earliest, sentence: `would fail ${when}, along with ${others}: ${wrong}` };
}

/** What the rule makes of a row when another one of its key is due. */
async function explainOthers(view: Look, rule: Rule, idType: string): Promise<TransitionExplained> {
  const { transition, when } = rule.each!.others!;
  const { now } = view;
  const [beside] = await view.db
    .query<{ id: string; at: string }>(nextBeside(rule, idType), values(view, view.earliest))
    .catch(noneIfUnanswerable);
  const asOf = beside?.at ?? view.earliest;
  const conditions = await answerAll(view, rule, idType, asOf, when);
  const explained = {
    transition,
    due: beside?.at ?? null,
    dueValues: {},
    asOf,
    conditions: conditions?.answers ?? [],
    beside: beside ? [beside.id] : [],
  };
  const why = [
    ...whyNot({ ...explained, due: now }, undefined),
    ...(beside ? [] : [`no other row of the same ${keyOf(rule)} comes next by "${rule.name}"`]),
  ];
  if (!beside || why.length > 0) {
    return {
      ...explained,
      verdict: { kind: 'not', at: null, sentence: `cannot happen because ${why.join(', and ')}` },
    };
  }
  const isLater = beside.at !== now;
  const prospect = isLater ? `will happen at ${readable(beside.at)} (${relative(beside.at, now)})` : 'would happen now';
  const expected: Verdict = {
    kind: isLater ? 'later' : 'now',
    at: beside.at,
    sentence: `${prospect}, along with "${rule.name}" of ${beside.id}`,
  };
  const obstacle = await obstacleTo({ ...view, failure: null }, rule, idType, expected);
  return { ...explained, verdict: obstacle ?? expected };
}

const noRow = (rule: Rule) =>
  /^\w+(\.\w+)? /.test(rule.row) ? `${rule.row.split(' ')[0]} has no such row` : 'there is no such row';

/** What the row itself has against it. */
function whyNot(explained: Omit<TransitionExplained, 'verdict'>, dueError: string | undefined): string[] {
  const { due, dueValues, conditions } = explained;
  const unmet = conditions.filter(({ met, error }) => !met && error === null);
  const failed = conditions.filter(({ error }) => error !== null);
  const names = unmet.map(({ condition, values }) => `${condition}${inBrackets(values)}`);
  return [
    ...(names.length > 0 ? [`it is not true that ${names.join(', nor that ')}`] : []),
    ...failed.map(({ condition, error }) => `"${condition}" cannot be answered: ${error}`),
    ...(dueError !== undefined ? [`its due time cannot be worked out: ${dueError}`] : []),
    ...(dueError === undefined && due === null ? [`it has no due time${inBrackets(dueValues)}`] : []),
    ...(due === 'infinity' ? [`its due time never comes${inBrackets(dueValues)}`] : []),
  ];
}

const inBrackets = (values: Seen): string => {
  const text = describe(values);
  return text ? ` (${text})` : '';
};

/** What happens to a row that is one for the transition, if nothing outside is in the way. */
function freeVerdict(
  view: Look,
  { due, asOf }: Omit<TransitionExplained, 'verdict'>,
  wrong: Answer | undefined,
): Verdict {
  const { now, earliest, failure, job } = view;
  const isLater = asOf !== now;
  const slot =
    isLater && asOf === earliest ? `, as ${job.name} looks every ${job.everyMinutes} minutes and has done so` : '';
  const when = isLater ? `at ${readable(asOf)} (${relative(asOf, now)})${slot}` : 'now';
  const again = failure?.next_attempt_at === asOf ? `, which is its attempt ${failure.attempts + 1}` : '';
  const reason = text(wrong) ?? wrong?.error;
  if (reason !== undefined && reason !== null) {
    return {
      kind: isLater ? 'fails later' : 'fails',
      at: asOf,
      sentence: `${isLater ? 'will' : 'would'} fail ${when}${again}: ${reason}`,
    };
  }
  if (isLater) return { kind: 'later', at: asOf, sentence: `will happen ${when}${again}` };
  const since = due === '-infinity' || due === now ? '' : ` (due ${readable(due)}, ${relative(due!, now)})`;
  return { kind: 'now', at: now, sentence: `would happen now${since}` };
}

async function besides(view: Look, rule: Rule, idType: string): Promise<string[]> {
  const rows = await view.db
    .query<{ id: string }>(dueBeside(rule, idType), { ...values(view, view.earliest), most: BESIDE_SHOWN })
    .catch(noneIfUnanswerable);
  return rows.map((row) => row.id);
}
