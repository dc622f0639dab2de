import { setMaxListeners } from 'node:events';

export interface Bounds<T> {
  /** How many at once in all, and how many of them to one destination. */
  most: number;
  mostEach: number;
  destination(item: T): string;
  /** Nothing is begun once this is aborted. Requests under way end by themselves, as they heed the same signal. */
  signal: AbortSignal;
}

/** What the work on one item says of its destination: go on, or leave the rest of it for the next run. */
export type Verdict = 'go on' | 'give up';

interface Lane<T> {
  waiting: T[];
  underWay: number;
  /** Whether it stands in the queue of lanes that may begin another item. */
  queued: boolean;
}

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
  const queue: Lane<T>[] = [];
  for (const lane of lanes) enqueue(lane);
  const left: T[] = [];
  let underWay = 0;
  let failure: { error: unknown } | undefined;

  return new Promise((resolve, reject) => {
    next();

    function next(): void {
      while (underWay < most && queue.length > 0 && !failure && !signal.aborted) begin(queue.shift()!);
      if (underWay > 0) return;
      if (failure) reject(failure.error);
      else resolve([...left, ...lanes.flatMap((lane) => lane.waiting)]);
    }

    async function begin(lane: Lane<T>): Promise<void> {
      lane.queued = false;
      if (lane.waiting.length === 0) return; // given up while it stood in the queue
      lane.underWay++;
      underWay++;
      const item = lane.waiting.shift()!;
      enqueue(lane);
      try {
        if ((await work(item)) === 'give up') left.push(...lane.waiting.splice(0));
      } catch (error) {
        failure ??= { error };
      }
      lane.underWay--;
      underWay--;
      enqueue(lane);
      next();
    }
  });

  function enqueue(lane: Lane<T>): void {
    if (lane.queued || lane.waiting.length === 0 || lane.underWay >= mostEach) return;
    lane.queued = true;
    queue.push(lane);
  }
}

function lanesOf<T>(items: readonly T[], destination: (item: T) => string): Lane<T>[] {
  const lanes = new Map<string, Lane<T>>();
  for (const item of items) {
    const name = destination(item);
    const lane = lanes.get(name) ?? { waiting: [], underWay: 0, queued: false };
    lanes.set(name, lane);
    lane.waiting.push(item);
  }
  return [...lanes.values()];
}
