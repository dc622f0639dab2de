import type { Command } from 'commander';
import { configurationError, type ExitCode } from '../base/errors.ts';
import { print, printJson } from '../base/output.ts';
import { commandFor } from '../base/paste.ts';
import type { Context } from '../context.ts';
import { readStatus } from '../inspect/status.ts';
import { linesOf } from '../job/define.ts';
import { job } from '../jobs/subscriptions.ts';
import { whoami } from '../store/controls.ts';
import { only } from '../store/standing.ts';
import { command, PASS_EXITS, withDatabase } from './command.ts';
import { type PassOptions, runPass } from './pass.ts';
import { passOptions } from './tick.ts';

export function activateNowCommand(): Command {
  return passOptions(
    command('activate-now', 'start every subscription that is due, also while the job is stopped', {
      examples: ['scheduler activate-now', 'scheduler activate-now --json'],
      exits: PASS_EXITS,
    }),
  ).action(withDatabase<PassOptions>(activateNow));
}

async function activateNow(context: Context, options: PassOptions): Promise<ExitCode> {
  const run = await runPass(context, options, {
    jobs: only(context.jobs, [job.name]),
    by: whoami(),
    evenIfPaused: true,
  });
  for (const { why } of run.skipped) {
    throw configurationError(
      `Subscriptions cannot be activated: ${why}. To have the table made, run ${commandFor(context.db.tenant, 'migrate --create subscriptions')}; for one of yours, see docs/adopting.md.`,
    );
  }
  const [pass] = run.jobs;
  const failures = pass?.failures.map((each) => linesOf(job).failed(each).message) ?? [];
  const errors = pass?.error === undefined ? failures : [...failures, pass.error];
  const result = { activated: pass?.changed.activate ?? 0, errors };
  let message = `${options.dryRun ? 'Would activate' : 'Manually activated'} ${result.activated} subscription(s)`;
  if (run.stopped) message += `, then the ${run.stopped} stopped it with work left`;
  if (run.locked) message = 'Another run is at work and activates what is due';
  if (options.json) {
    const { scheduler } = await readStatus(context.db, context.settings, only(context.jobs, [job.name]));
    printJson({ message, result, scheduler });
  } else {
    print(`${message}.`);
    for (const error of errors) print(error);
  }
  return run.exitCode;
}
