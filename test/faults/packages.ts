import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Finished, LAUNCHER, type TestDatabase } from '../support/harness.ts';
import { until } from '../support/until.ts';
import { untilGone } from '../support/world.ts';

/** A tick that takes its time, so that something can happen to it; and what must hold afterwards. */

export const NOW = '2026-03-01T10:00:00Z';

/** Due rows, each of which takes a while. */
export async function slowlyDue(db: TestDatabase, rows: number, seconds = 0.01): Promise<void> {
  await db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, validity)
    select 'p' || n, true, timestamptz '${NOW}' - n * interval '1 second', '2 hours' from generate_series(1, ${rows}) as n`);
  await db.query(`create function slow() returns trigger language plpgsql as $$
      begin perform pg_sleep(${seconds}); return new; end $$;
    create trigger slow before update on packages for each row execute function slow()`);
}

export const done = async (db: TestDatabase) =>
  Number((await db.one(`select count(*) as n from packages where status = 'active'`)).n);

/** The real command; it has begun when some rows are done. */
export function startTick(url: string, args: string[] = [], env: Record<string, string> = {}) {
  const child = spawn(LAUNCHER, ['tick', '--at', NOW, '--batch-size', '5', ...args], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', DATABASE_URL: url, ...env },
  });
  let err = '';
  child.stderr.on('data', (chunk) => (err += chunk));
  child.stdout.resume();
  const ended = once(child, 'close').then(([code]): Finished => ({ code, out: '', err }));
  return { child, ended };
}

export async function untilDone(db: TestDatabase, rows: number): Promise<void> {
  await until(`${rows} rows`, async () => (await done(db)) >= rows, 120_000);
}

/** 0 where the run got over it, else one of the codes that say "the next run goes on", in a sentence. */
export function endedInOrder({ code, err }: Finished, codes = [0, 69, 75]): void {
  assert.ok(codes.includes(code!), `exit code ${code}: ${err}`);
  assert.doesNotMatch(err, /^ +at |which is a defect|Please report/m);
  if (code !== 0) assert.match(err, /next run|cannot be reached|Check that it runs/);
}

/** The next tick leaves every row done, once, with its event, and no failure against anybody. */
export async function nextTickGoesOn(db: TestDatabase, rows: number, url = db.url): Promise<void> {
  await db.query('drop trigger slow on packages');
  // A pooler keeps its connections, and lets go of nothing but what they did.
  if (url === db.url) await untilGone(db);
  const { code, err } = await db.cli(['tick', '--at', NOW], { env: { DATABASE_URL: url } });
  assert.equal(code, 0, err);
  assert.equal(await done(db), rows);
  const seen = await db.one(
    `select count(*)::integer as events, count(distinct entity_id)::integer as entities from scheduler.events`,
  );
  assert.deepEqual(seen, { events: rows, entities: rows });
  assert.deepEqual(await db.query('select * from scheduler.failures'), []);
}
