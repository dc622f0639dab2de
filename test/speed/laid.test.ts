import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadJobs } from '../../src/jobs/index.ts';
import { CASES } from '../bench/cases.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { layEverything } from '../support/laid.ts';
import { ratioOf, seconds } from '../support/timing.ts';

/** What it costs that a job's table has other names: a tick on the usual one, and on one that a file names, in turn. */

const ROWS = 20_000;
const BOUND = 1.05;
const ROUNDS = { least: 5, most: 60, bound: BOUND };

test(`a tick over tables of other names costs at most ${BOUND} times as much, busy and idle`, async (t) => {
  await using usual = await database();
  await using laid = await database();
  await layEverything(laid.url, await loadJobs());
  const packages = CASES.find(({ job }) => job === 'packages')!;
  const fill = async (db: TestDatabase) => {
    await db.query('delete from packages');
    await db.query('truncate scheduler.events, scheduler.runs restart identity');
    await db.query(packages.fill.replaceAll(':n', String(ROWS)));
    await db.query('vacuum analyze');
  };
  const busy = async (db: TestDatabase) => {
    await fill(db);
    const took = await seconds(() => db.tick(undefined, { only: ['packages'] }));
    assert.equal((await db.one(packages.done)).n, ROWS);
    return took;
  };
  const idle = (db: TestDatabase) => seconds(() => db.cli(['tick']));
  for (const [what, work] of Object.entries({ busy, idle })) {
    const { first, ratio } = await ratioOf(
      ROUNDS,
      () => work(usual),
      () => work(laid),
    );
    t.diagnostic(`${what}: ${first.toFixed(3)} s, ${ratio.toFixed(3)} times with other names`);
    assert.ok(ratio <= BOUND, `${what}: ${ratio} times`);
  }
});
