import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { count, due, START } from '../support/due-packages.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { SCHEMA } from '../support/schema.ts';

/** A job that cannot work keeps no other from it. */

const both = { only: ['packages', 'special-packages'] };
const alsoSpecial = (db: TestDatabase) =>
  db.query(
    `insert into special_packages (name, scheduled, auto_activate, schedule_date) values ('s', true, true, '2026-03-01')`,
  );

for (const [what, sql] of [
  ['vanished', 'drop table packages'],
  ['lost a column', 'alter table packages drop column activated_at'],
] as const) {
  test(`a job whose table has ${what} is not installed, and the other one runs`, async () => {
    await using db = await database();
    await alsoSpecial(db);
    await db.query(sql);
    const result = await db.tick(START, both);
    assert.equal(result.exitCode, 0);
    assert.match(result.skipped[0]!.why, /^not installed: packages(\.activated_at)? missing$/);
    assert.deepEqual(result.jobs[0]!.changed, { activate: 1 });
  });
}

for (const [what, sql] of [
  [
    'has another type of column',
    'alter table packages alter is_active drop default, alter is_active type integer using 0',
  ],
  [
    'has a status that knows no "inactive"',
    `drop index packages_to_activate, packages_to_miss, packages_to_go_on, packages_to_settle, packages_to_keep;
    alter table packages drop constraint packages_status_check; alter table packages alter status drop default;
    create type other as enum ('on', 'off'); alter table packages alter status type other using 'off'`,
  ],
] as const) {
  test(`a job whose table ${what} says so, and the other one runs`, async () => {
    await using db = await database();
    await due(db, 1);
    await alsoSpecial(db);
    await db.query(sql);
    const result = await db.tick(START, both);
    assert.equal(result.exitCode, 78);
    assert.ok(result.jobs[0]!.error, JSON.stringify(result));
    assert.deepEqual(result.jobs[1]!.changed, { activate: 1 });
  });
}

test('a job whose table somebody keeps locked is interrupted, and the other one runs', async () => {
  await using db = await database();
  await due(db, 1);
  await alsoSpecial(db);
  const application = new pg.Client({ connectionString: db.url });
  await application.connect();
  try {
    await application.query('begin; lock table packages in access exclusive mode');
    const result = await db.tick(START, both);
    assert.equal(result.exitCode, 75);
    assert.match(result.jobs[0]!.error!, /^packages was interrupted by the database: .*lock timeout/);
    assert.deepEqual(result.jobs[1]!.changed, { activate: 1 });
  } finally {
    await application.end();
  }
});

test('a job that lost a right says which, and the other one runs', async () => {
  await using db = await database();
  await due(db, 1);
  await alsoSpecial(db);
  const role = `r_${db.name}`;
  await db.query(`create role ${role} login; grant usage on schema ${SCHEMA}, scheduler to ${role};
    grant all on all tables in schema scheduler, ${SCHEMA} to ${role}; grant all on all sequences in schema scheduler to ${role};
    revoke all on packages from ${role}`);
  try {
    const { code, err } = await db.cli([
      'tick',
      '--at',
      START,
      '--database-url',
      db.url.replace('postgres@', `${role}@`),
    ]);
    assert.equal(code, 78, err);
    assert.match(err, /permission denied for table packages/);
    assert.equal(await count(db, 'special_packages where is_active'), 1);
  } finally {
    await db.query(`drop owned by ${role}; drop role ${role}`);
  }
});

test('a job that meets an error which nobody foresaw ends with 70 and says what it was, and the other one runs', async () => {
  await using db = await database();
  await due(db, 1);
  await alsoSpecial(db);
  await db.query(`create function break() returns trigger language plpgsql as $$
      begin raise exception 'a page is torn' using errcode = 'XX001'; end $$;
    create trigger break before update on packages for each row execute function break()`);
  const { code, err } = await db.cli(['tick', '--at', START]);
  assert.equal(code, 70, err);
  assert.match(err, /packages stopped on an unexpected error: a page is torn\. Please report it/);
  assert.equal(await count(db, 'special_packages where is_active'), 1);
  assert.equal(await count(db, 'scheduler.failures'), 0);
});
