import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { DateTime, IANAZone } from 'luxon';
import { ownServer } from '../faults/server.ts';
import {
  agreed,
  type Change,
  changes,
  DAY,
  disputed,
  FIRST,
  HOUR,
  instantOf,
  LAST,
  MINUTE,
  ZONES,
} from '../support/calendar.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { played, type Sale } from '../support/sales-model.ts';
import { share } from '../support/share.ts';
import { ticker } from '../support/ticker.ts';

/** Repeated sales around every change of the clock. Process, server, database, role and columns each have a zone of their own. */

process.env.TZ = 'Asia/Kathmandu';
const server = await ownServer({ timezone: 'America/St_Johns' });
after(() => server[Symbol.asyncDispose]());

const iso = (ms: number) => new Date(ms).toISOString();
const midnight = (wall: number) => Math.floor(wall / DAY) * DAY;
// The reach of a period: a monthly sale begins up to two months before a change and is followed for as long after it.
const REACH = 75 * DAY;

/** Sales that a change meets: beginning or ending before it, in the stretch that it skips or repeats, at its edges, and after. */
function salesAround(zone: string, all: Change[], change: Change): Sale[] {
  const [low, high] = [Math.min(change.before, change.after), Math.max(change.before, change.after)];
  const [first, last] = [change.at + low, change.at + high];
  const middle = (first + last) / 2;
  const [early, late] = [first - 30 * MINUTE, last + 30 * MINUTE];
  const windows: [number, number][] = [
    [early, first],
    [early, middle],
    [early, late],
    [first, middle],
    [middle, middle + 5 * MINUTE],
    [middle, late],
    [last, late],
    [midnight(first), midnight(first) + 15 * MINUTE],
  ];
  const sales = windows.flatMap(([start, stop]): Sale[] =>
    (['daily', 'weekly', 'monthly'] as const).flatMap((repeats): Sale[] => {
      const begin = start - before(repeats, start);
      return [
        { repeats, start: begin, stop: { at: begin + stop - start } },
        { repeats, start: begin, stop: { after: stop - start } },
      ];
    }),
  );
  sales.push({ repeats: 'daily', start: middle - DAY, stop: { after: DAY } });
  // Written down as an instant, the first window must say what its hours are.
  const isShown = (wall: number) => {
    const at = instantOf(zone, all, wall);
    return at + IANAZone.create(zone).offset(at) * MINUTE === wall;
  };
  return sales.filter(({ start, stop }) => isShown(start) && (!('at' in stop) || isShown(stop.at)));
}

/** To an earlier occurrence: the day before, the week before, or a month that has this day. */
function before(repeats: Sale['repeats'], wall: number): number {
  if (repeats !== 'monthly') return repeats === 'daily' ? DAY : 7 * DAY;
  const day = DateTime.fromMillis(wall, { zone: 'UTC' });
  const earlier = [1, 2].map((months) => day.minus({ months })).find((other) => other.day === day.day)!;
  return day.diff(earlier).toMillis();
}

async function begin(db: TestDatabase, zone: string, all: Change[], sales: Sale[]): Promise<void> {
  const rows = sales.map(({ repeats, start, stop }, n) => ({
    id: n + 1,
    repeats,
    start: iso(instantOf(zone, all, start)),
    stop: 'at' in stop ? iso(instantOf(zone, all, stop.at)) : null,
    validity: 'after' in stop ? `${stop.after / MINUTE} minutes` : null,
  }));
  await db.query(
    `insert into packages (id, name, enable_schedule, repeats, scheduled_activation_time, scheduled_deactivation_time, validity)
     select id, 'sale', true, repeats, start, stop, validity
     from json_to_recordset($1::json) as r (id integer, repeats text, start timestamptz, stop timestamptz, validity text)`,
    [JSON.stringify(rows)],
  );
}

/** What the ticks did, in the form in which the model says it. */
async function seen(db: TestDatabase) {
  const rows = await db.query<{ id: string; steps: string[]; window: string }>(`
    select id, status = 'active' as "on", scheduler.iso(scheduled_activation_time) || ' ' || coalesce(scheduler.iso(scheduled_deactivation_time), '') as "window",
      (select coalesce(json_agg(transition || ' ' || scheduler.iso(due_at) || ' ' || scheduler.iso(occurred_at) order by e.id), '[]')
       from scheduler.events e where entity_id = p.id::text) as steps
    from packages p order by p.id`);
  return rows.map(({ id, ...rest }) => rest);
}

const plain = (ms: number) => iso(ms).replace('.000Z', 'Z');

function foretold(zone: string, all: Change[], sale: Sale, ticks: number[]) {
  const { steps, on, window } = played(zone, all, sale, ticks);
  return {
    on,
    window: `${plain(window.start)} ${'at' in sale.stop ? plain(window.stop) : ''}`,
    steps: steps.map(({ transition, due, occurred }) => `${transition} ${plain(due)} ${plain(occurred)}`),
  };
}

interface Columns {
  type: 'timestamptz' | 'timestamp';
  /** How zoneless ones are read. One without changes of its own: what two instants are written as can only be read as one. */
  zone: string;
}

async function shop({ type, zone }: Columns): Promise<TestDatabase> {
  const db = await database({ server, empty: type === 'timestamp' });
  await db.query(`alter database ${db.name} set timezone = 'Pacific/Chatham'`);
  await db.query(`alter role current_user in database ${db.name} set timezone = 'Asia/Tehran'`);
  if (type === 'timestamp') {
    await db.query(`create table packages (id bigint primary key, name text, enable_schedule boolean, repeats text, validity text,
      scheduled_activation_time timestamp, scheduled_deactivation_time timestamp)`);
    await db.query(`set timezone = '${zone}'`);
  }
  await db.migrate({ SCHEDULER_DB_TIMEZONE: zone });
  return db;
}

const leftOut: string[] = [];
let compared = 0;

async function keepsItsHours(zone: string, columns: Columns): Promise<void> {
  await using db = await shop(columns);
  const all = changes(zone, FIRST, LAST);
  const known = await agreed(db, zone, all);
  const unclear = [
    ...all.filter((change) => !known.includes(change)).map(({ at }) => at),
    ...(await disputed(db, zone)),
  ];
  const env = { SCHEDULER_TIMEZONE: zone, SCHEDULER_DB_TIMEZONE: columns.zone };
  await using ticks = await ticker(db, ['packages'], { env, by: 'the test' });
  for (const change of changes(zone)) {
    if (unclear.some((ms) => Math.abs(ms - change.at) < REACH)) {
      leftOut.push(`${zone} ${iso(change.at)}`);
      continue;
    }
    compared++;
    const sales = salesAround(zone, all, change);
    await db.query('delete from packages; delete from scheduler.events; delete from scheduler.runs');
    await begin(db, zone, all, sales);
    const times = ticksAround(zone, all, change, sales);
    for (const time of times) {
      const { exitCode } = await ticks.at(time);
      assert.equal(exitCode, 0);
    }
    const found = await seen(db);
    for (const [n, sale] of sales.entries()) {
      const words = `${iso(change.at)} ${JSON.stringify(change)} ${iso(sale.start)} ${JSON.stringify(sale)}`;
      assert.deepEqual(found[n], foretold(zone, all, sale, times), words);
    }
  }
}

/** Late for all that came before the change; just before and at each moment around it; and late again, days and a month after it. */
function ticksAround(zone: string, all: Change[], change: Change, sales: Sale[]): number[] {
  const [near, far] = [change.at - 5 * HOUR, change.at + 30 * HOUR];
  const often = everyMinutes(5, change.at - 26 * HOUR, change.at + 4 * HOUR);
  const moments = sales
    .flatMap((sale) => played(zone, all, sale, often).steps.map(({ due }) => due))
    .filter((due) => due > near && due < far);
  const each = [...new Set(moments)].sort((a, b) => a - b);
  return [near, ...each.flatMap((at) => [at - 1, at]), far, change.at + 35 * DAY];
}

describe('over every change of the clock from 2020 to 2035', { concurrency: 2 }, () => {
  for (const zone of share(ZONES.filter((name) => changes(name).length > 0))) {
    test(`${zone}: a repeated sale keeps its hours`, () =>
      keepsItsHours(zone, { type: 'timestamptz', zone: 'America/Los_Angeles' }));
  }

  for (const zone of share(['Europe/Berlin', 'Australia/Lord_Howe'])) {
    test(`${zone}: so it does where the times of the table have no zone`, () =>
      keepsItsHours(zone, { type: 'timestamp', zone: 'Asia/Kolkata' }));
  }
});

test('Node and PostgreSQL know nearly the same changes', (t) => {
  t.diagnostic(`${compared} changes compared; left out, as they are told differently: ${leftOut.join(', ') || 'none'}`);
  // A government that has changed its mind is news to the older of the two for all years to come.
  assert.ok(leftOut.length <= 0.05 * (compared + leftOut.length), `tzdata of Node: ${process.versions.tz}`);
});

const LEAP_DAYS = [29, 30, 31].map((day) => Date.UTC(2019, 11, day, 2, 30));

test('month after month from 2020 to 2035, sales on the 29th, 30th and 31st fall on the last days of February, and come back', async () => {
  const [zone, columns] = ['Europe/Berlin', { type: 'timestamptz', zone: 'UTC' } as const];
  await using db = await shop(columns);
  const all = changes(zone, FIRST, LAST);
  const sales = LEAP_DAYS.map((start): Sale => ({ repeats: 'monthly', start, stop: { at: start + HOUR } }));
  await begin(db, zone, all, sales);
  await using ticks = await ticker(db, ['packages'], { env: { SCHEDULER_TIMEZONE: zone }, by: 'the test' });
  const times = Array.from({ length: 16 * 12 }, (_, month) => [
    Date.UTC(2020, month, 1),
    Date.UTC(2020, month + 1, 0, 1),
  ]);
  for (const time of times.flat()) await ticks.at(time);
  const found = await seen(db);
  for (const [n, sale] of sales.entries()) assert.deepEqual(found[n], foretold(zone, all, sale, times.flat()));
  const february = found.map(({ steps }) =>
    (steps as unknown as string[]).filter((step) => /^\w+ 20(24|28|32)-02-29/.test(step)),
  );
  assert.ok(february.every((steps) => steps.length >= 3));
});

function everyMinutes(minutes: number, from: number, to: number): number[] {
  const start = Math.ceil(from / (minutes * MINUTE)) * minutes * MINUTE;
  return Array.from({ length: Math.ceil((to - start) / (minutes * MINUTE)) }, (_, n) => start + n * minutes * MINUTE);
}
