import { Command, InvalidArgumentError } from 'commander';
import { type CommonOptions, type Context, withContext } from '../context.ts';
import { EXIT, type ExitCode, usageError } from '../errors.ts';
import type { Job } from '../job.ts';

const MEANINGS: Record<number, string> = {
  [EXIT.done]: 'done',
  [EXIT.rowsFailed]: 'done, but some rows failed',
  [EXIT.usage]: 'wrong usage',
  [EXIT.unreachable]: 'the database cannot be reached',
  [EXIT.defect]: 'a defect of this program',
  [EXIT.stopped]: 'stopped by the deadline or a signal, work is left',
  [EXIT.configuration]: 'configuration or schema is not right',
};

export interface Help {
  examples: string[];
  /** Codes besides 0, 2, 69, 70 and 78, which every command may end with; and words of its own for some. */
  exits?: Record<number, string>;
}

/** A command with its examples and exit codes in --help. */
export function command(name: string, summary: string, help: Help): Command {
  const codes: Record<number, string> = {
    ...Object.fromEntries(
      [EXIT.done, EXIT.usage, EXIT.unreachable, EXIT.defect, EXIT.configuration].map((code) => [code, MEANINGS[code]!]),
    ),
    ...help.exits,
  };
  return new Command(name)
    .description(summary)
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        ...help.examples.map((example) => `  $ ${example}`),
        '',
        'Exit codes:',
        ...Object.entries(codes).map(([code, meaning]) => `  ${code.padStart(2)}  ${meaning}`),
      ].join('\n'),
    );
}

export const PASS_EXITS = { [EXIT.rowsFailed]: MEANINGS[EXIT.rowsFailed]!, [EXIT.stopped]: MEANINGS[EXIT.stopped]! };

/** Makes an action of work that needs the database; what the work answers is the exit code. */
export function withDatabase<O extends CommonOptions>(
  work: (context: Context, options: O, args: string[]) => Promise<ExitCode>,
) {
  return async (...given: unknown[]) => {
    const command = given.at(-1) as Command;
    const args = command.processedArgs.flat().filter((arg) => arg !== undefined) as string[];
    const options = command.optsWithGlobals<O>();
    process.exitCode = await withContext(options, (context) => work(context, options, args));
  };
}

export function wholeNumber(least: number, most: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`Valid: a whole number from ${least} to ${most}.`);
    }
    return value;
  };
}

export function findJob(jobs: Job[], name: string): Job {
  const job = jobs.find((candidate) => candidate.name === name);
  if (!job) throw usageError(`"${name}" is not a job; valid: ${jobs.map((candidate) => candidate.name).join(', ')}.`);
  return job;
}
