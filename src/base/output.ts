import { isatty } from 'node:tty';
import { styleText } from 'node:util';
import { readableIn } from './calendar.ts';
import { plain } from './plain.ts';
import { eraseLine } from './status-line.ts';
import { type Cell, type Column, tableOf } from './table.ts';
import { widthOf, wrap } from './wrap.ts';

/** The one owner of standard output. Commands hand over data; how it looks is decided here. */

type Style = Parameters<typeof styleText>[0];

// Asked of the descriptor: process.stdout is only made when there is something to say.
export const isTerminal = (): boolean => isatty(1);

let isQuiet = false;

/** From now on, nothing goes to standard output. */
export function beQuiet(): void {
  isQuiet = true;
}

export const isQuietNow = (): boolean => isQuiet;

let colored = isTerminal() && !process.env.NO_COLOR;

export function withoutColor(): void {
  colored = false;
}

const paint = (style: Style, text: string) => (colored ? styleText(style, text) : text);

/** Text to be copied as it stands: a command, SQL, a file. */
export const printAsIs = (text: string): void => write(plain(text, true));

function write(text: string): void {
  if (isQuiet) return;
  eraseLine();
  const { stdout } = process;
  if (stdout.listenerCount('error') === 0) stdout.on('error', endQuietly);
  stdout.write(`${text}\n`);
}

/** From here on, a terminal shows nothing but what follows. */
export function startScreen(): void {
  if (isTerminal()) process.stdout.write('\x1b[H\x1b[2J');
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
  printAsIs(JSON.stringify(value));
}

/** The width of a line. A pipe takes lines of any length. */
const columnsOfTerminal = (): number => (isTerminal() ? process.stdout.columns || 80 : Number.POSITIVE_INFINITY);

/**
 * A paragraph, which a terminal would break within a word; its lines are indented as the first one is. Inside, a new line can only be
 * of a value, and is shown as "\\n".
 */
export function print(text: string): void {
  const [, before, indent, body, after] = /^(\n*)( *)(.*?)(\n*)$/s.exec(text)!;
  const lines = wrap(plain(body!), columnsOfTerminal() - indent!.length);
  write(before + lines.map((line) => indent + line).join('\n') + after);
}

/** Rows of cells under headings; numbers to the right, everything else to the left. Answers whether it said that there is more. */
export function printTable(columns: Column[], rows: Cell[][], wide?: boolean): boolean {
  const { lines, isLess } = tableOf(columns, rows, columnsOfTerminal(), wide);
  const [head, ...rest] = lines;
  for (const line of head!) write(paint('bold', line));
  for (const line of rest.flat()) write(line);
  if (isLess) write(paint('gray', 'There is more: --wide shows it.'));
  return isLess;
}

export function printHeading(text: string): void {
  write('');
  for (const line of wrap(plain(text), columnsOfTerminal())) write(paint('bold', line));
}

const VERDICTS: Record<string, Style> = { ok: 'green', warning: 'yellow', failed: 'red', skipped: 'gray' };

/** A verdict, its subject, and a text that is wrapped beside them. */
export function printVerdict(verdict: string, what: string, text: string): void {
  const before = verdict.padEnd(7).length + widthOf(what) + 4;
  const lines = wrap(plain(readableIn(text)), Math.max(20, columnsOfTerminal() - before));
  write(`${paint(VERDICTS[verdict] ?? 'reset', verdict.padEnd(7))}  ${what}  ${lines.join(`\n${' '.repeat(before)}`)}`);
}

/** With a column for the tenant, where there are several. */
export function printByTenant<T extends { tenant?: string | null }>(
  columns: Column[],
  entries: T[],
  row: (entry: T) => Cell[],
  wide?: boolean,
): boolean {
  const has = entries.some(({ tenant }) => tenant);
  const name = ({ tenant }: T) => (tenant === null ? '(all)' : (tenant ?? 'public'));
  return printTable(
    has ? ['tenant', ...columns] : columns,
    entries.map((entry) => (has ? [name(entry), ...row(entry)] : row(entry))),
    wide,
  );
}
