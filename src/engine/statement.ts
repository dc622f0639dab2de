import { AT_ONCE, aliasOf, type Job, type Rule } from '../job/define.ts';
import { RECORD_AND_TELL } from '../store/events.ts';
import { CLEAR_SUCCEEDED, mayBeTried, NOTE_REFUSED } from '../store/failures.ts';

/** The SQL around a rule. A job says what changes; everything here is the same for all of them. */

const conditions = (rule: Rule) => Object.values(rule.when).map((condition) => `(${condition})`);

const carried = (rule: Rule) => (rule.carry ? `, ${rule.carry}` : '');

const columns = (rule: Rule) => {
  const alias = aliasOf(rule);
  return `${alias}.id, ${rule.at} as due_at, ${rule.wrong ? `(${rule.wrong})` : 'null'}::text as wrong${carried(rule)}`;
};

const isReached = (rule: Rule) => [...conditions(rule), `${rule.at} <= :now::timestamptz`].join('\n      and ');
export const isDue = (rule: Rule) => `${isReached(rule)}\n      and ${mayBeTried(`${aliasOf(rule)}.id`)}`;

const NOW = ':now::timestamptz';

/** When a rule acts on a row: its due time, but not before a base such as now. Conditions are asked as of that moment. */
export const momentOf = (rule: Rule, base: string) => `greatest(${rule.at}, ${base})`;
export const conditionsAt = (rule: Rule, moment: string) =>
  conditions(rule).map((each) => each.replaceAll(NOW, `(${moment})`));

/** Where the sweep over a rule's due rows has come to; strictly forward, so no row is seen twice in a run. */
export interface Cursor {
  from: string;
  after: string;
}

/** Which of the due rows a claim may take. */
export interface Share {
  /** Those beyond it. */
  cursor?: Cursor | undefined;
  /** Half of them: all rows of a key are in the same one, and by the hash of scheduler.try_hold() no two of them want one hold. */
  half?: 0 | 1 | undefined;
}

const within = (rule: Rule, idType: string, { cursor, half }: Share) => {
  const id = `${aliasOf(rule)}.id`;
  const key = rule.each?.key ?? id;
  const after = `:after::text::${idType}`;
  // Of rows that all are due at once, an index holds the ids alone.
  const beyond = rule.at === AT_ONCE ? `${id} > ${after}` : `(${rule.at}, ${id}) > (:from::timestamptz, ${after})`;
  return `${cursor ? `and ${beyond}` : ''}
      ${half === undefined ? '' : `and case when hashtext((${key})::text) & 1 = :half::integer then true end`}`;
};

/** The due rows, oldest first, locked: what an index must answer without reading any other row. */
export function claim(rule: Rule, idType: string, share: Share = {}): string {
  const alias = aliasOf(rule);
  return `select ${columns(rule)}, ${alias}.ctid as place
    from ${rule.row}
    where ${isDue(rule)} ${within(rule, idType, share)}
    order by ${rule.at}, ${alias}.id
    limit :limit::integer
    for update of ${alias} skip locked`;
}

const isFamily = (rule: Rule) => `(${rule.each!.family}) and ${mayBeTried(`${aliasOf(rule)}.id`)}`;

/** The due rows, and whether their keys could be locked: rows of a key that somebody else holds are theirs. */
export function claimByKey(rule: Rule, idType: string, share: Share, anyPassedBy = false): string {
  const alias = aliasOf(rule);
  const { key, lock, family } = rule.each!;
  const row = `${alias}.id, ${rule.at} as due_at, ${alias}.ctid as place, ${key} as key`;
  // By key, one after the other: the planner would rather go through everything that is due for each batch.
  const joined = `
    union all
    select member.*, true, true
    from locked cross join lateral (
      select ${row} from ${rule.row}
      where ${key} = locked.key and ${alias}.id not in (select id from due) and ${isFamily(rule)} offset 0
    ) as member`;
  return `
    with due as materialized (
      select ${row}${family ? '' : carried(rule)}
      from ${rule.row}
      where ${isDue(rule)} ${within(rule, idType, share)}
        ${anyPassedBy ? `and not (${key})::text = any(:passedBy::text[])` : ''}
      order by ${rule.at}, ${alias}.id
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
 * due still is.
 */
export function picked(rule: Rule, idType: string): string {
  const alias = aliasOf(rule);
  // Of these only the keys are locked: the application may have changed, and so moved, a row in the meantime. The lock
  // still lets it refer to the row, from a new message of a session for instance. That none of them waits for another
  // attempt was seen when they were claimed.
  if (rule.each) {
    return `select ${columns(rule)}
    from (
      select * from ${rule.row} where ${alias}.id = any(:ids::text[]::${idType}[]) order by ${alias}.id offset 0
      for no key update
    ) as ${alias}
    where (${isReached(rule)}${rule.each.family ? ` or (${rule.each.family})` : ''})`;
  }
  // In a partitioned table, rows of several partitions have the same place.
  return `select ${columns(rule)}
    from unnest(:places::tid[], :ids::text[]) as here (place, named)
    join ${rule.row} on ${alias}.ctid = here.place and ${alias}.id::text = here.named`;
}

// Of "wrong is null" alone the planner expects one row in 200, and then it loops over the whole batch for each of them.
const changed = (rule: Rule, due: string) => `
  with due as materialized (${due}),
  todo as (select * from due where case when wrong is null then true end),
  ${rule.change}`;

/** What `outcome` amounts to, as common table expression and as columns; row by row only when asked. */
export const TALLIED = `
  tallied as materialized (
    select transition, count(*), min(due_at) filter (where isfinite(due_at)) as due_at
    from outcome where transition is not null group by transition
  )`;
export const TALLY = (detailed: string) => `
    (select coalesce(json_object_agg(transition, count), '{}') from tallied) as changed,
    (select coalesce(extract(epoch from :now::timestamptz - min(due_at)), 0)::double precision from tallied) as "lateSeconds",
    (select count(*) from told)::integer as told,
    (select json_agg(json_build_object('transition', transition, 'step', step, 'entity_id', entity_id, 'data', data) order by due_at, step)
     from outcome where transition is not null and ${detailed}) as outcomes`;

const REFUSED = `
  refused as (
    select id::text as id, wrong as error from due where wrong is not null
    union all
    select id::text, 'nothing was changed: a trigger or a rule of the table suppressed the update'
    from todo where id::text not in (select entity_id from outcome)
  )`;

const FINISH = (claimed: string) => `
  ${RECORD_AND_TELL},
  noted as (${NOTE_REFUSED}),
  cleared as (${CLEAR_SUCCEEDED}),
  ${TALLIED}
  select
    (select coalesce(json_agg(refused), '[]') from refused where id in (select entity_id from noted)) as refused,
    ${TALLY(`coalesce(${claimed} <= :detail::integer, true)`)}`;

export const complete = (rule: Rule, due: string) => `${changed(rule, due)},
  ${REFUSED},
  size as materialized (select count(*)::integer as rows from due),
  ${FINISH('(select rows from size)')},
    (select rows from size) as claimed,
    (select json_build_object('from', due_at::text, 'after', id::text)
     from (select due_at, id from due offset (select greatest(rows - 1, 0) from size)) as l) as last`;

const IN_PIECES = `
  with part as materialized (
    select * from scheduler.try_pieces(
      :statement::text, :parameters::text[], :places::text[], :ids::text[], :table::regclass, :piece::integer, :keep::boolean,
      :blames::text, :patience::interval
    )
  )`;

const ROWS = '(select coalesce(sum(rows), 0)::integer from part) as rows';

export interface InPieces {
  /** What is done with a piece. */
  piece: string;
  /** The statement that has it done with all of them, as `:statement`, until its patience ends. It answers for how many rows it was. */
  whole: string;
}

/** Everything that one row can make fail, to be undone. */
export const trial = (rule: Rule, due: string): InPieces => ({
  piece: `${changed(rule, due)},
  ${RECORD_AND_TELL}
  select null::scheduler.outcome[] as outcome, null::scheduler.refusal[] as refused, count(*) from told`,
  whole: `${IN_PIECES}
  select ${ROWS}, (select coalesce(json_agg(r), '[]') from part cross join unnest(refused) as r) as refused`,
});

/** The change in pieces, and all their events together. */
export const gradual = (rule: Rule, due: string): InPieces => ({
  piece: `${changed(rule, due)},
  ${REFUSED}
  select
    (select array_agg(row(step, transition, type, entity_id, due_at, channels, data)::scheduler.outcome) from outcome) as outcome,
    (select array_agg(row(id, error)::scheduler.refusal) from refused) as refused`,
  whole: `${IN_PIECES},
  outcome as materialized (select o.* from part cross join unnest(outcome) as o),
  refused as materialized (
    select r.* from part cross join unnest(refused) as r
    union all
    select r.* from json_to_recordset(:before::json) as r (id text, error text)
  ),
  ${FINISH(':claimed::integer')}, ${ROWS}`,
});

/**
 * Whether a rule has a due row. Where nothing has failed, no row waits for another attempt: not asking about that halves what
 * an idle tick costs the server, which plans it anew each time. It is asked for its first row, in order: where most of a
 * table was due long ago, the planner expects a due one anywhere, and of "exists" it would find none in another index only
 * after reading all of that.
 */
function hasDue(job: Job, rule: Rule, anyFailures: boolean): string {
  const due = anyFailures ? isDue(rule).replaceAll(':job::text', `'${job.name}'`) : isReached(rule);
  return `(select true from ${rule.row} where ${due} order by ${rule.at}, ${aliasOf(rule)}.id limit 1)`;
}

/** Is anything due? Of all rules at once, in one round trip. */
export function probe(jobs: Job[], anyFailures: boolean): string {
  const checks = jobs.flatMap((job) => job.rules.map((rule) => hasDue(job, rule, anyFailures)));
  return `coalesce(${[...checks, 'false'].join(',\n ')})`;
}

/** The first of a job's rules, from one on, that has anything due: its place, or null. No rule after it is looked at. */
export function firstDue(job: Job, from: number, anyFailures: boolean): string {
  const checks = job.rules.slice(from).map((rule, n) => `when ${hasDue(job, rule, anyFailures)} then ${from + n}`);
  return `case ${checks.join('\n ')} end`;
}
