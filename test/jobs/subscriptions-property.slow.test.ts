import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { database, type TestDatabase } from '../support/harness.ts';
import { shareOf } from '../support/share.ts';

/** The rules of subscriptions once more, as plainly as they can be said: one row after the other, in memory. */

interface Subscription {
  id: string;
  user: string;
  status: 'SCHEDULED' | 'ACTIVE' | 'EXPIRED' | 'CANCELLED';
  /** Seconds since the beginning of the story; null: no date. */
  start: number | null;
  end: number | null;
  previous: string | null;
  /** The application refuses to start it, by a trigger. */
  refused: boolean;
  /** When the scheduler started it. */
  started: number | null;
}

const isDue = (row: Subscription, now: number) => row.status === 'SCHEDULED' && row.start !== null && row.start <= now;

function canStart(row: Subscription, all: Subscription[]): boolean {
  const previous = all.find(({ id }) => id === row.previous);
  return !row.refused && row.previous !== row.id && (previous === undefined || previous.user === row.user);
}

function tickModel(all: Subscription[], now: number): Subscription[] {
  const rows = all.map((row) => ({ ...row }));
  const oldestFirst = rows
    .filter((row) => isDue(row, now))
    .sort((a, b) => a.start! - b.start! || (a.id < b.id ? -1 : 1));
  for (const row of oldestFirst.filter((each) => canStart(each, rows))) {
    for (const other of rows) if (other.user === row.user && other.status === 'ACTIVE') other.status = 'EXPIRED';
    Object.assign(row, { status: 'ACTIVE', started: now });
  }
  for (const row of rows) if (row.status === 'ACTIVE' && row.end !== null && row.end <= now) row.status = 'EXPIRED';
  return rows;
}

const MINUTE = 60;
const HORIZON = 12 * MINUTE;

const moment = fc.integer({ min: 0, max: HORIZON / 10 }).map((n) => n * 10);

const subscription = fc.record({
  user: fc.constantFrom('u1', 'u2', 'u3'),
  status: fc.constantFrom('SCHEDULED', 'SCHEDULED', 'SCHEDULED', 'ACTIVE', 'EXPIRED', 'CANCELLED'),
  start: fc.option(moment, { freq: 12 }),
  end: fc.option(moment, { freq: 1 }),
  previous: fc.option(fc.integer({ min: 0, max: 13 })),
  refused: fc.nat(9).map((n) => n === 0),
});

/** As an application leaves it: whatever was scheduled, cancelled, renewed, but one ACTIVE per customer. */
const story = fc.array(subscription, { minLength: 1, maxLength: 12 }).map((rows) => {
  const taken = new Set<string>();
  return rows.map((row, n): Subscription => {
    const second = row.status === 'ACTIVE' && taken.has(row.user);
    if (row.status === 'ACTIVE') taken.add(row.user);
    return {
      ...row,
      id: name(n),
      status: second ? 'EXPIRED' : (row.status as Subscription['status']),
      previous: row.previous === null ? null : name(row.previous),
      started: null,
    };
  });
});

const name = (n: number) => `cs_${String(n).padStart(2, '0')}`;
const batchSize = fc.constantFrom(1, 2, 3, 1000);

const BEGINNING = Date.parse('2026-03-01T10:00:00Z');
const instant = (seconds: number) => new Date(BEGINNING + seconds * 1000).toISOString();
const seconds = (at: Date) => (at.getTime() - BEGINNING) / 1000;

const REFUSE = `
  create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not paid'; end $$;
  create trigger refuse before update on customer_packages for each row
    when (new.status = 'ACTIVE' and new."packageId" = 'refused') execute function refuse()`;

async function begin(db: TestDatabase, rows: Subscription[]): Promise<void> {
  await db.query('truncate customer_packages, scheduler.events, scheduler.failures, scheduler.runs');
  await db.query(
    `insert into customer_packages (id, "userId", "packageId", status, "isActive", "scheduledStartDate", "endDate", "previousSubscriptionId")
     select id, "user", case when refused then 'refused' end, status, status = 'ACTIVE', start, "end", previous
     from json_to_recordset($1)
       as r (id text, "user" text, status text, start timestamptz, "end" timestamptz, previous text, refused boolean)`,
    [
      JSON.stringify(
        rows.map((row) => ({
          ...row,
          start: row.start === null ? null : instant(row.start),
          end: row.end === null ? null : instant(row.end),
        })),
      ),
    ],
  );
}

async function tick(db: TestDatabase, now: number, size: number): Promise<void> {
  const result = await db.tick(instant(now), { only: ['subscriptions'], batchSize: size });
  assert.equal(result.jobs[0]?.error, undefined);
}

async function statuses(db: TestDatabase): Promise<Record<string, string>> {
  const rows = await db.query('select id, status, "isActive" from customer_packages order by id');
  for (const row of rows) assert.equal(row.isActive, row.status === 'ACTIVE', row.id);
  return Object.fromEntries(rows.map((row) => [row.id, row.status]));
}

const statusesOf = (rows: Subscription[]) => Object.fromEntries(rows.map(({ id, status }) => [id, status]));

async function assertInvariants(db: TestDatabase, rows: Subscription[], now: number): Promise<void> {
  const [many] = await db.query(
    `select "userId" from customer_packages where status = 'ACTIVE' group by 1 having count(*) > 1`,
  );
  assert.equal(many, undefined, 'at most one ACTIVE per customer');
  const left = await db.query(
    `select id, exists (select from scheduler.failures f where f.entity_id = c.id) as failed
     from customer_packages c where status = 'SCHEDULED' and "scheduledStartDate" <= $1 order by id`,
    [instant(now)],
  );
  const unable = rows.filter((row) => isDue(row, now) && !canStart(row, rows)).map(({ id }) => id);
  assert.deepEqual(
    left,
    unable.map((id) => ({ id, failed: true })),
    'nothing due is left unless it failed',
  );
}

async function assertEvents(db: TestDatabase, before: Subscription[], after: Subscription[]): Promise<void> {
  const events = await db.query(
    `select entity_id, string_agg(data ->> 'old_status', ' ' order by id) as old, string_agg(data ->> 'new_status', ' ' order by id) as new
     from scheduler.events group by 1`,
  );
  for (const [n, row] of after.entries()) {
    const steps = ['SCHEDULED', 'ACTIVE', 'EXPIRED'];
    const from = steps.indexOf(before[n]!.status);
    const to = row.status === before[n]!.status ? from : steps.indexOf(row.status);
    const told = events.find((event) => event.entity_id === row.id);
    assert.equal(told?.old ?? '', steps.slice(from, to).join(' '), row.id);
    assert.equal(told?.new ?? '', steps.slice(from + 1, to + 1).join(' '), row.id);
  }
}

test('whatever the histories, outages and tick times: the database ends up as the rules say, and says what it did', async () => {
  await using db = await database();
  await db.query(REFUSE);
  await fc.assert(
    fc.asyncProperty(
      story,
      fc.uniqueArray(moment, { minLength: 1, maxLength: 5 }),
      batchSize,
      async (rows, times, size) => {
        await begin(db, rows);
        let model = rows;
        for (const now of times.sort((a, b) => a - b)) {
          await tick(db, now, size);
          model = tickModel(model, now);
          assert.deepEqual(await statuses(db), statusesOf(model));
          await assertInvariants(db, model, now);
        }
        await assertEvents(db, rows, model);
        const started = await db.query(
          'select id, "startDate" from customer_packages where "startDate" is not null order by id',
        );
        assert.deepEqual(
          started.map((row) => [row.id, seconds(row.startDate)]),
          model.filter((row) => row.started !== null).map((row) => [row.id, row.started]),
        );
      },
    ),
    { numRuns: shareOf(150) },
  );
});

test('one late tick ends in the same state as minute-by-minute ticks', async () => {
  await using db = await database();
  await db.query(REFUSE);
  await fc.assert(
    fc.asyncProperty(story, batchSize, async (rows, size) => {
      await begin(db, rows);
      for (let now = 0; now <= HORIZON; now += MINUTE) await tick(db, now, size);
      const onTime = await statuses(db);
      await begin(db, rows);
      await tick(db, HORIZON, size);
      assert.deepEqual(await statuses(db), onTime);
    }),
    { numRuns: shareOf(40) },
  );
});
