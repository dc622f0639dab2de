import { usageError } from '../base/errors.ts';
import type { Transaction } from '../db/client.ts';
import type { Job } from '../job/define.ts';
import type { Found } from '../job/tables.ts';

/** The form in which jobs of your own are kept. */
export const FORMAT = 1;

/** A job of your own as it is kept: what the engine knows of it, and its table as it was found. */
export interface Kept {
  job: Job;
  found: Found;
  dbZone: string;
  /** What was due before is left alone, by rule. */
  since: Record<string, string>;
}

/** The newest row of each name. */
export const LATEST_JOBS = `
  select distinct on (name) id, name, definition, compiled, format, scheduler.iso(at) as at, by from scheduler.jobs order by name, id desc`;

/**
 * SQL for all that a tick needs of them. A superuser would run what an ordinary role has written: then they are not run, and the
 * answer tells who wrote them.
 */
export const OWN_JOBS = `(
  select coalesce(json_agg(json_build_object('name', j.name, 'format', j.format, 'kept', j.compiled, 'powerless', case
      when (select rolsuper from pg_roles where rolname = current_user) and not o.rolsuper then o.rolname end)
    order by j.name), '[]')
  from (${LATEST_JOBS}) as j cross join (
    select r.rolname, r.rolsuper from pg_class c join pg_roles r on r.oid = c.relowner where c.oid = 'scheduler.jobs'::regclass
  ) as o
  where j.compiled is not null
)`;

export interface OwnAnswer {
  name: string;
  format: number;
  kept: Kept;
  powerless: string | null;
}

export interface Version<D = unknown> {
  id: number;
  name: string;
  definition: D | null;
  compiled: Kept | null;
  format: number;
  at: string;
  by: string;
}

export const latestJobs = <D>(tx: Pick<Transaction, 'query'>): Promise<Version<D>[]> =>
  tx.query<Version<D>>(
    `select id::double precision as id, name, definition, compiled, format, at, by from (${LATEST_JOBS}) as latest`,
  );

export const versionsOf = <D>(tx: Pick<Transaction, 'query'>, name: string): Promise<Version<D>[]> =>
  tx.query<Version<D>>(
    `select id::double precision as id, name, definition, compiled, format, scheduler.iso(at) as at, by
     from scheduler.jobs where name = :name::text order by id`,
    { name },
  );

/** What to say of a name that no job has. */
export async function unknownJob(db: Pick<Transaction, 'query'>, builtIn: Job[], name: string): Promise<Error> {
  const own = (await latestJobs(db)).filter(({ compiled }) => compiled !== null);
  const valid = [...builtIn, ...own].map((job) => job.name);
  return usageError(`"${name}" is not a job; valid: ${valid.join(', ')}.`);
}

/** A new version of a job; with null for its definition, the job is removed. */
export async function keepJob(
  tx: Transaction,
  name: string,
  definition: unknown,
  kept: Kept | null,
  by: string,
): Promise<void> {
  await tx.query(
    `insert into scheduler.jobs (name, definition, compiled, format, by)
     values (:name::text, :definition::json, :kept::json, :format::integer, :by::text)`,
    {
      ...{ name, format: FORMAT, by },
      definition: definition === null ? null : JSON.stringify(definition),
      kept: kept && JSON.stringify(kept),
    },
  );
}
