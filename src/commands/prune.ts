import type { Command } from 'commander';
import { print, printJson } from '../base/output.ts';
import { Stop } from '../base/stop.ts';
import { prune } from '../store/retention.ts';
import { command, type Options, withSchema } from './command.ts';

export function pruneCommand(): Command {
  return command('prune', 'forget events and runs past their retention now; the tick does it by itself', {
    examples: ['scheduler prune', 'SCHEDULER_RETENTION="30 days" scheduler prune'],
  })
    .option('-j, --json', 'print the result as JSON')
    .action(
      withSchema<Options>(async ({ db, settings }, options) => {
        const pruned = await prune(db, settings, new Stop());
        if (options.json) printJson({ ...pruned, retentionDays: settings.retentionDays });
        else print(`Forgot ${pruned.events} events and ${pruned.runs} runs older than ${settings.retentionDays} days.`);
      }),
    );
}
