import type { Values } from '../db/bind.ts';
import type { Database } from '../db/client.ts';
import { blamesRow } from '../db/states.ts';
import type { CompiledRule } from '../job/compile.ts';
import { waits } from '../job/define.ts';
import { NOW, quoteName, quoteText } from '../job/expressions.ts';
import { call } from './functions.ts';
import { exceptPublic } from './tenants.ts';

/** Those of the tables in these schemas. A job of no tenant may have some beside them. */
const ofSchemas = (schemas: string) =>
  `(not current_setting('scheduler.is_named')::boolean or tenant = any(${schemas}::text[]))`;
export const anyFailuresIn = (schemas: string): string =>
  `exists (select from scheduler.failures where ${ofSchemas(schemas)})`;

const ATTEMPTS = 3;
/** The message of a constraint or a trigger may hold a value of any size. */
const LONGEST_ERROR = 2000;

/** Not waiting for its next attempt, nor quarantined (which waits for ever). Row by row only where any row has failed. */
export const mayBeTried = ({ tenant, job, name }: CompiledRule) => {
  const [ofTenant, ofJob, ofRule] = [quoteText(tenant), quoteText(job), quoteText(name)];
  return `case when exists (select from scheduler.failures where tenant = ${ofTenant} and job = ${ofJob} and rule = ${ofRule})
    then not ${waits(ofJob, ofRule, 'r.id', ofTenant)} else true end`;
};

/** A hash of what the rule reads of a row: if that changes, somebody has mended the row. */
const seenNow = (rule: CompiledRule, id: string) => `(
    select hashtextextended(row(${rule.reads.map((name) => `r.${quoteName(name)}`).join(', ')})::text, 0)
    from ${rule.row} where r.id = ${id}::${rule.idType}
  )`;

/**
 * Expects a relation `refused` (id, error, state). Growing pauses, then quarantine: an operator has to look. A runner that took a row
 * for due before another one noted its failure has not made another attempt.
 */
export const noteRefused = (rule: CompiledRule) => `
  insert into scheduler.failures as f
    (tenant, job, rule, entity_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at, seen, compared_at)
  select :tenant::text, :job::text, :rule::text, id, 1, left(error, ${LONGEST_ERROR}), :now::timestamptz, :now::timestamptz,
    :now::timestamptz + interval '5 minutes', ${seenNow(rule, 'refused.id')}, :now::timestamptz
  from refused
  on conflict (tenant, job, rule, entity_id) do update
  set attempts = f.attempts + 1,
    error = excluded.error,
    last_failed_at = excluded.last_failed_at,
    seen = excluded.seen,
    compared_at = excluded.compared_at,
    next_attempt_at = case f.attempts + 1
      when 1 then excluded.next_attempt_at -- released after its quarantine
      when 2 then excluded.last_failed_at + interval '30 minutes' else 'infinity' end,
    quarantined_at = case when f.attempts + 1 < ${ATTEMPTS} then null else excluded.last_failed_at end
  where f.next_attempt_at <= excluded.last_failed_at
  returning entity_id, attempts`;

/** Expects a relation `outcome` (entity_id): success clears a failure of the same rule. */
export const CLEAR_SUCCEEDED = `
  delete from scheduler.failures f using outcome o
  where f.tenant = :tenant::text and f.job = :job::text and f.rule = :rule::text and f.entity_id = o.entity_id
    and exists (select from scheduler.failures where tenant = :tenant::text and job = :job::text)`;

const RELEASED = "next_attempt_at = '-infinity', quarantined_at = null, attempts = 0";

/** Whether a row that failed is to be looked at: that costs something, so not in every tick. */
const toCompare = (now: string) => `compared_at <= ${now} - interval '5 minutes'`;
export const anyToCompareIn = (schemas: string, now: string): string =>
  `exists (select from scheduler.failures where ${ofSchemas(schemas)} and ${toCompare(now)})`;

/**
 * Forgets the failures of rows that are gone, or that the rule is not for any more; releases the rows in quarantine of which it now
 * reads something else, and answers how many. Undefined: it could not be asked, as `isDue` raised on some row, say.
 */
export async function releaseMended(
  db: Database,
  rule: CompiledRule,
  values: Values,
  isDue: string,
): Promise<number | undefined> {
  const ofRule = 'f.tenant = :tenant::text and f.job = :job::text and f.rule = :rule::text';
  const { family } = rule.together ?? {};
  // One of a family changes, and so fails, along with another one that is due.
  const [released] = await db
    .query<{ rows: number }>(
      `with looked as materialized (
         select entity_id as id, quarantined_at is not null and ${seenNow(rule, 'f.entity_id')} <> seen as mended,
           exists (select from ${rule.row} where r.id = f.entity_id::${rule.idType} and ${family ? 'true' : isDue}) as stands
         from scheduler.failures f where ${ofRule} and ${toCompare(NOW)}
       ),
       gone as (delete from scheduler.failures f using looked where ${ofRule} and f.entity_id = looked.id and not stands),
       kept as (
         update scheduler.failures f set compared_at = ${NOW} from looked
         where ${ofRule} and f.entity_id = looked.id and stands and mended is not true
       ),
       released as (
         update scheduler.failures f set ${RELEASED} from looked where ${ofRule} and f.entity_id = looked.id and stands and mended
         returning 1
       )
       select count(*)::integer as rows from released`,
      { ...values, tenant: rule.tenant, job: rule.job, rule: rule.name },
    )
    .catch((error) => {
      if (!blamesRow(error)) throw error;
      return [];
    });
  return released?.rows;
}

export interface Refusal {
  id: string;
  error: string;
  /** The SQLSTATE of the error that the row met, if there was one. */
  state: string | null;
  /** It has not failed before. */
  isNew?: boolean;
}

export interface Failure {
  /** Where it is not "public". */
  tenant?: string;
  job: string;
  rule: string;
  entityId: string;
  attempts: number;
  error: string;
  firstFailedAt: string;
  lastFailedAt: string;
  /** Null: it waits for nothing, as it was released; or for ever, in quarantine. */
  nextAttemptAt: string | null;
  quarantinedAt: string | null;
}

/** Rows that failed alike. It holds the last time at which one was tried, and the first next attempt. */
export interface Alike extends Omit<Failure, 'entityId' | 'firstFailedAt'> {
  rows: number;
  /** Some of them, lowest first. */
  ids: string[];
}

/** The most that are listed, unless somebody asks for more. */
export const MOST = 1000;

export interface FailureFilter {
  tenant?: string | undefined;
  job?: string | undefined;
  id?: string | undefined;
  limit?: number | undefined;
}

const CHOSEN = `(:tenant::text is null or tenant = :tenant::text) and (:job::text is null or job = :job::text)
       and (:id::text is null or entity_id = :id::text)`;
/** Ids that are numbers are in the order of numbers. */
const BY_NUMBER = `case when entity_id ~ '^-?\\d{1,18}$' then entity_id::bigint end`;

const chosen = ({ tenant, job, id }: FailureFilter) => ({ tenant: tenant ?? null, job: job ?? null, id: id ?? null });

/** A row that was released has no time of its own: the next tick tries it. */
const NEXT = (time: string) =>
  `scheduler.iso(case when ${time} > '-infinity' and ${time} < 'infinity' then ${time} end)`;

export async function listFailures(db: Pick<Database, 'query'>, filter: FailureFilter): Promise<Failure[]> {
  const failures = await db.query<Failure>(
    `select tenant, job, rule, entity_id as "entityId", attempts, error, scheduler.iso(first_failed_at) as "firstFailedAt",
       scheduler.iso(last_failed_at) as "lastFailedAt", scheduler.iso(quarantined_at) as "quarantinedAt",
       ${NEXT('next_attempt_at')} as "nextAttemptAt"
     from scheduler.failures where ${CHOSEN}
     order by last_failed_at desc, job, ${BY_NUMBER}, entity_id, rule limit :limit::integer`,
    { ...chosen(filter), limit: filter.limit ?? MOST },
  );
  return failures.map(exceptPublic);
}

/** Each rule has its newest group before any has its second: no job hides another one behind the limit. */
export async function listAlike(db: Database, filter: FailureFilter): Promise<{ groups: Alike[]; more: boolean }> {
  const found = await db.query<Alike & { all: number }>(
    `select "all", tenant, job, rule, error, rows, attempts, ids, scheduler.iso(tried) as "lastFailedAt", scheduler.iso(since) as "quarantinedAt",
       ${NEXT('next')} as "nextAttemptAt"
     from (
       select tenant, job, rule, error, count(*)::integer as rows, max(attempts) as attempts, max(last_failed_at) as tried,
         max(quarantined_at) as since, min(next_attempt_at) as next, (array_agg(entity_id order by ${BY_NUMBER}, entity_id))[1:4] as ids,
         row_number() over (partition by tenant, job, rule order by max(last_failed_at) desc, count(*) desc, error) as place,
         count(*) over ()::integer as "all"
       from scheduler.failures where ${CHOSEN}
       group by tenant, job, rule, error, quarantined_at is null
       order by place, tried desc, tenant, job, rule limit :limit::integer
     ) as newest
     order by tried desc, job, rule, place`,
    { ...chosen(filter), limit: filter.limit ?? MOST },
  );
  const groups = found.map(({ all, ...group }) => exceptPublic(group));
  return { groups, more: (found[0]?.all ?? 0) > groups.length };
}

interface Released {
  job: string;
  entityId: string;
}

const change = (action: 'retry' | 'drop') => (db: Database, filter: FailureFilter) =>
  call<Released[]>(db, `scheduler.${action}(:job::text, :id::text, :tenant::text) -> 'rows'`, chosen(filter));

/** Released: the next tick tries again, with all attempts before it. */
export const retryFailures = change('retry');

/** Forgotten: should the row still be due, the next tick tries it like any other. */
export const dropFailures = change('drop');
