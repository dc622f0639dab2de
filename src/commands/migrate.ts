import { type Command, Option } from 'commander';
import { EXIT, type ExitCode, usageError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { print, printJson, printTable } from '../base/output.ts';
import { commandFor } from '../base/paste.ts';
import type { Context } from '../context.ts';
import { explainFaultOfCommand } from '../engine/faults.ts';
import type { Job } from '../job/define.ts';
import { tablesOf } from '../job/tables.ts';
import { addWord, wordsLacked } from '../job/words.ts';
import { migrate, migrationStates, type NotInstalled } from '../store/migrate.ts';
import { command, type Options, withDatabase } from './command.ts';
import { type StepOptions, telling } from './steps.ts';
import { forEachTenant, tenantsFor, tenantsOption } from './tenants.ts';

interface MigrateOptions extends StepOptions {
  status?: boolean;
  create?: string[];
  tenants?: string;
}

const ALL = 'all';

export function migrateCommand(jobs: Job[]): Command {
  return command('migrate', 'make the schema "scheduler", and fit the tables that the jobs know', {
    examples: [
      'scheduler migrate --dry-run',
      'scheduler migrate',
      'scheduler migrate --create vouchers packages',
      'scheduler migrate --create all',
      "scheduler migrate --tenants 'ts_*'",
      'scheduler migrate --status',
    ],
    exits: { [EXIT.rowsFailed]: 'with --status: migrations are missing' },
  })
    .addOption(
      new Option('--create <job...>', 'make the tables of these jobs, too, where there are none').argParser(
        jobsToCreate(jobs),
      ),
    )
    .addOption(tenantsOption())
    .option('--dry-run', 'say what it would do; change nothing')
    .option('--status', 'only show which migrations are applied')
    .option('-j, --json', 'print the result as JSON')
    .action(
      withDatabase<MigrateOptions>((context, options) =>
        options.status
          ? showStates(context, options)
          : options.tenants
            ? eachTenant(context, options, options.tenants)
            : bringUpToDate(context, options),
      ),
    );
}

function jobsToCreate(jobs: Job[]) {
  const choices = [ALL, ...jobs.map(({ name }) => name)];
  const parse = (name: string, before: string[] = []): string[] => {
    if (choices.includes(name)) return [...before, name];
    const near = nearest(name, choices);
    const meant = near ? `did you mean "${near}"? Valid` : 'valid';
    throw usageError(`"${name}" is not a built-in job; ${meant}: ${choices.join(', ')}.`);
  };
  return Object.assign(parse, { choices });
}

async function showStates({ db }: Context, { json }: Options): Promise<ExitCode> {
  const states = await migrationStates(db);
  const rows = states.map(({ id, name, applied }) => [`${id}_${name}`, applied ? 'yes' : 'no']);
  if (json) printJson({ migrations: states });
  else printTable(['migration', 'applied'], rows);
  return states.every(({ applied }) => applied) ? EXIT.done : EXIT.rowsFailed;
}

/** The schema first, then the tables of each tenant in transactions of its own: what is done stays, if a later one fails. */
async function eachTenant(context: Context, options: MigrateOptions, text: string): Promise<ExitCode> {
  const { db, settings } = context;
  const schema: object = {};
  const answer = (part: object) => void Object.assign(schema, part);
  await telling({ ...options, answer }, async (report) => {
    await migrate({ db, settings, jobs: [], create: [], report });
    return {};
  });
  const names = await tenantsFor(context, text);
  return forEachTenant(context, options, names, (each) => bringUpToDate(context, each), schema);
}

async function bringUpToDate({ db, settings, jobs }: Context, options: MigrateOptions): Promise<ExitCode> {
  const asked = options.create ?? [];
  const create = asked.includes(ALL) ? jobs.map(({ name }) => name) : asked;
  let absent: string[] = [];
  const { steps, result } = await telling(options, async (report) => {
    const work = () => migrate({ db, settings, jobs, create, report });
    const left = await (options.dryRun ? db.rehearse(work, { unbounded: true }) : work()).catch((error) => {
      throw explainFaultOfCommand(error);
    });
    const notInstalled = left.map((each) => ({ job: each.job.name, why: whyNot(each, db.tenant) }));
    absent = left.filter(isAbsent).map(({ job }) => job.name);
    const isLeft = (name: string) => left.some(({ job }) => job.name === name);
    const harm = jobs.flatMap(({ name, beside }) =>
      beside && isLeft(beside.job) && !isLeft(name)
        ? [
            `${name} is installed without ${beside.job}: ${beside.or}. ${commandFor(db.tenant, `stop ${name} --reason TEXT`)} holds it back until then.`,
          ]
        : [],
    );
    return { notInstalled, harm };
  });
  if (!options.json) {
    if (options.tenants)
      print(
        `${db.tenant}: ${steps.length > 0 ? `${steps.length} steps${options.dryRun ? ' would be done' : ''}` : 'up to date'}`,
      );
    else if (options.dryRun)
      print(steps.length > 0 ? 'Nothing is changed: this was a dry run.' : 'There is nothing to do.');
    else
      print(
        steps.length > 0 ? 'The schema is up to date.' : 'The schema was up to date; tables and indexes were checked.',
      );
    if (!options.tenants) sayNotInstalled(result.notInstalled, absent, db.tenant);
    for (const each of result.harm) print(each);
  }
  return result.notInstalled.some(({ job }) => asked.includes(job)) ? EXIT.configuration : EXIT.done;
}

/** Most applications have the tables of a few built-in jobs: those of which there is nothing share a sentence. */
function sayNotInstalled(all: { job: string; why: string }[], absent: string[], tenant: string | undefined): void {
  const together = absent.length > 1 ? absent : [];
  for (const { job, why } of all) if (!together.includes(job)) print(`${job} is not installed: ${why}`);
  if (together.length > 0)
    print(
      `${together.length} built-in jobs have no tables here: ${together.join(', ')}. ${commandFor(tenant, 'migrate --create JOB')} makes them, and a jobs file with "uses: JOB" names your own.`,
    );
}

const noTable = (names: string[]) => `there ${names.length > 1 ? 'are no tables' : 'is no table'} ${names.join(', ')}`;

/** Whether there is none of its tables. */
const isAbsent = ({ job, obstacles }: NotInstalled): boolean =>
  obstacles.every(({ is }) => is === 'absent') &&
  tablesOf(job).every(({ name, ours }) => ours || obstacles.some(({ table }) => table === name));

function whyNot({ job, obstacles }: NotInstalled, tenant: string | undefined): string {
  const uses = `a jobs file with "uses: ${job.name}" names`;
  const other = obstacles.find((each) => each.is === 'other');
  if (other) {
    const lacks = other.columns.length > 0 ? ` (${other.columns.join(', ')} missing)` : '';
    return `its table ${other.table} belongs to something else${lacks}, and was left alone; ${uses} your own.`;
  }
  const lacking = obstacles.find((each) => each.is === 'words');
  if (lacking) {
    const { table, words } = lacking;
    return `${wordsLacked({ name: table }, words)}, and the table was left alone; if it is the job's, add them: ${words.map((each) => `${addWord(each)};`).join(' ')} Then run ${commandFor(tenant, 'migrate')} again. Or ${uses} your own.`;
  }
  const rest = obstacles.flatMap(({ is, table }) => (is === 'rest' ? [table] : []));
  if (rest.length > 0)
    return `${noTable(rest)}, while others of the same program are there; load the rest of its schema, or ${uses} your own.`;
  const absent = obstacles.map(({ table }) => table);
  const present = tablesOf(job).flatMap(({ name, ours }) => (absent.includes(name) || ours ? [] : [name]));
  const beside = present.length > 0 ? ` beside ${present.join(', ')}` : '';
  return `${noTable(absent)}${beside}; ${commandFor(tenant, `migrate --create ${job.name}`)} makes ${absent.length > 1 ? 'them' : 'it'}, and ${uses} your own.`;
}
