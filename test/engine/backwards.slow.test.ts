import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { total } from '../../src/engine/batch.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import type { JobResult } from '../../src/store/runs.ts';
import { CLEAR, NOW as DUE, DUE_ROWS } from '../support/due-rows.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { NOW as FILLED } from '../support/hotspot-rows.ts';
import { assertSame, fill, fillOutside, type Outside, outside, remember, snapshot } from '../support/world.ts';

/** A clock that is set back, or was ahead: nothing is undone, done twice or charged twice. Under a cadence and by hand. */

const after = (time: string, minutes: number) => new Date(Date.parse(time) + minutes * 60_000).toISOString();
const JOBS = await loadJobs();
const BY_HAND = { by: 'the test' };
const BACK = [-60, -59, -31, -10, -1, 0];

/** Every column of every row of every table, but for the record of the runs. */
async function everything(db: TestDatabase): Promise<string[]> {
  const tables = await db.query(`select format('%I.%I', schemaname, tablename) as name from pg_tables
    where schemaname in ('public', 'scheduler') and tablename not in ('migrations', 'runs') order by 1`);
  const all: string[] = [];
  for (const { name } of tables) {
    for (const { row } of await db.query(`select to_jsonb(t)::text as row from ${name} as t order by 1`)) {
      all.push(`${name} ${row}`);
    }
  }
  return all;
}

/** Until there is nothing left to do at that time: what one job leaves for another may take a second tick. */
async function settle(db: TestDatabase, at: string, env: Record<string, string>, only?: string[]): Promise<void> {
  const which = only ? { only } : {};
  for (let ticks = 0; ticks < 5; ticks++) {
    const { jobs } = await db.tick(at, { env, ...which, ...(ticks > 0 && BY_HAND) });
    assert.deepEqual(jobs.map(({ error }) => error).filter(Boolean), []);
    if (jobs.every(({ changed, failed }) => total(changed) + failed === 0)) return;
  }
  assert.fail('there is no end to it');
}

/** How often somebody outside was asked to do something. */
const asked = ({ gateway, nas }: Outside) => [gateway.asked.length, nas.requests.length];

async function backwards(db: TestDatabase, there: Outside, from: string, only?: string[]): Promise<void> {
  const which = only ? { only } : {};
  const [before, calls] = [await everything(db), asked(there)];
  for (const minutes of BACK) {
    for (const how of [{}, BY_HAND]) {
      const { jobs } = await db.tick(after(from, minutes), { env: there.env, ...which, ...how });
      assert.deepEqual(jobs.map(({ error }) => error).filter(Boolean), []);
      assert.deepEqual(await everything(db), before, `${minutes} minutes`);
    }
  }
  assert.deepEqual(asked(there), calls);
}

describe('a clock that is set back an hour and comes forward again', () => {
  for (const job of JOBS) {
    test(`${job.name}: what each transition did stays, and is not done again`, async () => {
      await using db = await database();
      await using there = await outside();
      for (const [name, rule] of Object.entries(job.rules)) {
        await db.query(CLEAR);
        await db.query(DUE_ROWS[job.name]![name]!.make);
        const { jobs } = await db.tick(DUE, { only: [job.name], env: there.env });
        const [{ changed, failed }] = jobs as [JobResult];
        assert.ok(total(changed) + failed > 0 || rule.outside, `${name}: there was something to do`);
        await settle(db, DUE, there.env, [job.name]);
        await backwards(db, there, DUE, [job.name]);
      }
    });
  }

  test('all jobs together, with rows that fail among them', async () => {
    await using db = await database();
    await using there = await outside();
    await fill(db, there.nas);
    await fillOutside(db);
    await db.insert('packages', {
      name: 'bad',
      enable_schedule: true,
      scheduled_activation_time: FILLED,
      validity: 'x',
    });
    await settle(db, FILLED, there.env);
    assert.ok((await db.events()).length > 20);
    assert.equal((await db.query('select from scheduler.failures')).length > 0, true);
    await backwards(db, there, FILLED);
  });
});

/** A router reports a stranger's session: else the routers seem to be silent because nobody hears them. */
const HEARD = `insert into radacct (radacctid, acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctupdatetime)
  values (999, 'heard', 'heard', 'a stranger', '10.0.0.9', '2026-03-01T08:00:00Z', $1)
  on conflict (radacctid) do update set acctupdatetime = excluded.acctupdatetime`;

test('after a clock that was an hour ahead, all is as if it had gone on from there', async () => {
  await using db = await database();
  await using there = await outside();
  await fill(db, there.nas);
  await fillOutside(db);
  const restore = await remember(db);
  const history = async (minutes: number[]) => {
    await restore();
    const before = asked(there);
    for (const each of minutes) {
      await db.query(HEARD, [after(FILLED, each)]);
      await settle(db, after(FILLED, each), there.env);
    }
    return { found: await snapshot(db), calls: asked(there).map((count, n) => count - before[n]!) };
  };
  const straight = await history([60, 120]);
  const astray = await history([60, 0, 1, 10, 30, 59, 60, 120]);
  assertSame(astray.found, straight.found, 'the clock was ahead');
  assert.deepEqual(astray.calls, straight.calls);
});
