import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../support/harness.ts';

const RUNNERS = 12;

const storm = (db: TestDatabase) =>
  Promise.all(
    Array.from({ length: RUNNERS }, () => db.cli(['subscriptions', '--batch-size', '250'], { timeoutMs: 300_000 })),
  );

async function assertOnce(db: TestDatabase, expected: { activated: number; expired: number }) {
  const counts = await db.one(`
    select count(*) filter (where type = 'subscription.activated')::integer as activated,
      count(*) filter (where type = 'subscription.expired')::integer as expired,
      count(*)::integer - count(distinct (type, entity_id))::integer as twice
    from scheduler.events`);
  assert.deepEqual(counts, { ...expected, twice: 0 });
  const [many] = await db.query(
    `select "userId" from customer_packages where status = 'ACTIVE' group by 1 having count(*) > 1`,
  );
  assert.equal(many, undefined);
  const left = await db.one(`
    select count(*) filter (where status = 'SCHEDULED')::integer as due,
      count(*) filter (where "isActive" <> (status = 'ACTIVE'))::integer as inconsistent
    from customer_packages`);
  assert.deepEqual(left, { due: 0, inconsistent: 0 });
  assert.deepEqual(await db.query('select * from scheduler.failures'), []);
}

test('twelve processes at once, without the advisory lock, activate each of 5,000 due subscriptions exactly once', async () => {
  await using db = await database({ withoutLock: true });
  await db.query(`
    insert into customer_packages (id, "userId", status, "isActive") select 'a' || n, 'u' || n, 'ACTIVE', true from generate_series(1, 5000) n;
    insert into customer_packages (id, "userId", status, "scheduledStartDate", "previousSubscriptionId")
    select 'b' || n, 'u' || n, 'SCHEDULED', now() - n * interval '1 second', 'a' || n from generate_series(1, 5000) n`);
  const runs = await storm(db);
  assert.deepEqual(
    runs.filter((run) => run.code !== 0),
    [],
  );
  await assertOnce(db, { activated: 5000, expired: 5000 });
});

test('so they do with chains, some of whose links are over already', async () => {
  await using db = await database({ withoutLock: true });
  await db.query(`
    insert into customer_packages (id, "userId", status, "isActive") select 'a' || n, 'u' || n, 'ACTIVE', true from generate_series(1, 1000) n;
    insert into customer_packages (id, "userId", status, "scheduledStartDate", "endDate")
    select 'b' || link || '_' || n, 'u' || n, 'SCHEDULED', now() - make_interval(mins => 100 - link, secs => n % 7),
      case when n % 2 = 0 then now() - make_interval(mins => 99 - link) end
    from generate_series(1, 1000) n, generate_series(1, 5) link`);
  const runs = await storm(db);
  assert.deepEqual(
    runs.filter((run) => run.code !== 0),
    [],
  );
  await assertOnce(db, { activated: 5000, expired: 5500 });
  const links = await db.query(`
    select substr(entity_id, 2, 1) as link, lag(substr(entity_id, 2, 1)) over (partition by data ->> 'user_id' order by id) as before
    from scheduler.events where type = 'subscription.activated'`);
  assert.deepEqual(
    links.filter(({ link, before }) => Number(link) !== Number(before ?? 0) + 1),
    [],
    'each customer one after the other',
  );
});
