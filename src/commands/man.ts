import type { Command } from 'commander';
import { allVariables } from '../config.ts';
import { jobVariables } from '../context.ts';
import type { Job } from '../job.ts';
import { manualPage } from '../manual.ts';
import { print } from '../output.ts';
import { BUILT, VERSION } from '../version.ts';
import { command } from './command.ts';
import { describe } from './describe.ts';

export function manCommand(program: () => Promise<Command>, jobs: Job[]): Command {
  return command('man', 'print the manual page', {
    examples: ['scheduler man | man -l -', 'scheduler man > /usr/local/share/man/man1/scheduler.1'],
  }).action(async () => {
    print(
      manualPage(describe(await program()), allVariables(jobVariables(jobs)), {
        version: VERSION,
        date: BUILT,
      }).trimEnd(),
    );
  });
}
