import { readable } from '../../base/calendar.ts';
import { sqlState } from '../../db/states.ts';
import { parameters } from '../../engine/run.ts';
import { claim, claimByKey, complete, picked, recordAnswers } from '../../engine/statements.ts';
import { readCatalog } from '../../job/adopt.ts';
import { type CompiledRule, type Installed, install } from '../../job/compile.ts';
import type { Job } from '../../job/define.ts';
import { type Catalog, missingFrom, tableNames, tablesOf } from '../../job/tables.ts';
import { IDENTITY, type Standing } from '../../store/runs.ts';
import type { JobStatus } from '../status.ts';
import { type Exam, type Finding, failed, ok, warning } from './finding.ts';

/** What the jobs find in this database. */

export interface Seen {
  catalog: Catalog;
  jobs: Pick<Standing, 'job' | 'missing' | 'installed'>[];
}

/** From the catalog, which every role may read. */
export async function seeJobs({ db, jobs, settings }: Exam): Promise<Seen> {
  const catalog = await db.transaction((tx) => readCatalog(tx, tableNames(jobs)));
  return {
    catalog,
    jobs: jobs.map((job) => {
      const missing = missingFrom(job, catalog);
      return { job, missing, installed: missing.length === 0 ? install(job, catalog, settings.dbTimezone) : undefined };
    }),
  };
}

export function checkJob(
  exam: Exam,
  { job, missing, installed }: Seen['jobs'][number],
  status: JobStatus | undefined,
): Promise<Finding> | Finding {
  if (!installed) return notInstalled(exam, job, missing, status);
  if (status?.state === 'switched off') return warning(job.name, `installed, and switched off ${status.why}`);
  if (status?.state === 'paused')
    return warning(job.name, `installed, and paused: ${status.why}`, [exam.program.command(`start ${job.name}`)]);
  if (status?.lastRun?.error) return failed(job.name, `its last run was stopped by an error: ${status.lastRun.error}`);
  return fits(exam, installed);
}

/** A table of another application keeps its name, and the job rests. That it rested from one day to the next is a failure. */
async function notInstalled(exam: Exam, job: Job, missing: string[], status: JobStatus | undefined): Promise<Finding> {
  const names = missing.slice(0, 5).join(', ') + (missing.length > 5 ? ` and ${missing.length - 5} more` : '');
  const migrate = [
    ...(await findElsewhere(exam, missing)),
    '# It makes missing tables, and completes one that is recognisably of this job; a table of another kind is left alone.',
    exam.program.command('migrate'),
  ];
  // An operator can say with "scheduler stop" that this is meant.
  return status?.lastTick && !status.paused
    ? failed(
        job.name,
        `was installed and ran until ${readable(status.lastTick)}, and is no more: ${names} missing`,
        migrate,
      )
    : warning(job.name, `not installed: ${names} missing`, migrate);
}

/** Schemas beyond the search path that have a table of a name that is missing. */
async function findElsewhere({ db }: Exam, missing: string[]): Promise<string[]> {
  const found = await db.query<{ table: string; schema: string }>(
    `select c.relname as table, min(n.nspname) as schema
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relname = any(:missing::text[]) and c.relkind in ('r', 'p')
       and n.nspname not like 'pg\\_%' and n.nspname <> all(current_schemas(true))
     group by c.relname order by c.relname`,
    { missing },
  );
  return found.map(
    ({ table, schema }) =>
      `# There is a table ${table} in schema ${schema}: add "?schema=${schema}" to the connection URL.`,
  );
}

/** Planning a statement finds what running it would: rights, types, functions. */
async function fits(exam: Exam, { job, rules }: Installed): Promise<Finding> {
  for (const rule of rules) {
    for (const sql of statements(rule)) {
      try {
        await exam.db.query(`explain ${sql}`, valuesOf(exam, rule));
      } catch (error) {
        if (sqlState(error) === '42501') return failed(job.name, `its rule "${rule.name}" lacks a right: see "rights"`);
        if (!sqlState(error)?.match(/^(42|22|0A)/)) throw error;
        const message = (error as Error).message;
        return failed(job.name, `its rule "${rule.name}" does not fit the tables: ${message}`, [
          `# "scheduler migrate" completes a table; it changes no column that is there. Compare its type with what the job expects.`,
          exam.program.command('migrate'),
        ]);
      }
    }
  }
  const tables = tablesOf(job).map(({ name }) => name);
  return ok(job.name, `installed: ${tables.join(', ')}`);
}

const statements = (rule: CompiledRule): string[] => [
  ...(rule.together ? [claimByKey(rule), complete(rule, picked(rule))] : [complete(rule, claim(rule))]),
  ...(rule.outside ? [recordAnswers(rule)] : []),
];

/** Values for every parameter. Planning needs one of each type, and looks at none. */
const valuesOf = ({ settings }: Exam, rule: CompiledRule) => ({
  ...parameters(settings, { now: new Date(0).toISOString(), tenant: '' }),
  ...IDENTITY,
  ...rule.make?.(1),
  ...{ job: rule.job, rule: rule.name, slot: null, by: null, run: null, notify: true, detail: 1 },
  ...{ limit: 1, places: [], ids: [], answers: '[]' },
});
