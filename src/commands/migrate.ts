import type { Command } from 'commander';
import { EXIT, type ExitCode } from '../base/errors.ts';
import { print, printJson, printTable } from '../base/output.ts';
import type { Context } from '../context.ts';
import { explainFaultOfCommand } from '../engine/faults.ts';
import { migrate, migrationStates } from '../store/migrate.ts';
import { all, readStanding } from '../store/runs.ts';
import { command, type Options, withDatabase } from './command.ts';

export function migrateCommand(): Command {
  return command('migrate', 'make the schema "scheduler", and make or adopt the tables that the jobs work on', {
    examples: ['scheduler migrate', 'scheduler migrate --status'],
    exits: { [EXIT.rowsFailed]: 'with --status: migrations are missing' },
  })
    .option('--status', 'only show which migrations are applied')
    .option('--json', 'print the result as JSON')
    .action(
      withDatabase<Options & { status?: boolean }>((context, options) =>
        options.status ? showStates(context, options) : bringUpToDate(context, options),
      ),
    );
}

async function showStates({ db }: Context, { json }: Options): Promise<ExitCode> {
  const states = await migrationStates(db);
  const rows = states.map(({ id, name, applied }) => [`${id}_${name}`, applied ? 'yes' : 'no']);
  if (json) printJson(states);
  else printTable(['migration', 'applied'], rows);
  return states.every(({ applied }) => applied) ? EXIT.done : EXIT.rowsFailed;
}

async function bringUpToDate({ db, settings, jobs }: Context, { json }: Options): Promise<ExitCode> {
  const applied: string[] = [];
  await migrate(db, settings, jobs, (step) => applied.push(step)).catch((error) => {
    throw explainFaultOfCommand(error);
  });
  const standing = await db.transaction((tx) =>
    readStanding(tx, all(jobs), { lock: false, dbZone: settings.dbTimezone }),
  );
  const notInstalled = standing.jobs
    .filter(({ missing }) => missing.length > 0)
    .map(({ job, missing }) => ({ job: job.name, missing }));
  if (json) {
    printJson({ applied, notInstalled });
    return EXIT.done;
  }
  for (const step of applied) print(step);
  print(
    applied.length > 0 ? 'The schema is up to date.' : 'The schema was up to date; tables and indexes were checked.',
  );
  for (const { job, missing } of notInstalled) {
    const whose = `its table belongs to something else (${missing.join(', ')} missing)`;
    print(`${job} is not installed: ${whose}, and was left alone.`);
  }
  return EXIT.done;
}
