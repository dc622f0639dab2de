import type { Command } from 'commander';
import { readable } from '../base/calendar.ts';
import { usageError } from '../base/errors.ts';
import { print, printJson, printTable } from '../base/output.ts';
import type { Column } from '../base/table.ts';
import type { Context } from '../context.ts';
import { look } from '../inspect/standing.ts';
import type { Job } from '../job/define.ts';
import type { OwnJob } from '../own/definition.ts';
import { whoami } from '../store/controls.ts';
import { refreshKnown } from '../store/known-jobs.ts';
import { exclusively, keepJob, latestJobs, versionsOf } from '../store/own-jobs.ts';
import { all, whyMissing } from '../store/standing.ts';
import { command, jobName, type Options, oneOf, PASS_EXITS, WIDE, withDatabase, withSchema } from './command.ts';
import { type PassOptions, pass } from './pass.ts';
import { passOptions } from './tick.ts';

export function jobsCommand(): Command {
  return command('jobs', 'all jobs: built-in ones and your own', {
    examples: [
      'scheduler jobs',
      'scheduler jobs show trials',
      'scheduler jobs history trials',
      'scheduler jobs schema',
    ],
  })
    .argument(
      '[action]',
      'list, show, history, remove or schema',
      oneOf('an action', ['list', 'show', 'history', 'remove', 'schema']),
      'list',
    )
    .argument('[name]', 'a job of your own')
    .option(...WIDE)
    .option('-j, --json', 'print the result as JSON')
    .action(async (action, ...given) => (action === 'schema' ? schema() : withJobs(action, ...given)));
}

const schema = async () => printJson((await import('../own/schema.ts')).SCHEMA);

const withJobs = withSchema<Options>(async (...given) => void (await act(...given)));

async function act(context: Context, options: Options, [action, name]: string[]): Promise<void> {
  if (action === 'list') return list(context, options);
  if (name === undefined) throw usageError(`jobs ${action} needs the name of a job of your own.`);
  const versions = await versionsOf<OwnJob>(context.db, name);
  const newest = versions.at(-1);
  if (!newest) {
    const own = (await latestJobs(context.db)).filter(({ compiled }) => compiled !== null);
    const valid =
      own.length > 0 ? `valid: ${own.map((job) => job.name).join(', ')}` : '"scheduler apply" has made none yet';
    throw usageError(`"${name}" is not a job of your own; ${valid}.`);
  }
  if (action === 'history') {
    const what = (version: OwnJob | null) =>
      version ? `applied${version.name === name ? '' : ` as ${version.name}`}` : 'removed';
    const lines = versions.map(({ at, by, definition }) => [readable(at), by, what(definition)]);
    if (options.json) printJson({ versions: versions.map(({ at, by, definition }) => ({ at, by, definition })) });
    else printTable(['at', 'by', 'what'], lines);
    return;
  }
  if (newest.compiled === null)
    throw usageError(`The job "${name}" was removed at ${readable(newest.at)} by ${newest.by}.`);
  if (action === 'remove') {
    const { dropUnused } = await import('../own/make-indexes.ts');
    return exclusively(context.db, async () => {
      await context.db.transaction((tx) => keepJob(tx, name, null, null, whoami()));
      const uses = newest.compiled?.uses?.job;
      print(`${name} is removed: no tick does it any more. Its history stays, and so do the columns of its table.`);
      if (uses !== undefined) print(`${uses} looks for a table of its usual name again.`);
      await dropUnused(context.db, print);
      await refreshKnown(context.db, context.settings, context.jobs);
    });
  }
  printJson({ name, at: newest.at, by: newest.by, definition: newest.definition });
}

async function list({ db, settings, jobs }: Context, options: Options): Promise<void> {
  const found = await db.transaction((tx) => look(tx, all(jobs), { dbZone: settings.dbTimezone }));
  const builtIn = new Set(jobs.map(({ name }) => name));
  const lines = found.jobs.map((standing) => {
    const { job, missing, powerless, control, uses } = standing;
    let state = control?.action === 'stop' ? 'paused' : 'installed';
    let why: string | null = null;
    if (missing.length > 0) [state, why] = ['not installed', whyMissing(standing)];
    if (powerless) [state, why] = ['not run', `written by ${powerless}`];
    const kind = uses === undefined ? (builtIn.has(job.name) ? 'built-in' : 'your own') : `uses ${uses}`;
    return { job: job.name, kind, state, why, summary: job.summary };
  });
  if (options.json) printJson({ jobs: lines });
  else
    printTable(
      COLUMNS,
      lines.map(({ job, kind, state, why, summary }) => [job, kind, state, why, summary]),
      options.wide,
    );
}

const COLUMNS: Column[] = ['job', ['kind', 1], 'state', ['because', 'below'], ['does', 'cut']];

export function runCommand(builtIn: Job[]): Command {
  return passOptions(
    command('run', 'any job, now: a built-in one, or one of your own', {
      examples: ['scheduler run trials', 'scheduler run trials --dry-run --debug'],
      exits: PASS_EXITS,
    }),
  )
    .argument('<job>', 'the job', jobName(builtIn))
    .action(
      withDatabase<PassOptions>(async (context, options, [name]) => {
        const { knownJob } = await import('./command.ts');
        await knownJob(context, name);
        return pass(context, options, name!);
      }),
    );
}
