import { readable } from '../../base/calendar.ts';
import { SCHEMAS } from '../../db/search-path.ts';
import { sqlState } from '../../db/states.ts';
import { parameters } from '../../engine/run.ts';
import { claimByKey, recordAnswers } from '../../engine/statements.ts';
import { type Installed, install } from '../../job/compile.ts';
import { type Catalog, missingFrom, readCatalog, tableNames } from '../../job/tables.ts';
import { refusedWords } from '../../job/words.ts';
import type { Standing } from '../../store/runs.ts';
import { anyValues, wholeBatch } from '../outlook.ts';
import type { JobStatus } from '../status.ts';
import { type Exam, failed, ok, type Result, warning } from './finding.ts';

/** What a job finds in this database. */
type Seen = Pick<Standing, 'job' | 'missing' | 'installed'>;

/** From the catalog, which every role may read. */
export async function seeJobs({ db, jobs, settings }: Exam): Promise<{ catalog: Catalog; jobs: Seen[] }> {
  const catalog = await db.transaction((tx) => readCatalog(tx, tableNames(jobs)));
  const seen = jobs.map((job) => {
    const missing = missingFrom(job, catalog);
    return { job, missing, installed: missing.length === 0 ? install(job, catalog, settings.dbTimezone) : undefined };
  });
  return { catalog, jobs: seen };
}

export async function checkJob(
  exam: Exam,
  { job, missing, installed }: Seen,
  status: JobStatus | undefined,
): Promise<Result> {
  if (!installed) return notInstalled(exam, missing, status);
  if (status?.state === 'switched off') return warning(`installed, and switched off ${status.why}`);
  if (status?.state === 'paused')
    return warning(`installed, and paused: ${status.why}`, [exam.program.command(`start ${job.name}`)]);
  if (status?.lastRun?.error) return failed(`its last run was stopped by an error: ${status.lastRun.error}`);
  return fits(exam, installed);
}

/** A table of another application keeps its name, and the job rests. That it rested from one day to the next is a failure. */
async function notInstalled(exam: Exam, missing: string[], status: JobStatus | undefined): Promise<Result> {
  const names = missing.slice(0, 5).join(', ') + (missing.length > 5 ? ` and ${missing.length - 5} more` : '');
  const remedy = [
    ...(await findElsewhere(exam, missing)),
    '# It makes missing tables, and completes one that is recognisably of this job; a table of another kind is left alone.',
    exam.program.command('migrate'),
  ];
  // An operator can say with "scheduler stop" that this is meant.
  return status?.lastTick && !status.paused
    ? failed(`was installed and ran until ${readable(status.lastTick)}, and is no more: ${names} missing`, remedy)
    : warning(`not installed: ${names} missing`, remedy);
}

/** Schemas beyond the search path that have a table of a name that is missing. */
async function findElsewhere({ db }: Exam, missing: string[]): Promise<string[]> {
  const found = await db.query<{ table: string; schema: string }>(
    `select c.relname as table, min(n.nspname) as schema
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relname = any(:missing::text[]) and c.relkind in ('r', 'p')
       and n.nspname not like 'pg\\_%' and n.nspname <> all(${SCHEMAS})
     group by c.relname order by c.relname`,
    { missing },
  );
  return found.map(
    ({ table, schema }) =>
      `# There is a table ${table} in schema ${schema}: add "?schema=${schema}" to the connection URL.`,
  );
}

async function fits(exam: Exam, { job, rules }: Installed): Promise<Result> {
  for (const rule of rules) {
    const values = { ...parameters(exam.settings, { now: new Date(0).toISOString(), tenant: '' }), ...anyValues(rule) };
    const statements = [
      ...(rule.together ? [claimByKey(rule)] : []),
      wholeBatch(rule),
      ...(rule.outside ? [recordAnswers(rule)] : []),
    ];
    for (const sql of statements) {
      try {
        await exam.db.query(`explain ${sql}`, values);
      } catch (error) {
        if (sqlState(error) === '42501') return failed(`its rule "${rule.name}" lacks a right: see "rights"`);
        if (!/^(42|22|0A)/.test(sqlState(error) ?? '')) throw error;
        return failed(`its rule "${rule.name}" does not fit the tables: ${(error as Error).message}`, [
          `# "scheduler migrate" completes a table; it changes no column that is there. Compare its type with what the job expects.`,
          exam.program.command('migrate'),
        ]);
      }
    }
  }
  const refusing = await exam.db.transaction((tx) => refusedWords(tx, job));
  if (refusing.length > 0)
    return failed(
      refusing.map(({ sentence }) => sentence).join('; '),
      refusing.map(({ remedy }) => remedy),
    );
  return ok(`installed: ${tableNames([job]).join(', ')}`);
}
