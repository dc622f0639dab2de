import { asInBatch, claim, complete, conditionsAt, isDue, momentOf, picked } from '../engine/statements.ts';
import type { CompiledRule } from '../job/compile.ts';
import { quoteText, readsOf } from '../job/expressions.ts';
import { mayBeTried } from '../store/failures.ts';
import { IDENTITY } from '../store/runs.ts';

/** The SQL that asks what a tick would do and when, of one row or of all: the same conditions, and nothing is changed. */

/** What a tick does to a batch. Planning it finds what running it would: locked tables, rights, types, functions. */
export const wholeBatch = (rule: CompiledRule): string => complete(rule, rule.together ? picked(rule) : claim(rule));

/** Values for its parameters: planning needs one of each type, and looks at none. */
export const anyValues = (rule: CompiledRule) => ({
  ...{ ...IDENTITY, ...rule.make?.(1), job: rule.job, rule: rule.name, run: null, by: null, slot: null },
  ...{ notify: true, limit: 1, detail: 1, places: [], ids: [], answers: '[]', seen: '[]' },
});

/** One row as a rule sees it, due or not; each piece is an expression on it. */
export function look(rule: CompiledRule, pieces: Record<string, string>): string {
  const asked = Object.entries(pieces).map(([name, sql]) => `(${sql}) as ${name}`);
  return `select ${[`r.id::text as id`, ...asked].join(', ')}
    from ${rule.whole?.row ?? rule.row} where r.id = :id::text::${rule.idType}`;
}

/** All that must be so besides the due time having come, by name. */
export function conditionsOf(rule: CompiledRule): Record<string, string> {
  if (!rule.whole) return { ...rule.when, ...rule.apart };
  const isPart = `exists (select from ${rule.row} where r.id = :id::text::${rule.idType})`;
  return { ...rule.when, [rule.whole.part]: isPart };
}

/** Another row of the same key. */
const isBeside = ({ idType, row, together }: CompiledRule) => {
  const { key } = together!;
  return `r.id <> :id::text::${idType} and ${key} = (select ${key} from ${row} where r.id = :id::text::${idType})`;
};

const inOrder = (rule: CompiledRule, most = ':most::integer') => `order by ${rule.at}, r.id limit ${most}`;

/** A sentence on why the row cannot be acted on, or null. */
const wrongOf = ({ wrong }: CompiledRule) => (wrong ? `(${wrong})` : 'null');

/** Other rows of the same key that are due by the rule: they change with the row, or right before or after it. */
export const dueBeside = (rule: CompiledRule): string => `
  select r.id::text as id from ${rule.row} where ${isDue(rule)} and ${isBeside(rule)} ${inOrder(rule)}`;

const NOW = ':now::timestamptz';

/** A rule without what may raise on some row: it then finds rows that it may be not for. */
export const withoutRisk = (rule: CompiledRule): CompiledRule => ({ ...rule, apart: {}, wrong: undefined });

/** Whether what one rule does to a row may decide whether another one is still for it. */
export function decides(first: CompiledRule, { at, when, apart, wrong = '' }: CompiledRule): boolean {
  const read = readsOf([at, ...Object.values(when), ...Object.values(apart), wrong].join(' , ')).columns;
  return first.writes?.some((column) => read.includes(column)) ?? true;
}

/** The rules of a job, and how often a tick looks at its rows: not before `:earliest`, if it has done so in this slot. */
export interface Paced {
  rules: CompiledRule[];
  everyMinutes: number;
}

/** When a tick acts on a row that is due at a moment: with a longer cadence than the tick's, when the next slot begins. */
function turnOf(moment: string, { everyMinutes }: Paced): string {
  if (everyMinutes === 1) return moment;
  const seconds = everyMinutes * 60;
  return `case when ${moment} <= :earliest::timestamptz then :earliest::timestamptz
    else to_timestamp(ceil(extract(epoch from ${moment}) / ${seconds}) * ${seconds}) end`;
}

/** Whether another rule of the job acts on the row before this one does, and so may leave it nothing to do. */
function preceded(rule: CompiledRule, paced: Paced, base: string): string {
  const { rules } = paced;
  const others = rules.filter((other) => other !== rule && other.row === rule.row && decides(other, rule));
  const own = turnOf(momentOf(rule, base), paced);
  const comesFirst = others.map((other) => {
    const moment = turnOf(momentOf(other, NOW), paced);
    const order = rules.indexOf(other) < rules.indexOf(rule) ? '<=' : '<';
    // If it has failed on the row, it does not act before its next attempt.
    const mayAct = mayBeTried(other).replaceAll(NOW, `(${own})`);
    return `(${other.at} is not null and ${moment} ${order} ${own} and ${mayAct} and ${asInBatch(other, conditionsAt(other, moment))})`;
  });
  return `coalesce(${comesFirst.join(' or ') || 'false'}, false)`;
}

const expected = (rule: CompiledRule, paced: Paced, base: string) =>
  `r.id::text as id, ${turnOf(momentOf(rule, base), paced)} as moment, ${rule.at} as due_at,
    ${wrongOf(rule)}::text as wrong, ${preceded(rule, paced, base)} as preceded`;

/** The next row of the same key that the rule acts on, and which it will change: what then becomes of this one. */
export function nextBeside(rule: CompiledRule): string {
  const moment = momentOf(rule, NOW);
  return `select r.id::text as id, scheduler.iso(${moment}) as at from ${rule.row}
    where ${conditionsAt(rule, moment).join(' and ')} and ${rule.at} < 'infinity' and ${mayBeTried(rule)}
      and ${isBeside(rule)} and ${wrongOf(rule)} is null
    ${inOrder(rule, '1')}`;
}

const OWN = 'filter (where not preceded)';
const first = (column: string) => `(array_agg(${column} order by due_at, length(id), id) ${OWN})[1]`;

/** Rows are read before it is asked what precedes them: then their number bounds the work. */
const summed = (rows: string, time: string, { everyMinutes }: Paced) => `
  with rows as materialized (${rows})
  select scheduler.iso(min(${time}) ${OWN}) as at, count(*)::integer as read, (count(*) ${OWN})::integer as rows,
    (count(wrong) ${OWN})::integer as "wouldFail", ${first('id')} as id, ${first('reason')} as retry,
    greatest((count(distinct reason) ${OWN})::integer - 1, 0) as "otherReasons",
    ${everyMinutes === 1 ? `(date_trunc('minute', max(${time}), 'UTC') + interval '1 minute' - interval '1 microsecond')` : 'max(moment)'}::text as over
  from rows`;

const byMinute = (rows: string, paced: Paced) => `${summed(rows, 'moment', paced)}
  group by date_trunc('minute', moment, 'UTC') order by date_trunc('minute', moment, 'UTC')`;

/** The rows that a tick would do now, up to a limit, as one. */
export const overdue = (rule: CompiledRule, paced: Paced): string =>
  summed(
    `select ${expected(rule, paced, NOW)}, null as reason from ${rule.row}
    where ${asInBatch(rule, [isDue(rule)])}
    ${inOrder(rule)}`,
    'due_at',
    paced,
  );

/** What comes due in a span, minute by minute, up to so many rows. */
export function coming(rule: CompiledRule, paced: Paced): string {
  const turn = turnOf(rule.at, paced);
  const inTime = [`${rule.at} > :from::timestamptz`, `${rule.at} <= :until::timestamptz`];
  return byMinute(
    `
    select ${expected(rule, paced, NOW)}, null as reason from ${rule.row}
    where ${asInBatch(rule, [...conditionsAt(rule, turn), ...inTime, `${turn} <= :until::timestamptz`, mayBeTried(rule)])}
    ${inOrder(rule)}`,
    paced,
  );
}

/** The same for rows that failed: their time is that of the next attempt. */
export function triedAgain(rule: CompiledRule, paced: Paced): string {
  const base = 'failing.next_attempt_at';
  return byMinute(
    `
    select due.*, failing.error as reason
    from scheduler.failures failing
    cross join lateral (
      select ${expected(rule, paced, base)} from ${rule.row}
      where r.id = failing.entity_id::${rule.idType} and ${rule.at} is not null
        and ${asInBatch(rule, conditionsAt(rule, turnOf(momentOf(rule, base), paced)))}
      offset 0
    ) as due
    where failing.tenant = :tenant::text and failing.job = :job::text and failing.rule = ${quoteText(rule.name)}
      and failing.next_attempt_at > :now::timestamptz and failing.quarantined_at is null and due.moment <= :until::timestamptz
    order by due.moment, failing.entity_id limit :most::integer`,
    paced,
  );
}
