import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from '../base/config.ts';
import { configurationError, EXIT, OperatorError } from '../base/errors.ts';
import { ROOT } from '../base/version.ts';
import type { Database, Transaction } from '../db/client.ts';
import { PIN } from '../db/search-path.ts';
import { ROW_HELD, sqlState } from '../db/states.ts';
import { adopt, type Obstacle } from '../job/adopt.ts';
import type { Job } from '../job/define.ts';
import { type Refusal, refusals } from '../job/refusing.ts';
import { OWN_RIGHTS } from '../job/rights.ts';
import type { Report, Step } from '../job/steps.ts';
import { misfits, readCatalog, tableNames, tablesOf } from '../job/tables.ts';
import { readElsewhere, refuseElsewhere } from './adopted.ts';
import { refreshKnown } from './known-jobs.ts';
import { withoutUsed } from './own-jobs.ts';
import { FORMER_EDITION, LEVEL_FOUND } from './standing.ts';

type Client = Awaited<ReturnType<Database['client']>>;

const FOLDER = join(ROOT, 'migrations');

/** The schema that this version of the program works with: its newest migration. */
export const LEVEL = Math.max(...readdirSync(FOLDER).map((name) => Number.parseInt(name, 10) || 0));

/** How long it waits for another one that migrates. */
const PATIENCE_SECONDS = 10;

const MIGRATE = 'Run "scheduler migrate" once';

const FORMER =
  'The schema "scheduler" was made by an earlier edition, which this one cannot go on with. Its history can go, your own tables stay: run "drop schema scheduler cascade" in this database, then "scheduler migrate".';

/** A tick never migrates: it says what is missing, and who runs it decides when. */
export function checkLevel(level: number): void {
  if (level === FORMER_EDITION) throw configurationError(FORMER);
  if (level < LEVEL)
    throw configurationError(
      `The schema "scheduler" is at level ${level}, and this version needs ${LEVEL}. ${MIGRATE}.`,
    );
}

export async function requireLevel(db: Database): Promise<void> {
  const [found] = await db.query<{ level: number }>(`select ${LEVEL_FOUND} as level`);
  checkLevel(found!.level);
}

/** A table or a column that is gone is made again; what is there keeps its type, so other faults are not mended by migrating. */
export const whatFits = (error: unknown): string =>
  ['42P01', '42703'].includes(sqlState(error) ?? '')
    ? `${MIGRATE}.`
    : 'Most likely a column has another type since, which "scheduler migrate" does not change: give it one that fits; "scheduler doctor" says more.';

/** Turns "relation does not exist" and "permission denied" on our own tables into what to do about them. */
export function explainSchemaError(error: unknown): unknown {
  switch (sqlState(error)) {
    case '42P01': // undefined table
    case '3F000': // no such schema
      return configurationError(
        `The schema "scheduler" is not in this database. ${MIGRATE}; until then nothing is touched.`,
      );
    case '42703': // undefined column
    case '42883': // undefined function
      return configurationError(
        `The schema "scheduler" does not fit this version (${(error as Error).message}). ${whatFits(error)}`,
      );
    case '42501': // insufficient privilege
      return configurationError(
        `The role of this connection lacks a right: ${(error as Error).message}. Grant it; deploy/roles.sql lists all that are needed. Where row-level security hides rows from it, a superuser may "alter role … bypassrls": "scheduler doctor" says which.`,
      );
    default:
      return error;
  }
}

export interface MigrationState {
  id: number;
  name: string;
  applied: boolean;
  /** An earlier edition has applied another one of that number. */
  former: boolean;
}

export async function migrationStates(db: Pick<Transaction, 'query'>): Promise<MigrationState[]> {
  const [present] = await db.query<{ table: string | null }>(
    `select to_regclass('scheduler.migrations')::text as table`,
  );
  const rows = present?.table
    ? await db.query<{ id: number; name: string }>('select id, name from scheduler.migrations')
    : [];
  const applied = new Map(rows.map((row) => [row.id, row.name]));
  return readdirSync(FOLDER)
    .map((file) => ({ id: Number.parseInt(file, 10), name: file.replace(/^\d+_|\.sql$/g, '') }))
    .filter(({ id }) => id > 0)
    .sort((a, b) => a.id - b.id)
    .map((migration) => {
      const known = applied.get(migration.id);
      return { ...migration, applied: known !== undefined, former: known !== undefined && known !== migration.name };
    });
}

export interface Migrating {
  db: Database;
  settings: Settings;
  jobs: Job[];
  /** The names of the jobs whose tables are made where there are none. */
  create: string[];
  report: Report;
}

export interface NotInstalled {
  job: Job;
  obstacles: Obstacle[];
}

/**
 * Applies the missing migrations, then lets each job adopt its tables, or make those that are asked for. The second step is
 * repeated on every call: it heals a dropped index and adopts a table that the application has got since.
 */
export async function migrate({ db, settings, jobs: builtIn, create, report }: Migrating): Promise<NotInstalled[]> {
  for (const step of await applyMigrations(db)) report(step);
  if (builtIn.length === 0) return [];
  refuseElsewhere(await readElsewhere(db));
  const jobs = await withoutUsed(db, builtIn);

  const zones = { zone: settings.timezone, dbZone: settings.dbTimezone };
  const notInstalled: NotInstalled[] = [];
  const faults: OperatorError[] = [];
  // A table that one job makes may be all that another one lacks.
  const isAsked = ({ name }: Job) => create.includes(name);
  for (const job of [...jobs.filter(isAsked), ...jobs.filter((each) => !isAsked(each))]) {
    const adopting = db.transaction(
      async (tx) => {
        await tx.query(`select set_config('client_min_messages', 'warning', true)`);
        const steps: Step[] = [];
        const obstacles = await adopt(tx, job, { create: isAsked(job), zones, report: (step) => steps.push(step) });
        return { steps, obstacles, refused: obstacles.length > 0 ? [] : await refusals(tx, job) };
      },
      { unbounded: true },
    );
    // A table that cannot be adopted must not keep the others from being ready.
    const known = await adopting.then(
      ({ steps, obstacles, refused }) => {
        for (const step of steps) report(step);
        if (obstacles.length > 0) notInstalled.push({ job, obstacles });
        return refused.map((each) => wouldFail(job.name, each));
      },
      async (error) => [await inTheWay(db, job, error)],
    );
    faults.push(...known);
  }
  await refreshKnown(db, settings, builtIn);
  // Jobs that share a table find the same.
  const sentences = [...new Set(faults.map(({ message }) => message))];
  if (faults[0]) throw new OperatorError(faults[0].exitCode, sentences.join('\n'));
  return notInstalled.sort((a, b) => a.job.order - b.job.order);
}

/** All in one transaction, so that two of them do not migrate at the same time, and a failing one leaves nothing. */
async function applyMigrations(db: Database): Promise<Step[]> {
  const apply = () =>
    db.transaction(
      async (tx) => {
        await tx.query(
          `select set_config('lock_timeout', '${PATIENCE_SECONDS}s', true), set_config('client_min_messages', 'warning', true)`,
        );
        await refuseForeign(tx);
        const others = await tablesOfOthers(tx);
        await tx.query('create schema if not exists scheduler');
        // The library looks for a table called migrations in every schema, and a Laravel application has one.
        await tx.query(`create table if not exists scheduler.migrations (
          id integer primary key, name varchar(100) unique not null, hash varchar(40) not null,
          executed_at timestamp default current_timestamp)`);
        // A role with no right to write there cannot take this lock.
        await tx.query('lock table scheduler.migrations in share row exclusive mode');
        const states = await migrationStates(tx);
        if (states.some(({ former }) => former)) throw configurationError(FORMER);
        if (others.length > 0) throw configurationError(`Nothing is migrated: ${notOurs(others)}`);
        const missing = states.filter(({ applied }) => !applied);
        await tx.query(`select set_config('search_path', 'scheduler', true)`);
        const { migrate: apply } = await import('postgres-migrations');
        await apply({ client: inOneTransaction(await db.client()) }, FOLDER);
        await tx.query(PIN);
        return missing.map(({ id, name }): Step => ({ does: 'apply', what: 'migration', name: `${id}_${name}` }));
      },
      { unbounded: true },
    );
  try {
    // Somebody else has made the schema a moment ago: it is there now.
    return await apply().catch((error) => (sqlState(error) === '23505' ? apply() : Promise.reject(error)));
  } catch (error) {
    throw explainMigrationError(error);
  }
}

/** The library locks, begins and commits by itself. Here all of it is one transaction, which a dry run undoes. */
function inOneTransaction(client: Client): Client {
  const parts: [RegExp, string][] = [
    [/^SELECT pg_try_advisory_lock/, 'select true as pg_try_advisory_lock'],
    [/^SELECT pg_advisory_unlock/, 'select'],
    [/^START TRANSACTION$/, 'savepoint migration'],
    [/^COMMIT$/, 'release savepoint migration'],
    [/^ROLLBACK$/, 'rollback to savepoint migration'],
  ];
  const part = (text: string) => parts.find(([of]) => of.test(text))?.[1] ?? text;
  const query = (sql: string | object) => client.query(typeof sql === 'string' ? part(sql) : (sql as { text: string }));
  return { query } as Client;
}

/** The owner of the schema, or of something in it, decides what runs there. So the role that migrates must own all of it. */
export async function refuseForeign(tx: Transaction): Promise<void> {
  const [foreign] = await tx.query<{ what: string; owner: string; me: string }>(FOREIGN);
  if (!foreign) return;
  const { what, owner, me } = foreign;
  throw configurationError(
    `${what} belongs to the role "${owner}", and this is "${me}". If "${owner}" made it with "scheduler migrate", run that as "${owner}" again. If not, somebody else did: look into it, then "drop schema scheduler cascade".`,
  );
}

/** Tables in the schema that this program has not made: an application may have called a schema of its own so. */
export async function tablesOfOthers(tx: Transaction): Promise<string[]> {
  const rows = await tx.query<{ name: string }>(
    `select format('scheduler.%I', relname) as name from pg_class
     where relnamespace = to_regnamespace('scheduler') and relkind in ('r', 'p', 'v', 'm', 'f') and not relispartition
       and 'scheduler.' || relname <> all(:ours::text[])
     order by 1 limit 5`,
    { ours: OWN_RIGHTS.map(({ table }) => table) },
  );
  return rows.map(({ name }) => name);
}

export const notOurs = (tables: string[]): string =>
  `the schema "scheduler" holds what this program has not made (${tables.join(', ')}). Move it to another schema first, for instance: alter table ${tables[0]} set schema …`;

const FOREIGN = `
  select what, pg_get_userbyid(owner) as owner, current_user as me
  from (
    select 0 as n, 'The schema "scheduler"' as what, nspowner as owner from pg_namespace where nspname = 'scheduler'
    union all
    select 1, format('scheduler.%I', relname), relowner from pg_class where relkind <> 'i' and relnamespace = to_regnamespace('scheduler')
    union all
    select 2, format('scheduler.%I()', proname), proowner from pg_proc where pronamespace = to_regnamespace('scheduler')
    union all
    select 3, format('scheduler.%I', typname), typowner from pg_type where typnamespace = to_regnamespace('scheduler')
  ) as found
  where pg_get_userbyid(owner) <> current_user
  order by n, what limit 1`;

async function inTheWay(db: Database, job: Job, error: Error): Promise<OperatorError> {
  if (error instanceof OperatorError) return error;
  // These are faults of a table. Any other passes with time, or nobody can mend it.
  if (!/^(0A|2[2378]|42|44|54|P0|XX)/.test(sqlState(error) ?? '')) throw error;
  return sqlState(error) === '42501' ? notTheOwner(error) : notFitting(db, job, error);
}

const wouldFail = (job: string, { sentence, advice }: Refusal) =>
  configurationError(`The tables of ${job} are ready, but its rows would fail: ${sentence}. ${advice}`);

async function notFitting(db: Database, job: Job, error: Error): Promise<OperatorError> {
  const catalog = await db.transaction((tx) => readCatalog(tx, tableNames([job])));
  const columns = tablesOf(job).flatMap((table) => {
    const found = catalog[table.name];
    return found ? misfits(table, found).map((each) => ({ table: table.name, ...each })) : [];
  });
  const wrong = columns.map(
    ({ table, column, type, wanted }) => `${table}.${column} is ${type} and should be ${wanted}`,
  );
  const advice =
    wrong.length > 0
      ? `${wrong.join(', ')}: give it that type`
      : 'Most likely a column has a type that does not fit: give it another';
  return configurationError(
    `The tables of ${job.name} cannot be made to fit: ${error.message}. ${advice} and run "scheduler migrate" again; docs/adopting.md says what fits.`,
  );
}

const notTheOwner = (error: Error) =>
  configurationError(
    `Columns and indexes can only be added by the owner of a table: ${error.message}. Run "scheduler migrate" as that role.`,
  );

function explainMigrationError(error: unknown): unknown {
  const state = sqlState(error);
  const { message } = error as Error;
  if (error instanceof OperatorError || state === undefined || /^(08|25|40|53|57)/.test(state)) return error;
  if (state === ROW_HELD)
    return new OperatorError(
      EXIT.stopped,
      `For ${PATIENCE_SECONDS} seconds somebody else has worked on the schema "scheduler": another "scheduler migrate", most likely. Nothing is changed; try again when it has ended.`,
    );
  if (state === '42501')
    return configurationError(
      `Migrating needs the right to create the schema "scheduler": ${message}. Run it as the owner of the database.`,
    );
  return configurationError(
    `The migrations could not be applied: ${message.replace(/\s+/g, ' ').replace(/\.?$/, '.')} Nothing of them was kept.`,
  );
}
