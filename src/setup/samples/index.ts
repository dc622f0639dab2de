import { hotspot } from './hotspot.ts';
import { packages } from './packages.ts';
import type { Sample } from './sample.ts';
import { specialPackages } from './special-packages.ts';
import { subscriptions } from './subscriptions.ts';
import { textSessions } from './text-sessions.ts';

export type { Sample };

/** In the order in which the demo shows them. */
export const SAMPLES: Sample[] = [packages, specialPackages, subscriptions, textSessions, hotspot];
