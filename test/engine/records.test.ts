import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stop } from '../../src/base/stop.ts';
import { due, later, START } from '../support/due-packages.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { until } from '../support/until.ts';

/** What a run leaves in the history. */

test('an idle tick leaves one row, and no run ends before it began', async () => {
  await using db = await database();
  for (let n = 0; n < 3; n++) await db.tick();
  await due(db, 1);
  await db.tick(START);
  await db.query('alter table packages alter is_active drop default, alter is_active type integer using 0');
  await db.tick(later(180));
  const runs = await db.query(
    'select idle is not null as idle, job, error is not null as broken, finished_at >= started_at as ended from scheduler.runs order by id',
  );
  const idle = { idle: true, job: null, broken: false, ended: true };
  const work = { idle: false, job: 'packages', broken: false, ended: true };
  assert.deepEqual(runs, [idle, idle, idle, idle, work, idle, { ...work, broken: true }]);
  await assert.rejects(
    db.query(`update scheduler.runs set finished_at = started_at - interval '1 second'`),
    /violates check constraint/,
  );
});

const ENDS: Record<string, (db: TestDatabase, stop: Stop) => unknown> = {
  'is stopped': (_, stop) => stop.request('signal'),
  'loses the connection of its lock': (db) =>
    db.query(`select pg_terminate_backend(pid) from pg_locks
      where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`),
};

for (const [what, end] of Object.entries(ENDS))
  test(`a job that works twice in a run, and ${what} meanwhile, has one record with all of it`, async () => {
    await using db = await database();
    await due(db, 1);
    await db.query(`
    insert into vouchers (code, status, expires_at) values ('v', 'unused', '${START}');
    create function more() returns trigger language plpgsql as $$ begin
      insert into packages (name, enable_schedule, scheduled_activation_time, validity)
      values ('second', true, '${START}', '1 day');
      return new; end $$;
    create trigger more after update on vouchers for each row execute function more();
    create function slow() returns trigger language plpgsql as $$
      begin if new.name = 'second' then perform pg_sleep(1); end if; return new; end $$;
    create trigger slow before update on packages for each row execute function slow()`);
    const stop = new Stop();
    const run = db.tick(START, { only: ['packages', 'vouchers'], stop });
    const asleep = `select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`;
    await until('the second package', async () => (await db.query(asleep)).length > 0, 60_000);
    assert.deepEqual(
      await db.query('select from scheduler.runs where finished_at is not null and job is not null'),
      [],
    );
    await end(db, stop);
    const { jobs } = await run;
    assert.deepEqual(jobs.find(({ job }) => job === 'packages')!.changed, { activate: 2 });
    const ended = `select job, changed from scheduler.runs where job is not null and finished_at is not null order by job`;
    assert.deepEqual(await db.query(ended), [
      { job: 'packages', changed: { activate: 2 } },
      { job: 'vouchers', changed: { expire: 1 } },
    ]);
  });
