import { BASE } from './base.ts';
import { CONTROL_FROM_SQL } from './control.ts';
import { ENGINE } from './engine.ts';
import { GATEWAYS } from './gateways.ts';
import { HOTSPOT } from './hotspot.ts';
import { INSPECT } from './inspect.ts';
import { JOB } from './job.ts';
import { JOBS } from './jobs.ts';
import { MIGRATIONS } from './migrations.ts';
import type { Mutant } from './mutant.ts';
import { OUTER } from './outer.ts';
import { OWN } from './own.ts';
import { STORE } from './store.ts';

export const MUTANTS: Mutant[] = [
  ...[...MIGRATIONS, ...BASE, ...JOB, ...JOBS, ...HOTSPOT, ...GATEWAYS, ...CONTROL_FROM_SQL],
  ...[...STORE, ...ENGINE, ...OWN, ...INSPECT, ...OUTER],
];
