import { configurationError, EXIT, OperatorError, usageError } from '../base/errors.ts';
import { meantOrValid } from '../base/nearest.ts';
import type { Database, Transaction } from '../db/client.ts';
import { SCHEMAS } from '../db/search-path.ts';
import { ROW_HELD, sqlState } from '../db/states.ts';
import type { Job } from '../job/define.ts';
import { lay, type Use } from '../job/lay.ts';
import type { Needed } from '../job/rights.ts';
import type { Catalog, Found } from '../job/tables.ts';

/** The form in which jobs of your own are kept. */
export const FORMAT = 1;

/** A job of your own as it is kept: what the engine knows of it, and its table as it was found. */
export interface Kept {
  /** For a built-in job on the application's tables, only its name and cadence: the rest is code. */
  job: Job;
  uses?: Use;
  found: Found;
  /** The other tables of a built-in job, by the names that it gives them. */
  others?: Catalog;
  dbZone: string;
  /** Rows that were due before are left alone, by rule. */
  since: Record<string, string>;
  /** The indexes that find its rows, and whether "scheduler apply" made them. */
  indexes: Record<string, boolean>;
  /** Functions that its expressions name, with a hash of each and its owner. */
  functions: Record<string, string>;
  /** What it does with other tables, and uses of schemas. */
  needs: Needed[];
}

/** Somebody may have written something else there, by hand. */
export function isKept(compiled: unknown): compiled is Kept {
  const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);
  const { job, found, dbZone, ...more } = (isObject(compiled) ? compiled : {}) as Partial<Kept>;
  const { uses = { job: '', tables: {} }, others = {} } = more;
  const objects: unknown[] = [job, job?.table, job?.table?.columns, job?.rules, uses.tables];
  objects.push(found, found?.columns, found?.notNull, others);
  const rules = isObject(job?.rules) ? Object.values(job!.rules) : [];
  return (
    [...objects, ...rules, more.since, more.indexes, more.functions].every(isObject) &&
    [job!.name, job!.table.name, job!.table.key, found!.schema, found!.oid, dbZone].every(
      (each) => typeof each === 'string',
    ) &&
    rules.every(({ due, where }) => typeof due === 'string' && isObject(where)) &&
    Number.isInteger(job!.everyMinutes) &&
    Array.isArray(more.needs)
  );
}

/** The job itself; undefined if it uses a built-in one that this version does not have. */
export function jobOf({ job, uses, since }: Kept, builtIn: Job[]): Job | undefined {
  if (!uses) return job;
  const used = builtIn.find(({ name }) => name === uses.job);
  return used && lay(used, job, uses, since);
}

export const catalogOf = ({ job, found, others }: Kept): Catalog => ({ ...others, [job.table.name]: found });

/** The newest row of each name, of every tenant. */
export const LATEST_OF_ALL = `
  select distinct on (tenant, name) id, tenant, name, definition, compiled, format, scheduler.iso(at) as at, by
  from scheduler.jobs order by tenant, name, id desc`;

/** Those of the tables in these schemas, and those whose file names the schema of the table. */
export const latestJobsIn = (schemas: string): string => `
  select distinct on (name) * from (${LATEST_OF_ALL}) as newest
  where tenant is null or tenant = any(${schemas})
  order by name, compiled is null, array_position(${schemas}, tenant::name)`;
export const LATEST_JOBS = latestJobsIn(SCHEMAS);

/**
 * SQL for all that a tick needs of them. A superuser would run what an ordinary role has written: then they are not run, and the
 * answer tells who wrote them.
 */
export const ownJobsIn = (schemas: string): string => `(
  select coalesce(json_agg(json_build_object('name', j.name, 'tenant', j.tenant, 'format', j.format, 'kept', j.compiled, 'powerless', case
      when (select rolsuper from pg_roles where rolname = current_user) and not o.rolsuper then o.rolname end)
    order by j.tenant is null, j.name), '[]')
  from (${latestJobsIn(schemas)}) as j cross join (
    select r.rolname, r.rolsuper from pg_class c join pg_roles r on r.oid = c.relowner where c.oid = 'scheduler.jobs'::regclass
  ) as o
  where j.compiled is not null
)`;

export interface OwnAnswer {
  name: string;
  tenant: string | null;
  format: number;
  kept: Kept;
  powerless: string | null;
}

export interface Version<D = unknown> {
  id: number;
  tenant: string | null;
  name: string;
  definition: D | null;
  compiled: Kept | null;
  format: number;
  at: string;
  by: string;
}

/** Whether this version of the program wrote it. */
export const isUsable = <D>(version: Version<D> | undefined): version is Version<D> =>
  version !== undefined && version.format === FORMAT && isKept(version.compiled);

export const latestJobs = <D>(tx: Pick<Transaction, 'query'>): Promise<Version<D>[]> =>
  tx.query<Version<D>>(
    `select id::double precision as id, tenant, name, definition, compiled, format, at, by from (${LATEST_JOBS}) as latest`,
  );

/** The built-in jobs that work on tables which a file names: they are not looked for by the names of their own. */
export async function withoutUsed(db: Pick<Transaction, 'query'>, builtIn: Job[]): Promise<Job[]> {
  const used = (await latestJobs(db)).map(({ compiled }) => compiled?.uses?.job);
  return builtIn.filter(({ name }) => !used.includes(name));
}

export const versionsOf = <D>(tx: Pick<Transaction, 'query'>, name: string): Promise<Version<D>[]> =>
  tx.query<Version<D>>(
    `select id::double precision as id, tenant, name, definition, compiled, format, scheduler.iso(at) as at, by
     from scheduler.jobs where name = :name::text and (tenant is null or tenant = any(${SCHEMAS})) order by id`,
    { name },
  );

/** The tenants that have a job of that name. */
export async function tenantsWith(db: Pick<Transaction, 'query'>, name: string, orRemoved = false): Promise<string[]> {
  const rows = await db.query<{ tenant: string }>(
    `select tenant from (${LATEST_OF_ALL}) as latest
     where name = :name::text and tenant is not null and (:orRemoved::boolean or compiled is not null)`,
    { name, orRemoved },
  );
  return rows.map(({ tenant }) => tenant);
}

/**
 * For a job whose file names the schema of its table: what is kept of it, and which tenants have one of its name. Theirs would hide it in
 * their runs. Those that see it here are this tenant itself.
 */
export async function namesakes<D>(
  tx: Pick<Transaction, 'query'>,
  { name, table }: { name: string; table: string },
): Promise<{ ofNone: Version<D> | undefined; own: string[]; others: string[] }> {
  const found = await tx.query<Version<D> & { isOwn: boolean }>(
    `select id::double precision as id, tenant, name, case when tenant is null then definition end as definition,
       case when tenant is null then compiled end as compiled, format, at, by, tenant = any(${SCHEMAS}) as "isOwn"
     from (${LATEST_OF_ALL}) as latest
     where name = :name::text and compiled is not null and cardinality(parse_ident(:table::text, false)) > 1
       and (tenant is null or exists (select from pg_namespace n where n.nspname = tenant))
     order by tenant`,
    { name, table },
  );
  const tenants = (ofThis: boolean) =>
    found.flatMap(({ tenant, isOwn }) => (tenant !== null && isOwn === ofThis ? tenant : []));
  return { ofNone: found.find(({ tenant }) => tenant === null), own: tenants(true), others: tenants(false) };
}

/** What to say of a name that no job has. */
export async function unknownJob(db: Pick<Transaction, 'query'>, builtIn: Job[], name: string): Promise<Error> {
  const [tenant, ...others] = await tenantsWith(db, name);
  if (tenant !== undefined)
    return usageError(
      `"${name}" is a job of ${others.length > 0 ? `${others.length + 1} tenants` : 'a tenant'}: name one, --tenant ${tenant}.`,
    );
  const own = (await latestJobs(db)).filter(({ compiled }) => compiled !== null);
  const valid = [...builtIn, ...own].map((job) => job.name);
  return usageError(`"${name}" is not a job; ${meantOrValid(name, valid)}`);
}

/** What PostgreSQL says of such a lock on a standby. */
const ON_A_STANDBY = '55000';

/** Two at once would drop what the other has just built. Only a role that may write the definitions can take this lock. */
export async function exclusively<T>(db: Database, work: () => Promise<T>): Promise<T> {
  const guard = db.another('scheduler apply');
  const lock = 'lock table scheduler.jobs in share update exclusive mode';
  const taken = (error: unknown) => {
    if (sqlState(error) === ON_A_STANDBY)
      throw new OperatorError(
        EXIT.stopped,
        'Nothing is changed: this database is a standby, which takes no changes. Name its primary, and run this again.',
      );
    if (sqlState(error) === '42501')
      throw configurationError(
        'Nothing is changed: the definitions of jobs are changed by the owner of the schema "scheduler". Run this as that role.',
      );
    if (sqlState(error) !== ROW_HELD) throw error;
    throw new OperatorError(
      EXIT.stopped,
      'Nothing is changed: another "scheduler apply" or "scheduler jobs remove" is at work. Run this again when it has ended.',
    );
  };
  try {
    return await guard.transaction(
      async (tx) => {
        await tx.query(lock).catch(taken);
        return work();
      },
      { idleTimeout: '0', attempts: 1 },
    );
  } finally {
    await guard.close();
  }
}

/** A new version of a job; with null for its definition, the job is removed. The failures of a rule that is gone could never clear. */
export async function keepJob(
  tx: Transaction,
  name: string,
  definition: unknown,
  kept: Kept | null,
  by: string,
): Promise<void> {
  await tx.query(
    `with latest as materialized (select tenant from (${LATEST_JOBS}) as latest where name = :name::text and compiled is not null),
     written (tenant, definition, compiled) as (
       select case when cardinality(parse_ident(:table::text, false)) = 1 then :schema::text end, :definition::json, :kept::json
       where :kept::json is not null
     )
     insert into scheduler.jobs (tenant, name, definition, compiled, format, by)
     select tenant, :name::text, definition, compiled, :format::integer, :by::text
     from (
       -- Its table may have moved to another tenant, or to none.
       select tenant, null::json as definition, null::json as compiled from latest
       where not exists (select from written where written.tenant is not distinct from latest.tenant)
       union all
       select * from written
     ) as rows`,
    {
      ...{ name, format: FORMAT, by, schema: kept?.found.schema ?? null },
      table: (definition as { table?: string } | null)?.table ?? null,
      definition: definition === null ? null : JSON.stringify(definition),
      kept: kept && JSON.stringify(kept),
    },
  );
  const rules = Object.keys(kept?.job.rules ?? {});
  await tx.query(
    `delete from scheduler.failures where job = :name::text and rule <> all(:rules::text[])
       and tenant = any(${SCHEMAS}::text[] || :schema::text)`,
    { name, rules, schema: kept?.found.schema ?? null },
  );
}
