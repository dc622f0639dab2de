import { configurationError, EXIT, OperatorError } from '../base/errors.ts';
import { sqlState } from '../db/states.ts';
import type { Job } from '../job/define.ts';
import { explainSchemaError, whatFits } from '../store/migrate.ts';

/** What stops a run, or one job of it, as a sentence for the operator. */

/** A server's message may quote a value of any size. */
const messageOf = (error: unknown) => (error as Error).message.slice(0, 2000);

export const explainFault = (error: unknown) => interruption('The run', error) ?? explainSchemaError(error);

/** The same for a command that somebody gave, and has to give again. */
export const explainFaultOfCommand = (error: unknown) =>
  interruption('The command', error, 'Nothing was changed; try again.') ?? explainSchemaError(error);

export function jobError(job: Job, error: unknown): OperatorError {
  const state = sqlState(error) ?? '';
  const explained = state === '42501' ? explainSchemaError(error) : error;
  if (explained instanceof OperatorError) return explained;
  const message = messageOf(error);
  if (state.startsWith('42'))
    return configurationError(`The tables of ${job.name} do not fit: ${message}. ${whatFits(error)}`);
  const unexpected = `${job.name} stopped on an unexpected error: ${message}. Please report it with what --debug prints.`;
  return interruption(job.name, error) ?? new OperatorError(EXIT.defect, unexpected);
}

const READ_ONLY = '25006';

/** The next job would fare no better. */
export const isForAllJobs = (error: unknown) =>
  sqlState(error) === READ_ONLY || (error instanceof OperatorError && error.exitCode === EXIT.unreachable);

/** What the database does to anybody for a while: a standby, a full disk, a statement that lasts too long. */
function interruption(what: string, error: unknown, outlook = 'The next run goes on.'): OperatorError | undefined {
  const state = sqlState(error) ?? '';
  const message = messageOf(error);
  const stopped = (sentence: string) => new OperatorError(EXIT.stopped, sentence);
  if (state === READ_ONLY)
    return stopped(
      `The database takes no changes: ${message}. It is a standby, or set to be read-only. Should that last, name the primary. ${outlook}`,
    );
  if (!/^(40|53|55|57)/.test(state)) return undefined;
  return stopped(`${what} was interrupted by the database: ${message}. ${outlook}`);
}
