import type { Command } from 'commander';
import { usageError } from '../base/errors.ts';
import { print, printJson } from '../base/output.ts';
import { readStatus, schedulerState } from '../inspect/status.ts';
import type { Job } from '../job/define.ts';
import { type Control, recordControl } from '../store/controls.ts';
import { all } from '../store/runs.ts';
import { command, jobName, knownJob, type Options, withSchema } from './command.ts';

export function startCommand(jobs: Job[]): Command {
  const start = command('start', 'let a job, or all of them, run again', {
    examples: ['scheduler start', 'scheduler start subscriptions --reason "payments are back"'],
  });
  return controlling(start.option('--reason <text>', 'why, for the record', notBlank), 'start', jobs);
}

export function stopCommand(jobs: Job[]): Command {
  const stop = command('stop', 'pause a job, or all of them; ticks then skip it until it is started again', {
    examples: [
      'scheduler stop --reason "moving the database"',
      'scheduler stop subscriptions --reason "refunds first"',
    ],
  });
  const why = 'why: whoever finds it stopped will ask';
  return controlling(stop.requiredOption('--reason <text>', why, notBlank), 'stop', jobs);
}

/** Commands show a reason in one line. */
const LONGEST_REASON = 200;

function notBlank(text: string): string {
  if (text.length > LONGEST_REASON)
    throw usageError(`--reason has ${text.length} characters; valid: up to ${LONGEST_REASON}.`);
  if (text.trim() === '') throw usageError('--reason is empty; whoever finds it stopped will ask why.');
  return text.trim();
}

const controlling = (command: Command, action: Control['action'], jobs: Job[]): Command =>
  command
    .argument('[job]', 'only this job', jobName(jobs))
    .option('--json', 'print the result as JSON')
    .action(
      withSchema<Options & { reason?: string }>(async (context, { json, reason }, [job]) => {
        const { db, settings, jobs } = context;
        await knownJob(context, job);
        await recordControl(db, action, job ?? null, reason ?? null);
        const status = await readStatus(db, settings, all(jobs));
        const message = `${inProse(job)} ${action === 'start' ? 'started' : 'stopped'}`;
        if (json) {
          const concerned = status.jobs.filter((each) => job === undefined || each.job === job);
          printJson({ message, scheduler: schedulerState(concerned) });
          return;
        }
        print(`${message}.`);
        if (action === 'stop') print(`Start it again with "scheduler start${job ? ` ${job}` : ''}".`);
      }),
    );

function inProse(job: string | undefined): string {
  if (job === undefined) return 'Scheduler';
  // The admin pages that call this have always shown this sentence.
  return job === 'subscriptions' ? 'Subscription scheduler' : job;
}
