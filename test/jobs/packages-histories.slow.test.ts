import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { total } from '../../src/engine/batch.ts';
import { HOUR, MINUTE } from '../support/calendar.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { Clock, endOf, fresh, type Package, pass, type Schedule } from '../support/packages-model.ts';
import { shareOf } from '../support/share.ts';
import { type Ticker, ticker } from '../support/ticker.ts';

/** Random histories of several packages: edits, hands, outages and clocks, in the database and in a model. */

// Every instant is a multiple of this, so ticks this far apart see what ticks every minute see.
const GRID = 30 * MINUTE;
const ROWS = 8;

interface Shop {
  zone: string;
  /** Columns without a zone are read in this one. It has no changes of its own, so it can write down every instant. */
  zoneless?: string;
}

const SHOPS: Shop[] = [
  { zone: 'UTC' },
  { zone: 'Europe/Berlin', zoneless: 'Asia/Kolkata' },
  { zone: 'America/New_York' },
  { zone: 'Australia/Lord_Howe' },
];

// An ordinary day, changes of each zone's clock, and ends of months.
const BASES = [
  '2026-06-10T12:00:00Z',
  '2026-03-28T12:00:00Z',
  '2026-10-24T12:00:00Z',
  '2026-03-07T18:00:00Z',
  '2026-10-31T18:00:00Z',
  '2026-04-04T06:00:00Z',
  '2026-10-03T06:00:00Z',
  '2026-01-29T12:00:00Z',
  '2028-02-27T12:00:00Z',
].map((text) => Date.parse(text));

async function open({ zone, zoneless }: Shop): Promise<TestDatabase> {
  const db = await database({ empty: zoneless !== undefined });
  if (!zoneless) return db;
  await db.query(`set timezone = '${zoneless}'`);
  await db.query(`create table packages (id bigint primary key, name text, type text, enable_schedule boolean,
    scheduled_activation_time timestamp, scheduled_deactivation_time timestamp, validity text, repeats text,
    status text not null default 'inactive', is_active boolean not null default false)`);
  await db.migrate({ SCHEDULER_DB_TIMEZONE: zoneless, SCHEDULER_TIMEZONE: zone });
  return db;
}

const tickerOf = (db: TestDatabase, { zone, zoneless = 'UTC' }: Shop) =>
  ticker(db, ['packages'], {
    by: 'the test',
    env: { SCHEDULER_TIMEZONE: zone, SCHEDULER_DB_TIMEZONE: zoneless, SCHEDULER_RETENTION: '36500' },
  });

const iso = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());

async function begin(db: TestDatabase, rows: Package[]): Promise<void> {
  await db.query(`delete from packages; delete from scheduler.events; delete from scheduler.runs`);
  await db.query(
    `insert into packages (id, name, type, enable_schedule) select n, 'p' || n, 'hotspot', false from generate_series(1, $1::integer) as n`,
    [rows.length],
  );
  await write(db, rows, [...rows.keys()]);
}

/** A person saves these rows. */
async function write(db: TestDatabase, rows: Package[], which: Iterable<number>): Promise<void> {
  const saved = [...which].map((n) => {
    const { enabled, start, stop, validity, repeats, status, isActive } = rows[n]!;
    return { id: n + 1, enabled, start: iso(start), stop: iso(stop), validity, repeats, status, active: isActive };
  });
  await db.query(
    `update packages p set enable_schedule = r.enabled, scheduled_activation_time = r.start, scheduled_deactivation_time = r.stop,
       validity = r.validity, repeats = r.repeats, status = r.status, is_active = r.active
     from json_to_recordset($1::json) as r (id integer, enabled boolean, start timestamptz, stop timestamptz,
       validity text, repeats text, status text, active boolean)
     where p.id = r.id`,
    [JSON.stringify(saved)],
  );
}

interface Seen {
  status: string;
  isActive: boolean;
  start: number | null;
  stop: number | null;
  told: string[];
}

const epoch = (column: string) => `(extract(epoch from ${column}::timestamptz) * 1000)::double precision`;

const seen = (db: TestDatabase) =>
  db.query<Seen>(
    `select status, is_active as "isActive", ${epoch('scheduled_activation_time')} as start, ${epoch('scheduled_deactivation_time')} as stop,
       (select coalesce(json_agg(type || ' ' || transition order by e.id), '[]') from scheduler.events e where entity_id = p.id::text) as told
     from packages p order by p.id`,
  );

const plain = ({ status, isActive, start, stop }: Package) => ({ status, isActive, start, stop });

/** A pass in which each row fails, or is changed over and over, would end as well. */
async function tick(ticks: Ticker, rows: number, now: number, batchSize = 1000): Promise<Record<string, number>> {
  const result = await ticks.at(now, { batchSize });
  assert.equal(result.exitCode, 0, JSON.stringify(result));
  const { failed, changed, error } = result.jobs[0]!;
  assert.deepEqual([failed, error], [0, undefined]);
  assert.ok(total(changed) <= 6 * rows, `at ${iso(now)}: ${JSON.stringify(changed)}`);
  return changed;
}

// Times near now come up more often than times days away.
const away = (...hours: number[]) => fc.constantFrom(...hours.map((each) => each * HOUR));
const near = away(-48, -24, -3, -2, -1, -0.5, 0, 0, 0.5, 1, 2, 3, 24, 48);
const shift = away(-24, -2, -1, -0.5, 0.5, 1, 2, 24);
const validity = fc.constantFrom(
  '30 minutes',
  '1 hour',
  '2 hours',
  '5 hours',
  '24 hours',
  '2 days',
  '1 week',
  '30 days',
  null,
);
const repeats = fc.constantFrom('daily', 'daily', 'weekly', 'monthly', null, null, null) as fc.Arbitrary<
  Package['repeats']
>;
const hand = fc.constantFrom<Partial<Schedule>>(
  { status: 'active', isActive: true },
  { status: 'inactive', isActive: false },
  { status: 'active' },
  { status: 'inactive' },
);

/** A time is so far from now, or so far from where it was. */
type Move = { from: 'now' | 'itself'; by: number } | null;

type Edit =
  | { start: Move }
  | { stop: Move }
  | { validity: string | null }
  | { repeats: Package['repeats'] }
  | { enabled: boolean }
  | { hand: Partial<Schedule> }
  /** Takes back the edit of the schedule before. */
  | { undo: true };

const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 4, arbitrary: near.map((by) => ({ from: 'now' as const, by })) },
  { weight: 4, arbitrary: shift.map((by) => ({ from: 'itself' as const, by })) },
  { weight: 1, arbitrary: fc.constant(null) },
);

const edit: fc.Arbitrary<Edit> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ start: move }) },
  { weight: 4, arbitrary: fc.record({ stop: move }) },
  { weight: 2, arbitrary: fc.record({ validity }) },
  { weight: 1, arbitrary: fc.record({ repeats }) },
  { weight: 1, arbitrary: fc.record({ enabled: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ hand }) },
  { weight: 2, arbitrary: fc.constant({ undo: true as const }) },
);

const first = fc.record({
  enabled: fc.nat(9).map((n) => n > 0),
  start: fc.option(near, { freq: 12 }),
  stop: fc.option(near, { freq: 1 }),
  validity,
  repeats,
  status: fc.constantFrom('active', 'inactive', 'inactive') as fc.Arbitrary<Package['status']>,
});

const step = fc.record({
  wait: away(0, 0.5, 0.5, 1, 1, 2, 3, 6, 12, 24, 48, 24 * 7, 24 * 35, -0.5, -2, -24),
  edits: fc.array(fc.record({ row: fc.nat(ROWS - 1), edit }), { maxLength: 4 }),
  // No tick before the next step.
  outage: fc.nat(3).map((n) => n === 0),
  batchSize: fc.constantFrom(1, 2, 1000),
});

/** A person names times that the clock shows once, and repeats only what has a window. */
function sensible(row: Package, clock: Clock): void {
  for (const column of ['start', 'stop'] as const) {
    while (row[column] !== null && !clock.isFirst(row[column])) row[column] += GRID;
  }
  const end = endOf(row);
  if (row.start === null || (end !== null && end <= row.start)) row.repeats = null;
}

type Times = Pick<Package, 'start' | 'stop' | 'validity'>;
const times = ({ start, stop, validity }: Package): Times => ({ start, stop, validity });

const moved = (to: Move, was: number | null, now: number) =>
  to === null ? null : (to.from === 'now' ? now : (was ?? now)) + to.by;

function change(row: Package, edit: Edit, now: number, before: Times | undefined): void {
  if ('hand' in edit) Object.assign(row, edit.hand);
  else if ('undo' in edit) Object.assign(row, before);
  else if ('start' in edit) row.start = moved(edit.start, row.start, now);
  else if ('stop' in edit) row.stop = moved(edit.stop, endOf(row), now);
  else Object.assign(row, edit);
}

const rowsOf = (rows: Omit<Schedule, 'isActive'>[], base: number, clock: Clock) =>
  rows.map((row) => {
    const at = (by: number | null) => (by === null ? null : base + by);
    const made = fresh({ ...row, start: at(row.start), stop: at(row.stop), isActive: row.status === 'active' });
    sensible(made, clock);
    return made;
  });

describe('random histories of edits, hands, outages and clocks: the database does what the model does', {
  concurrency: 2,
}, () => {
  for (const shop of SHOPS) {
    const words = shop.zoneless ? `${shop.zone}, columns without a zone` : shop.zone;
    test(words, async (t) => {
      await using db = await open(shop);
      await using ticks = await tickerOf(db, shop);
      const clock = new Clock(shop.zone);
      const done: Record<string, number> = {};
      const history = fc.record({
        base: fc.constantFrom(...BASES),
        rows: fc.array(first, { minLength: ROWS, maxLength: ROWS }),
        steps: fc.array(step, { minLength: 5, maxLength: 25 }),
      });
      await fc.assert(
        fc.asyncProperty(history, async ({ base, rows, steps }) => {
          const model = rowsOf(rows, base, clock);
          const told = model.map((): string[] => []);
          const before: (Times | undefined)[] = [];
          await begin(db, model);
          let now = base;
          for (const { wait, edits, outage, batchSize } of steps) {
            now += wait;
            for (const { row, edit } of edits) {
              const was = times(model[row]!);
              change(model[row]!, edit, now, before[row]);
              sensible(model[row]!, clock);
              if (!('hand' in edit)) before[row] = was;
            }
            if (edits.length > 0) await write(db, model, new Set(edits.map(({ row }) => row)));
            if (outage) continue;
            for (const [name, n] of Object.entries(await tick(ticks, model.length, now, batchSize)))
              done[name] = (done[name] ?? 0) + n;
            for (const [n, row] of model.entries()) told[n]!.push(...pass(row, now, clock));
            const found = await seen(db);
            for (const [n, row] of model.entries()) {
              assert.deepEqual(found[n], { ...plain(row), told: told[n] }, `row ${n} at ${iso(now)}`);
            }
          }
        }),
        { numRuns: shareOf(15) },
      );
      t.diagnostic(JSON.stringify(done));
    });
  }
});

describe('one late tick leaves what ticks every minute leave', { concurrency: 2 }, () => {
  const settled = (rows: Seen[]) => rows.map(({ told, ...rest }) => rest);
  const many = fc.array(first, { minLength: 40, maxLength: 40 });

  /** What the model says after ticks at all of these times. */
  const after = (rows: Package[], ticks: number[], clock: Clock) => {
    const copy = structuredClone(rows);
    const busy = ticks.filter((now) => copy.map((row) => pass(row, now, clock)).some((told) => told.length > 0));
    return { rows: copy, busy };
  };

  const everyGrid = (base: number, length: number) =>
    Array.from({ length: length / GRID }, (_, n) => base + (n + 1) * GRID);

  for (const shop of SHOPS) {
    const clock = new Clock(shop.zone);

    test(`${shop.zone}: in the model, over eight weeks`, () => {
      fc.assert(
        fc.property(fc.constantFrom(...BASES), many, fc.integer({ min: 1, max: 8 * 7 * 48 }), (base, rows, late) => {
          const made = rowsOf(rows, base, clock);
          const onTime = after(made, everyGrid(base, late * GRID), clock);
          assert.deepEqual(after(made, [base + late * GRID], clock).rows.map(plain), onTime.rows.map(plain));
        }),
        { numRuns: shareOf(15) },
      );
    });

    test(`${shop.zone}: in the database`, async () => {
      await using db = await open(shop);
      await using ticks = await tickerOf(db, shop);
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...BASES), many, fc.integer({ min: 1, max: 72 }), async (base, rows, late) => {
          const made = rowsOf(rows, base, clock);
          const grid = everyGrid(base, late * GRID);
          await begin(db, made);
          for (const now of grid) await tick(ticks, made.length, now);
          const onTime = settled(await seen(db));
          await begin(db, made);
          await tick(ticks, made.length, grid.at(-1)!);
          assert.deepEqual(settled(await seen(db)), onTime);
        }),
        { numRuns: shareOf(1) },
      );
    });

    test(`${shop.zone}: in the database over eight weeks, with a tick whenever there is something to do`, async () => {
      await using db = await open(shop);
      await using ticks = await tickerOf(db, shop);
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...BASES),
          many,
          fc.integer({ min: 7 * 48, max: 8 * 7 * 48 }),
          async (base, rows, late) => {
            const made = rowsOf(rows.slice(0, 8), base, clock);
            const grid = everyGrid(base, late * GRID);
            await begin(db, made);
            for (const now of after(made, grid, clock).busy) await tick(ticks, made.length, now);
            await tick(ticks, made.length, grid.at(-1)!);
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
