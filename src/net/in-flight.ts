import { setMaxListeners } from 'node:events';

export interface Bounds<T> {
  /** How many at once in all, and how many of them to one destination. */
  most: number;
  mostEach: number;
  destination(item: T): string;
  /** Nothing is begun once this is aborted. Requests under way end by themselves, as they heed the same signal. */
  signal: AbortSignal;
}

/** How it goes on with the destination of an item: with its other items, or with none of them before the next run. */
export type Verdict = 'go on' | 'give up';

/**
 * Works on many items at once, the destinations taking turns, so that a dead one fills its own lane and no other.
 * Answers the items that were not begun. When the work throws, nothing more is begun, and what is under way is still
 * waited for: it has left already and its outcome must be recorded.
 */
export function inFlight<T>(
  items: readonly T[],
  { most, mostEach, destination, signal }: Bounds<T>,
  work: (item: T) => Promise<Verdict>,
): Promise<T[]> {
  // Each item under way listens to it. Node would take that for a leak and warn on standard error, which cron mails.
  setMaxListeners(0, signal);
  const lanes = lanesOf(items, destination);
  const left: T[] = [];
  let underWay = 0;
  let failure: { error: unknown } | undefined;

  return new Promise((resolve, reject) => {
    next();

    function next(): void {
      while (underWay < most && !failure && !signal.aborted) {
        const turn = lanes.findIndex((lane) => lane.waiting.length > 0 && lane.underWay < mostEach);
        if (turn === -1) break;
        const [lane] = lanes.splice(turn, 1);
        lanes.push(lane!);
        void begin(lane!);
      }
      if (underWay > 0) return;
      if (failure) reject(failure.error);
      else resolve([...left, ...lanes.flatMap((lane) => lane.waiting)]);
    }

    async function begin(lane: Lane<T>): Promise<void> {
      lane.underWay++;
      underWay++;
      try {
        if ((await work(lane.waiting.shift()!)) === 'give up') left.push(...lane.waiting.splice(0));
      } catch (error) {
        failure ??= { error };
      }
      lane.underWay--;
      underWay--;
      next();
    }
  });
}

interface Lane<T> {
  waiting: T[];
  underWay: number;
}

function lanesOf<T>(items: readonly T[], destination: (item: T) => string): Lane<T>[] {
  const lanes = new Map<string, Lane<T>>();
  for (const item of items) {
    const name = destination(item);
    if (!lanes.has(name)) lanes.set(name, { waiting: [], underWay: 0 });
    lanes.get(name)!.waiting.push(item);
  }
  return [...lanes.values()];
}
