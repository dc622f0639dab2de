/** The word that somebody meant who wrote another one: no more than a third of its letters differ. */
export function nearest(word: string, words: string[]): string | undefined {
  const near = words
    .map((each) => ({ each, distance: distanceOf(word.toLowerCase(), each.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0];
  return near && near.distance <= Math.max(1, Math.floor(word.length / 3)) ? near.each : undefined;
}

/** Suggests the word that was meant, or lists all that are valid. */
export function meantOrValid(word: string, valid: string[]): string {
  const near = nearest(word, valid);
  return near === undefined ? `valid: ${valid.join(', ')}.` : `did you mean "${near}"?`;
}

/** How many letters must be added, taken away or replaced, or two of them swapped. */
function distanceOf(one: string, other: string): number {
  let before: number[] = [];
  let row = Array.from({ length: other.length + 1 }, (_, n) => n);
  for (const [n, letter] of [...one].entries()) {
    const next = [n + 1];
    for (let m = 0; m < other.length; m++) {
      const isSwapped = n > 0 && m > 0 && one[n - 1] === other[m] && letter === other[m - 1];
      const swapped = isSwapped ? before[m - 1]! + 1 : Number.POSITIVE_INFINITY;
      next.push(Math.min(row[m + 1]! + 1, next[m]! + 1, row[m]! + Number(other[m] !== letter), swapped));
    }
    [before, row] = [row, next];
  }
  return row.at(-1)!;
}
