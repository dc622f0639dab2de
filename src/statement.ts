import { RECORD_AND_TELL } from './events.ts';
import { CLEAR_SUCCEEDED, mayBeTried, NOTE_REFUSED } from './failures.ts';
import { aliasOf, type Job, type Rule } from './job.ts';

/** The SQL around a rule. A job says what changes; everything here is the same for all of them. */

const conditions = (rule: Rule) => Object.values(rule.when).map((condition) => `(${condition})`);

const carried = (rule: Rule) => (rule.carry ? `, ${rule.carry}` : '');

const columns = (rule: Rule) => {
  const alias = aliasOf(rule);
  return `${alias}.id, ${rule.at} as due_at, ${rule.wrong ? `(${rule.wrong})` : 'null'}::text as wrong${carried(rule)}`;
};

const isReached = (rule: Rule) => [...conditions(rule), `${rule.at} <= :now::timestamptz`].join('\n      and ');
const isDue = (rule: Rule) => `${isReached(rule)}\n      and ${mayBeTried(`${aliasOf(rule)}.id`)}`;

/** Where the sweep over a rule's due rows has come to; strictly forward, so no row is seen twice in a run. */
export interface Cursor {
  from: string;
  after: string;
}

const beyond = (rule: Rule, idType: string, cursor: Cursor | undefined) =>
  cursor ? `and (${rule.at}, ${aliasOf(rule)}.id) > (:from::timestamptz, :after::text::${idType})` : '';

/** The due rows, oldest first, locked: what an index must answer without reading any other row. */
export function claim(rule: Rule, idType: string, cursor?: Cursor): string {
  const alias = aliasOf(rule);
  return `select ${columns(rule)}, ${alias}.ctid as place
    from ${rule.row}
    where ${isDue(rule)} ${beyond(rule, idType, cursor)}
    order by ${rule.at}, ${alias}.id
    limit :limit::integer
    for update of ${alias} skip locked`;
}

const isFamily = (rule: Rule) => `(${rule.each!.family}) and ${mayBeTried(`${aliasOf(rule)}.id`)}`;

/** The due rows, and whether their keys could be locked: rows of a key that somebody else holds are theirs. */
export function claimByKey(rule: Rule, idType: string, cursor: Cursor | undefined): string {
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
      where ${isDue(rule)} ${beyond(rule, idType, cursor)}
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
 * The same rows again, by their place: within the transaction that locked them they cannot move. The offset keeps the
 * planner from finding them among all that is due, once per batch.
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
  return `select ${columns(rule)}
    from (select * from ${rule.row} where ${alias}.ctid = any(:places::tid[]) offset 0) as ${alias}
    where ${isDue(rule)} and ${alias}.id::text = any(:ids::text[])`;
}

// Of "wrong is null" alone the planner expects one row in 200, and then it loops over the whole batch for each of them.
export const changed = (rule: Rule, due: string) => `
  with due as materialized (${due}),
  todo as (select * from due where case when wrong is null then true end),
  ${rule.change}`;

/** What `outcome` amounts to; row by row only when asked. */
export const TALLY = (detailed: string) => `
    (select coalesce(json_object_agg(transition, count), '{}') from (select transition, count(*) from outcome where transition is not null group by 1) as t) as changed,
    (select coalesce(max(extract(epoch from :now::timestamptz - due_at)), 0)::double precision from outcome
     where isfinite(due_at) and transition is not null) as "lateSeconds",
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
  cleared as (${CLEAR_SUCCEEDED})
  select
    (select coalesce(json_agg(refused), '[]') from refused) as refused,
    ${TALLY(`coalesce(${claimed} <= :detail::integer, true)`)}`;

export const complete = (rule: Rule, due: string) => `${changed(rule, due)},
  ${REFUSED},
  ${FINISH('(select count(*) from due)')},
    (select count(*) from due)::integer as claimed,
    (select json_build_object('from', due_at::text, 'after', id::text)
     from (select due_at, id from due offset (select greatest(count(*) - 1, 0) from due)) as l) as last`;

/** Everything that one row can make fail, to be undone. */
export const trial = (rule: Rule, due: string) => `${changed(rule, due)},
  ${RECORD_AND_TELL}
  select count(*)::text from told`;

/** The change without its events, for `finish`, which completes many pieces at once. */
export const begin = (rule: Rule, due: string) => `${changed(rule, due)},
  ${REFUSED}
  select json_build_object(
    'outcome', (select coalesce(json_agg(outcome), '[]') from outcome),
    'refused', (select coalesce(json_agg(refused), '[]') from refused)
  )::text`;

export const finish = `
  with part as materialized (select part from json_array_elements(:parts::json) as parts (part)),
  outcome as materialized (
    select o.* from part cross join json_to_recordset(part -> 'outcome')
      as o (step integer, transition text, type text, entity_id text, due_at timestamptz, channels text[], data jsonb)
  ),
  refused as materialized (
    select r.* from part cross join json_to_recordset(part -> 'refused') as r (id text, error text)
  ),
  ${FINISH(':claimed::integer')}`;

/**
 * Is anything due? Of all rules at once, in one round trip. Where nothing has failed, no row waits for another attempt:
 * not asking about that halves what an idle tick costs the server, which plans it anew each time.
 */
export function probe(jobs: Job[], anyFailures: boolean): string {
  const checks = jobs.flatMap((job) =>
    job.rules.map((rule) => {
      const due = anyFailures ? isDue(rule).replaceAll(':job::text', `'${job.name}'`) : isReached(rule);
      return `exists (select from ${rule.row} where ${due})`;
    }),
  );
  return checks.length === 0 ? 'false' : checks.join('\n or ');
}

/** One row as a rule sees it, due or not; each piece is an expression on it. */
export function look(rule: Rule, idType: string, pieces: Record<string, string>): string {
  const alias = aliasOf(rule);
  const asked = Object.entries(pieces).map(([name, sql]) => `(${sql}) as ${name}`);
  return `select ${[`${alias}.id::text as id`, ...asked].join(', ')}
    from ${rule.whole?.row ?? rule.row} where ${alias}.id = :id::text::${idType}`;
}

/** All that must be so besides the due time having come, by name. */
export function conditionsOf(rule: Rule, idType: string): Record<string, string> {
  if (!rule.whole) return rule.when;
  const isPart = `exists (select from ${rule.row} where ${aliasOf(rule)}.id = :id::text::${idType})`;
  return { ...rule.when, [rule.whole.part]: isPart };
}

/** Other rows of the same key that are due by the rule: they change with the row, or right before or after it. */
export function dueBeside(rule: Rule, idType: string): string {
  const alias = aliasOf(rule);
  const { key } = rule.each!;
  return `select ${alias}.id::text as id from ${rule.row}
    where ${isDue(rule)} and ${alias}.id <> :id::text::${idType}
      and ${key} = (select ${key} from ${rule.row} where ${alias}.id = :id::text::${idType})
    order by ${rule.at}, ${alias}.id limit :most::integer`;
}

const NOW = ':now::timestamptz';

/** When a rule acts on a row: its due time, but not before a base such as now. Conditions are asked as of that moment. */
const momentOf = (rule: Rule, base: string) => `greatest(${rule.at}, ${base})`;
const conditionsAt = (rule: Rule, moment: string) =>
  conditions(rule).map((each) => each.replaceAll(NOW, `(${moment})`));

/** Whether another rule of the job acts on the row before this one does, and so may leave it nothing to do. */
function preceded(rule: Rule, rules: Rule[], base: string): string {
  const others = rules.filter((other) => other !== rule && other.row === rule.row);
  const comesFirst = others.map((other) => {
    const moment = momentOf(other, base);
    const order = rules.indexOf(other) < rules.indexOf(rule) ? '<=' : '<';
    return `(${other.at} is not null and ${moment} ${order} ${momentOf(rule, base)} and ${conditionsAt(other, moment).join(' and ')})`;
  });
  return `coalesce(${comesFirst.join(' or ') || 'false'}, false)`;
}

const expected = (rule: Rule, rules: Rule[], base: string) =>
  `${aliasOf(rule)}.id::text as id, ${momentOf(rule, base)} as moment, ${rule.at} as due_at,
    ${rule.wrong ? `(${rule.wrong})` : 'null'}::text as wrong, ${preceded(rule, rules, base)} as preceded`;

/** The next row of the same key that the rule acts on, and which it will change: what then becomes of this one. */
export function nextBeside(rule: Rule, idType: string): string {
  const alias = aliasOf(rule);
  const { key } = rule.each!;
  const moment = momentOf(rule, NOW);
  return `select ${alias}.id::text as id, scheduler.iso(${moment}) as at from ${rule.row}
    where ${conditionsAt(rule, moment).join(' and ')} and ${rule.at} < 'infinity' and ${mayBeTried(`${alias}.id`)}
      and ${alias}.id <> :id::text::${idType}
      and ${key} = (select ${key} from ${rule.row} where ${alias}.id = :id::text::${idType})
      and ${rule.wrong ? `(${rule.wrong})` : 'null'} is null
    order by ${rule.at}, ${alias}.id limit 1`;
}

const OWN = 'filter (where not preceded)';
const first = (column: string) => `(array_agg(${column} order by due_at, length(id), id) ${OWN})[1]`;

/** Rows are read before it is asked what precedes them: then their number bounds the work. */
const summed = (rows: string, time: string) => `
  with rows as materialized (${rows})
  select scheduler.iso(min(${time}) ${OWN}) as at, count(*)::integer as read, (count(*) ${OWN})::integer as rows,
    (count(wrong) ${OWN})::integer as wrong, ${first('id')} as id, ${first('reason')} as reason,
    (date_trunc('minute', max(${time}), 'UTC') + interval '1 minute' - interval '1 microsecond')::text as over
  from rows`;

const BY_MINUTE = `group by date_trunc('minute', moment, 'UTC') order by date_trunc('minute', moment, 'UTC')`;

const inOrder = (rule: Rule) => `order by ${rule.at}, ${aliasOf(rule)}.id limit :most::integer`;

/** What a tick would do now: up to so many rows, as one. */
export const overdue = (rule: Rule, rules: Rule[]): string =>
  summed(
    `select ${expected(rule, rules, NOW)}, null as reason from ${rule.row}
    where ${isDue(rule)}
    ${inOrder(rule)}`,
    'due_at',
  );

/** What comes due in a span, minute by minute, up to so many rows. */
export const coming = (rule: Rule, rules: Rule[]): string =>
  `${summed(
    `select ${expected(rule, rules, NOW)}, null as reason from ${rule.row}
    where ${conditionsAt(rule, rule.at).join(' and ')} and ${rule.at} > :from::timestamptz and ${rule.at} <= :until::timestamptz
      and ${mayBeTried(`${aliasOf(rule)}.id`)}
    ${inOrder(rule)}`,
    'moment',
  )}
  ${BY_MINUTE}`;

/** The same for rows that failed: their time is that of the next attempt. */
export function triedAgain(rule: Rule, rules: Rule[], idType: string): string {
  const alias = aliasOf(rule);
  const base = 'failing.next_attempt_at';
  return `${summed(
    `select due.*, failing.error as reason
    from scheduler.failures failing
    cross join lateral (
      select ${expected(rule, rules, base)} from ${rule.row}
      where ${alias}.id = failing.entity_id::${idType} and ${rule.at} is not null
        and ${conditionsAt(rule, momentOf(rule, base)).join(' and ')}
      offset 0
    ) as due
    where failing.job = :job::text and failing.next_attempt_at > :now::timestamptz and failing.quarantined_at is null
      and due.moment <= :until::timestamptz
    order by due.moment, failing.entity_id limit :most::integer`,
    'moment',
  )}
  ${BY_MINUTE}`;
}

/** What is due of each job and not done: how many rows, of each rule counted no further than a bound, and since when. */
export function backlog(jobs: Job[]): string {
  const parts = jobs.flatMap((job) =>
    job.rules.map(
      (rule) => `
      select '${job.name}' as job, count(*) as rows, min(due_at) filter (where isfinite(due_at)) as oldest
      from (
        select ${rule.at} as due_at from ${rule.row} where ${isDue(rule).replaceAll(':job::text', `'${job.name}'`)}
        order by ${rule.at}, ${aliasOf(rule)}.id limit :most::integer
      ) as due`,
    ),
  );
  return `
    select job, sum(rows)::integer as rows, scheduler.iso(min(oldest)) as since,
      extract(epoch from :now::timestamptz - min(oldest))::double precision as seconds
    from (${parts.join('\n      union all')}) as parts group by job`;
}

// Further than from one look to the next.
const SOON = `(${NOW} + interval '2 seconds')`;

/** In how many seconds each job has something to do, if that is soon: 0 for what is due already. */
export function soonest(jobs: Job[], anyFailures: boolean): string {
  const parts = jobs.map((job) => {
    const firsts = job.rules.map((rule) => {
      const mayBe = anyFailures ? [mayBeTried(`${aliasOf(rule)}.id`).replaceAll(':job::text', `'${job.name}'`)] : [];
      return `(select ${rule.at} from ${rule.row}
        where ${[...conditionsAt(rule, momentOf(rule, NOW)), ...mayBe].join(' and ')} and ${rule.at} <= ${SOON}
        order by ${rule.at}, ${aliasOf(rule)}.id limit 1)`;
    });
    return `select '${job.name}' as job, least(${firsts.join(', ')}) as at`;
  });
  return `
    select job, extract(epoch from greatest(at, now) - now)::double precision as seconds
    from (${parts.join('\n      union all ')}) as soonest cross join lateral (select clock_timestamp() as now) as clock
    where at is not null`;
}
