/** The exit codes, after sysexits.h where it has a word for the case. */
export const EXIT = {
  done: 0,
  rowsFailed: 1,
  usage: 2,
  unreachable: 69,
  defect: 70,
  stopped: 75,
  configuration: 78,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export const MEANINGS: Record<number, string> = {
  [EXIT.done]: 'done',
  [EXIT.rowsFailed]: 'done, but some rows failed',
  [EXIT.usage]: 'wrong usage',
  [EXIT.unreachable]: 'the database cannot be reached',
  [EXIT.defect]: 'a defect of this program',
  [EXIT.stopped]: 'stopped by the deadline, a signal or the database, work is left',
  [EXIT.configuration]: 'configuration or schema is not right',
};

/** A sentence for the operator: what was tried, what is wrong, what to do. */
export class OperatorError extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

export const usageError = (message: string) => new OperatorError(EXIT.usage, message);
export const configurationError = (message: string) => new OperatorError(EXIT.configuration, message);
