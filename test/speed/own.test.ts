import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CASES } from '../bench/cases.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { passOf } from '../support/hotspot-rows.ts';
import { applied } from '../support/own.ts';
import { bareSql, ratioOf, seconds } from '../support/timing.ts';

/** What jobs of your own may cost. */

const ROUNDS = { least: 3, most: 15 };

const ROWS = 100_000;
const BOUND = 1;

test(`${ROWS} due rows of a rule take at most as long as one statement with the same writes`, async (t) => {
  await using db = await database();
  const each = CASES.find(({ job }) => job === 'own-holds')!;
  await db.query(each.table!);
  await applied(db, each.yaml!);
  const fill = async () => {
    for (const sql of [each.empty, each.fill.replaceAll(':n', String(ROWS)), 'vacuum analyze', 'checkpoint'])
      await db.query(sql);
  };
  const bare = async () => {
    await fill();
    return bareSql(db.url, each.bare);
  };
  const ours = async () => {
    await fill();
    const took = await seconds(async () => passOf(await db.tick(undefined, { only: [each.job] }), each.job));
    assert.equal((await db.one(each.done)).n, ROWS);
    return took;
  };
  const { second, ratio } = await ratioOf({ ...ROUNDS, bound: BOUND }, bare, ours);
  t.diagnostic(`${second.toFixed(2)} s, ${ratio.toFixed(2)} times the bare SQL`);
  assert.ok(ratio <= BOUND, `${ratio} times`);
});

const JOBS = 50;
const TABLES = 10;
const DUE = ['at', 'at - 3 days', 'at - 1 day at 09:00'];
const RULES = JOBS * DUE.length;
// 0.2 ms a rule would be well: this only guards what there is. A new connection reads the catalog for each table, and plans a
// question for each rule.
const MOST = 2.5;
const MOST_APPLY_SECONDS = 5;

const jobs = Array.from(
  { length: JOBS },
  (_, job) => `
  kind-${job}:
    table: things_${job % TABLES}
    where: kind = 'kind ${job}'
    rules:${DUE.map((due, n) => `\n      rule ${n}: { due: "${due}", once: told_${n}, event: thing.due }`).join('')}`,
);

const tick = (db: TestDatabase) =>
  seconds(async () => {
    const { code, out, err } = await db.cli(['tick']);
    assert.equal(code, 0, out + err);
  });

test(`${JOBS} jobs are applied in seconds, and ${RULES} rules that have nothing to do make a tick ${MOST} times as long at most`, async (t) => {
  await using db = await database();
  await using without = await database();
  for (let n = 0; n < TABLES; n++)
    await db.query(`create table things_${n} (id bigserial primary key, kind text not null, at timestamptz,
      told_0 timestamptz, told_1 timestamptz, told_2 timestamptz)`);
  const took = await seconds(() => applied(db, `jobs:${jobs.join('')}\n`));
  // All that is past was told, so that no index holds a row of it.
  await db.query(`
    insert into things_0 (kind, at, told_0, told_1, told_2)
    select 'kind ' || n % ${JOBS / TABLES} * ${TABLES}, at, at, scheduler.moved(at, '-3 day', null, 'UTC'), scheduler.moved(at, '-1 day', '09:00', 'UTC')
    from generate_series(1, 1000000) as n cross join lateral (select now() - n * interval '1 minute' as at) as of_row`);
  await db.query('vacuum analyze');
  const { first, second, ratio } = await ratioOf(
    { ...ROUNDS, bound: MOST },
    () => tick(without),
    () => tick(db),
  );
  assert.equal((await db.query('select from scheduler.events')).length, 0);
  const each = ((second - first) * 1000) / RULES;
  t.diagnostic(
    `apply took ${took.toFixed(1)} s; ${ratio.toFixed(2)} times a tick without, ${each.toFixed(2)} ms a rule`,
  );
  assert.ok(ratio <= MOST, `${ratio} times`);
  assert.ok(took < MOST_APPLY_SECONDS, `${took} s`);
});
