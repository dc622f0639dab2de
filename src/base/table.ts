import { plain } from './plain.ts';
import { cut, padded, WORDS, widthOf, wrap } from './wrap.ts';

export type Cell = string | number | null | undefined;

/**
 * A heading, and what becomes of the column where a row does not fit into one line. "cut" shortens its cells, and puts them under
 * their row if little would be left; "below" always does. "whole" breaks no cell while another column may give way. A number says
 * which column is left out first: the lowest.
 */
export type Column = string | [name: string, narrow: Narrow];
type Narrow = number | 'cut' | 'below' | 'whole';

interface Shown {
  name: string;
  narrow: Narrow | undefined;
  cells: string[];
  isNumeric: boolean;
  width: number;
}

export interface Table {
  /** The lines of each row, the headings first. */
  lines: string[][];
  /** Something is cut or left out. */
  isLess: boolean;
}

const GAP = 2;
/** A cell that is cut still says something. */
const LEAST = 28;

export function tableOf(columns: Column[], rows: Cell[][], width: number, wide = false): Table {
  const all = columns.map((column, n): Shown => {
    const [name, narrow] = typeof column === 'string' ? [column] : column;
    const cells = rows.map((row) => plain(String(row[n] ?? '')));
    const isNumeric =
      rows.length > 0 && rows.every((row) => typeof row[n] === 'number' || row[n] == null || row[n] === '');
    return { name, narrow, cells, isNumeric, width: longest([name, ...cells]) };
  });
  const fits = total(all) <= width;
  const shown = fits || wide ? all : chosen(all, width);
  const leastBeside = total(
    shown.filter(({ narrow }) => narrow !== 'below'),
    least,
  );
  const isBelow = ({ narrow }: Shown) =>
    !fits && (narrow === 'below' || (narrow === 'cut' && (wide || leastBeside > width)));
  const beside = shown.filter((column) => !isBelow(column));
  const below = shown.filter((column) => !beside.includes(column));
  const isCut = !fits && !wide && shorten(beside, width);
  const { widths, gap } = fit(beside, width);
  const underneath = (cells: string[]) => {
    const [all, room] = [cells.filter(Boolean), width - GAP];
    const isOneLine = total(below) <= room;
    return isOneLine && all.length > 0 ? [all.join(' '.repeat(GAP))] : all.flatMap((cell) => wrap(cell, room));
  };
  const line = (row: string[]): string[] => {
    const cells = row.map((cell, n) => wrap(cell, widths[n]!));
    return Array.from({ length: Math.max(...cells.map((lines) => lines.length)) }, (_, height) =>
      cells
        .map((lines, n) => padded(lines[height] ?? '', widths[n]!, beside[n]!.isNumeric))
        .join(gap)
        .trimEnd(),
    );
  };
  const lines = rows.map((_, n) => [
    ...line(beside.map(({ cells }) => cells[n]!)),
    ...underneath(below.map(({ cells }) => cells[n]!)).map((text) => `  ${text}`),
  ]);
  const isLeftOut = all.some((column) => !shown.includes(column) && column.cells.some((cell) => cell !== ''));
  return { lines: [line(beside.map(({ name }) => name)), ...lines], isLess: isLeftOut || isCut };
}

const longest = (texts: string[]) => texts.reduce((most, text) => Math.max(most, widthOf(text)), 1);

const total = (shown: Shown[], widthIn = (column: Shown) => column.width) =>
  shown.reduce((sum, column) => sum + widthIn(column), GAP * (shown.length - 1));

const least = ({ narrow, width }: Shown) => (narrow === 'cut' ? Math.min(width, LEAST) : width);

/** Those that stay: one after the other is left out until the others fit. */
function chosen(all: Shown[], width: number): Shown[] {
  const rankOf = ({ narrow }: Shown) => (typeof narrow === 'number' ? narrow : Number.POSITIVE_INFINITY);
  let shown = all;
  for (const rank of all.map(rankOf).sort((a, b) => a - b)) {
    const beside = shown.filter(({ narrow }) => narrow !== 'below');
    if (total(beside, least) <= width || !Number.isFinite(rank)) break;
    shown = shown.filter((column) => rankOf(column) > rank);
  }
  return shown;
}

/** Cuts the cells that may be cut to what the other columns leave; answers whether that took anything away. */
function shorten(beside: Shown[], width: number): boolean {
  const column = beside.find(({ narrow }) => narrow === 'cut');
  const room = column ? width - total(beside) + column.width : 0;
  if (!column || column.width <= room || room < LEAST) return false;
  column.cells = column.cells.map((cell) => cut(cell, room));
  column.width = room;
  return true;
}

/** First the widest columns give way, as far as their words let them; then the gaps; then the words. */
function fit(shown: Shown[], width: number): { widths: number[]; gap: string } {
  const widths = shown.map((column) => column.width);
  if (total(shown) <= width) return { widths, gap: ' '.repeat(GAP) };
  const words = shown.map(({ name, narrow, cells, width }) =>
    narrow === 'whole'
      ? width
      : longest([name, ...cells].flatMap((cell) => cell.split(WORDS)).map((word) => word.trimEnd())),
  );
  let gap = GAP;
  for (const [least, narrow] of [
    [words, GAP],
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
