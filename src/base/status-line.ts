import { plain } from './plain.ts';
import { cut, widthOf } from './wrap.ts';

/** One line at the end of what a terminal shows. It is drawn again and again, and makes room for whatever is printed. */

/** Enough of a name to know it by. */
const LEAST = 8;

let isShown = false;

export const isSomebodyWatching = (): boolean => process.stderr.isTTY === true;

/** If both are too long for the terminal, the name is cut. */
export function showLine(name: string, figures: string): void {
  const width = (process.stderr.columns || 80) - 1;
  const line = `${cut(plain(name), Math.max(LEAST, width - widthOf(figures)))}${figures}`;
  process.stderr.write(`\r\x1b[2K${cut(line, width)}`);
  isShown = true;
}

export function eraseLine(): void {
  if (isShown) process.stderr.write('\r\x1b[2K');
  isShown = false;
}
