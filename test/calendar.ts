import assert from 'node:assert/strict';
import { IANAZone } from 'luxon';
import type { TestDatabase } from './harness.ts';

/** What scheduler.instant must answer, worked out from the offsets that luxon knows: it does not define these rules itself. */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

export interface Change {
  at: number;
  before: number;
  after: number;
}

/** Every instant at which the offset of a zone changes. */
export function changes(zone: string, from: number, to: number): Change[] {
  const offset = (at: number) => IANAZone.create(zone).offset(at) * MINUTE;
  const found: Change[] = [];
  for (let start = from; start < to; start += 24 * HOUR) {
    let [early, late] = [start, start + 24 * HOUR];
    if (offset(early) === offset(late)) continue;
    while (late - early > 1000) {
      const middle = Math.floor((early + late) / 2000) * 1000;
      if (offset(middle) === offset(early)) early = middle;
      else late = middle;
    }
    found.push({ at: late, before: offset(late - 1000), after: offset(late) });
  }
  return found;
}

/** The first instant at which the clock shows this time; where it jumps over it, the instant after the jump. */
export function expected({ at, before, after }: Change, wall: number): number {
  const [early, late] = [wall - before, wall - after];
  if (early < at) return early;
  return late >= at ? late : at;
}

const offset = (at: string) =>
  `(extract(epoch from (${at} at time zone $2) - (${at} at time zone 'UTC')) * 1000)::integer`;

/** Those on which PostgreSQL's zone database agrees: it may be older than Node's, and governments change their minds. */
export async function agreed(db: TestDatabase, zone: string, all: Change[]): Promise<Change[]> {
  const seen = await db.query<{ before: number; after: number }>(
    `select ${offset("(at - interval '1 second')")} as before, ${offset('at')} as after
     from (select to_timestamp(ms / 1000.0) as at, n from unnest($1::bigint[]) with ordinality as c (ms, n)) as changes
     order by n`,
    [all.map(({ at }) => at), zone],
  );
  return all.filter(({ before, after }, n) => seen[n]!.before === before && seen[n]!.after === after);
}

/** Compares at each change: both edges of the gap or the repeated stretch, its middle, and hours around it. */
export async function compare(db: TestDatabase, zone: string, all: Change[]): Promise<number> {
  const walls = (await agreed(db, zone, all)).flatMap((change) => {
    const [low, high] = [Math.min(change.before, change.after), Math.max(change.before, change.after)];
    const edges = [change.at + low, change.at + high, change.at + (low + high) / 2];
    const near = edges.flatMap((edge) => [edge - 1000, edge - 1, edge, edge + 1, edge + 1000]);
    const around = [-23, -12, -3, -1, 1, 3, 12, 23].map((hours) => change.at + change.before + hours * HOUR + 7);
    return [...near, ...around].map((wall) => ({
      wall: new Date(wall).toISOString().slice(0, -1),
      expected: new Date(expected(change, wall)).toISOString(),
    }));
  });
  const wrong = await db.query(
    `select * from (
       select wall, expected, scheduler.instant(wall::timestamp, $2) as answer
       from json_to_recordset($1::json) as t (wall text, expected text)
     ) as answers where answer is distinct from expected::timestamptz`,
    [JSON.stringify(walls), zone],
  );
  assert.deepEqual(wrong, [], zone);
  return walls.length;
}
