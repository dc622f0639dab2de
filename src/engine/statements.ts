import { IS_OPENED, OPENED } from '../db/search-path.ts';
import { TWICE } from '../job/change.ts';
import type { CompiledRule } from '../job/compile.ts';
import { AT_ONCE } from '../job/define.ts';
import { NOW, quoteText } from '../job/expressions.ts';
import { RECORD_AND_TELL } from '../store/events.ts';
import { CLEAR_SUCCEEDED, mayBeTried, noteRefused } from '../store/failures.ts';
import { BEGIN_RUN, RUN_ID } from '../store/runs.ts';

/** The SQL around a rule. A job says what changes; everything here is the same for all of them. A rule's row is called r. */

const conditions = (rule: CompiledRule) => Object.values(rule.when).map((condition) => `(${condition})`);

/** SQL for the conditions that are asked of the rows of a batch only. */
const appliesTo = ({ apart }: CompiledRule): string | undefined =>
  Object.values(apart)
    .map((each) => `(${each})`)
    .join(' and ') || undefined;

const columns = (rule: CompiledRule) => {
  const applies = appliesTo(rule);
  // Mostly nothing was seen before: the planner then leaves this out.
  const twice = `when json_array_length(:seen::json) > 0 and concat(r.id, ' ', ${rule.at}) = any(array(select json_array_elements_text(:seen::json))) then ${quoteText(TWICE)}`;
  // Nothing is wrong with a row that the rule is not for.
  const ofRow = rule.wrong && applies ? `case when ${applies} then ${rule.wrong} end` : `(${rule.wrong ?? 'null'})`;
  const wrong = rule.mustEnd ? `case ${twice} else ${ofRow} end` : ofRow;
  return [
    `r.id, ${rule.at} as due_at, ${wrong}::text as wrong`,
    ...(applies ? [`(${applies}) as applies`] : []),
    ...rule.carry,
  ].join(', ');
};

/** With the conditions that are asked of a batch only: last, as a tick asks them, for they may raise. */
export function asInBatch(rule: CompiledRule, conditions: string[]): string {
  const [all, applies] = [conditions.join(' and '), appliesTo(rule)];
  return applies ? `${all} and case when ${all} then ${applies} end` : all;
}

export const isReached = (rule: CompiledRule) => [...conditions(rule), `${rule.at} <= ${NOW}`].join('\n      and ');

export const isDue = (rule: CompiledRule) => `${isReached(rule)}\n      and ${mayBeTried(rule)}`;

/** When a rule acts on a row: its due time, but not before a base such as now. Conditions are asked as of that moment. */
export const momentOf = (rule: CompiledRule, base: string) => `greatest(${rule.at}, ${base})`;
export const conditionsAt = (rule: CompiledRule, moment: string) =>
  conditions(rule).map((each) => each.replaceAll(NOW, `(${moment})`));

/** Where the sweep over a rule's due rows has come to; strictly forward, so no row is seen twice in a sweep. */
export interface Cursor {
  from: string;
  after: string;
}

/** Which of the due rows a claim may take. */
export interface Share {
  /** Those beyond it. */
  cursor?: Cursor | undefined;
  /** None beyond the last row that was due when the sweep began: it may make others due itself. */
  end?: Cursor | undefined;
  /** One part of several: rows of a key are all in the same one, and so are keys that want the same hold. */
  part?: { number: number; of: number };
  /** Those of other keys. */
  passedBy?: Set<string>;
}

function within(rule: CompiledRule, { cursor, end, part, passedBy }: Share): string {
  const key = `(${rule.together?.key ?? 'r.id'})::text`;
  const after = `:after::text::${rule.idType}`;
  // If all rows are due at once, an index holds the ids alone.
  const beyond = rule.at === AT_ONCE ? `r.id > ${after}` : `(${rule.at}, r.id) > (:from::timestamptz, ${after})`;
  // A case is not estimated, so that the planner goes on expecting a full batch.
  const upToEnd = `case when (${rule.at}, r.id) <= (:endFrom::timestamptz, :endAfter::text::${rule.idType}) then true end`;
  const mine = `case when (hashtext(concat(${quoteText(rule.tenant)}, ' ', ${key})) & 1023) % :parts::integer = :part::integer then true end`;
  const chosen = [
    cursor && beyond,
    end && upToEnd,
    part && mine,
    passedBy?.size && `not ${key} = any(:passedBy::text[])`,
  ];
  return [isDue(rule), ...chosen.filter(Boolean)].join('\n      and ');
}

const inOrder = (rule: CompiledRule) => `order by ${rule.at}, r.id`;

/** The last of the due rows. */
export const lastDue = (rule: CompiledRule): string =>
  `select (${rule.at})::text as from, r.id::text as after from ${rule.row} where ${isReached(rule)} order by ${rule.at} desc, r.id desc limit 1`;

/** The due rows, oldest first, locked: what an index must answer without reading any other row. */
export const claim = (rule: CompiledRule, share: Share = {}): string => `
    select ${columns(rule)}, r.place
    from ${rule.row}
    where ${within(rule, share)}
    ${inOrder(rule)}
    limit :limit::integer
    for update of r skip locked`;

/** The due rows, and whether their keys could be locked: rows of a key that somebody else holds are theirs. */
export function claimByKey(rule: CompiledRule, share: Share = {}): string {
  const { key, lock, family } = rule.together!;
  const row = `r.id, ${rule.at} as due_at, r.place, ${key} as key`;
  // By key, one after the other: the planner would rather go through everything that is due for each batch.
  const joined = `
    union all
    select member.*, true, true
    from locked cross join lateral (
      select ${row} from ${rule.row}
      where ${key} = locked.key and r.id not in (select id from due) and (${family}) and ${mayBeTried(rule)} offset 0
    ) as member`;
  return `
    with due as materialized (
      select ${[row, ...(family ? [] : rule.carry)].join(', ')}
      from ${rule.row}
      where ${within(rule, share)}
      ${inOrder(rule)}
      limit :limit::integer
    ),
    locked as materialized (${lock}),
    rows (id, due_at, place, key, free, joined) as (
      select id, due_at, place, key, key in (select key from locked), false from due
      ${family ? joined : ''}
    )
    select id::text as id, due_at::text as due_at, place::text as place, key::text as key, free, joined
    from rows order by rows.due_at, rows.id`;
}

/**
 * The same rows again, by their place: within the transaction that locked them they neither move nor change, so what was
 * due still is. In a partitioned table, rows of several partitions have the same place.
 */
export function picked(rule: CompiledRule): string {
  if (!rule.together)
    return `select ${columns(rule)}
    from unnest(:places::tid[], :ids::text[]) as here (place, named)
    join ${rule.row} on r.place = here.place and r.id::text = here.named`;
  // Only their keys are locked: the application may have changed, and so moved, a row in the meantime. The lock
  // still lets it refer to the row, from a new message of a session for instance.
  return `select ${columns(rule)}
    from (
      select * from ${rule.row} where r.id = any(:ids::text[]::${rule.idType}[]) order by r.id offset 0
      for no key update
    ) as r
    where (${isReached(rule)}${rule.together.family ? ` or (${rule.together.family})` : ''})`;
}

const ifApplies = ({ apart }: CompiledRule) => (Object.keys(apart).length > 0 ? ' and applies' : '');

// For "wrong is null" alone, the planner expects one row in 200, and then it loops over the whole batch for each of them.
const changed = (rule: CompiledRule, due: string) => `
  with ${OPENED},
  due as materialized (${due}),
  todo as (select * from due where case when wrong is null then ${IS_OPENED} end${ifApplies(rule)}),
  ${rule.change}`;

/**
 * The end of a statement: the events of `outcome` are recorded and told, failures of its rows are forgotten, and it is summed
 * up; row by row only when asked.
 */
const summedUp = (detailed: string) => `
  ${BEGIN_RUN},
  ${RECORD_AND_TELL},
  cleared as (${CLEAR_SUCCEEDED}),
  tallied as materialized (
    select transition, count(*), min(due_at) filter (where isfinite(due_at)) as due_at
    from outcome where transition is not null group by transition
  )
  select
    (select coalesce(json_object_agg(transition, count), '{}') from tallied) as changed,
    (select coalesce(extract(epoch from ${NOW} - min(due_at)), 0)::double precision from tallied) as "lateSeconds",
    (select count(*) from told)::integer as told,
    (select json_agg(json_build_object('transition', transition, 'step', step, 'entity_id', entity_id, 'due', due_at::text, 'data', data) order by due_at, step)
     from outcome where transition is not null and ${detailed}) as outcomes`;

/** What came of work outside the database, written to the rows that were claimed for it. */
export const recordAnswers = (rule: CompiledRule): string => `
  with ${OPENED},
  answer as materialized (
    select id, result from json_to_recordset(:answers::json) as a (id text, result jsonb) where ${IS_OPENED}
  ),
  ${rule.outside!.recording},
  ${summedUp('true')}`;

const refused = (rule: CompiledRule) => `
  refused as (
    select id::text as id, wrong as error, null as state from due where wrong is not null${ifApplies(rule)}
    union all
    select id::text, 'nothing was changed: a trigger or a rule of the table suppressed the update', null
    from todo where id::text not in (select entity_id from outcome)
  )`;

/** What the work outside needs to know of the rows just claimed. */
const handed = (rule: CompiledRule) =>
  rule.outside
    ? `(select coalesce(json_agg(json_build_object('id', entity_id, 'sealed', sealed) order by due_at, step), '[]') from outcome)`
    : 'null::json';

const finish = (rule: CompiledRule, claimed: string) => `
  noted as (${noteRefused(rule)}),
  ${summedUp(`coalesce(${claimed} <= :detail::integer, true)`)},
    (
      select coalesce(json_agg(json_build_object('id', id, 'error', error, 'state', state, 'isNew', attempts = 1)), '[]')
      from refused join noted on noted.entity_id = refused.id
    ) as refused,
    ${RUN_ID}::text as run, ${handed(rule)} as handed`;

/** A whole batch in one statement: claim, change, record, tell. */
export const complete = (rule: CompiledRule, due: string) => `${changed(rule, due)},
  ${refused(rule)},
  size as materialized (select count(*)::integer as rows from due),
  ${finish(rule, '(select rows from size)')},
    (select rows from size) as claimed,
    (
      select json_build_object('from', due_at::text, 'after', id::text)
      from (select due_at, id from due order by due_at desc, id desc limit 1) as latest
    ) as last`;

const IN_PIECES = `
  with part as materialized (
    select * from scheduler.bisect(
      :statement::text, :parameters::text[], :places::text[], :ids::text[], :piece::integer, :keep::boolean,
      :spares::text, :patience::interval
    )
  )`;

const ROWS = '(select coalesce(sum(rows), 0)::integer from part) as rows';

export interface InPieces {
  /** What is done with a piece. */
  piece: string;
  /** The statement that has it done with all of them, until its patience ends. It answers for how many rows it was. */
  whole: string;
}

/** Everything that one row can make fail, to be undone. */
export const trial = (rule: CompiledRule, due: string): InPieces => ({
  piece: `${changed(rule, due)},
  ${BEGIN_RUN},
  ${RECORD_AND_TELL}
  select null::scheduler.outcome[] as outcome, null::scheduler.refusal[] as refused, count(*) from told`,
  whole: `${IN_PIECES}
  select ${ROWS}, (select coalesce(json_agg(r), '[]') from part cross join unnest(refused) as r) as refused`,
});

/** The change in pieces, and all their events together. */
export const gradual = (rule: CompiledRule, due: string): InPieces => ({
  piece: `${changed(rule, due)},
  ${refused(rule)}
  select
    (
      select array_agg(
        row(step, transition, type, entity_id, due_at, channels, data, ${rule.outside ? 'sealed' : 'null'})::scheduler.outcome
      ) from outcome
    ) as outcome,
    (select array_agg(row(id, error, state)::scheduler.refusal) from refused) as refused`,
  whole: `${IN_PIECES},
  outcome as materialized (select o.* from part cross join unnest(outcome) as o),
  refused as materialized (
    select r.* from part cross join unnest(refused) as r
    union all
    select r.* from json_to_recordset(:before::json) as r (id text, error text, state text)
  ),
  ${finish(rule, ':claimed::integer')}, ${ROWS}`,
});

/** How many rows a rule would find now, and since when. */
export const backlogOf = (rule: CompiledRule): string =>
  `select count(*)::double precision as rows, scheduler.iso(min(${rule.at})) as oldest from ${rule.row} where ${isReached(rule)}`;

/** The first row in order. For "exists", the planner might expect one anywhere, and read a whole table that was due long ago. */
export const firstRow = (rule: CompiledRule, what: string, where: string[]): string =>
  `(select ${what} from ${rule.row} where ${where.join(' and ')} ${inOrder(rule)} limit 1)`;

/**
 * Whether a rule has a due row. Where nothing has failed, no row waits for another attempt: not asking about that halves
 * what an idle tick costs the server.
 */
export const hasDue = (rule: CompiledRule, anyFailures: boolean): string =>
  firstRow(rule, 'true', [anyFailures ? isDue(rule) : isReached(rule)]);

/** Whether it may have one, as far as the index tells. The other conditions take as long to plan as all the rest. */
export const mayHaveDue = (rule: CompiledRule, anyFailures: boolean): string => {
  const simple = Object.entries(rule.when).filter(([, sql]) => !/:now|\bselect\b/i.test(sql));
  return hasDue(Object.create(rule, { when: { value: Object.fromEntries(simple) } }), anyFailures);
};
