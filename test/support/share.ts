/**
 * Some tests go through hundreds of cases. With a share, each other version of PostgreSQL gets a fifth of them, every version
 * another one: see test/versions.ts. TEST_SHARE is "2/5", say; without it there are all.
 */
const [nth, of] = (process.env.TEST_SHARE ?? '1/1').split('/').map(Number) as [number, number];
if (!(nth >= 1 && nth <= of))
  throw new Error(`TEST_SHARE is like 2/5, not ${process.env.TEST_SHARE}: it would leave cases out.`);

export const share = <T>(cases: T[]): T[] => cases.filter((_, n) => n % of === nth - 1);
/** How many of so many that are drawn at random. */
export const shareOf = (count: number): number => Math.ceil(count / of);
/** From step to step, where one case follows upon another: the first, and how far it is to the next. */
export const FIRST = nth;
export const STRIDE = of;
