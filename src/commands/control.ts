import type { Command } from 'commander';
import { readableIn } from '../base/calendar.ts';
import { usageError } from '../base/errors.ts';
import { print, printJson } from '../base/output.ts';
import { commandFor } from '../base/paste.ts';
import type { Job } from '../job/define.ts';
import { type Control, control } from '../store/controls.ts';
import { refreshKnown } from '../store/known-jobs.ts';
import { command, jobName, type Options, withSchema } from './command.ts';

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
    .option('-j, --json', 'print the result as JSON')
    .action(
      withSchema<Options & { reason?: string }>(async ({ db, settings, jobs }, { json, reason }, [job]) => {
        // Nothing may have ticked or migrated yet for this tenant.
        await refreshKnown(db, settings, jobs);
        const done = await control(db, action, job ?? null, reason ?? null);
        if (json) return void printJson(done);
        print(`${readableIn(done.message)}.`);
        if (action === 'stop') print(`Start it again with ${commandFor(db.tenant, job ? `start ${job}` : 'start')}.`);
        return undefined;
      }),
    );
