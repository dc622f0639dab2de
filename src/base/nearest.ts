/** The word that somebody meant who wrote another one: no more than a third of its letters differ. */
export function nearest(word: string, words: string[]): string | undefined {
  const near = words
    .map((each) => ({ each, distance: distanceOf(word.toLowerCase(), each.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0];
  return near && near.distance <= Math.max(1, Math.floor(word.length / 3)) ? near.each : undefined;
}

/** How many letters must be added, taken away or replaced. */
function distanceOf(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, n) => n);
  for (const [n, letter] of [...one].entries()) {
    const next = [n + 1];
    for (let m = 0; m < other.length; m++)
      next.push(Math.min(row[m + 1]! + 1, next[m]! + 1, row[m]! + Number(other[m] !== letter)));
    row = next;
  }
  return row.at(-1)!;
}
