import { readable, relative } from './calendar.ts';
import type { Settings } from './config.ts';
import { type Database, sqlState } from './db.ts';
import { parameters } from './engine.ts';
import { OperatorError, usageError } from './errors.ts';
import { type Event, findEvents } from './events.ts';
import { type Failure, listFailures } from './failures.ts';
import { aliasOf, type Job, type Rule, tableOf } from './job.ts';
import { conditionsOf, dueBeside, nextBeside } from './outlook.ts';
import { readStanding } from './runs.ts';
import {
  type Answer,
  answerAll,
  ask,
  type ConditionExplained,
  columnsIn,
  describe,
  isOfTheData,
  type Look,
  type Seen,
  seen,
  shown,
  text,
  values,
} from './seen.ts';
import { type JobStatus, readStatus } from './status.ts';

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

export interface Verdict {
  /**
   * now: the next tick does it; later: at `at`; fails, fails later: would be a failure, with the sentence that says why;
   * after: another transition comes first and may leave nothing to do; along: not due, but changes with a row of
   * the same key that is; held: all is so, and something outside the row is in the way; not: the row is not one for it.
   */
  kind: 'now' | 'later' | 'fails' | 'fails later' | 'after' | 'along' | 'held' | 'not';
  at: string | null;
  sentence: string;
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
  const view: Look = { db, settings, job, id, now: clock!.now, state: state!, failure: failure ?? null };
  const transitions: TransitionExplained[] = [];
  let found = !installed;
  for (const rule of installed ? job.rules : []) {
    const explained = await explainRule(view, rule, typeOf(rule));
    found ||= explained.found;
    transitions.push(explained.transition);
    if (explained.found && rule.each?.others) transitions.push(await explainOthers(view, rule, typeOf(rule)));
  }
  if (!found) throw usageError(`There is no row with the id ${given.id} in ${tableOf(job)}.`);
  const next = firstOf(transitions);
  return {
    ...{ job: job.name, id, now: view.now, state: state!.state, why: state!.why, nextCheck: state!.nextCheck },
    failure: view.failure,
    transitions: inSequence(transitions, next),
    next: next ? { transition: next.transition, at: next.verdict.at! } : null,
    events: await eventsOf(db, jobs, job, id),
  };
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
  const { now, failure } = view;
  const { family } = rule.each ?? {};
  const due = await ask(view, rule, idType, now, {
    due: `scheduler.iso(${rule.at})`,
    moment: `select scheduler.iso(case when isfinite(at) then at else :now::timestamptz end)
      from (select greatest(${rule.at}, :next::timestamptz, :now::timestamptz) as at) as moment`,
    ...seen(rule, rule.at, 'd'),
    ...(family && { family }),
  });
  const asOf = text(due?.moment) ?? now;
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
    const obstacle = await obstacleTo(view, rule, idType, expected);
    return obstacle ? heldBy(obstacle, expected) : expected;
  };
  return { found: due !== undefined, transition: { ...explained, verdict: await verdict() } };
}

const heldBy = (obstacle: string, { at, sentence }: Verdict): Verdict => ({
  kind: 'held',
  at,
  sentence: `cannot happen because ${obstacle}; else it ${sentence}`,
});

/** The id stands in for a key that is missing. */
const keyOf = (rule: Rule) =>
  Object.keys(columnsIn(rule, rule.each!.key))
    .filter((name) => name !== 'id')
    .join(', ');

/** A row that is not due, of a family of which some are. */
function alongWith({ now }: Look, rule: Rule, ids: string[], wrong: string | null): Verdict {
  const one = ids.length === 1;
  const others = `${ids.join(', ')}, which ${one ? 'is' : 'are'} due and ${one ? 'has' : 'have'} the same ${keyOf(rule)}`;
  return wrong === null
    ? { kind: 'along', at: now, sentence: `is not due, but would happen now along with ${others}` }
    : { kind: 'fails', at: now, sentence: `would fail now, along with ${others}: ${wrong}` };
}

/** What the rule makes of a row when another one of its key is due. */
async function explainOthers(view: Look, rule: Rule, idType: string): Promise<TransitionExplained> {
  const { transition, when } = rule.each!.others!;
  const { now } = view;
  const [beside] = await view.db
    .query<{ id: string; at: string }>(nextBeside(rule, idType), values(view, now))
    .catch(noneIfUnanswerable);
  const asOf = beside?.at ?? now;
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
  return { ...explained, verdict: obstacle ? heldBy(obstacle, expected) : expected };
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
  const { now, failure } = view;
  const isLater = asOf !== now;
  const when = isLater ? `at ${readable(asOf)} (${relative(asOf, now)})` : 'now';
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

/** What is in the way of a row that is one for the transition. */
async function obstacleTo(view: Look, rule: Rule, idType: string, free: Verdict): Promise<string | undefined> {
  const { settings, job, state, failure, now } = view;
  if (failure?.quarantined_at) {
    return `it is in quarantine since ${readable(failure.quarantined_at)}, after ${failure.attempts} attempts (${failure.error}), until somebody runs "scheduler failures retry --job ${job.name} --id ${view.id}"`;
  }
  if (state.state === 'paused' || state.state === 'switched off') return `${job.name} is ${state.state}: ${state.why}`;
  try {
    rule.act?.prepare?.(parameters(settings, now));
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return error.message.replace(/\.$/, '');
  }
  const holder = free.kind === 'now' || free.kind === 'fails' ? await holderOf(view, rule, idType) : undefined;
  if (!holder) return undefined;
  const { pid, user, program, state: does, since } = holder;
  // What another role does, not everybody may know.
  const known = [program && `"${program}"`, user, does, since && `since ${readable(since)}`].filter(Boolean).join(', ');
  return `its row is locked by process ${pid}${known && ` (${known})`}: a tick leaves it alone until that transaction ends`;
}

interface Holder {
  pid: number;
  user: string | null;
  program: string | null;
  state: string | null;
  since: string | null;
}

/** Who holds the row, told from the transaction that marked it last: asking for the lock would keep a tick from it. */
async function holderOf({ db, id }: Look, rule: Rule, idType: string): Promise<Holder | undefined> {
  if (rule.row.startsWith('(')) return undefined;
  const alias = aliasOf(rule);
  const [holder] = await db.query<Holder>(
    `select l.pid, a.usename::text as "user", nullif(a.application_name, '') as program, a.state, scheduler.iso(a.xact_start) as since
     from (select ${alias}.xmax as holder from ${rule.row} where ${alias}.id = :id::text::${idType} and ${alias}.xmax::text <> '0') as held
     join pg_locks l on l.locktype = 'transactionid' and l.transactionid = held.holder and l.mode = 'ExclusiveLock' and l.granted
     left join pg_stat_activity a on a.pid = l.pid
     limit 1`,
    { id },
  );
  return holder;
}

async function besides(view: Look, rule: Rule, idType: string): Promise<string[]> {
  const rows = await view.db
    .query<{ id: string }>(dueBeside(rule, idType), { ...values(view, view.now), most: BESIDE_SHOWN })
    .catch(noneIfUnanswerable);
  return rows.map((row) => row.id);
}

/** What cannot be asked of other rows is told with the condition that says why. */
function noneIfUnanswerable(error: unknown): never[] {
  if (isOfTheData(error)) return [];
  throw error;
}
