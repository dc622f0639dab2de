import assert from 'node:assert/strict';
import { IANAZone } from 'luxon';
import type { TestDatabase } from './harness.ts';

/** What scheduler.instant must answer, worked out from the offsets that luxon knows: it does not define these rules itself. */

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** With changes of every kind: half an hour, two hours, at midnight, by the moon, given up, taken up again; and with none. */
export const ZONES = [
  ...['Africa/Cairo', 'Africa/Casablanca', 'Africa/El_Aaiun', 'Africa/Juba', 'Africa/Nairobi', 'America/Asuncion'],
  ...['America/Havana', 'America/Mexico_City', 'America/New_York', 'America/Nuuk', 'America/Santiago'],
  ...['America/Sao_Paulo', 'America/Scoresbysund', 'America/St_Johns', 'Antarctica/Casey', 'Antarctica/Troll'],
  ...['Asia/Almaty', 'Asia/Amman', 'Asia/Beirut', 'Asia/Damascus', 'Asia/Dhaka', 'Asia/Gaza', 'Asia/Kathmandu'],
  ...['Asia/Kolkata', 'Asia/Pyongyang', 'Asia/Tehran', 'Australia/Adelaide', 'Australia/Lord_Howe', 'Europe/Berlin'],
  ...['Europe/Dublin', 'Europe/Istanbul', 'Europe/Moscow', 'Europe/Volgograd', 'Pacific/Apia', 'Pacific/Chatham'],
  ...['Pacific/Easter', 'Pacific/Fiji', 'Pacific/Norfolk', 'Pacific/Pago_Pago'],
];
export const FROM = Date.UTC(2020, 0, 1);
export const TO = Date.UTC(2036, 0, 1);
// With what begins or ends about then.
export const [FIRST, LAST] = [Date.UTC(2019, 0, 1), Date.UTC(2037, 0, 1)];

export interface Change {
  at: number;
  before: number;
  after: number;
}

/** Every instant at which the offset of a zone changes. */
export function changes(zone: string, from = FROM, to = TO): Change[] {
  assert.ok(from >= FIRST && to <= LAST, 'others are not known');
  return allOf(zone).filter(({ at }) => at > from && at <= to);
}

// Luxon has the offset of an instant formatted, and read again: each is asked for once.
const found = new Map<string, Change[]>();

function allOf(zone: string): Change[] {
  const known = found.get(zone);
  if (known) return known;
  const offset = (at: number) => IANAZone.create(zone).offset(at) * MINUTE;
  const all: Change[] = [];
  let before = offset(FIRST);
  for (let day = FIRST; day < LAST; day += DAY) {
    const after = offset(day + DAY);
    if (after === before) continue;
    let [early, late] = [day, day + DAY];
    while (late - early > 1000) {
      const middle = Math.floor((early + late) / 2000) * 1000;
      if (offset(middle) === before) early = middle;
      else late = middle;
    }
    all.push({ at: late, before: offset(late - 1000), after: offset(late) });
    before = after;
  }
  found.set(zone, all);
  return all;
}

/** The first instant at which the clock shows this time; where it jumps over it, the instant after the jump. */
export function expected({ at, before, after }: Change, wall: number): number {
  const [early, late] = [wall - before, wall - after];
  if (early < at) return early;
  return late >= at ? late : at;
}

/** The same in a time with many changes. */
export function instantOf(zone: string, all: Change[], wall: number): number {
  const near = all.find(({ at, before }) => Math.abs(wall - before - at) < 2 * DAY);
  return near ? expected(near, wall) : wall - IANAZone.create(zone).offset(wall) * MINUTE;
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

/** Times at which PostgreSQL knows another offset than luxon. */
export async function disputed(db: TestDatabase, zone: string): Promise<number[]> {
  const days = await db.query<{ ms: string; known: number }>(
    `select (extract(epoch from at) * 1000)::bigint as ms, ${offset('at')} as known
     from generate_series($1::timestamptz, $3::timestamptz, interval '12 hours') as at`,
    [new Date(FROM - 100 * DAY), zone, new Date(TO + 100 * DAY)],
  );
  const known = IANAZone.create(zone);
  return days.filter((day) => known.offset(Number(day.ms)) * MINUTE !== day.known).map(({ ms }) => Number(ms));
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
