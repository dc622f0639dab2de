import type { Command } from 'commander';
import { EXIT, type ExitCode, usageError } from '../base/errors.ts';
import { print, printJson } from '../base/output.ts';
import type { CommonOptions, Context } from '../context.ts';
import { readStatus, schedulerState } from '../inspect/status.ts';
import type { Job } from '../job/define.ts';
import { type Control, recordControl } from '../store/controls.ts';
import { command, jobName, withSchema } from './command.ts';

interface Options extends CommonOptions {
  reason?: string;
  json?: boolean;
}

export function startCommand(jobs: Job[]): Command {
  return command('start', 'let a job, or all of them, run again', {
    examples: ['scheduler start', 'scheduler start subscriptions --reason "payments are back"'],
  })
    .argument('[job]', 'only this job', jobName(jobs))
    .option('--reason <text>', 'why, for the record')
    .option('--json', 'print the result as JSON')
    .action(withSchema<Options>((context, options, [job]) => control(context, options, 'start', job)));
}

export function stopCommand(jobs: Job[]): Command {
  return command('stop', 'pause a job, or all of them; ticks then skip it until it is started again', {
    examples: [
      'scheduler stop --reason "moving the database"',
      'scheduler stop subscriptions --reason "refunds first"',
    ],
  })
    .argument('[job]', 'only this job', jobName(jobs))
    .requiredOption('--reason <text>', 'why: whoever finds it stopped will ask', notBlank)
    .option('--json', 'print the result as JSON')
    .action(withSchema<Options>((context, options, [job]) => control(context, options, 'stop', job)));
}

function notBlank(text: string): string {
  if (text.trim() === '') throw usageError('--reason is empty; whoever finds it stopped will ask why.');
  return text.trim();
}

async function control(
  { db, settings, jobs }: Context,
  options: Options,
  action: Control['action'],
  job: string | undefined,
): Promise<ExitCode> {
  await recordControl(db, action, job ?? null, options.reason ?? null);
  const status = await readStatus(db, settings, jobs);
  const message = `${inProse(job)} ${action === 'start' ? 'started' : 'stopped'}`;
  if (options.json) {
    const concerned = status.jobs.filter((each) => job === undefined || each.job === job);
    printJson({ message, scheduler: schedulerState(concerned) });
    return EXIT.done;
  }
  print(`${message}.`);
  if (action === 'stop') print(`Start it again with "scheduler start${job ? ` ${job}` : ''}".`);
  return EXIT.done;
}

function inProse(job: string | undefined): string {
  if (job === undefined) return 'Scheduler';
  // The admin pages that call this have always shown this sentence.
  return job === 'subscriptions' ? 'Subscription scheduler' : job;
}
