import { readable } from '../../base/calendar.ts';
import { SCHEMAS } from '../../db/search-path.ts';
import { sqlState } from '../../db/states.ts';
import { parameters } from '../../engine/run.ts';
import { claimByKey, recordAnswers } from '../../engine/statements.ts';
import { type Installed, install } from '../../job/compile.ts';
import type { Job, Table } from '../../job/define.ts';
import { refusals } from '../../job/refusing.ts';
import {
  type Catalog,
  isRecognised,
  misfits,
  missingFrom,
  readCatalog,
  tableNames,
  tablesOf,
} from '../../job/tables.ts';
import { addWord, type Lacking, lackingWords, wordsLacked } from '../../job/words.ts';
import { withoutUsed } from '../../store/own-jobs.ts';
import type { Standing } from '../../store/standing.ts';
import { anyValues, wholeBatch } from '../outlook.ts';
import type { JobStatus } from '../status.ts';
import { type Exam, failed, migrate, ok, quoteName, type Result, warning } from './finding.ts';

/** What a job finds in this database. */
type Seen = Pick<Standing, 'job' | 'missing' | 'installed'>;

/** From the catalog, which every role may read. */
export async function seeJobs({ db, jobs: builtIn, settings }: Exam): Promise<{ catalog: Catalog; jobs: Seen[] }> {
  // Before there is a schema, no job is laid over other tables.
  const jobs = await withoutUsed(db, builtIn).catch(() => builtIn);
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
  catalog: Catalog,
): Promise<Result> {
  const words = await lackingIn(exam, job, catalog);
  if (installed && words) return failed(words.message, words.remedy);
  if (!installed) {
    const seller = exam.jobs.find(({ beside }) => beside?.job === job.name);
    const result = await notInstalled(exam, { job, missing }, status, catalog, words);
    if (!seller || missingFrom(seller, catalog).length > 0) return result;
    const stop = exam.program.command(`stop ${seller.name} --reason "${job.name} is not installed"`);
    return failed(`${result.message}; ${seller.name} is installed without it: ${seller.beside!.or}`, [
      ...(result.remedy ?? []),
      ...['# Until then:', stop],
    ]);
  }
  if (status?.state === 'switched off') return warning(`installed, and switched off ${status.why}`);
  if (status?.state === 'paused')
    return warning(`installed, and paused: ${status.why}`, [exam.program.command(`start ${job.name}`)]);
  if (status?.lastRun?.error) return failed(`its last run was stopped by an error: ${status.lastRun.error}`);
  return fits(exam, installed, catalog);
}

/** A table of another application keeps its name, and the job rests. That it rested from one day to the next is a failure. */
async function notInstalled(
  exam: Exam,
  { job, missing }: Pick<Seen, 'job' | 'missing'>,
  status: JobStatus | undefined,
  catalog: Catalog,
  words: Omit<Result, 'outcome'> | undefined,
): Promise<Result> {
  const names = missing.slice(0, 5).join(', ') + (missing.length > 5 ? ` and ${missing.length - 5} more` : '');
  const elsewhere = await findElsewhere(exam, missing);
  // An operator can say with "scheduler stop" that this is meant.
  const isLost = Boolean(status?.lastTick && !status.paused);
  const foreign = tablesOf(job).filter((table) => catalog[table.name] && !isRecognised(table, catalog[table.name]!));
  const columns = isLost ? missing.filter((each) => each.includes('.')) : [];
  const renamed = columns.map((each) => {
    const [table, column] = each.split('.') as [string, string];
    return `-- If it was renamed: alter table ${quoteName(catalog[table]!.schema)}.${quoteName(table)} rename column … to ${quoteName(column)};`;
  });
  const stop = `stop ${job.name} --reason "not in this database"`;
  const remedy = foreign.length
    ? [
        ...foreign.map(
          ({ name }) =>
            `# The table ${name} lacks columns by which ${job.name} knows its own: "scheduler migrate" leaves it alone.`,
        ),
        ...(isLost ? [`# If ${job.name} is not wanted here any more:`, exam.program.command(stop)] : []),
      ]
    : (words?.remedy ?? toInstall(exam, job, catalog));
  const why = `${names} missing${words ? `; ${words.message}` : ''}`;
  return isLost
    ? failed(`was installed and ran until ${readable(status!.lastTick)}, and is no more: ${why}`, [
        ...elsewhere,
        ...renamed,
        ...remedy,
      ])
    : warning(`not installed: ${why}`, [...elsewhere, ...remedy]);
}

/** Words that an enum type lacks: "migrate" leaves its table alone. */
async function lackingIn(exam: Exam, job: Job, catalog: Catalog): Promise<Omit<Result, 'outcome'> | undefined> {
  const all: [Table, Lacking[]][] = [];
  for (const table of tablesOf(job)) {
    const found = catalog[table.name];
    if (found && isRecognised(table, found)) all.push([table, await lackingWords(exam.db, table, found)]);
  }
  const lacking = all.filter(([, words]) => words.length > 0);
  if (lacking.length === 0) return undefined;
  return {
    message: lacking.map((each) => wordsLacked(...each)).join('; '),
    remedy: [
      '-- As the owner of the type, if the table is that of the job:',
      ...lacking.flatMap(([, words]) => words.map((each) => `${addWord(each)};`)),
      ...migrate(exam),
    ],
  };
}

/** A table of a business is made only if somebody asks for it. */
function toInstall(exam: Exam, job: Job, catalog: Catalog): string[] {
  const absent = tablesOf(job).some((table) => !catalog[table.name] && (!table.ours || table === job.table));
  return absent
    ? [
        `# It makes the missing tables, empty; a jobs file with "uses: ${job.name}" names tables of your own instead.`,
        ...migrate(exam, job.name),
      ]
    : ['# It adds missing columns, without the values that others had.', ...migrate(exam)];
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

/** SQL for the columns whose type does not fit: "scheduler migrate" leaves them as they are. */
function misfitting(job: Job, catalog: Catalog): string[] {
  const lines = tablesOf(job).flatMap((table) =>
    misfits(table, catalog[table.name]!).map(({ column, wanted }) => {
      const on = `${quoteName(catalog[table.name]!.schema)}.${quoteName(table.name)}`;
      const name = quoteName(column);
      return `alter table ${on} alter column ${name} type ${wanted} using ${name}::${wanted};`;
    }),
  );
  if (lines.length > 0) return ['-- As the owner of the table, where the application agrees:', ...lines];
  return ['# Give the column a type that fits: "scheduler migrate" changes no column that is there.'];
}

async function fits(exam: Exam, { job, rules }: Installed, catalog: Catalog): Promise<Result> {
  for (const rule of rules) {
    const values = { ...parameters(exam.settings, new Date(0).toISOString()), ...anyValues(rule), tenant: rule.tenant };
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
        return failed(
          `its rule "${rule.name}" does not fit the tables: ${(error as Error).message}`,
          misfitting(job, catalog),
        );
      }
    }
  }
  const refusing = await exam.db.transaction((tx) => refusals(tx, job));
  if (refusing.length > 0)
    return failed(
      refusing.map(({ sentence }) => sentence).join('; '),
      refusing.flatMap(({ remedy }) => remedy),
    );
  return ok(`installed: ${tableNames([job]).join(', ')}`);
}
