import type { Settings } from '../base/config.ts';
import type { Stop } from '../base/stop.ts';
import type { Database } from '../db/client.ts';

// Small enough to be done between two heartbeats, large enough to keep up with 100,000 events a tick.
const BATCH = 5000;

const EXPIRED = `< :now::timestamptz - make_interval(days => :retention::integer)`;

/** True when the oldest record is past its retention: looks at one row of each table. */
export const ANYTHING_EXPIRED = `
  exists (select from (select occurred_at from scheduler.events order by id limit 1) as oldest where occurred_at ${EXPIRED})
  or exists (select from (select started_at from scheduler.runs order by id limit 1) as oldest where started_at ${EXPIRED})`;

// An array is made once. PostgreSQL may run a query inside "in (…)" again for each row, should the table have been
// empty when PostgreSQL last looked.
const forget = (table: string, time: string) => `
  with gone as (
    delete from scheduler.${table}
    where id = any(array(select id from scheduler.${table} where ${time} ${EXPIRED} order by id limit ${BATCH}))
    returning 1
  )
  select count(*)::integer as n from gone`;

const FORGET = { events: forget('events', 'occurred_at'), runs: forget('runs', 'started_at') };
type Pruned = Record<keyof typeof FORGET, number>;

/** Forgets history past its retention. Nothing reads it to decide: the state of a row is in the row. */
export async function prune(db: Database, settings: Settings, now: string, stop: Stop): Promise<Pruned> {
  const pruned: Pruned = { events: 0, runs: 0 };
  for (const table of ['events', 'runs'] as const) {
    for (let deleted = BATCH; deleted === BATCH && !stop.reason; ) {
      deleted = (await db.query<{ n: number }>(FORGET[table], { now, retention: settings.retentionDays }))[0]!.n;
      pruned[table] += deleted;
    }
  }
  return pruned;
}
