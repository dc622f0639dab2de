import type { Claimed, Row, TableName, World } from '../../job/define.ts';
import type { Bounds, Verdict } from '../../net/in-flight.ts';

export const ATTEMPTS = 3;

/** Works on all rows that were claimed, many at once, and answers each with the attempt that it was. The rest is "left". */
export async function attemptEach<T>(
  claimed: Claimed[],
  { answer, signal }: World,
  { destination, ...bounds }: Omit<Bounds<T>, 'signal'>,
  work: (sealed: T) => Promise<{ verdict: Verdict; result: Record<string, unknown> }>,
): Promise<void> {
  const { inFlight } = await import('../../net/in-flight.ts');
  const open = ({ sealed }: Claimed) => sealed.open() as T & { attempt: number; due: string };
  const reply = (item: Claimed, result: Record<string, unknown>) => {
    const { attempt, due } = open(item);
    answer(item.id, { ...result, attempt, due });
  };
  const lanes = { ...bounds, signal, destination: (item: Claimed) => destination(open(item)) };
  const left = await inFlight(claimed, lanes, async (item) => {
    const { verdict, result } = await work(open(item));
    reply(item, result);
    return verdict;
  });
  for (const item of left) reply(item, { kind: 'left' });
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
