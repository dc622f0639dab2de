import type { Settings } from '../base/config.ts';
import type { Stop } from '../base/stop.ts';
import type { Database } from '../db/client.ts';

const EXPIRED = `< :now::timestamptz - make_interval(days => :retention::integer)`;

/** True when the oldest record is past its retention: looks at one row of each table. */
export const ANYTHING_EXPIRED = `
  exists (select from (select occurred_at from scheduler.events order by id limit 1) as oldest where occurred_at ${EXPIRED})
  or exists (select from (select started_at from scheduler.runs order by id limit 1) as oldest where started_at ${EXPIRED})
  or exists (select from (select at from scheduler.requests order by id limit 1) as oldest where at ${EXPIRED})`;

interface Pruned {
  events: number;
  runs: number;
}

/** Forgets history past its retention. Nothing reads it to decide: the state of a row is in the row. */
export async function prune(db: Database, { retentionDays }: Settings, stop: Stop): Promise<Pruned> {
  const pruned: Pruned = { events: 0, runs: 0 };
  for (let isMore = true; isMore && !stop.reason; ) {
    const [gone] = await db.query<Pruned>('select events, runs from scheduler.forget(:days::integer)', {
      days: retentionDays,
    });
    isMore = gone!.events + gone!.runs > 0;
    pruned.events += gone!.events;
    pruned.runs += gone!.runs;
  }
  return pruned;
}
