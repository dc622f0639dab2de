import type { Command } from 'commander';
import { EXIT } from '../base/errors.ts';
import { print, printJson, printTable } from '../base/output.ts';
import type { CommonOptions } from '../context.ts';
import { migrate, migrationStates } from '../store/migrate.ts';
import { readStanding } from '../store/runs.ts';
import { command, withDatabase } from './command.ts';

interface Options extends CommonOptions {
  status?: boolean;
  json?: boolean;
}

export function migrateCommand(): Command {
  return command('migrate', 'make the schema "scheduler", and make or adopt the tables that the jobs work on', {
    examples: ['scheduler migrate', 'scheduler migrate --status'],
    exits: { [EXIT.rowsFailed]: 'with --status: migrations are missing' },
  })
    .option('--status', 'only show which migrations are applied')
    .option('--json', 'print the result as JSON')
    .action(
      withDatabase<Options>(async ({ db, settings, jobs }, options) => {
        if (options.status) {
          const states = await migrationStates(db);
          if (options.json) printJson(states);
          else
            printTable(
              ['migration', 'applied'],
              states.map(({ id, name, applied }) => [`${id}_${name}`, applied ? 'yes' : 'no']),
            );
          return states.every(({ applied }) => applied) ? EXIT.done : EXIT.rowsFailed;
        }
        const steps: string[] = [];
        await migrate(db, settings, jobs, (step) => steps.push(step));
        const standing = await db.transaction((tx) =>
          readStanding(tx, jobs, { lock: false, dbZone: settings.dbTimezone }),
        );
        const left = standing.jobs
          .filter(({ missing }) => missing.length > 0)
          .map(({ job, missing }) => ({ job: job.name, missing }));
        if (options.json) {
          printJson({ applied: steps, notInstalled: left });
          return EXIT.done;
        }
        for (const step of steps) print(step);
        print(
          steps.length === 0
            ? 'The schema was up to date; tables and indexes were checked.'
            : 'The schema is up to date.',
        );
        for (const { job, missing } of left) {
          print(
            `${job} is not installed: its table belongs to something else (${missing.join(', ')} missing), and was left alone.`,
          );
        }
        return EXIT.done;
      }),
    );
}
