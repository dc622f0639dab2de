import pg from 'pg';

/** How long something takes, beside something else: two things in turn, as often as the machine is unsteady. */

export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
}

/** On a connection of its own, as a tick has: one that has sent the statement before takes a quarter less. */
export async function bareSql(url: string, sql: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await seconds(() => client.query(sql));
  } finally {
    await client.end();
  }
}

export interface Rounds {
  least: number;
  /** More of them only until the bound is kept. */
  most: number;
  bound: number;
}

/**
 * The least seconds of each, and how many times as long the second takes. Whatever else the machine does slows down the one now, and
 * the other then: it is the ratio of the least of each, or the median of all pairs where that is less, so that one lucky time of
 * the first does not decide it. Each comes first in every other round.
 */
export async function ratioOf(
  { least, most, bound }: Rounds,
  first: () => Promise<number>,
  second: () => Promise<number>,
): Promise<{ first: number; second: number; ratio: number }> {
  const [ofFirst, ofSecond]: [number[], number[]] = [[], []];
  for (let n = 0; ; n++) {
    if (n % 2 === 0) ofFirst.push(await first());
    ofSecond.push(await second());
    if (n % 2 !== 0) ofFirst.push(await first());
    const best = [Math.min(...ofFirst), Math.min(...ofSecond)] as const;
    const ratio = Math.min(best[1] / best[0], median(ofSecond.map((each, round) => each / ofFirst[round]!)));
    if (n + 1 >= most || (n + 1 >= least && ratio <= bound)) return { first: best[0], second: best[1], ratio };
  }
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.ceil((sorted.length - 1) / 2)]!) / 2;
}
