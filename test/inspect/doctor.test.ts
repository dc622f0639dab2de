import assert from 'node:assert/strict';
import { chmodSync, chownSync, cpSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { removeServer, startServer, stopServer } from '../../src/embedded/server.ts';
import type { Diagnosis } from '../../src/inspect/doctor/diagnose.ts';
import type { Finding } from '../../src/inspect/doctor/finding.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import { LEVEL } from '../../src/store/migrate.ts';
import { type CliOptions, cli, database, POSTGRES, type TestDatabase } from '../support/harness.ts';
import { grantRole } from '../support/roles.ts';
import { SCHEMA } from '../support/schema.ts';

const due = { name: 'Weekend Special', enable_schedule: true, scheduled_activation_time: '2026-03-01T10:00:00Z' };

type Doctor = { code: number | null; of(check: string): Finding; failed: string[]; warnings: string[] };

async function doctor(db: Pick<TestDatabase, 'cli'>, env: Record<string, string> = {}): Promise<Doctor> {
  const { code, out, err } = await db.cli(['doctor', '--json'], { env });
  assert.equal(err, '');
  const { checks, ok } = JSON.parse(out) as Diagnosis;
  const named = (outcome: Finding['outcome']) =>
    checks.filter((each) => each.outcome === outcome).map(({ check }) => check);
  assert.equal(code === 0, ok);
  return {
    code,
    of: (check) => checks.find((each) => each.check === check) ?? assert.fail(`no check "${check}": ${out}`),
    failed: named('failed'),
    warnings: named('warning'),
  };
}

/** The SQL of a remedy, as somebody pastes it. */
async function apply(db: TestDatabase, { remedy = [] }: Finding) {
  const sql = remedy.filter((line) => line.endsWith(';'));
  assert.ok(sql.length > 0, remedy.join('\n'));
  for (const statement of sql) await db.query(statement);
}

test('all is well: one line per check, exit code 0', async () => {
  await using db = await database();
  await db.cli(['tick']);
  const { code, out, err } = await db.cli(['doctor']);
  assert.equal(code, 0, out + err);
  const lines = out.trim().split('\n');
  const jobs = (await loadJobs()).map((job) => job.name);
  const checks = [
    ...['settings', 'connection', 'version', 'writable', 'pooler', 'clock', 'schema', 'rights', ...jobs, 'indexes'],
    ...['lock', 'last tick', 'backlog', 'failures', 'notifications'],
  ];
  assert.deepEqual(
    lines.slice(0, checks.length).map((line) => /^ok {7}(\S+( \S+)?) {2}/.exec(line)?.[1]),
    checks,
    out,
  );
  assert.equal(lines.at(-1), `${checks.length} ok.`);
});

test('settings that cannot be read are exit code 78, and all faults are named', async () => {
  await using db = await database();
  const { code, err } = await db.cli(['doctor'], { env: { SCHEDULER_TIMEZONE: 'Mars', SCHEDULER_RETENTION: 'x' } });
  assert.equal(code, 78);
  assert.match(err, /SCHEDULER_TIMEZONE.*\n.*SCHEDULER_RETENTION/);
});

test('an unreachable database is exit code 69, with its line, and without the password', async () => {
  const { code, out } = await cli(['doctor'], { env: { DATABASE_URL: 'postgresql://me:secret@127.0.0.1:9/x' } });
  assert.equal(code, 69);
  assert.match(
    out,
    /^failed +connection +The database at postgresql:\/\/me:\*\*\*@127\.0\.0\.1:9\/x cannot be reached/m,
  );
  assert.doesNotMatch(out, /secret/);
});

test('a database that refuses the connection is a failure', async () => {
  await using db = await database();
  const { code, out } = await db.cli(['doctor'], { env: { DATABASE_URL: `${db.url.replace(db.name, 'nowhere')}` } });
  assert.equal(code, 1);
  assert.match(out, /^failed +connection +.*refuses the connection: database "nowhere" does not exist/m);
});

// ── rights

/** A role that owns nothing, with what deploy/roles.sql grants. */
async function withRole(db: TestDatabase, work: (role: string, env: Record<string, string>) => Promise<void>) {
  const role = `app_${db.name}`;
  await grantRole(db, role);
  try {
    await work(role, { PGOPTIONS: `-c role=${role}` });
  } finally {
    await db.query(`drop owned by ${role}; drop role ${role}`);
  }
}

test('a missing right on one table is found, with the GRANT that mends it', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await withRole(db, async (role, env) => {
    assert.deepEqual((await doctor(db, env)).failed, []);
    await db.query(`revoke update on packages from ${role}`);
    const found = await doctor(db, env);
    assert.equal(found.code, 1);
    assert.ok(found.failed.includes('rights'));
    const rights = found.of('rights');
    assert.equal(rights.message, `${role} lacks update on ${SCHEMA}.packages`);
    assert.deepEqual(rights.remedy, [
      '-- As postgres or a superuser:',
      `grant update on ${SCHEMA}.packages to ${role};`,
    ]);
    assert.match(found.of('packages').message, /lacks a right: see "rights"/);
    await apply(db, rights);
    assert.deepEqual((await doctor(db, env)).failed, []);
  });
});

test('a role without any right is told every GRANT, and they are enough', async () => {
  await using db = await database();
  await db.cli(['tick']);
  const role = `app_${db.name}`;
  await db.query(`create role ${role}; revoke all on all functions in schema scheduler from public`);
  try {
    const env = { PGOPTIONS: `-c role=${role}` };
    const { message, remedy } = (await doctor(db, env)).of('rights');
    assert.match(message, new RegExp(`^${role} lacks rights on \\d\\d objects$`));
    await apply(db, { check: 'rights', outcome: 'failed', message, remedy: remedy! });
    assert.deepEqual((await doctor(db, env)).failed, []);
    assert.equal((await db.cli(['tick'], { env })).code, 0);
  } finally {
    await db.query(`drop owned by ${role}; drop role ${role}`);
  }
});

test('a schema of the search path that the role may not use is named, not only its tables', async () => {
  await using db = await database({ empty: true });
  await db.query('create schema shop');
  await db.migrate();
  await withRoleOn(db, 'shop', async (role, env) => {
    const { remedy } = (await doctor(db, env)).of('rights');
    assert.ok(remedy!.includes(`grant usage on schema shop to ${role};`));
  });
});

async function withRoleOn(
  db: TestDatabase,
  schema: string,
  work: (role: string, env: Record<string, string>) => Promise<void>,
) {
  await withRole(db, (role) => work(role, { PGOPTIONS: `-c role=${role} -c search_path=${schema},public` }));
}

test('a right to write the columns that a job writes does as well; on others it does not', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await withRole(db, async (role, env) => {
    await db.query(`revoke update on vouchers from ${role}; grant update (status, updated_at) on vouchers to ${role}`);
    assert.deepEqual((await doctor(db, env)).failed, []);
    await db.query(`revoke update (updated_at) on vouchers from ${role}`);
    assert.deepEqual((await doctor(db, env)).failed, ['vouchers']);
  });
});

// ── schema, jobs, indexes

test('a missing schema and an old one are told apart; both are for "scheduler migrate"', async () => {
  await using empty = await database({ empty: true });
  const none = await doctor(empty);
  assert.deepEqual(none.failed, ['schema']);
  assert.deepEqual(none.of('schema').remedy, ['scheduler migrate']);
  assert.match(none.of('schema').message, /is not in this database/);

  await using db = await database();
  await db.query('delete from scheduler.migrations where id = $1', [LEVEL]);
  const old = await doctor(db);
  assert.equal(old.of('schema').message, `the schema is at level ${LEVEL - 1}, and this version needs ${LEVEL}`);
  assert.equal(old.code, 1);

  await db.query(`insert into scheduler.migrations (id, name, hash) values ($1, 'scheduler', 'x'), ($2, 'y', 'y')`, [
    LEVEL,
    LEVEL + 1,
  ]);
  assert.equal((await doctor(db)).of('schema').outcome, 'warning');
});

test('the schema of an earlier edition is dropped and made anew, and the application keeps its rows', async () => {
  await using db = await database();
  await db.insert('packages', due);
  await db.query(`update scheduler.migrations set name = 'engine' where id = 1`);
  const { failed, of } = await doctor(db);
  assert.deepEqual(failed, ['schema']);
  assert.match(of('schema').message, /made by an earlier edition/);
  await apply(db, of('schema'));
  assert.equal(of('schema').remedy!.at(-1), 'scheduler migrate');
  assert.equal((await db.cli(['migrate'])).code, 0);
  assert.deepEqual((await doctor(db)).failed, []);
  assert.equal((await db.query('select from packages')).length, 1);
});

test('a missing index is found, and "scheduler migrate" mends it', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.query('drop index packages_to_activate');
  const { failed, of } = await doctor(db);
  assert.deepEqual(failed, ['indexes']);
  assert.match(of('indexes').message, /^packages_to_activate on packages is missing/);
  assert.equal(of('indexes').remedy!.at(-1), 'scheduler migrate');
  assert.equal((await db.cli(['migrate'])).code, 0);
  assert.deepEqual((await doctor(db)).failed, []);
});

test('an invalid index, as an interrupted "create index concurrently" leaves it, is found', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.query(`update pg_index set indisvalid = false where indexrelid = 'vouchers_to_expire'::regclass`);
  const { of } = await doctor(db);
  assert.match(of('indexes').message, /^vouchers_to_expire on vouchers is invalid/);
  await apply(db, of('indexes'));
  await db.cli(['migrate']);
  assert.deepEqual((await doctor(db)).failed, []);
});

test('an index built by another version is found, and "scheduler migrate" mends it', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.query(`drop index vouchers_to_expire; create index vouchers_to_expire on vouchers (expires_at);
    comment on index vouchers_to_expire is 'Added by "scheduler migrate": (expires_at)'`);
  const { failed, of } = await doctor(db);
  assert.deepEqual(failed, ['indexes']);
  assert.match(of('indexes').message, /^vouchers_to_expire built for another version of the job or of its table/);
  assert.equal((await db.cli(['migrate'])).code, 0);
  assert.deepEqual((await doctor(db)).failed, []);
});

test('indexes built for another zone are found, of either setting', async () => {
  await using db = await database();
  await db.cli(['tick']);
  const nairobi = { SCHEDULER_TIMEZONE: 'Africa/Nairobi' };
  const first = (await doctor(db, nairobi)).of('indexes');
  assert.match(
    first.message,
    /^special_packages_to_\w+, .* built for another zone \(UTC\), while .* SCHEDULER_TIMEZONE is Africa\/Nairobi/,
  );
  assert.doesNotMatch(first.message, /vouchers/);
  const there = { SCHEDULER_DB_TIMEZONE: 'Africa/Nairobi' };
  assert.match((await doctor(db, there)).of('indexes').message, /vouchers_to_expire.* built for another zone \(UTC\)/);
  await db.cli(['migrate'], { env: { ...nairobi, ...there } });
  assert.deepEqual((await doctor(db, { ...nairobi, ...there })).failed, []);
  assert.deepEqual((await doctor(db)).failed, ['indexes']);
});

test('a job that is not installed says why', async () => {
  await using db = await database({ empty: true });
  await db.query('create table packages (id integer, parcel text)');
  await db.migrate();
  await db.cli(['tick']);
  const { code, of } = await doctor(db);
  assert.equal(code, 0);
  assert.equal(of('packages').outcome, 'warning');
  assert.match(
    of('packages').message,
    /^not installed: packages\.name, packages\.type, packages\.enable_schedule, .* and \d+ more missing$/,
  );
});

test('a job that was installed and no longer is, is a failure', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.query('alter table vouchers drop column code');
  const { failed, of } = await doctor(db);
  assert.deepEqual(
    failed,
    ['vouchers', 'indexes'].filter((check) => failed.includes(check)),
  );
  assert.match(of('vouchers').message, /^was installed and ran until .*, and is no more: vouchers\.code missing$/);
});

test('tables in a schema beyond the search path are pointed at', async () => {
  await using db = await database({ empty: true });
  await db.query('create table packages (id integer, parcel text)');
  await db.migrate();
  await db.query('create schema shop; alter table vouchers set schema shop');
  const { remedy } = (await doctor(db)).of('vouchers');
  assert.match(remedy![0]!, /There is a table vouchers in schema shop: add "\?schema=shop"/);
  assert.equal(remedy!.at(-1), 'scheduler migrate --create vouchers');
});

test('a statement that does not fit the tables is found before anything is due', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.query(
    'alter table packages alter column is_active drop default, alter column is_active type integer using 0',
  );
  const { failed, of } = await doctor(db);
  assert.deepEqual(failed, ['packages']);
  assert.match(of('packages').message, /its rule "deactivate" does not fit the tables: .*is_active.* integer/);
});

test('a check that refuses a word which a job writes is found by migrate and doctor before a row fails, and its remedy mends it', async () => {
  await using db = await database();
  await db.cli(['tick']);
  // The check may lack a word that is only read, or that another column or a function of the application uses.
  await db.query(`alter table text_sessions alter status type varchar(20),
      add constraint "known Words" check (status in ('active', 'ended', 'paused'));
    alter table vouchers add check (status = 'active' or status like 'exp%'), add check (code <> 'expired'), add check (status < code);
    create function never(text) returns boolean language plpgsql as $$ begin raise exception 'asked'; end $$;
    alter table payments add check (status = 'pending');
    alter table radius_sessions add check (never(status))`);
  const { failed, of } = await doctor(db);
  assert.deepEqual(failed, ['deductions', 'session-endings']);
  const sentence = `the check "known Words" of "${SCHEMA}"."text_sessions" refuses 'expired' in "status", which the job writes`;
  assert.equal(of('session-endings').message, sentence);
  const { code, err } = await db.cli(['migrate']);
  assert.equal(code, 78);
  assert.ok(err.includes(`its rows would fail: ${sentence}. Let the check allow that, for instance: alter`), err);
  await apply(db, of('session-endings'));
  assert.deepEqual((await doctor(db)).failed, []);
  assert.equal((await db.cli(['migrate'])).code, 0);
  const waiting = { patient_id: 1, doctor_id: 1, activated_at: null, doctor_response_deadline: '2026-01-01T10:00:00Z' };
  await assert.rejects(db.insert('text_sessions', { ...waiting, status: 'waiting_for_doctor' }), /known Words/);
  await db.insert('text_sessions', { ...waiting, status: 'expired' });
});

test('migrate names each fault of each table', async () => {
  await using db = await database();
  await db.query(`alter table vouchers add constraint a check (status <> 'expired'), add constraint b check (status = 'active');
    alter table text_sessions alter status type varchar(20), add constraint c check (status <> 'ended')`);
  const { code, err } = await db.cli(['migrate']);
  assert.equal(code, 78);
  const lines = err.trim().split('\n');
  const of = (job: string, check: string) =>
    lines.filter(
      (line) => line.includes(`The tables of ${job} are ready, but`) && line.includes(`the check "${check}"`),
    );
  assert.deepEqual(
    [of('vouchers', 'a'), of('vouchers', 'b'), of('session-endings', 'c')].map((found) => found.length),
    [1, 1, 1],
    err,
  );
});

for (const [what, more] of [
  ['that lacks a column, too', ''],
  ['that is whole', ', updated_at timestamptz'],
] as const)
  test(`the words that an enum type lacks are named, with the SQL that adds them: a table ${what}`, async () => {
    await using db = await database({ empty: true });
    await db.query(`create type "Voucher state" as enum ('unused', 'lost');
      create table vouchers (id serial primary key, code text, status "Voucher state" not null, expires_at timestamptz${more})`);
    const sentence = `the enum type ${SCHEMA}."Voucher state" of vouchers.status lacks 'active', 'expired'`;
    const sql = ['active', 'expired'].map((word) => `alter type ${SCHEMA}."Voucher state" add value '${word}';`);
    const first = await db.cli(['migrate']);
    assert.equal(first.code, 0, first.err);
    assert.ok(first.out.includes(`vouchers is not installed: ${sentence}, and the table was left alone`), first.out);
    assert.ok(first.out.includes(sql.join(' ')), first.out);
    const vouchers = (await doctor(db)).of('vouchers');
    assert.ok(vouchers.message.includes(sentence), vouchers.message);
    assert.deepEqual(vouchers.remedy!.slice(1), [...sql, 'scheduler migrate']);
    await apply(db, vouchers);
    assert.match((await db.cli(['migrate'])).out, /built the index .*vouchers_to_expire/);
    assert.equal((await doctor(db)).of('vouchers').outcome, 'ok');
    await db.query(`insert into vouchers (status, expires_at) values ('unused', '2026-01-01Z')`);
    assert.deepEqual((await db.tick('2026-02-01T00:00:00Z', { only: ['vouchers'] })).jobs[0]!.changed, { expire: 1 });
  });

test('a paused job and one that is switched off are warnings, not failures', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.cli(['stop', 'packages', '--reason', 'price error']);
  const { code, of, warnings } = await doctor(db, { ENABLE_SUBSCRIPTION_SCHEDULER: 'false' });
  assert.equal(code, 0);
  assert.deepEqual(warnings, ['packages', 'subscriptions']);
  assert.match(of('packages').message, /paused: stopped by \S+ at \S+: price error/);
  assert.deepEqual(of('packages').remedy, ['scheduler start packages']);
  assert.match(of('subscriptions').message, /switched off by ENABLE_SUBSCRIPTION_SCHEDULER/);
});

// ── the server

test('a database whose transactions only read is found, with what set it', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.query(`alter database ${db.name} set default_transaction_read_only = on`);
  const { failed, of } = await doctor(db);
  assert.deepEqual(failed, ['writable']);
  assert.match(of('writable').message, /default_transaction_read_only is on, set by database/);
  assert.ok(of('writable').remedy!.includes(`alter database ${db.name} reset default_transaction_read_only;`));
  assert.deepEqual((await doctor(db, { PGOPTIONS: '-c default_transaction_read_only=off' })).failed, []);
});

test('a standby is found', async () => {
  const home = mkdtempSync(join(tmpdir(), 'sch-doctor-'));
  try {
    chmodSync(home, 0o711); // the servers' user passes through
    const primary = await startServer({ dir: join(home, 'p'), ...POSTGRES });
    const env = { DATABASE_URL: primary.url };
    assert.equal((await cli(['migrate', '--create', 'all'], { env })).code, 0);
    assert.equal((await cli(['tick'], { env })).code, 0);
    await stopServer(join(home, 'p'));
    cpSync(join(home, 'p', 'data'), join(home, 's', 'data'), { recursive: true });
    own(join(home, 'p', 'data'), join(home, 's'));
    writeFileSync(join(home, 's', 'data', 'standby.signal'), '');
    const standby = await startServer({ dir: join(home, 's'), ...POSTGRES });
    const { failed, of } = await doctor({
      cli: (args, options) => cli(args, { env: { ...options?.env, DATABASE_URL: standby.url } }),
    });
    assert.deepEqual(failed, ['writable']);
    assert.match(of('writable').message, /this server is a standby, which only reads/);
    assert.match(of('packages').message, /^installed/);
    // What is printed, in its order, ends with a server that takes changes.
    const client = new pg.Client(standby.url);
    await client.connect();
    await client.query(of('writable').remedy!.at(-1)!);
    await client.query('alter system set default_transaction_read_only = on');
    await client.query('select pg_reload_conf()');
    await client.end();
    const there = {
      cli: (args: string[], options?: CliOptions) => cli(args, { env: { ...options?.env, DATABASE_URL: standby.url } }),
    };
    const now = await doctor(there);
    assert.match(now.of('writable').message, /set by configuration file/);
    const again = new pg.Client(standby.url);
    await again.connect();
    for (const line of now.of('writable').remedy!.slice(1)) await again.query(line);
    await again.end();
    assert.deepEqual((await doctor(there)).failed, []);
  } finally {
    for (const name of ['p', 's']) await removeServer(join(home, name));
    rmSync(home, { recursive: true, force: true });
  }
});

/** A copied cluster belongs to whom the original did: a server refuses one that is not its own. */
function own(original: string, copy: string) {
  const { uid, gid } = statSync(original);
  const data = join(copy, 'data');
  chmodSync(copy, 0o711);
  for (const path of ['.', ...readdirSync(data, { recursive: true, encoding: 'utf8' })])
    chownSync(join(data, path), uid, gid);
  chmodSync(data, 0o700);
}

test('clocks two seconds apart are found, whichever is ahead', async () => {
  await using db = await database();
  await db.cli(['tick']);
  for (const [shift, words] of [
    [2000, /^this machine is [12]\.\d+ s ahead of the database/],
    [-2000, /^this machine is [12]\.\d+ s behind the database/],
  ] as const) {
    const shifted = `const now = Date.now; Date.now = () => now() + ${shift};`;
    const { code, of } = await doctor(db, {
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(shifted)}`,
    });
    assert.equal(code, 0);
    assert.equal(of('clock').outcome, 'warning');
    assert.match(of('clock').message, words);
  }
});

// ── the work

test('no tick for ten minutes is a failure, with the line for the crontab', async () => {
  await using db = await database();
  const never = (await doctor(db)).of('last tick');
  assert.equal(never.outcome, 'warning');
  assert.match(
    never.remedy!.at(-1)!,
    /^\* \* \* \* \* \/\S+\/bin\/scheduler(\.js)? tick --env-file \/etc\/scheduler\.env$/,
  );
  await db.cli(['tick']);
  await age(db, '9 minutes');
  assert.equal((await doctor(db)).of('last tick').outcome, 'warning');
  await age(db, '90 seconds');
  const { failed, of } = await doctor(db);
  assert.deepEqual(failed, ['last tick']);
  assert.match(of('last tick').message, /^10 min \d+ s ago, at \S+ \S+Z: nobody calls "scheduler tick"$/);
});

test('a run that hangs with the lock is found', async () => {
  await using db = await database();
  await db.cli(['tick']);
  const holder = new pg.Client(`${db.url}&application_name=hanging`);
  holder.on('error', () => {});
  await holder.connect();
  try {
    await holder.query(`begin; select pg_advisory_xact_lock(hashtextextended('${SCHEMA}', 8314034311083879525))`);
    const { pid } = (await holder.query('select pg_backend_pid() as pid')).rows[0];
    assert.match(
      (await doctor(db)).of('lock').message,
      new RegExp(`^held by process ${pid} \\(hanging, user postgres\\), for \\d s$`),
    );
    assert.equal((await doctor(db)).of('lock').outcome, 'ok');
  } finally {
    await holder.end();
  }
  assert.equal((await doctor(db)).of('lock').message, 'free');
});

const age = (db: TestDatabase, interval: string) =>
  db.query(
    'update scheduler.runs set started_at = started_at - $1::interval, finished_at = finished_at - $1::interval',
    [interval],
  );

test('rows that are late, fail or sit in quarantine are counted', async () => {
  await using db = await database();
  await db.insert('packages', { ...due, validity: 'banana' });
  await db.insert('packages', { ...due, validity: 'apple' });
  await db.cli(['tick']);
  await db.query(
    `update scheduler.failures set quarantined_at = now(), next_attempt_at = 'infinity' where entity_id = '1'`,
  );
  await db.insert('packages', { ...due, scheduled_activation_time: new Date(Date.now() - 5 * 60_000) });
  const { code, of, warnings } = await doctor(db);
  assert.equal(code, 0);
  assert.deepEqual(warnings, ['backlog', 'failures']);
  assert.match(of('backlog').message, /^packages: 1 row due, the oldest for 5 min/);
  assert.ok(of('backlog').remedy!.includes('scheduler run packages --debug'));
  assert.equal(of('failures').message, 'packages: 1 row in quarantine; packages: 1 row, tried again by itself');
});

test('a half-full notification queue is found, and who keeps it', async (t) => {
  {
    await using db = await database();
    const { version } = await db.one(`select current_setting('server_version_num')::integer as version`);
    if (version < 170000) return t.skip('the size of the queue can be set from PostgreSQL 17 on; before, it is 8 GB');
  }
  const dir = mkdtempSync(join(tmpdir(), 'sch-doctor-'));
  try {
    // Pages of 8 kB.
    const server = await startServer({ dir, ...POSTGRES, settings: { max_notify_queue_pages: '64' } });
    const env = { DATABASE_URL: server.url };
    assert.equal((await cli(['migrate', '--create', 'all'], { env })).code, 0);
    assert.equal((await cli(['tick'], { env })).code, 0);
    const [listener, notifier] = [new pg.Client(server.url), new pg.Client(server.url)];
    try {
      await listener.connect();
      await notifier.connect();
      await listener.query(`set application_name = 'sleeper'; listen x`);
      await listener.query('begin');
      const { pid } = (await listener.query('select pg_backend_pid() as pid')).rows[0];
      await notifier.query(`select pg_notify('x', n || repeat('x', 4000)) from generate_series(1, 90) as n`);
      const here = { cli: (args: string[], options?: CliOptions) => cli(args, { env: { ...options?.env, ...env } }) };
      const { failed, of } = await doctor(here);
      assert.deepEqual(failed, ['notifications']);
      assert.match(
        of('notifications').message,
        new RegExp(`the queue is [5-9]\\d % full; .* process ${pid} \\(sleeper, `),
      );
      assert.equal(of('notifications').remedy!.at(-1), `select pg_terminate_backend(${pid});`);
      listener.on('error', () => {});
      await notifier.query(of('notifications').remedy!.at(-1)!);
      await notifier.query(`select pg_notify('x', 'again')`);
      assert.deepEqual((await doctor(here)).failed, []);
    } finally {
      await listener.end().catch(() => {});
      await notifier.end();
    }
  } finally {
    await removeServer(dir);
    rmSync(dir, { recursive: true, force: true });
  }
});
