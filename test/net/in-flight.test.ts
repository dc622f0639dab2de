import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inFlight, type Verdict } from '../../src/net/in-flight.ts';

interface Item {
  to: string;
  n: number;
}

const items = (to: string, count: number): Item[] => Array.from({ length: count }, (_, n) => ({ to, n }));
const bounds = (over: object = {}) => ({
  most: 10,
  mostEach: 4,
  destination: (item: Item) => item.to,
  signal: new AbortController().signal,
  ...over,
});

test('everything is worked on, never more at once than the bounds allow', async () => {
  const busy: Record<string, number> = { a: 0, b: 0, c: 0, d: 0 };
  const highest = { all: 0, each: 0 };
  const done = new Set<Item>();
  const work = async (item: Item): Promise<Verdict> => {
    busy[item.to]!++;
    highest.each = Math.max(highest.each, busy[item.to]!);
    highest.all = Math.max(
      highest.all,
      Object.values(busy).reduce((a, b) => a + b),
    );
    await sleep(1);
    busy[item.to]!--;
    done.add(item);
    return 'go on';
  };
  const all = [...items('a', 70), ...['b', 'c', 'd'].flatMap((to) => items(to, 10))];
  assert.deepEqual(await inFlight(all, bounds(), work), []);
  assert.equal(done.size, 100);
  assert.deepEqual(highest, { all: 10, each: 4 });
});

test('a dead destination does not hold up the others', async () => {
  const controller = new AbortController();
  const done: Item[] = [];
  const work = async (item: Item): Promise<Verdict> => {
    if (item.to === 'dead') await new Promise((end) => controller.signal.addEventListener('abort', end));
    else done.push(item);
    if (done.length === 50) controller.abort();
    return 'go on';
  };
  const left = await inFlight(
    [...items('dead', 50), ...items('alive', 50)],
    bounds({ signal: controller.signal }),
    work,
  );
  assert.equal(done.length, 50);
  assert.equal(left.length, 46);
  assert.ok(left.every((item) => item.to === 'dead'));
});

test('the requests left for a destination that was given up are answered as not begun', async () => {
  const begun: Record<string, number> = { dead: 0, alive: 0 };
  const work = async (item: Item): Promise<Verdict> => {
    begun[item.to]!++;
    await sleep(1);
    return item.to === 'dead' ? 'give up' : 'go on';
  };
  const left = await inFlight([...items('dead', 20), ...items('alive', 20)], bounds(), work);
  assert.equal(begun.alive, 20);
  assert.equal(begun.dead! + left.length, 20);
  assert.equal(begun.dead, 4);
});

test('after the deadline nothing is begun, and what is under way is waited for', async () => {
  const controller = new AbortController();
  let ended = 0;
  const work = async (): Promise<Verdict> => {
    await sleep(5);
    controller.abort();
    await sleep(5);
    ended++;
    return 'go on';
  };
  const left = await inFlight(items('a', 10), bounds({ signal: controller.signal }), work);
  assert.equal(ended, 4);
  assert.equal(left.length, 6);
});

test('a defect in the work is reported once what is under way has ended', async () => {
  let ended = 0;
  const work = async (item: Item): Promise<Verdict> => {
    if (item.n === 0) throw new Error('defect');
    await sleep(5);
    ended++;
    return 'go on';
  };
  await assert.rejects(inFlight(items('a', 10), bounds(), work), /defect/);
  assert.equal(ended, 3);
});

test('a destination given up on loses its turn', async () => {
  const begun: Item[] = [];
  const work = async (item: Item): Promise<Verdict> => {
    begun.push(item);
    await sleep(1);
    return item.to === 'dead' ? 'give up' : 'go on';
  };
  const left = await inFlight([...items('dead', 9), ...items('alive', 9)], bounds({ most: 2 }), work);
  assert.equal(begun.filter((item) => item.to === 'alive').length, 9);
  assert.equal(begun.length + left.length, 18);
  assert.ok(left.length >= 7);
});

test('nothing to do is done at once', async () => {
  assert.deepEqual(await inFlight([], bounds(), async () => 'go on'), []);
});
