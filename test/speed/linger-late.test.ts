import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { database } from '../support/harness.ts';
import { goingOnSale, lateness, listenTo, startLingering } from '../support/lingering.ts';

const median = (sorted: number[]) => sorted[Math.floor(sorted.length / 2)]!;

// They sleep nearly all the time.
describe('tick --linger for a minute', { concurrency: 4 }, () => {
  test('half of the rows that come due within a lingering minute are told to listeners within 200 ms', async (t) => {
    await using db = await database();
    await using listener = await listenTo(db);
    const due = await goingOnSale(
      db,
      Array.from({ length: 40 }, (_, n) => 20 + (n * 33.3) / 40 + (n % 7) / 10),
    );
    const { code, err } = await startLingering(db, 58).ended;
    assert.deepEqual([code, err], [0, '']);
    const late = lateness(due, listener.heard);
    t.diagnostic(`late by ${late[0]} to ${late.at(-1)} ms, at the median by ${median(late)} ms`);
    assert.ok(late[0]! >= 0, 'never early');
    assert.ok(median(late) < 200, `${median(late)} ms`);
    assert.ok(late.at(-1)! < 2000);
  });

  test('as many written in the midst of it, a second or less before they are due, are on time as well', async (t) => {
    await using db = await database();
    await using listener = await listenTo(db);
    const run = startLingering(db, 55);
    const due: { id: string; due: number }[] = [];
    await sleep(5000);
    for (let n = 0; n < 40; n++) {
      due.push(...(await goingOnSale(db, [(n % 10) / 10])));
      await sleep(1000 + (n % 3) * 50);
    }
    const { code, err } = await run.ended;
    assert.deepEqual([code, err], [0, '']);
    const late = lateness(due, listener.heard);
    t.diagnostic(`late by ${late[0]} to ${late.at(-1)} ms, at the median by ${median(late)} ms`);
    assert.ok(late.at(-1)! < 2000, `${late.at(-1)} ms`);
  });

  test('runs of each minute that linger for longer than it lasts leave no gap between them', async (t) => {
    await using db = await database();
    await using listener = await listenTo(db);
    const due = await goingOnSale(
      db,
      Array.from({ length: 190 }, (_, n) => 3 + n * 0.2),
    );
    // Minutes of ten seconds.
    const runs = [];
    for (let minute = 0; minute < 4; minute++) {
      runs.push(startLingering(db, 12).ended);
      await sleep(10_000);
    }
    for (const { code, err } of await Promise.all(runs)) assert.deepEqual([code, err], [0, '']);
    const late = lateness(due, listener.heard);
    t.diagnostic(`late by ${late[0]} to ${late.at(-1)} ms, at the median by ${median(late)} ms`);
    assert.ok(median(late) < 200, `${median(late)} ms`);
    assert.ok(late.at(-1)! < 2000, `${late.at(-1)} ms`);
    const { open } = await db.one('select count(*)::integer as open from scheduler.runs where finished_at is null');
    assert.equal(open, 0);
  });

  test('one that lingers for longer than a minute ticks in each, and is on record with it', async () => {
    await using db = await database();
    await using listener = await listenTo(db);
    const due = await goingOnSale(db, [30, 62, 68]);
    const { code, err } = await startLingering(db, 72).ended;
    assert.deepEqual([code, err], [0, '']);
    assert.ok(lateness(due, listener.heard).at(-1)! < 1000);
    const slots = await db.query('select distinct slot from scheduler.runs where job is null');
    assert.ok(slots.length >= 2);
  });
});
