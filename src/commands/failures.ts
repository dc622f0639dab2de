import { Argument, type Command } from 'commander';
import { readable } from '../calendar.ts';
import type { CommonOptions } from '../context.ts';
import { EXIT, usageError } from '../errors.ts';
import { dropFailures, type Failure, listFailures, retryFailures } from '../failures.ts';
import type { Job } from '../job.ts';
import { print, printJson, printTable } from '../output.ts';
import { command, jobName, withSchema } from './command.ts';

interface Options extends CommonOptions {
  job?: string;
  id?: string;
  all?: boolean;
  json?: boolean;
}

const CHANGES = {
  retry: { change: retryFailures, said: (rows: string) => `Released ${rows}: the next tick tries again.` },
  drop: { change: dropFailures, said: (rows: string) => `Forgot ${rows}: what is still due counts as never tried.` },
};

export function failuresCommand(jobs: Job[]): Command {
  return command('failures', 'rows that could not be changed: why, and when they are tried again', {
    examples: [
      'scheduler failures',
      'scheduler failures --job packages --json',
      'scheduler failures retry --job packages --id 17',
      'scheduler failures drop --all',
    ],
  })
    .addArgument(
      new Argument('[action]', 'list them; retry: release them for the next tick; drop: forget them')
        .choices(['list', 'retry', 'drop'])
        .default('list'),
    )
    .option('--job <job>', 'only of this job', jobName(jobs))
    .option('--id <id>', 'only this row; with --job')
    .option('--all', 'of all jobs; retry and drop want --job or this')
    .option('--json', 'print the result as JSON')
    .action(
      withSchema<Options>(async ({ db }, options, [action]) => {
        if (options.id !== undefined && !options.job)
          throw usageError('--id names a row of one job; say which with --job.');
        if (action !== 'retry' && action !== 'drop') {
          const failures = await listFailures(db, options);
          if (options.json) printJson(failures);
          else show(failures);
          return EXIT.done;
        }
        if (!options.job && !options.all)
          throw usageError(`failures ${action} needs --job JOB, or --all for every job.`);
        const { change, said } = CHANGES[action];
        const rows = await change(db, options);
        if (options.json) printJson({ action, rows });
        else
          print(
            rows.length === 0
              ? 'No row has failed like that.'
              : said(rows.length === 1 ? '1 row' : `${rows.length} rows`),
          );
        return EXIT.done;
      }),
    );
}

function show(failures: Failure[]): void {
  if (failures.length === 0) {
    print('No row has failed.');
    return;
  }
  printTable(
    ['job', 'id', 'transition', 'attempts', 'last tried', 'next attempt', 'why'],
    failures.map((row) => [
      row.job,
      row.entity_id,
      row.transition,
      row.attempts,
      readable(row.last_failed_at),
      row.next_attempt_at === null
        ? 'quarantined'
        : row.next_attempt_at === '-infinity'
          ? 'next tick'
          : readable(row.next_attempt_at),
      row.error,
    ]),
  );
}
