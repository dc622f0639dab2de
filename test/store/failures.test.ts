import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../support/harness.ts';
import { SCHEMA, TENANT } from '../support/schema.ts';
import { onTerminal, screen } from '../support/terminal.ts';

const bad = {
  name: 'Mystery',
  enable_schedule: true,
  scheduled_activation_time: '2026-03-01T10:00:00Z',
  validity: 'banana',
};

async function json(db: TestDatabase, args: string[]) {
  const { code, out, err } = await db.cli(['failures', ...args, '--json']);
  assert.equal(code, 0, err);
  return JSON.parse(out);
}

test('failures are listed with reason, attempts and when they are tried again', async () => {
  await using db = await database();
  assert.equal((await db.cli(['failures'])).out, 'No row has failed.\n');
  assert.deepEqual(await json(db, ['list']), { failures: [] });
  await db.insert('packages', bad);
  await db.tick('2026-03-01T10:00:00Z');
  const [failure] = (await json(db, [])).failures;
  assert.match(failure.error, /validity 'banana' is not a count and a unit/);
  assert.deepEqual(failure, {
    job: 'packages',
    entityId: '1',
    ...TENANT,
    rule: 'activate',
    attempts: 1,
    error: failure.error,
    firstFailedAt: '2026-03-01T10:00:00Z',
    lastFailedAt: '2026-03-01T10:00:00Z',
    nextAttemptAt: '2026-03-01T10:05:00Z',
    quarantinedAt: null,
  });
  const { out } = await db.cli(['failures', 'list']);
  assert.match(
    out,
    /^(?:\w+ +)?packages +1 +activate +1 +2026-03-01 10:00:00Z +2026-03-01 10:05:00Z +validity 'banana'/m,
  );
});

test('the list ends at a bound, and says so; an exact fit is no bound', async () => {
  await using db = await database();
  await db.query(`insert into scheduler.failures (job, rule, entity_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
    select 'packages', 'activate', n, 1, 'e', now(), now(), now() from generate_series(1, 1000) as n`);
  const list = async (...args: string[]) => {
    const { code, out, err } = await db.cli(['failures', '--json', ...args]);
    assert.equal(code, 0, err);
    return [JSON.parse(out).failures.length, err && JSON.parse(err).msg];
  };
  const said = (limit: number) =>
    `Only the newest ${limit === 1 ? 'row is' : `${limit} rows are`} listed, and there are more: --limit lists them.`;
  assert.deepEqual(await list(), [1000, '']);
  assert.deepEqual(await list('--limit', '999'), [999, said(999)]);
  assert.deepEqual(await list('--limit', '1'), [1, said(1)]);
  await db.query(`update scheduler.failures set entity_id = 'x', last_failed_at = '2020-01-01' where entity_id = '1';
    insert into scheduler.failures select '${SCHEMA}', job, rule, 'y', 1, error, now(), now(), now() from scheduler.failures limit 1`);
  assert.deepEqual(await list(), [1000, said(1000)]);
  assert.deepEqual(await list('--limit', '1001'), [1001, '']);
});

test('a quarantined row is released by retry, and the next tick tries it again', async () => {
  await using db = await database();
  await db.insert('packages', bad);
  for (const at of ['10:00', '10:05', '10:35']) await db.tick(`2026-03-01T${at}:00Z`);
  assert.match((await db.cli(['failures'])).out, /quarantined/);
  await db.query(`update packages set validity = '2 hours'`);
  await db.tick('2026-03-01T10:39:00Z');
  assert.equal((await db.one('select status from packages')).status, 'inactive');

  assert.deepEqual(await json(db, ['retry', 'packages']), {
    action: 'retry',
    rows: [{ job: 'packages', entityId: '1' }],
  });
  assert.match((await db.cli(['failures'])).out, /next tick/);
  const [{ nextAttemptAt, quarantinedAt }] = (await json(db, [])).failures;
  assert.deepEqual([nextAttemptAt, quarantinedAt], [null, null], 'it waits for nothing');
  await db.tick('2026-03-01T10:41:00Z');
  assert.equal((await db.one('select status from packages')).status, 'active');
  assert.deepEqual(await json(db, []), { failures: [] });
});

test('retry and drop act on one row, one job or all, as asked', async () => {
  await using db = await database();
  const fail = (job: string, id: string) =>
    db.query(
      `insert into scheduler.failures values ('${SCHEMA}', $1, 'activate', $2, 3, 'because', now(), now(), 'infinity', now())
       on conflict (tenant, job, rule, entity_id) do update set next_attempt_at = 'infinity', quarantined_at = now()`,
      [job, id],
    );
  for (const id of ['1', '2']) for (const job of ['packages', 'special-packages']) await fail(job, id);
  const left = async () =>
    (
      await db.query(`select job, entity_id from scheduler.failures where quarantined_at is not null order by 1, 2`)
    ).map((row) => `${row.job} ${row.entity_id}`);

  const one = (await db.cli(['failures', 'packages', '2'])).out.trimEnd().split('\n');
  assert.equal(one.length, 2, 'without an action, the rows are listed');
  assert.equal(
    (await db.cli(['failures', 'retry', 'packages', '2'])).out,
    'Released 1 row: the next tick tries again.\n',
  );
  assert.deepEqual(await left(), ['packages 1', 'special-packages 1', 'special-packages 2']);
  await db.cli(['failures', 'drop', 'special-packages']);
  assert.deepEqual(await left(), ['packages 1']);
  assert.equal((await db.one('select count(*)::integer as n from scheduler.failures')).n, 2);
  assert.equal(
    (await db.cli(['failures', 'drop', '--all'])).out,
    'Forgot 2 rows: what is still due counts as never tried.\n',
  );
  assert.deepEqual(await db.query('select * from scheduler.failures'), []);
  assert.equal((await db.cli(['failures', 'retry', '--all'])).out, 'No row has failed like that.\n');
});

const failing = (db: TestDatabase, job: string, count: number, error: string) =>
  db.query(
    `insert into scheduler.failures (tenant, job, rule, entity_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
     select $4, $1, 'go', n, 1, replace($3, '#', n::text), '2026-03-01Z', '2026-03-01Z', '2026-03-01 00:05Z' from generate_series(1, $2::integer) n`,
    [job, count, error, SCHEMA],
  );

test('on a terminal, no job hides another one behind the limit, and the rows are counted', async () => {
  await using db = await database();
  await failing(db, 'accounting', 1200, 'row # is bad');
  await failing(db, 'packages', 3000, 'bad');
  await failing(db, 'vouchers', 1, 'bad');
  const lines = async (...args: string[]) => (await screen(db, ['failures', ...args], 160)).join('\n');
  const all = await lines();
  assert.match(all, /^(\w+ +)?packages +go +3000 +1, 2, 3, … /m);
  assert.match(all, /^(\w+ +)?vouchers +go +1 +1 /m);
  assert.equal(all.match(/accounting +go +1 /g)!.length, 998);
  const few = await lines('--limit', '3');
  for (const job of ['accounting', 'packages', 'vouchers']) assert.match(few, new RegExp(`${job} +go`));
  const { written } = await onTerminal(db, ['failures', '--limit', '1'], { columns: 200, env: { NO_COLOR: '1' } });
  assert.match(written, /Only the newest group is listed, and there are more: --limit lists them/);
});

test('it says that a row has not failed, though others of its job have', async () => {
  await using db = await database();
  await failing(db, 'packages', 1, 'bad');
  const { out, err } = await db.cli(['failures', 'list', 'packages', '--', '-1']);
  assert.equal(out, 'The row -1 of packages has not failed.\n', err);
});
