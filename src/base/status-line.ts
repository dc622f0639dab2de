import { plain } from './plain.ts';
import { cut } from './wrap.ts';

/** One line at the end of what a terminal shows. It is drawn again and again, and makes room for whatever is printed. */

let isShown = false;

export const isSomebodyWatching = (): boolean => process.stderr.isTTY === true;

export function showLine(text: string): void {
  const width = (process.stderr.columns || 80) - 1;
  process.stderr.write(`\r\x1b[2K${cut(plain(text), width)}`);
  isShown = true;
}

export function eraseLine(): void {
  if (isShown) process.stderr.write('\r\x1b[2K');
  isShown = false;
}
