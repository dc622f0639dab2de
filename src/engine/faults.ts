import { configurationError, EXIT, OperatorError } from '../base/errors.ts';
import { blamesRow, mayBeOfAll, SPARING_OF_TWO, sqlState } from '../db/states.ts';
import type { Job } from '../job/define.ts';
import type { Refusal } from '../store/failures.ts';
import { explainSchemaError, whatFits } from '../store/migrate.ts';
import type { Batch } from './batch.ts';

/** What stops a run, or one job of it, as a sentence for the operator. */

/** A server's message may quote a value of any size. */
const messageOf = (error: unknown) => (error as Error).message.slice(0, 2000);

export const explainFault = (error: unknown) => interruption('The run', error) ?? explainSchemaError(error);

/**
 * Every row of a rule met the same error, one that may be nobody's in particular: a trigger names a table that is gone, say.
 * One sentence tells more than a failure for each row. A row that failed before, among others that did not, is to blame.
 */
export class AllRefused extends Error {
  readonly code: string;

  private constructor({ error, state }: Refusal) {
    super(error);
    this.code = state!;
  }

  static check({ refused, claimed }: Batch): void {
    const [first] = refused;
    const isAlike = ({ error, state }: Refusal) => error === first!.error && state === first!.state;
    if (!first?.state || !mayBeOfAll(first.state) || refused.length < claimed || !refused.every(isAlike)) return;
    if (refused.some(({ isNew }) => isNew)) throw new AllRefused(first);
  }
}

export const endless = (job: string, rule: string) =>
  configurationError(
    `The rule "${rule}" of ${job} was left while rows are due: in one run, what it changed made others due again and again. Most likely "also", another rule or a trigger adds rows that are due at once: give them a later time. The next run goes on.`,
  );

/** The same for a command that somebody gave, and has to give again. */
export const explainFaultOfCommand = (error: unknown) =>
  interruption('The command', error, 'Nothing was changed; try again.') ?? explainSchemaError(error);

export const APPLY_AGAIN =
  'Something about its table has changed since the job was applied: "scheduler doctor" says what. Then run "scheduler apply" with your files.';

export function jobError(job: Job, error: unknown): OperatorError {
  const state = sqlState(error);
  const explained = state === '42501' ? explainSchemaError(error) : error;
  if (explained instanceof OperatorError) return explained;
  const message = messageOf(error);
  const unexpected = `${job.name} stopped on an unexpected error: ${message}. Please report it with what --debug prints.`;
  if (!state || state.startsWith('XX')) return new OperatorError(EXIT.defect, unexpected);
  if (error instanceof AllRefused)
    return configurationError(
      `The tables of ${job.name} refuse every row alike: ${message}. Most likely a trigger of theirs is broken: mend it, and the next run goes on.`,
    );
  return (
    interruption(job.name, error) ??
    configurationError(
      `The tables of ${job.name} do not fit: ${message}. ${job.table.quoted || job.isLaid ? APPLY_AGAIN : whatFits(error)}`,
    )
  );
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
  if (blamesRow(error, SPARING_OF_TWO) || state === '') return undefined;
  return stopped(`${what} was interrupted by the database: ${message}. ${outlook}`);
}
