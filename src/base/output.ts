import { isatty } from 'node:tty';
import { styleText } from 'node:util';
import { plain } from './plain.ts';
import { eraseLine } from './status-line.ts';

/** The one owner of standard output. Commands hand over data; how it looks is decided here. */

type Cell = string | number | null | undefined;
type Style = Parameters<typeof styleText>[0];

// Asked of the descriptor: process.stdout is only made when there is something to say.
export const isTerminal = (): boolean => isatty(1);

let isQuiet = false;

/** From now on only warnings and errors are said, which go elsewhere. */
export function beQuiet(): void {
  isQuiet = true;
}

export const isQuietNow = (): boolean => isQuiet;

let colored = isTerminal() && !process.env.NO_COLOR;

export function withoutColor(): void {
  colored = false;
}

const paint = (style: Style, text: string) => (colored ? styleText(style, text) : text);

export const print = (text: string): void => write(plain(text, true));

function write(text: string): void {
  if (isQuiet) return;
  eraseLine();
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

/** The width of a line. A pipe takes lines of any length. */
const columns = (): number => (isTerminal() ? process.stdout.columns || 80 : Number.POSITIVE_INFINITY);

const WORDS = /(?<= |[a-z]{3}-)(?=\S)/;

/** A text in lines of that width, broken between words where it can be. */
export function wrap(text: string, width: number): string[] {
  const lines = [''];
  for (let word of text.split(WORDS)) {
    if (lines.at(-1) !== '' && (lines.at(-1) + word).trimEnd().length > width) lines.push('');
    for (; word.trimEnd().length > width; word = word.slice(width)) lines.splice(-1, 1, word.slice(0, width), '');
    lines.push(lines.pop() + word);
  }
  return lines.map((line) => line.trimEnd());
}

/** Sentences, which a terminal would break within a word. */
export const say = (text: string): void =>
  print(
    text
      .split('\n')
      .flatMap((line) => wrap(line, columns()))
      .join('\n'),
  );

/** Rows of cells under headings; numbers to the right, everything else to the left. */
export function printTable(headings: string[], rows: Cell[][]): void {
  const [head, ...lines] = tableLines(headings, rows, columns());
  for (const line of head!) write(paint('bold', line));
  for (const line of lines.flat()) write(line);
}

/** The lines of each row, the headings first. Where they are too wide, the widest cells get more lines than one. */
export function tableLines(headings: string[], rows: Cell[][], width: number): string[][] {
  const text = [headings, ...rows.map((row) => row.map((cell) => plain(String(cell ?? ''))))];
  const numeric = headings.map(
    (_, n) => rows.length > 0 && rows.every((row) => typeof row[n] === 'number' || row[n] == null || row[n] === ''),
  );
  const { widths, gap } = fit(text, width);
  return text.map((row) => {
    const cells = row.map((cell, n) => wrap(cell, widths[n]!));
    const height = Math.max(...cells.map((lines) => lines.length));
    return Array.from({ length: height }, (_, line) =>
      cells
        .map((lines, n) => (lines[line] ?? '')[numeric[n] ? 'padStart' : 'padEnd'](widths[n]!))
        .join(gap)
        .trimEnd(),
    );
  });
}

/** First the widest columns give way, as far as their words let them; then the gaps; then the words. */
function fit(text: string[][], width: number): { widths: number[]; gap: string } {
  const longest = (n: number, parts: (cell: string) => string[]) =>
    Math.max(1, ...text.flatMap((row) => parts(row[n]!).map((part) => part.trimEnd().length)));
  const widths = text[0]!.map((_, n) => longest(n, (cell) => [cell]));
  const words = text[0]!.map((_, n) => longest(n, (cell) => cell.split(WORDS)));
  let gap = 2;
  for (const [least, narrow] of [
    [words, 2],
    [words, 1],
    [words.map(() => 1), 1],
  ] as const) {
    gap = narrow;
    const tooWide = () => widths.reduce((sum, each) => sum + each, gap * (widths.length - 1)) > width;
    while (tooWide()) {
      const slack = widths.map((each, n) => (each > least[n]! ? each : 0));
      const widest = Math.max(...slack);
      if (widest === 0) break;
      widths[slack.indexOf(widest)]!--;
    }
    if (!tooWide()) break;
  }
  return { widths, gap: ' '.repeat(gap) };
}

export function printHeading(text: string): void {
  write(`\n${paint('bold', plain(text))}`);
}

const VERDICTS: Record<string, Style> = { ok: 'green', warning: 'yellow', failed: 'red', skipped: 'gray' };

/** A verdict, its subject, and a text that is wrapped beside them. */
export function printVerdict(verdict: string, what: string, text: string): void {
  const before = verdict.padEnd(7).length + what.length + 4;
  const lines = wrap(plain(text), Math.max(20, columns() - before));
  write(`${paint(VERDICTS[verdict] ?? 'reset', verdict.padEnd(7))}  ${what}  ${lines.join(`\n${' '.repeat(before)}`)}`);
}

/** With a column for the tenant, where there are several. */
export function printByTenant<T extends { tenant?: string | null }>(
  columns: string[],
  entries: T[],
  row: (entry: T) => Cell[],
): void {
  const has = entries.some(({ tenant }) => tenant);
  const name = ({ tenant }: T) => (tenant === null ? '(all)' : (tenant ?? 'public'));
  printTable(
    has ? ['tenant', ...columns] : columns,
    entries.map((entry) => (has ? [name(entry), ...row(entry)] : row(entry))),
  );
}
