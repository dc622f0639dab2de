import type { Command } from 'commander';
import { allVariables } from '../base/config.ts';
import { printAsIs } from '../base/output.ts';
import { jobVariables } from '../context.ts';
import type { Job } from '../job/define.ts';
import { manualPage } from '../setup/manual.ts';
import { command } from './command.ts';
import { describe } from './describe.ts';

export function manCommand(program: () => Promise<Command>, jobs: Job[]): Command {
  return command('man', 'print the manual page', {
    examples: ['scheduler man | man -l -', 'scheduler man > /usr/local/share/man/man1/scheduler.1'],
  }).action(async () => {
    printAsIs(manualPage(describe(await program()), allVariables(jobVariables(jobs))).trimEnd());
  });
}
