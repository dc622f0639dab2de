import assert from 'node:assert/strict';
import { test } from 'node:test';
import { job as packages } from '../../src/jobs/hotspot/packages.ts';
import type { Wanted } from '../../src/store/standing.ts';
import { active, due, later, START } from '../support/due-packages.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { startLingering } from '../support/lingering.ts';
import { SCHEMA } from '../support/schema.ts';
import { until } from '../support/until.ts';

/** Requests that are made with scheduler.request(). */

// biome-ignore lint/suspicious/noExplicitAny: a test reads the JSON as its user does
const answer = async (db: TestDatabase, call: string): Promise<any> =>
  (await db.one(`select scheduler.${call} as answer`)).answer;

const request = async (db: TestDatabase, job = 'packages', by = 'ann'): Promise<number> =>
  (await answer(db, `request('${job}', '${by}')`)).id;

const stop = (db: TestDatabase) => db.query(`select scheduler.stop(null, 'refunds', 'bob')`);

test('the next tick does a requested job while all are stopped, once for two who ask, and no other', async () => {
  await using db = await database();
  await due(db, 3);
  await db.query(`update packages set validity = 'banana' where id = 2`);
  await db.insert('vouchers', { code: 'A', status: 'unused', expires_at: START });
  await stop(db);
  const [first, second] = [await request(db), await request(db, 'packages', 'cem')];
  assert.deepEqual(await answer(db, `requested(${first})`), {
    ...{ id: first, job: 'packages', by: 'ann', state: 'waiting', refused: null, run: null, errors: [] },
    at: (await db.one(`select scheduler.iso(at) as at from scheduler.requests where id = ${first}`)).at,
  });
  assert.equal(await answer(db, 'requested(1000)'), null);
  // A sequence is not rolled back.
  await db.query(`create sequence answers; create function count_answers() returns trigger language plpgsql as $$
      begin perform nextval('${SCHEMA}.answers'); return new; end $$;
    create trigger count_answers before update on scheduler.requests for each row execute function count_answers()`);
  const dry = await db.tick(START, { dryRun: true });
  assert.deepEqual(
    dry.jobs.map(({ job, changed }) => [job, changed]),
    [['packages', { activate: 2 }]],
  );
  assert.deepEqual(await db.query('select is_called from answers'), [{ is_called: false }], 'a dry run answers none');
  const { jobs, exitCode } = await db.tick(START);
  assert.deepEqual([jobs.map(({ job }) => job), exitCode, await active(db)], [['packages'], 1, 2]);
  const done = await answer(db, `requested(${first})`);
  assert.equal(done.state, 'done');
  const { by, changed, failed, workLeft, error, finishedAt } = done.run;
  assert.deepEqual([by, changed, failed, workLeft, error], ['ann', { activate: 2 }, 1, false, null]);
  assert.ok(finishedAt);
  assert.deepEqual(
    done.errors.map(({ id, error }: { id: string; error: string }) => [id, /banana/.test(error)]),
    [['2', true]],
  );
  assert.deepEqual((await answer(db, `requested(${second})`)).run, done.run);
  assert.equal((await db.query('select from scheduler.runs')).length, 1);
  assert.equal((await db.tick(later(1))).jobs.length, 0, 'all are stopped as before');
});

test('a requested job that has nothing due answers, too, and so does one that an error stops', async () => {
  await using db = await database();
  await due(db, 1);
  await stop(db);
  const [idle, broken] = [await request(db, 'vouchers'), await request(db)];
  await db.query(
    'alter table packages alter column is_active drop default, alter column is_active type integer using 0',
  );
  await db.tick(START);
  const done = await answer(db, `requested(${idle})`);
  assert.deepEqual([done.state, done.run.by, done.run.changed, done.run.error], ['done', 'ann', {}, null]);
  const stopped = await answer(db, `requested(${broken})`);
  assert.deepEqual([stopped.state, stopped.run.by], ['done', 'ann']);
  assert.match(stopped.run.error, /^The tables of packages do not fit/);
  assert.equal((await db.tick(later(1))).jobs.length, 0);
});

test('neither cadence nor a switch of the environment is in the way of a request', async () => {
  await using db = await database();
  const jobs: Wanted = { builtIn: [{ ...packages, everyMinutes: 5 }], names: 'all' };
  await db.tick(START, { jobs });
  await due(db, 1);
  const id = await request(db);
  await db.tick(later(1), { jobs });
  assert.deepEqual([await active(db), (await answer(db, `requested(${id})`)).run.changed], [1, { activate: 1 }]);
  const env = { ENABLE_SUBSCRIPTION_SCHEDULER: 'false' };
  await db.tick(later(2), { env });
  const off = await request(db, 'subscriptions');
  await db.tick(later(3), { env });
  assert.equal((await answer(db, `requested(${off})`)).state, 'done');
});

test('a request that no tick can do is refused, at once or by the next tick; the others leave it alone', async () => {
  await using db = await database();
  const ids = [await request(db, 'vouchers'), await request(db)];
  const states = async () => {
    const said: string[] = [];
    for (const id of ids) said.push((await answer(db, `requested(${id})`)).state);
    return said;
  };
  await db.tick(START, { only: ['vouchers'], by: 'somebody' });
  await db.tick(START, { dryRun: true });
  await db.tick(START, { only: ['subscriptions'] });
  assert.deepEqual(await states(), ['waiting', 'waiting']);
  await db.query('alter table vouchers drop column code');
  await db.query(`update scheduler.requests set job = 'removed' where id = ${ids[1]}`);
  await db.tick(START);
  assert.deepEqual(await states(), ['refused', 'refused']);
  assert.equal((await answer(db, `requested(${ids[0]})`)).refused, 'not installed: vouchers.code missing');
  assert.equal((await answer(db, `requested(${ids[1]})`)).refused, 'there is no such job any more');
  await db.query('alter table vouchers add column code text');
  await db.tick(later(1));
  assert.equal((await answer(db, `requested(${ids[0]})`)).run, null, 'what was refused is not done later');
  await db.query('alter table vouchers drop column code');
  await db.tick(later(2));
  await assert.rejects(request(db, 'vouchers'), {
    code: '22023',
    message: 'vouchers is not installed: vouchers.code missing.',
  });
});

test('a tick that ends before its time loses no request', async () => {
  await using db = await database();
  await due(db, 2);
  await db.query('update packages set validity = null');
  const id = await request(db);
  // The work is committed by then; the record is closed with the transaction of the lock.
  await db.query(`create function ${SCHEMA}.slowly() returns trigger language plpgsql as $$
    begin perform pg_catalog.pg_sleep(30); return new; end $$;
    create trigger slowly before update on scheduler.requests for each row execute function ${SCHEMA}.slowly()`);
  let child: { kill(signal: 'SIGKILL'): boolean } | undefined;
  const killed = db.cli(['tick'], { started: (started) => (child = started) });
  await until('the work is done', async () => (await active(db)) === 2);
  child!.kill('SIGKILL');
  await killed;
  await until('the lock is gone', async () => {
    const { state } = await answer(db, `requested(${id})`);
    assert.equal(state, 'waiting');
    return (await db.query(`select from scheduler.lock_holder('${SCHEMA}')`)).length === 0;
  });
  await db.query('drop trigger slowly on scheduler.requests');
  await db.tick();
  const { state, run } = await answer(db, `requested(${id})`);
  assert.deepEqual([state, run.by], ['done', 'ann']);
});

test('a tick whose connection is lost in the middle answers each request with what it did', async () => {
  await using db = await database();
  await due(db, 1);
  const ids = [await request(db), await request(db, 'vouchers'), await request(db, 'subscriptions')];
  await db.query(`create sequence ${SCHEMA}.cuts;
    create function ${SCHEMA}.cut() returns trigger language plpgsql security definer as $$ begin
      if nextval('${SCHEMA}.cuts') = 1 then perform pg_catalog.pg_terminate_backend(pid) from scheduler.lock_holder('${SCHEMA}'); end if;
      return new;
    end $$;
    create trigger cut before update on packages for each row execute function ${SCHEMA}.cut()`);
  assert.equal((await db.tick(START)).exitCode, 0);
  assert.equal((await db.one(`select last_value::integer as n from ${SCHEMA}.cuts`)).n, 1);
  const expected = [{ activate: 1 }, {}, {}];
  for (const id of ids) assert.deepEqual((await answer(db, `requested(${id})`)).run.changed, expected.shift());
  const runs = await db.query('select job from scheduler.runs where job is not null order by job');
  assert.deepEqual(runs, [{ job: 'packages' }, { job: 'subscriptions' }, { job: 'vouchers' }]);
});

test('a tick that lingers does what is requested within a look, and goes on with the rest', async () => {
  await using db = await database();
  await stop(db);
  const lingering = startLingering(db, 20);
  try {
    await until(
      'the first tick',
      async () =>
        (await db.query('select from pg_stat_activity where application_name ~ $1', ['scheduler'])).length > 0,
    );
    const idle = await request(db);
    await until('an answer', async () => (await answer(db, `requested(${idle})`)).state === 'done');
    await due(db, 1, `- interval '1 hour'`);
    await db.query('update packages set scheduled_activation_time = now()');
    const id = await request(db);
    await until('the package is on sale', async () => (await answer(db, `requested(${id})`)).state === 'done');
    assert.equal((await answer(db, `requested(${id})`)).run.changed.activate, 1);
    const { all } = await db.one('select json_array_length(jobs) > 5 as all from scheduler.known_jobs');
    assert.ok(all, 'a pass for one job does not forget the others');
  } finally {
    lingering.kill('SIGTERM');
    assert.equal((await lingering.ended).code, 0);
  }
});

test('requests are forgotten with the history', async () => {
  await using db = await database();
  await request(db);
  await db.query(`update scheduler.requests set at = now() - interval '2 days'`);
  await request(db);
  await db.query('select scheduler.forget(1)');
  assert.deepEqual(await db.query('select id::integer as id from scheduler.requests'), [{ id: 2 }]);
});

test('a tick forgets the old requests of a tenant that is gone, also where no other history is old', async () => {
  await using db = await database();
  await db.query(
    `insert into scheduler.requests (tenant, job, by, at) values ('ts_gone', 'packages', 'ann', '2020-01-01')`,
  );
  await db.tick();
  assert.deepEqual(await db.query('select tenant from scheduler.requests'), []);
});
