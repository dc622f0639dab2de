import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { total } from '../../src/engine/batch.ts';
import { agreed, changes, DAY, HOUR, MINUTE } from '../support/calendar.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { shareOf } from '../support/share.ts';
import { clockOf, endOf, pass, type SpecialPackage, startOf } from '../support/special-packages-model.ts';
import { type Ticker, ticker } from '../support/ticker.ts';

/** Random histories of several special packages around changes of the clock, in the database and in a model. */

const GRID = 30 * MINUTE;
const ROWS = 8;

// Changes of an hour and of half an hour, by night and at midnight, and none.
const ZONES = [
  ...['Africa/Cairo', 'Africa/Nairobi', 'America/Havana', 'America/New_York', 'America/Santiago'],
  ...['Asia/Beirut', 'Asia/Kolkata', 'Australia/Lord_Howe', 'Europe/Berlin'],
];
const SETTINGS = ['UTC', 'America/Havana', 'Europe/Berlin'];
const YEAR = [Date.UTC(2026, 0, 1), Date.UTC(2027, 0, 1)] as const;

// A day or two before each of those changes, and an ordinary day.
const BASES = [
  Date.parse('2026-06-10T12:00Z'),
  ...new Set(ZONES.flatMap((zone) => changes(zone, ...YEAR)).map(({ at }) => Math.floor(at / DAY) * DAY - DAY / 2)),
];

const iso = (ms: number) => new Date(ms).toISOString();

async function begin(db: TestDatabase, rows: SpecialPackage[]): Promise<void> {
  await db.query(`delete from special_packages; delete from scheduler.events; delete from scheduler.runs`);
  await db.query(
    `insert into special_packages (id, name, scheduled, auto_activate, auto_deactivate)
     select n, 's' || n, false, false, false from generate_series(1, $1::integer) as n`,
    [rows.length],
  );
  await write(db, rows, rows.keys());
}

/** A person saves these rows. */
async function write(db: TestDatabase, rows: SpecialPackage[], which: Iterable<number>): Promise<void> {
  const saved = [...which].map((n) => ({ id: n + 1, ...rows[n]! }));
  await db.query(
    `update special_packages p set scheduled = r.scheduled, schedule_date = r.date, schedule_time = r.time, auto_activate = r."autoActivate",
       auto_deactivate = r."autoDeactivate", is_active = r."isActive", valid_until = r."validUntil", timezone = r.zone
     from json_to_recordset($1::json) as r (id integer, scheduled boolean, date date, time time, "autoActivate" boolean,
       "autoDeactivate" boolean, "isActive" boolean, "validUntil" date, zone text)
     where p.id = r.id`,
    [JSON.stringify(saved)],
  );
}

interface Seen {
  isActive: boolean;
  scheduled: boolean;
  told: string[];
}

const seen = (db: TestDatabase) =>
  db.query<Seen>(
    `select is_active as "isActive", scheduled,
       (select coalesce(json_agg(type || ' ' || transition order by e.id), '[]') from scheduler.events e where entity_id = p.id::text) as told
     from special_packages p order by p.id`,
  );

const tickerOf = (db: TestDatabase, setting: string) =>
  ticker(db, ['special-packages'], {
    by: 'the test',
    env: { SCHEDULER_TIMEZONE: setting, SCHEDULER_RETENTION: '36500' },
  });

/** A pass in which each row fails, or is changed over and over, would end as well. */
async function tick(ticks: Ticker, rows: number, now: number, batchSize = 1000): Promise<Record<string, number>> {
  const result = await ticks.at(now, { batchSize });
  assert.equal(result.exitCode, 0, JSON.stringify(result));
  const { failed, changed, error } = result.jobs[0]!;
  assert.deepEqual([failed, error], [0, undefined]);
  assert.ok(total(changed) <= 4 * rows, `at ${iso(now)}: ${JSON.stringify(changed)}`);
  return changed;
}

/** A day is so many days from today, on the row's own clock. */
const days = fc.constantFrom(-3, -2, -1, 0, 0, 1, 1, 2, 3);
const time = fc.constantFrom(
  null,
  '00:00',
  '00:00',
  '00:30',
  '01:00',
  '01:30',
  '02:00',
  '02:30',
  '03:00',
  '10:00',
  '23:30',
);
const zone = fc.constantFrom(null, '', ...ZONES);

const first = fc.record({
  scheduled: fc.nat(4).map((n) => n > 0),
  date: fc.option(days, { freq: 12 }),
  time,
  autoActivate: fc.nat(5).map((n) => n > 0),
  autoDeactivate: fc.nat(5).map((n) => n > 0),
  isActive: fc.constantFrom(false, false, true),
  validUntil: fc.option(days, { freq: 6 }),
  zone,
});

type First = typeof first extends fc.Arbitrary<infer T> ? T : never;
type Edit = Partial<First> | { undo: true };

const edit: fc.Arbitrary<Edit> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ scheduled: fc.constant(true), date: days, time, validUntil: fc.option(days) }) },
  { weight: 1, arbitrary: fc.record({ scheduled: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ date: fc.option(days, { freq: 6 }) }) },
  { weight: 1, arbitrary: fc.record({ time }) },
  { weight: 4, arbitrary: fc.record({ validUntil: fc.option(days, { freq: 6 }) }) },
  { weight: 5, arbitrary: fc.record({ isActive: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ autoActivate: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ autoDeactivate: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ zone }) },
  { weight: 2, arbitrary: fc.constant({ undo: true as const }) },
);

/** So long, or to just before or exactly the start or the end of a row's window. */
type Wait = { by: number } | { row: number; moment: 'start' | 'end'; early: number };

const wait: fc.Arbitrary<Wait> = fc.oneof(
  fc.record({ by: fc.constantFrom(0, 0.5, 1, 2, 6, 12, 24, 48, 24 * 35, -0.5, -2, -24).map((hours) => hours * HOUR) }),
  fc.record({
    row: fc.nat(ROWS - 1),
    moment: fc.constantFrom('start', 'end') as fc.Arbitrary<'start' | 'end'>,
    early: fc.constantFrom(0, 0, 1),
  }),
);

const step = fc.record({
  wait,
  edits: fc.array(fc.record({ row: fc.nat(ROWS - 1), edit }), { maxLength: 4 }),
  // No tick before the next step.
  outage: fc.nat(3).map((n) => n === 0),
  batchSize: fc.constantFrom(1, 2, 1000),
});

/** The row with its days counted from today. */
function dated<T extends Partial<First>>(row: T, zone: string, now: number) {
  const today = Math.floor(clockOf(zone).shown(now) / DAY);
  const day = (away: number | null | undefined) =>
    typeof away === 'number' ? iso((today + away) * DAY).slice(0, 10) : away;
  return {
    ...row,
    ...('date' in row && { date: day(row.date) }),
    ...('validUntil' in row && { validUntil: day(row.validUntil) }),
  };
}

const rowsOf = (rows: First[], base: number, setting: string) =>
  rows.map((row) => ({ ...dated(row, row.zone || setting, base), acted: null }) as SpecialPackage);

function after(now: number, wait: Wait, rows: SpecialPackage[], setting: string): number {
  if ('by' in wait) return now + wait.by;
  const moment = (wait.moment === 'start' ? startOf : endOf)(rows[wait.row]!, setting);
  return moment === null ? now : moment - wait.early;
}

test('Node and PostgreSQL know the same changes of these zones', async () => {
  await using db = await database();
  for (const name of ZONES) {
    const all = changes(name, ...YEAR);
    assert.deepEqual(await agreed(db, name, all), all, name);
  }
});

describe('random histories of edits, hands, outages and clocks: the database does what the model does', {
  concurrency: 2,
}, () => {
  for (const setting of SETTINGS) {
    test(setting, async (t) => {
      await using db = await database();
      await using ticks = await tickerOf(db, setting);
      const done: Record<string, number> = {};
      const history = fc.record({
        base: fc.constantFrom(...BASES),
        rows: fc.array(first, { minLength: ROWS, maxLength: ROWS }),
        steps: fc.array(step, { minLength: 5, maxLength: 25 }),
      });
      await fc.assert(
        fc.asyncProperty(history, async ({ base, rows, steps }) => {
          const model = rowsOf(rows, base, setting);
          const told = model.map((): string[] => []);
          const before: (Partial<SpecialPackage> | undefined)[] = [];
          await begin(db, model);
          let now = base;
          for (const { wait, edits, outage, batchSize } of steps) {
            now = after(now, wait, model, setting);
            for (const { row, edit } of edits) {
              const saved = model[row]!;
              const { date, time, validUntil } = saved;
              Object.assign(saved, 'undo' in edit ? before[row] : dated(edit, saved.zone || setting, now));
              if (!('isActive' in edit)) before[row] = { date, time, validUntil };
            }
            if (edits.length > 0) await write(db, model, new Set(edits.map(({ row }) => row)));
            if (outage) continue;
            for (const [name, n] of Object.entries(await tick(ticks, model.length, now, batchSize)))
              done[name] = (done[name] ?? 0) + n;
            for (const [n, row] of model.entries()) told[n]!.push(...pass(row, now, setting));
            const found = await seen(db);
            for (const [n, { isActive, scheduled }] of model.entries()) {
              assert.deepEqual(found[n], { isActive, scheduled, told: told[n] }, `row ${n} at ${iso(now)}`);
            }
          }
        }),
        { numRuns: shareOf(20) },
      );
      t.diagnostic(JSON.stringify(done));
    });
  }
});

describe('one late tick leaves what ticks every minute leave', { concurrency: 2 }, () => {
  const settled = (rows: Seen[]) => rows.map(({ told, ...rest }) => rest);
  const many = fc.array(first, { minLength: 40, maxLength: 40 });
  const everyGrid = (base: number, length: number) => Array.from({ length }, (_, n) => base + (n + 1) * GRID);

  for (const setting of SETTINGS) {
    test(`${setting}: in the model`, () => {
      fc.assert(
        fc.property(fc.constantFrom(...BASES), many, fc.integer({ min: 1, max: 6 * 48 }), (base, rows, late) => {
          const [onTime, lately] = [rowsOf(rows, base, setting), rowsOf(rows, base, setting)];
          for (const now of everyGrid(base, late)) for (const row of onTime) pass(row, now, setting);
          for (const row of lately) pass(row, base + late * GRID, setting);
          assert.deepEqual(lately, onTime);
        }),
        { numRuns: shareOf(15) },
      );
    });

    test(`${setting}: in the database`, async () => {
      await using db = await database();
      await using ticks = await tickerOf(db, setting);
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...BASES),
          many,
          fc.integer({ min: 1, max: 5 * 48 }),
          async (base, rows, late) => {
            const made = rowsOf(rows, base, setting);
            const grid = everyGrid(base, late);
            await begin(db, made);
            for (const now of grid) await tick(ticks, made.length, now);
            const onTime = settled(await seen(db));
            await begin(db, made);
            await tick(ticks, made.length, grid.at(-1)!);
            assert.deepEqual(settled(await seen(db)), onTime);
          },
        ),
        { numRuns: shareOf(1) },
      );
    });
  }
});
