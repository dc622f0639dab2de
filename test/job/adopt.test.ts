import assert from 'node:assert/strict';
import { test } from 'node:test';
import { application, database, type TestDatabase } from '../support/harness.ts';
import { here, SCHEMA } from '../support/schema.ts';

/** Applications have tables already. Each test makes them as an application would, and then runs "migrate". */

const LARAVEL = `
  create table migrations (id serial primary key, migration varchar(255) not null, batch integer not null);
  insert into migrations (migration, batch) values ('2014_10_12_000000_create_users_table', 1), ('2025_01_01_000000_create_packages_table', 2);
`;

const PACKAGES = (id: string, status: string, time = 'timestamp(0)') => `
  create table packages (
    id ${id}, tenant_id integer not null, name varchar(255) not null, type varchar(20) not null, status ${status},
    enable_schedule boolean not null default false, scheduled_activation_time ${time} without time zone,
    scheduled_deactivation_time ${time} without time zone, validity varchar(50), hide_from_client boolean not null default false,
    is_active boolean not null default false, created_at ${time} without time zone, updated_at ${time} without time zone
  );`;

const SPECIAL = `
  create table special_packages (
    id uuid primary key default gen_random_uuid(), salon_id integer not null, name varchar(255) not null, scheduled boolean,
    schedule_date date, schedule_time time(0) without time zone, auto_activate boolean, auto_deactivate boolean, is_active boolean,
    valid_until date, timezone varchar(64), created_at timestamp(0), updated_at timestamp(0)
  );`;

const UUID = 'uuid primary key default gen_random_uuid()';
const CHECKED = `varchar(20) not null default 'inactive' check (status in ('active', 'inactive', 'archived'))`;
const START = '2026-03-01T10:00:00Z';
const JOBS = { only: ['packages', 'special-packages'] };

async function adopted(sql: string, env?: Record<string, string>): Promise<TestDatabase> {
  const db = await database({ empty: true });
  await db.query(sql);
  await db.migrate(env);
  return db;
}

const columns = (db: TestDatabase, table: string) =>
  db.query(
    `select column_name, data_type, character_maximum_length, datetime_precision, is_nullable, column_default
     from information_schema.columns where table_schema = '${SCHEMA}' and table_name = $1 order by ordinal_position`,
    [table],
  );
const indexes = async (db: TestDatabase, like = '%packages_to_%') =>
  (
    await db.query(
      `select indexname as name, indexdef as def from pg_indexes
       where indexname like $1 and tablename in ('packages', 'special_packages') order by 1`,
      [like],
    )
  ).map(({ name, def }) => `${name}: ${def}`);

/** A sale of two hours goes on and off, three rows to a batch so that a batch starts behind another one. */
async function sells(db: TestDatabase, env: Record<string, string> = {}) {
  const options = { ...JOBS, batchSize: 3, env };
  const on = await db.tick(START, options);
  const off = await db.tick('2026-03-01T12:00:00Z', options);
  const [{ rows }] = (await db.query('select count(*)::integer as rows from packages')) as [{ rows: number }];
  assert.deepEqual([on.jobs[0]!.changed, on.jobs[0]!.error, on.exitCode], [{ activate: rows }, undefined, 0]);
  assert.deepEqual([off.jobs[0]!.changed, off.exitCode], [{ deactivate: rows }, 0]);
  const [{ entities }] = (await db.query(
    `select count(distinct entity_id)::integer as entities from scheduler.events where transition = 'activate'`,
  )) as [{ entities: number }];
  assert.equal(entities, rows);
}

test('beside Laravel’s own table of migrations, which is left as it was', async () => {
  await using db = await database({ empty: true });
  await db.query(LARAVEL);
  const before = [await db.query('select * from migrations'), await columns(db, 'migrations')];
  await db.migrate();
  await db.migrate();
  assert.deepEqual([await db.query('select * from migrations'), await columns(db, 'migrations')], before);
  assert.equal((await db.tick(START, JOBS)).exitCode, 0);
});

for (const [what, id, status, idOf] of [
  ['uuid keys and a status with a check', UUID, CHECKED, 'gen_random_uuid()'],
  ['uuid keys that the application makes itself', 'uuid primary key', CHECKED, 'gen_random_uuid()'],
  [
    'bigint keys and a status of an enum',
    'bigserial primary key',
    `package_status not null default 'inactive'`,
    '100 + n',
  ],
  ['integer keys', 'serial primary key', CHECKED, '100 + n'],
  ['text keys', 'text primary key', CHECKED, `'pkg_' || n`],
  [
    'ulid keys, which Laravel makes char(26)',
    'char(26) primary key',
    CHECKED,
    `'01ARZ3NDEKTSV4RRFFQ69G5F' || (10 + n)`,
  ],
  ['varchar keys', 'varchar(36) primary key', 'text', 'gen_random_uuid()::text'],
] as const) {
  test(`packages with ${what} are adopted: no row, column or type that was there changes`, async () => {
    await using db = await database({ empty: true });
    await db.query(`create type package_status as enum ('archived', 'active', 'inactive')`);
    await db.query(LARAVEL + PACKAGES(id, status) + SPECIAL);
    await db.query(`insert into packages (id, tenant_id, name, type, status, enable_schedule, scheduled_activation_time, validity)
      select ${idOf}, 7, 'p' || n, 'hotspot', 'inactive', true, '2026-03-01 10:00', '2 hours' from generate_series(1, 10) as n`);
    const names = (await columns(db, 'packages')).map((column) => column.column_name);
    const before = [
      await columns(db, 'packages'),
      await db.query(`select ${names.join(', ')} from packages order by name`),
      await columns(db, 'special_packages'),
    ];
    await db.migrate();
    const packages = await columns(db, 'packages');
    const special = await columns(db, 'special_packages');
    assert.deepEqual(
      [
        packages.slice(0, names.length),
        await db.query(`select ${names.join(', ')} from packages order by name`),
        special.slice(0, before[2]!.length),
      ],
      before,
    );
    const added = packages.slice(names.length);
    assert.deepEqual(
      added.map((column) => column.column_name),
      [
        ...['repeats', 'activated_at', 'deactivated_at'],
        ...['opened_start', 'opened_end', 'closed_end', 'repeat_start', 'repeat_length', 'repeat_count'],
      ],
    );
    assert.deepEqual([added[1]!.data_type, added[1]!.datetime_precision], ['timestamp without time zone', 0]);
    await sells(db);
  });
}

test('times with and without a zone may be mixed in one table', async () => {
  await using db = await adopted(
    `create table packages (id serial primary key, name text, status text default 'inactive',
    enable_schedule boolean, scheduled_activation_time timestamptz, scheduled_deactivation_time timestamp, activated_at timestamp,
    deactivated_at timestamptz, updated_at timestamp)`,
    { SCHEDULER_DB_TIMEZONE: 'America/New_York' },
  );
  const env = { SCHEDULER_DB_TIMEZONE: 'America/New_York' };
  await db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, scheduled_deactivation_time)
    values ('mixed', true, '2026-03-01T10:00:00Z', '2026-03-01 07:00:00')`);
  await sells(db, env);
  const row = await db.one('select activated_at::text as on, deactivated_at::text as off from packages');
  assert.deepEqual(row, { on: '2026-03-01 05:00:00', off: '2026-03-01 12:00:00+00' });
});

test('a nullable is_active and enable_schedule are fine', async () => {
  await using db =
    await adopted(`create table packages (id serial primary key, name text, status text, is_active boolean,
    enable_schedule boolean, scheduled_activation_time timestamptz, validity text)`);
  await db.query(`insert into packages (name, status, enable_schedule, scheduled_activation_time, validity)
    values ('a', 'inactive', true, '${START}', '2 hours')`);
  await sells(db);
  await db.query(`insert into packages (name, status, scheduled_activation_time) values ('b', 'inactive', '${START}')`);
  assert.deepEqual((await db.tick('2026-03-02T10:00:00Z', JOBS)).jobs[0]!.changed, {});
});

test('columns without a zone, read in SCHEDULER_DB_TIMEZONE: 24 hours are 24 hours over a DST change', async () => {
  const env = { SCHEDULER_DB_TIMEZONE: 'America/New_York' };
  await using db = await adopted(PACKAGES('serial primary key', CHECKED), env);
  await db.query(`insert into packages (tenant_id, name, type, enable_schedule, scheduled_activation_time, validity)
    values (1, 'spring', 't', true, '2026-03-07 12:00', '24 hours'), (1, 'autumn', 't', true, '2026-10-31 12:00', '24 hours')`);
  const status = async (at: string, name: string) => {
    await db.tick(at, { ...JOBS, env });
    return (await db.one('select status from packages where name = $1', [name])).status;
  };
  assert.equal(await status('2026-03-07T16:59:00Z', 'spring'), 'inactive');
  assert.equal(await status('2026-03-07T17:00:00Z', 'spring'), 'active'); // 12:00 -05
  assert.equal(await status('2026-03-08T16:59:00Z', 'spring'), 'active'); // 12:59 -04
  assert.equal(await status('2026-03-08T17:00:00Z', 'spring'), 'inactive');
  assert.equal(await status('2026-10-31T16:00:00Z', 'autumn'), 'active'); // 12:00 -04
  assert.equal(await status('2026-11-01T15:59:00Z', 'autumn'), 'active');
  assert.equal(await status('2026-11-01T16:00:00Z', 'autumn'), 'inactive'); // 11:00 -05
  assert.equal(
    (await db.one(`select activated_at::text as at from packages where name = 'spring'`)).at,
    '2026-03-07 12:00:00',
  );
});

for (const [what, sql] of [
  [
    'a list of software',
    `create table packages (id serial primary key, name text, version text, status integer, activated_at date);
    create table special_packages (name text primary key, schedule_date text);
    insert into packages (name) values ('left-pad'); insert into special_packages values ('x', 'y')`,
  ],
  [
    'a view',
    `create table p (id int, enable_schedule boolean, scheduled_activation_time timestamptz); create view packages as select * from p;
    create table s (id int, schedule_date date, auto_activate boolean); create view special_packages as select * from s`,
  ],
  [
    'a table whose status has other words',
    `create type s as enum ('on', 'off'); create table packages (id serial primary key, status s,
    enable_schedule boolean, scheduled_activation_time timestamptz);
    create table special_packages (id int)`,
  ],
] as const) {
  test(`a table of that name that is ${what} is left alone; the job is not installed, and tick is content`, async () => {
    await using db = await database({ empty: true });
    await db.query(sql);
    const state = async () => [
      await columns(db, 'packages'),
      await columns(db, 'special_packages'),
      await db.query('select * from packages'),
      await indexes(db),
    ];
    const before = await state();
    const { out, code } = await db.cli(['migrate']);
    assert.equal(code, 0);
    assert.match(out, /packages is not installed/);
    assert.match(out, /special-packages is not installed/);
    assert.deepEqual(await state(), before);
    const result = await db.tick(START, JOBS);
    assert.equal(result.exitCode, 0);
    assert.deepEqual(
      result.skipped.map(({ job }) => job),
      ['packages', 'special-packages'],
    );
  });
}

test('when one table belongs to something else, the other job runs', async () => {
  await using db = await adopted('create table packages (id serial primary key, name text)');
  await db.query(
    `insert into special_packages (name, scheduled, auto_activate, schedule_date) values ('s', true, true, '2026-03-01')`,
  );
  const result = await db.tick(START, JOBS);
  assert.equal(result.exitCode, 0);
  assert.deepEqual(
    result.jobs.map(({ job, changed }) => [job, changed]),
    [['special-packages', { activate: 1 }]],
  );
});

test('migrating again is harmless, and brings a dropped index back', async () => {
  await using db = await adopted(PACKAGES(UUID, CHECKED) + SPECIAL);
  const before = await indexes(db);
  const files = () =>
    db.query(`select relname, relfilenode from pg_class where relname like '%packages_to_%' order by 1`);
  const built = await files();
  await db.migrate();
  assert.deepEqual(await files(), built);
  await db.query('drop index packages_to_miss, special_packages_to_activate');
  await db.migrate();
  assert.deepEqual(await indexes(db), before);
});

test('another SCHEDULER_TIMEZONE or SCHEDULER_DB_TIMEZONE rebuilds the indexes that contain it', async () => {
  await using db = await adopted(PACKAGES(UUID, CHECKED) + SPECIAL);
  const zones = async () => (await indexes(db)).filter((index) => /'(Africa\/Nairobi|Asia\/Tokyo)'/.test(index)).length;
  assert.equal(await zones(), 0);
  await db.migrate({ SCHEDULER_TIMEZONE: 'Africa/Nairobi', SCHEDULER_DB_TIMEZONE: 'Asia/Tokyo' });
  assert.equal(await zones(), (await indexes(db)).length);
  await db.migrate();
  assert.equal(await zones(), 0);
});

/** The columns that more than one index keeps unique. */
const keptTwice = (db: TestDatabase) =>
  db.query(`
    select t.relname as table, a.attname as column from pg_index i
    join pg_class t on t.oid = i.indrelid and t.relnamespace = to_regnamespace('${SCHEMA}')
    join pg_attribute a on a.attrelid = t.oid and a.attnum = i.indkey[0]
    where i.indisunique and i.indnkeyatts = 1
    group by 1, 2 having count(*) > 1`);

const WITH_OWN_KEY = `create table payments (id serial primary key, phone_number text, package_id bigint, amount numeric,
  status text, transaction_id text unique)`;

test('a column that the application keeps unique itself gets no second index, and loses one from before', async () => {
  await using db = await adopted(WITH_OWN_KEY);
  assert.deepEqual(await keptTwice(db), []);
  await db.query(
    `create unique index payments_transaction_id_once on payments (transaction_id) where transaction_id <> ''`,
  );
  assert.deepEqual(await keptTwice(db), [{ table: 'payments', column: 'transaction_id' }]);
  await db.migrate();
  assert.deepEqual(await keptTwice(db), []);
  assert.match((await db.cli(['doctor'])).out, /all \d+ indexes in place/);
});

test('when an application gives up a unique key of its own, doctor says so, and migrate keeps the column unique', async () => {
  await using db = await adopted(WITH_OWN_KEY);
  await db.query('alter table payments drop constraint payments_transaction_id_key');
  assert.match(
    (await db.cli(['doctor'])).out,
    /payments_transaction_id_once on payments is missing: a value that must be stored once may be stored twice\n/,
  );
  await db.migrate();
  const twice = `insert into payments (phone_number, transaction_id) values ('1', 'T'), ('2', 'T')`;
  await assert.rejects(db.query(twice), { code: '23505' });
});

test('an index of that name which an operator built beforehand is kept', async () => {
  await using db = await database({ empty: true });
  await db.query(`${PACKAGES(UUID, CHECKED)} create index packages_to_miss on packages (name)`);
  await db.migrate();
  assert.match((await indexes(db, 'packages_to_miss'))[0]!, /\(name\)$/);
});

test('a table that the application makes later is adopted by the next migrate', async () => {
  await using db = await adopted('create table packages (id serial primary key, name text)');
  await db.query(`drop table packages; ${PACKAGES(UUID, CHECKED)}`);
  await db.migrate();
  await db.query(`insert into packages (tenant_id, name, type, enable_schedule, scheduled_activation_time, validity)
    values (1, 'p', 't', true, '2026-03-01 10:00', '2 hours')`);
  await sells(db);
});

test('a Prisma schema in the URL is where the tables are', async () => {
  await using db = await database({ empty: true });
  await db.query(`create schema app; create table packages (id serial primary key, something text);
    set search_path = app; ${PACKAGES(UUID, CHECKED)} set search_path = ${SCHEMA}`);
  const env = { DATABASE_URL: `${db.url}${db.url.includes('?') ? '&' : '?'}schema=app` };
  assert.equal((await db.cli(['migrate', '--create', 'special-packages'], { env })).code, 0);
  await db.query(`insert into app.packages (tenant_id, name, type, enable_schedule, scheduled_activation_time, validity)
    values (1, 'p', 't', true, '2026-03-01 10:00', '2 days')`);
  const { code, err } = await db.cli(['tick', '--at', START], { env });
  assert.deepEqual([code, err], [0, '']);
  assert.equal((await db.one('select status from app.packages')).status, 'active');
  assert.equal((await columns(db, 'packages')).length, 2);
  assert.deepEqual(
    await db
      .query(`select from pg_tables where schemaname = 'app' and tablename = 'special_packages'`)
      .then((rows) => rows.length),
    1,
  );
});

test('a role that does not own the table is told so', async () => {
  await using db = await database({ empty: true });
  await db.query(PACKAGES(UUID, CHECKED));
  const role = `r_${db.name}`;
  await db.query(
    here(
      `create role ${role} login; grant all on database ${db.name} to ${role}; grant all on schema public to ${role}`,
    ),
  );
  try {
    const { code, err } = await db.cli(['migrate', '--database-url', db.url.replace('postgres@', `${role}@`)]);
    assert.equal(code, 78, err);
    assert.match(err, /can only be added by the owner of a table: must be owner of table packages/);
  } finally {
    await db.query(`drop owned by ${role} cascade; drop role ${role}`);
  }
});

// ---- Index expressions never raise: they run inside the application's own inserts

const EXTREMES = [
  '4713-01-01 BC',
  '4714-11-24 BC',
  '294276-12-31',
  '5874897-12-31',
  'infinity',
  '-infinity',
  '0001-01-01',
  '2026-03-29',
];
const ZONES = [
  'Mars/Olympus',
  '',
  ' ',
  'UTC+99',
  '+99:99',
  'x'.repeat(500),
  '../../etc/passwd',
  'Europe/Berlin',
  '🕰',
  '%s',
  "'",
  'posixrules',
  'Factory',
  'localtime',
];

for (const [what, env] of [
  ['UTC', {}],
  ['New York', { SCHEDULER_DB_TIMEZONE: 'America/New_York', SCHEDULER_TIMEZONE: 'America/New_York' }],
  ['Kiritimati', { SCHEDULER_DB_TIMEZONE: 'Pacific/Kiritimati', SCHEDULER_TIMEZONE: 'Pacific/Kiritimati' }],
] as const) {
  test(`no date, zone or validity that an application may store makes its insert fail (${what})`, async () => {
    await using db = await adopted(
      `${PACKAGES('serial primary key', CHECKED, 'timestamp(6)')} ${SPECIAL} alter table special_packages alter timezone type text`,
      env,
    );
    await db.query(`alter table packages alter validity type text`);
    const times = EXTREMES.filter((day) => !/^5874897|^4714/.test(day));
    await db.query(
      `insert into packages (tenant_id, name, type, status, enable_schedule, scheduled_activation_time, scheduled_deactivation_time,
         validity, activated_at, deactivated_at)
       select 1, 'p', 't', status, true, start::timestamp, stop::timestamp, validity, seen::timestamp, seen::timestamp
       from unnest($1::text[]) as start, unnest(array_append($1::text[], null)) as stop, unnest($2::text[]) as validity,
         unnest(array['active', 'inactive']) as status, unnest(array_append($1::text[], null)) as seen`,
      [times, [null, '', 'banana', '1 day', '12000 months', '999999999999 months', '9'.repeat(10_000), '⏰']],
    );
    await db.query(
      `insert into special_packages (salon_id, name, scheduled, schedule_date, schedule_time, auto_activate, auto_deactivate, is_active,
         valid_until, timezone)
       select 1, 's', not on_, day::date, hour::time, true, true, on_, until::date, zone
       from unnest($1::text[]) as day, unnest(array[null, '00:00', '24:00', '23:59:59.999999']) as hour, unnest($1::text[]) as until,
         unnest($2::text[]) as zone, unnest(array[true, false]) as on_`,
      [EXTREMES, ZONES],
    );
    const result = await db.tick(START, { ...JOBS, env });
    for (const job of result.jobs) assert.equal(job.error, undefined);
    assert.equal(result.exitCode, 1);
  });
}

const GIVE_ANOTHER =
  /Most likely a column has another type since, which "scheduler migrate" does not change: give it one that fits/;

test('a column that was given another type is named as what to mend, as migrate does not mend it', async () => {
  await using db = await database();
  await db.insert('packages', { name: 'p', enable_schedule: true, scheduled_activation_time: '2026-03-01T10:00:00Z' });
  await db.query('alter table packages alter is_active drop default, alter is_active type integer using 0');
  const { code, err } = await db.cli(['tick']);
  assert.equal(code, 78);
  assert.match(err, /The tables of packages do not fit: .*is_active.*integer/);
  assert.match(JSON.parse(err).msg, GIVE_ANOTHER);
  await db.query('alter table packages alter is_active type boolean using is_active <> 0');
  assert.equal((await db.cli(['tick'])).code, 0);
});

test('a column that no index can be built on stops migrate with what to do, and keeps no other table from being ready', async () => {
  await using db = await database();
  await db.query(`drop index packages_to_activate, packages_to_miss, packages_to_go_on, packages_to_settle, packages_to_keep;
    alter table packages alter scheduled_activation_time type date`);
  await db.query('drop index special_packages_to_miss, payments_to_provision');
  const { code, err } = await db.cli(['migrate']);
  assert.equal(code, 78);
  assert.match(
    err,
    /The tables of packages cannot be made to fit: .*\. packages\.scheduled_activation_time is date and should be timestamptz: give it that type and run/,
  );
  const others = `select indexname from pg_indexes where indexname in ('special_packages_to_miss', 'payments_to_provision')`;
  assert.equal((await db.query(others)).length, 2);
  await db.query('alter table packages alter scheduled_activation_time type timestamptz');
  assert.equal((await db.cli(['migrate'])).code, 0);
});

test('a table that cannot be adopted is one sentence with table, column and what to do; the others are ready', async () => {
  await using db = await database();
  const long = `(select string_agg(md5(n::text), '') from generate_series(1, 200) as n)`;
  const payments = `insert into payments (phone_number, package_id, amount, status, transaction_id) values ('254711000111', 1, 5, 'pending', ${long})`;
  for (const [spoil, said, mend] of [
    [
      'alter table packages drop column id cascade, drop column opened_end',
      here(
        /^scheduler: The table "public"\."packages" has no column id, by which its rows are told apart\. Add one \("alter table "public"\."packages" add column "id" bigint generated by default as identity primary key"\), then run/,
      ),
      here('alter table public.packages add column id bigint generated by default as identity primary key'),
    ],
    [
      `drop index payments_transaction_id_once; ${payments}`,
      here(
        /^scheduler: An index of "transaction_id" of "public"\."payments" cannot be built, as a value is longer than 2,700 bytes: shorten it/,
      ),
      `update payments set transaction_id = 'short'`,
    ],
    [
      `alter table doctor_wallets drop constraint doctor_wallets_doctor_id_key; insert into doctor_wallets (doctor_id) values (7), (7)`,
      here(
        /^scheduler: "doctor_id" of "public"\."doctor_wallets" has to be unique, and a value is there twice: "select "doctor_id", count/,
      ),
      'delete from doctor_wallets where ctid = (select max(ctid) from doctor_wallets)',
    ],
    // Half of what an earlier "migrate" added is gone.
    ['alter table packages drop column opened_start', undefined, 'select 1'],
  ] as const) {
    await db.query(spoil);
    await db.query('drop index vouchers_to_expire');
    const dry = await db.cli(['migrate', '--dry-run']);
    const { code, err } = await db.cli(['migrate']);
    assert.deepEqual([code, err.trimEnd().split('\n').length], [said ? 78 : 0, 1], err);
    assert.deepEqual([dry.code, dry.err], [code, err]);
    assert.match(dry.out, here(/^would build the index public\.vouchers_to_expire$/m));
    if (said) assert.match(err, said);
    assert.equal((await db.query(`select from pg_class where relname = 'vouchers_to_expire'`)).length, 1);
    await db.query(mend);
    assert.equal((await db.cli(['migrate'])).code, 0);
  }
});

test('a table that somebody holds is said to be held, and no type is blamed', async () => {
  await using db = await database();
  await db.query('drop index vouchers_to_expire');
  await using other = await application(db);
  await other.query('begin; lock table vouchers in exclusive mode');
  const { code, err } = await db.cli(['migrate']);
  assert.equal(code, 75, err);
  assert.match(
    err,
    /^scheduler: The command was interrupted by the database: canceling statement due to lock timeout\. Nothing was changed/,
  );
});
