import { setTimeout as sleep } from 'node:timers/promises';
import type { Outcome } from './dialect.ts';

// A pause that the gateway asks for is made at once if it is short, and each SMS waits for a few of them.
const SHORT_PAUSE_SECONDS = 10;
const PAUSES = 5;

const pauseOf = (outcome: Outcome) => (outcome.kind === 'refused' && outcome.wait) || Number.POSITIVE_INFINITY;

/** Sends again after each short pause that the gateway asks for. All SMS of a batch make it together. */
export function pausing(signal: AbortSignal): (send: () => Promise<Outcome>) => Promise<Outcome> {
  let until = 0;
  return async (send) => {
    for (let pauses = 0; ; pauses++) {
      if (until > Date.now()) await sleep(until - Date.now(), undefined, { signal }).catch(() => {});
      const outcome = await send();
      if (pauses === PAUSES || pauseOf(outcome) > SHORT_PAUSE_SECONDS) return outcome;
      until = Math.max(until, Date.now() + pauseOf(outcome) * 1000);
    }
  };
}
