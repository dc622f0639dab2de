import { isatty } from 'node:tty';
import { styleText } from 'node:util';
import { plain } from './plain.ts';

/** The one owner of standard output. Commands hand over data; how it looks is decided here. */

type Cell = string | number | null | undefined;
type Style = Parameters<typeof styleText>[0];

// Asked of the descriptor: process.stdout is only made when there is something to say.
export const isTerminal = (): boolean => isatty(1);

let colored = isTerminal() && !process.env.NO_COLOR;

export function withoutColor(): void {
  colored = false;
}

const paint = (style: Style, text: string) => (colored ? styleText(style, text) : text);

export const print = (text: string): void => write(plain(text, true));

function write(text: string): void {
  const { stdout } = process;
  if (stdout.listenerCount('error') === 0) stdout.on('error', endQuietly);
  stdout.write(`${text}\n`);
}

/** A write to a pipe whose reader has gone (`| head`) ends the output, not the program with a stack trace. */
function endQuietly(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
  nobodyReads();
}

let nobodyReads = (): void => process.exit(process.exitCode ?? 0);

/** For a command that has more to put away than a process's end does by itself. */
export function whenNobodyReads(end: () => void): void {
  nobodyReads = end;
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

/** Rows of cells under headings; numbers to the right, everything else to the left. */
export function printTable(headings: string[], rows: Cell[][]): void {
  const text = rows.map((row) => row.map((cell) => plain(String(cell ?? ''))));
  const numeric = headings.map(
    (_, n) => rows.length > 0 && rows.every((row) => typeof row[n] === 'number' || row[n] == null || row[n] === ''),
  );
  const widths = headings.map((heading, n) => Math.max(heading.length, ...text.map((row) => row[n]!.length)));
  const line = (cells: string[]) =>
    cells
      .map((cell, n) => (numeric[n] ? cell.padStart(widths[n]!) : cell.padEnd(widths[n]!)))
      .join('  ')
      .trimEnd();
  write(paint('bold', line(headings)));
  for (const row of text) write(line(row));
}

export function printHeading(text: string): void {
  write(`\n${paint('bold', plain(text))}`);
}

const VERDICTS: Record<string, Style> = { ok: 'green', warning: 'yellow', failed: 'red', skipped: 'gray' };

/** A line that begins with how it went. */
export function printVerdict(verdict: string, text: string): void {
  write(`${paint(VERDICTS[verdict] ?? 'reset', verdict.padEnd(7))}  ${plain(text)}`);
}
