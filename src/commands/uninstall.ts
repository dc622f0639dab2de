import type { Command } from 'commander';
import { EXIT, type ExitCode, usageError } from '../base/errors.ts';
import { print } from '../base/output.ts';
import type { Context } from '../context.ts';
import { explainFaultOfCommand } from '../engine/faults.ts';
import { uninstall } from '../store/uninstall.ts';
import { command, withDatabase } from './command.ts';
import { type StepOptions, telling } from './steps.ts';

interface UninstallOptions extends StepOptions {
  dropColumns?: boolean;
  yes?: boolean;
}

export function uninstallCommand(): Command {
  return command('uninstall', 'take away what "migrate" and "apply" added: indexes and the schema "scheduler"', {
    examples: [
      'scheduler uninstall --dry-run',
      'scheduler uninstall --yes',
      'scheduler uninstall --drop-columns --yes',
    ],
  })
    .option('--drop-columns', 'take away added columns and tables, too, with what they hold')
    .option('--dry-run', 'say what it would do; change nothing')
    .option('--yes', 'do it: the history goes for good')
    .option('-j, --json', 'print the result as JSON')
    .action(withDatabase<UninstallOptions>(takeAway));
}

async function takeAway({ db }: Context, options: UninstallOptions): Promise<ExitCode> {
  const { dropColumns = false, dryRun, yes } = options;
  if (!dryRun && !yes)
    throw usageError(
      'Nothing is uninstalled: say --yes, as the history of all runs and events goes for good. "scheduler uninstall --dry-run" shows what else goes.',
    );
  const { steps, result } = await telling(options, async (report) => {
    const work = () => uninstall(db, dropColumns, report);
    return (dryRun ? db.rehearse(work, { unbounded: true }) : work()).catch((error) => {
      throw explainFaultOfCommand(error);
    });
  });
  if (options.json) return EXIT.done;
  if (result.left > 0)
    print(`${result.left} added columns and tables stay; "scheduler uninstall --drop-columns" takes them away.`);
  if (dryRun) print('Nothing is changed: this was a dry run.');
  else print(steps.length > 0 ? 'Take the tick out of the crontab, too.' : 'There was nothing to take away.');
  return EXIT.done;
}
