import { readable, relative } from '../../base/calendar.ts';
import type { CompiledRule } from '../../job/compile.ts';
import type { Conditions } from '../../job/define.ts';
import { readsOf } from '../../job/expressions.ts';
import type { Failure } from '../../store/failures.ts';
import { conditionsOf, dueBeside, nextBeside } from '../outlook.ts';
import { type Answer, ask, attempt, columnsRead, describe, type Look, type Seen, seen, text, values } from './seen.ts';

/** What each rule would make of a row, and when, by the row alone. */

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

interface ConditionExplained {
  condition: string;
  met: boolean;
  values: Seen;
  error: string | null;
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

/** A transition as far as the row tells. */
export interface Prospect {
  rule: CompiledRule;
  failure: Failure | undefined;
  /** Whether the rule finds such a row. */
  found: boolean;
  transition: TransitionExplained;
}

type Asked = Omit<TransitionExplained, 'verdict'>;

export async function explainRules(view: Look, rules: CompiledRule[]): Promise<Prospect[]> {
  const all: Prospect[] = [];
  for (const rule of rules) {
    for (const [transition, when] of Object.entries(rule.outcomes ?? { [rule.name]: {} }))
      all.push(await explainRule(view, rule, transition, when));
    if (all.at(-1)!.found && rule.together?.others) all.push(await explainOthers(view, rule));
  }
  return all;
}

/** One transition of a rule. It may have conditions of its own besides those of the rule. */
async function explainRule(view: Look, rule: CompiledRule, transition: string, when: Conditions): Promise<Prospect> {
  const family = rule.together?.family;
  const due = await ask(view, rule, view.earliest, {
    due: `scheduler.iso(${rule.at})`,
    moment: `select scheduler.iso(case when isfinite(at) then at else :earliest::timestamptz end)
      from (select greatest(${rule.at}, :next::timestamptz, :earliest::timestamptz) as at) as moment`,
    columns: columnsRead(view.job, [rule.at]),
    family: family ? `(${family}) and coalesce(:next::timestamptz <= :earliest::timestamptz, true)` : 'false',
  });
  const asOf = text(due?.moment) ?? view.earliest;
  const asked = due && (await askConditions(view, rule, asOf, { ...conditionsOf(rule), ...when }));
  const beside = due && rule.together && keyOf(rule) ? await besides(view, rule, dueBeside(rule)) : [];
  const explained: Asked = {
    ...{ transition, due: text(due?.due), dueValues: seen(view, rule.at, due?.columns, asOf), asOf },
    ...{ conditions: asked?.conditions ?? [], beside: beside.map(({ id }) => id) },
  };
  const failure = view.failures.find((each) => each.rule === rule.name);
  const prospect = (verdict: Verdict): Prospect => ({
    ...{ rule, failure, found: due !== undefined, transition: { ...explained, verdict } },
  });
  if (!asked) return prospect(impossible('there is no such row where it looks'));
  // In a batch, the first such condition that is not met decides: a row on which it raises fails.
  const decisive = explained.conditions.find(({ condition, met }) => Object.hasOwn(rule.apart, condition) && !met);
  const raised = decisive?.error ?? null;
  const isJudged = ({ condition, error }: ConditionExplained) =>
    !Object.hasOwn(rule.apart, condition) || (raised === null && error === null);
  const why = whyNot(view, { ...explained, conditions: explained.conditions.filter(isJudged) }, due.due.error);
  const wrong = raised === null ? asked.wrong : { error: raised };
  const free = why.length === 0 ? byItself(view, explained, wrong, failure) : impossible(...why);
  const isDueItself = free.kind === 'now' || free.kind === 'fails';
  const isOfFamily =
    due.family.value === true &&
    explained.beside.length > 0 &&
    explained.conditions.every(({ condition, met }) => met || !Object.hasOwn(when, condition));
  return prospect(isOfFamily && !isDueItself ? alongWith(view, rule, explained.beside, text(asked.wrong)) : free);
}

/** Each condition by its name, and what is wrong with the row, as of a moment. */
async function askConditions(view: Look, rule: CompiledRule, asOf: string, when: Record<string, string>) {
  const all = Object.entries(when);
  const asked = (await ask<string>(view, rule, asOf, {
    columns: columnsRead(view.job, Object.values(when)),
    wrong: rule.wrong ?? 'null::text',
    ...Object.fromEntries(all.map(([, sql], n) => [`c${n}`, sql])),
  }))!;
  const conditions = all.map(([condition, sql], n): ConditionExplained => {
    const { value, error = null } = asked[`c${n}`]!;
    return { condition, met: value === true, values: seen(view, sql, asked.columns, asOf), error };
  });
  return { conditions, wrong: asked.wrong! };
}

const impossible = (...why: string[]): Verdict => ({
  kind: 'not',
  at: null,
  sentence: `cannot happen because ${why.join(', and ')}`,
});

/** What rows have in common that change together. The id stands in for a key that is missing. */
const keyOf = ({ together }: CompiledRule) =>
  readsOf(together!.key)
    .columns.filter((name) => name !== 'id')
    .join(', ');

const BESIDE_SHOWN = 5;

async function besides(view: Look, rule: CompiledRule, sql: string): Promise<{ id: string; at?: string }[]> {
  const asked = { ...values(view, rule, view.earliest), most: BESIDE_SHOWN };
  const { value = [] } = await attempt(view.tx, () => view.tx.query<{ id: string; at?: string }>(sql, asked));
  return value;
}

/** A row that is not due, of a family of which some are. */
function alongWith({ now, earliest }: Look, rule: CompiledRule, ids: string[], wrong: string | null): Verdict {
  const [are, have] = ids.length === 1 ? ['is', 'has'] : ['are', 'have'];
  const others = `${ids.join(', ')}, which ${are} due and ${have} the same ${keyOf(rule)}`;
  const when = earliest === now ? 'now' : `at ${readable(earliest)}`;
  return wrong === null
    ? { kind: 'along', at: earliest, sentence: `is not due, but would happen ${when} along with ${others}` }
    : { kind: 'fails', at: earliest, sentence: `would fail ${when}, along with ${others}: ${wrong}` };
}

/** What the rule makes of a row when another one of its key is due. */
async function explainOthers(view: Look, rule: CompiledRule): Promise<Prospect> {
  const { transition, when } = rule.together!.others!;
  const [beside] = await besides(view, rule, nextBeside(rule));
  const asOf = beside?.at ?? view.earliest;
  const { conditions } = await askConditions(view, rule, asOf, when);
  const explained: Asked = {
    ...{ transition, due: beside?.at ?? null, dueValues: {}, asOf, conditions, beside: beside ? [beside.id] : [] },
  };
  const why = whyNot(view, { ...explained, due: view.now }, undefined);
  if (!beside) why.push(`no other row of the same ${keyOf(rule)} comes next by "${rule.name}"`);
  const isNow = asOf === view.now;
  const moment = isNow ? 'would happen now' : `will happen at ${readable(asOf)} (${relative(asOf, view.now)})`;
  const sentence = `${moment}, along with "${rule.name}" of ${beside?.id}`;
  const verdict: Verdict = why.length > 0 ? impossible(...why) : { kind: isNow ? 'now' : 'later', at: asOf, sentence };
  return { rule, failure: undefined, found: true, transition: { ...explained, verdict } };
}

/** What the row itself has against it. */
function whyNot({ job }: Look, { due, dueValues, conditions }: Asked, dueError: string | undefined): string[] {
  const inBrackets = (values: Seen) => (Object.keys(values).length > 0 ? ` (${describe(job, values)})` : '');
  const unmet = conditions.filter(({ met, error }) => !met && error === null);
  const failed = conditions.filter(({ error }) => error !== null);
  return [
    ...unmet.map(({ condition, values }) => `"${condition}" is not met${inBrackets(values)}`),
    ...failed.map(({ condition, error }) => `"${condition}" cannot be answered: ${error}`),
    ...(dueError !== undefined ? [`its due time cannot be worked out: ${dueError}`] : []),
    ...(dueError === undefined && due === null ? [`it has no due time${inBrackets(dueValues)}`] : []),
    ...(due === 'infinity' ? [`its due time never comes${inBrackets(dueValues)}`] : []),
  ];
}

/** What happens to a row that meets all conditions. */
function byItself(
  { now, earliest, job }: Look,
  { due, asOf }: Asked,
  wrong: Answer,
  failure: Failure | undefined,
): Verdict {
  const isLater = asOf !== now;
  const slot =
    isLater && asOf === earliest ? `, as ${job.name} looks every ${job.everyMinutes} minutes and has done so` : '';
  const when = isLater ? `at ${readable(asOf)} (${relative(asOf, now)})${slot}` : 'now';
  const again = failure?.nextAttemptAt === asOf ? `, which is its attempt ${failure.attempts + 1}` : '';
  const reason = text(wrong) ?? wrong.error;
  if (reason !== undefined)
    return {
      ...{ kind: isLater ? 'fails later' : 'fails', at: asOf },
      sentence: `${isLater ? 'will' : 'would'} fail ${when}${again}: ${reason}`,
    };
  if (isLater) return { kind: 'later', at: asOf, sentence: `will ${again ? 'be tried' : 'happen'} ${when}${again}` };
  const since = due === '-infinity' || due === now ? '' : ` (due ${readable(due)}, ${relative(due!, now)})`;
  return { kind: 'now', at: now, sentence: `would happen now${since}` };
}
