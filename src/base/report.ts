import { withoutPassword } from './connection.ts';
import { EXIT, type ExitCode, OperatorError } from './errors.ts';
import { plain } from './plain.ts';
import { eraseLine } from './status-line.ts';
import { wrap } from './wrap.ts';

export function complain(text: string): void {
  eraseLine();
  const { isTTY, columns } = process.stderr;
  const width = isTTY ? columns || 80 : Number.POSITIVE_INFINITY;
  const lines = plain(text, true).split('\n');
  process.stderr.write(`${lines.flatMap((line) => wrap(line, width)).join('\n')}\n`);
}

/** The one place where errors become sentences and exit codes. */
export function report(error: unknown): ExitCode {
  const known = error instanceof OperatorError;
  const message = (error as Error)?.message ?? String(error);
  complain(
    known
      ? `scheduler: ${message}`
      : `scheduler: an unexpected error, which is a defect: ${withoutPassword(message)}. Please report it with what --debug prints.`,
  );
  if (process.argv.includes('--debug') && error instanceof Error) complain(withoutPassword(error.stack ?? ''));
  return known ? error.exitCode : EXIT.defect;
}
