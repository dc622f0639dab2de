/** How long something takes. Two things in turn, and the best of each: what else the machine does can only slow things down. */

export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
}

export interface Rounds {
  least: number;
  /** More of them only until the bound is kept. */
  most: number;
  bound: number;
}

/** Seconds of the first, and how many times as long the second takes. */
export async function ratioOf(
  { least, most, bound }: Rounds,
  round: () => Promise<[first: number, second: number]>,
): Promise<{ first: number; second: number; ratio: number }> {
  let best: [number, number] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let n = 0; n < least || (n < most && best[1] > bound * best[0]); n++) {
    const [first, second] = await round();
    best = [Math.min(best[0], first), Math.min(best[1], second)];
  }
  const [first, second] = best;
  return { first, second, ratio: second / first };
}
