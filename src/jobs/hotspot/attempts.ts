import type { Claimed, Row, TableName, World } from '../../job/define.ts';
import type { Bounds, Verdict } from '../../net/in-flight.ts';

export const ATTEMPTS = 3;

/** The destinations that a run has given up, with the seconds that they are left alone: its other batches spare them too. */
const givenUp = new WeakMap<AbortSignal, Map<string, number>>();

/**
 * Works on all rows that were claimed, many at once, and answers each with the attempt that it was. The rest is "left", and waits
 * as long as the result says with which its destination was given up.
 */
export async function attemptEach<T>(
  claimed: Claimed[],
  { answer, signal }: World,
  { destination, ...bounds }: Omit<Bounds<T>, 'signal'>,
  work: (sealed: T) => Promise<{ verdict: Verdict; result: Record<string, unknown> & { wait?: number } }>,
): Promise<void> {
  const { inFlight } = await import('../../net/in-flight.ts');
  const open = ({ sealed }: Claimed) => sealed.open() as T & { attempt: number; due: string };
  const reply = (item: Claimed, result: Record<string, unknown>) => {
    const { attempt, due } = open(item);
    answer(item.id, { ...result, attempt, due });
  };
  const spared = givenUp.get(signal) ?? new Map<string, number>();
  givenUp.set(signal, spared);
  const to = (item: Claimed) => destination(open(item));
  const lanes = { ...bounds, signal, destination: to };
  const [before, toDo] = [
    claimed.filter((item) => spared.has(to(item))),
    claimed.filter((item) => !spared.has(to(item))),
  ];
  const left = await inFlight(toDo, lanes, async (item) => {
    const { verdict, result } = await work(open(item));
    if (verdict === 'give up') spared.set(to(item), Math.max(spared.get(to(item)) ?? 0, result.wait ?? 0));
    reply(item, result);
    return verdict;
  });
  for (const item of [...before, ...left]) reply(item, { kind: 'left', wait: spared.get(to(item)) ?? 0 });
}

/**
 * Joins each answer of `read` to the row it is about, one by one: the planner takes the index of rows under way for empty, and
 * would go through a whole backlog that was under way before. So an update's own guard comes last, in a case.
 */
export const fromRead = (table: TableName, it: Row, status: string, attempts: string) => ({
  from: `read cross join lateral (
        select s.id from ${table} s where s.id::text = read.id and s.${status} = 'sending' offset 0
      ) as sent`,
  where: `${it.id} = sent.id and case when ${it[status]} = 'sending' then ${it[attempts]} = read.attempt end`,
});
