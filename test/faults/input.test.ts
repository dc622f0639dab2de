import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { database, type TestDatabase } from '../support/harness.ts';

/** Whatever applications, users and payment providers put into the tables: nothing breaks, and nothing wrong is done. */

const NOW = '2026-03-01T10:00:00Z';

const WICKED = [
  ...["'; drop table packages; --", '$1', ':now::timestamptz', '\\u0000', '\\x00', '\\', '"', "''", '{"a": [1, null]}'],
  ...[
    '%s %L %I',
    '😀'.repeat(60),
    '€'.repeat(3000),
    'x'.repeat(10_240),
    '‮rtl',
    'a\nb\r\n\tc',
    'NULL',
    '{}',
    '<b>&amp;',
  ],
];
const text = fc.oneof(
  fc.constantFrom(...WICKED),
  // PostgreSQL takes every character but one.
  fc.string({ unit: 'binary', maxLength: 40 }).map((given) => given.replaceAll('\0', '')),
);

const HOUR = 3_600_000;
const instant = fc.oneof(
  {
    weight: 1,
    arbitrary: fc.constantFrom('infinity', '-infinity', '4713-01-01 00:00:00+00 BC', '294276-12-31 23:59:59.999999+00'),
  },
  {
    weight: 1,
    arbitrary: fc.integer({ min: -62_135_596_800, max: 253_402_300_799 }).map((s) => new Date(s * 1000).toISOString()),
  },
  {
    weight: 6,
    arbitrary: fc
      .integer({ min: -50 * HOUR, max: 50 * HOUR })
      .map((ms) => new Date(Date.parse(NOW) + ms).toISOString()),
  },
);
const day = fc.oneof(
  fc.constantFrom('infinity', '-infinity', '4713-01-01 BC', '5874897-12-31', '294277-01-01'),
  instant.filter((at) => /Z$/.test(at)).map((at) => at.slice(0, 10).replace(/^[+-].*/, '2026-03-01')),
);
const validity = fc.oneof(
  text,
  fc
    .tuple(
      fc.bigInt({ min: -1n, max: 10n ** 14n }),
      fc.constantFrom('minute', 'minutes', 'Hours', 'DAY', ' days ', 'weeks', 'month', 'fortnights'),
    )
    .map(([n, unit]) => `${n} ${unit}`),
  fc
    .tuple(fc.integer({ min: 1, max: 99 }), fc.constantFrom('minutes', 'hours', 'days'))
    .map(([n, unit]) => `${n} ${unit}`),
);
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: null, freq: 2 });
const zone = fc.oneof(
  text,
  fc.constantFrom('UTC', 'Africa/Nairobi', 'America/New_York', 'Pacific/Apia', 'UTC+3', '', 'EST5EDT'),
);

const packages = fc.record({
  name: text,
  type: text,
  enable_schedule: fc.boolean(),
  scheduled_activation_time: maybe(instant),
  scheduled_deactivation_time: fc.option(instant, { nil: null, freq: 1 }),
  validity: maybe(validity),
  repeats: fc.option(fc.oneof(fc.constantFrom('daily', 'WEEKLY', 'monthly', ''), text), { nil: null, freq: 1 }),
});
const special = fc.record({
  name: text,
  scheduled: fc.boolean(),
  auto_activate: fc.boolean(),
  auto_deactivate: fc.boolean(),
  schedule_date: maybe(day),
  schedule_time: fc.option(fc.constantFrom('00:00', '23:59:59.999999', '24:00', '02:30')),
  valid_until: fc.option(day),
  timezone: maybe(zone),
});
const subscription = fc.record({ id: text, userId: text, scheduledStartDate: instant });
const voucher = fc.record({ code: text, expires_at: maybe(instant) });
const payment = fc.record({ phone_number: text, updated_at: instant, amount: fc.integer({ min: 0, max: 100 }) });

async function put(db: TestDatabase, table: string, rows: object[], fixed = ''): Promise<void> {
  const columns = Object.keys(rows[0]!).map((name) => `"${name}"`);
  await db.query(
    `insert into ${table} (${columns.join(', ')}${fixed && `, ${fixed.split('=')[0]}`})
     select ${columns.join(', ')}${fixed && `, ${fixed.split('=')[1]}`} from json_populate_recordset(null::${table}, $1::json)`,
    [JSON.stringify(rows)],
  );
}

/** No two alike: a name makes it so, and stays as wicked as it was. */
const distinct = <T extends object>(rows: T[], ...columns: (keyof T)[]): T[] =>
  rows.map((row, n) => ({ ...row, ...Object.fromEntries(columns.map((column) => [column, `${row[column]}#${n}`])) }));

const READABLE = `coalesce(validity ~* '^[ \\t\\r\\n]*[0-9]{1,12}[ \\t\\r\\n]+(minute|hour|day|week|month)s?[ \\t\\r\\n]*$', false)`;
const SECONDS = `case when ${READABLE} then substring(validity from '[0-9]+')::numeric * case lower(substring(validity from '(?i)minute|hour|day|week|month'))
  when 'minute' then 60 when 'hour' then 3600 when 'day' then 86400 when 'week' then 604800 else 2592000 end end`;

for (const seed of [1, 2, 3]) {
  test(`10,000 rows of anything at all: no crash, no wrong transition, no injection (seed ${seed})`, async (t) => {
    await using db = await database();
    await db.query('alter table packages drop constraint packages_repeats_check');
    const some = <T>(arbitrary: fc.Arbitrary<T>, count: number) => fc.sample(arbitrary, { seed, numRuns: count });
    await put(db, 'packages', some(packages, 4000));
    await put(db, 'special_packages', some(special, 2000));
    await put(db, 'customer_packages', distinct(some(subscription, 1500), 'id', 'userId'), `status='SCHEDULED'`);
    await put(db, 'vouchers', distinct(some(voucher, 1500), 'code'), `status='unused'`);
    await db.query(`insert into packages (id, name, price, duration) values (100001, 'bought', 50, '1 hour')`);
    await put(
      db,
      'payments',
      distinct(some(payment, 1000), 'phone_number').map((row, n) => ({
        ...row,
        transaction_id: `T${n}`,
        package_id: 100001,
      })),
      `status='completed'`,
    );
    const tables = 'select count(*)::integer as n from pg_tables';
    const before = await db.one(tables);
    await db.query('create table packages_before as select id, to_jsonb(p) as row from packages p');

    const { code, out, err } = await db.cli(['tick', '--at', NOW, '--json'], { timeoutMs: 120_000 });
    assert.equal(code, 1, err.slice(-2000));
    const { jobs } = JSON.parse(out) as { jobs: { job: string; error?: string; failed: number }[] };
    assert.deepEqual(
      jobs.filter((job) => job.error),
      [],
    );
    t.diagnostic(
      jobs
        .filter((job) => job.failed > 0)
        .map((job) => `${job.job}: ${job.failed} refused`)
        .join(', '),
    );
    assert.equal((await db.one(tables)).n, before.n + 1, 'no table has gone');

    // Packages, by a rule of their own: on sale are those whose window is open, and that can be read.
    const wrong = await db.query(`
      select id, status, expected, b.row from (
        select *, enable_schedule and scheduled_activation_time <= '${NOW}' and case
            when scheduled_deactivation_time is not null then scheduled_deactivation_time > '${NOW}'
            when validity is null then true
            else coalesce((${SECONDS}) between 1 and 31536000000
              and scheduled_activation_time > timestamptz '${NOW}' - make_interval(secs => least(${SECONDS}, 31536000000)::double precision), false) end
          and (repeats is null or lower(repeats) in ('', 'daily', 'weekly', 'monthly')) as expected
        from (select id, status, (jsonb_populate_record(null::packages, b.row)).enable_schedule, (jsonb_populate_record(null::packages, b.row)).scheduled_activation_time,
          (jsonb_populate_record(null::packages, b.row)).scheduled_deactivation_time, (jsonb_populate_record(null::packages, b.row)).validity, (jsonb_populate_record(null::packages, b.row)).repeats
          from packages join packages_before b using (id)) as p
      ) as each join packages_before b using (id)
      where (status = 'active') is distinct from coalesce(expected, false) limit 3`);
    assert.deepEqual(wrong, []);
    const active = await db.one(`select count(*)::integer as n from packages where status = 'active'`);
    assert.ok(active.n > 100, `only ${active.n} on sale`);
    const touched = await db.query(`
      select p.id from packages p join packages_before b using (id)
      where (not p.enable_schedule or p.scheduled_activation_time is null or (b.row ->> 'scheduled_activation_time')::timestamptz > '${NOW}')
        and to_jsonb(p) <> b.row and not (p.scheduled_activation_time is null) limit 3`);
    assert.deepEqual(touched, [], 'what is not due stays as it was');
    const misnamed = await db.query(`
      select e.entity_id from scheduler.events e join packages p on p.id::text = e.entity_id
      where e.job = 'packages' and e.data ->> 'package_name' <> left(p.name, 10000) limit 3`);
    assert.deepEqual(misnamed, [], 'names are told letter by letter');

    const subscriptions = await db.query(`select id, status, "scheduledStartDate" from customer_packages
      where (status = 'ACTIVE') is distinct from ("scheduledStartDate" <= '${NOW}') limit 3`);
    assert.deepEqual(subscriptions, []);
    const vouchers = await db.query(`select code, status, expires_at from vouchers
      where (status = 'expired') is distinct from coalesce(expires_at <= '${NOW}', false) limit 3`);
    assert.deepEqual(vouchers, []);
    const payments = await db.query(`select phone_number, amount, updated_at, provisioned_at from payments
      where (provisioned_at is not null) is distinct from (amount >= 50) limit 3`);
    assert.deepEqual(payments, []);
    const specials = await db.query(`select s.id, timezone from special_packages s
      where is_active and (schedule_date > '2026-03-03' or valid_until < '2026-02-27' and auto_deactivate or not auto_activate) limit 3`);
    assert.deepEqual(specials, []);
    const strangers =
      await db.query(`select entity_id, error from scheduler.failures f join special_packages s on s.id::text = entity_id
      where job = 'special-packages' and error not like 'timezone %is not a zone%' limit 3`);
    assert.deepEqual(strangers, []);

    const again = await db.tick(NOW);
    assert.deepEqual(
      again.jobs.filter((job) => job.error || job.failed > 0),
      [],
      'whoever failed waits',
    );
  });
}
