import { setTimeout as sleep } from 'node:timers/promises';

/** Waits for it, and fails with its name where it does not come: a test that waits for ever tells nobody what it waited for. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`${what}: not after ${ms / 1000} s`);
    await sleep(10);
  }
}
