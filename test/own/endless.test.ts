import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied } from '../support/own.ts';

/** A rule that makes rows due by what it does itself. */

const AT = '2026-03-10T12:00:00Z';
const ENDLESS =
  /The rule "do" of chores was left while rows are due: .* again and again\. Most likely "also", .* adds rows/;

const yaml = (also: string) => `
jobs:
  chores:
    table: chores
    rules:
      do: { due: at, where: not done, set: done = true, also: "${also}" }
  others:
    table: others
    rules:
      do: { due: at, where: not done, set: done = true }
`;

test('rows that "also" inserts are done in the same run, but not without end, and the record says so', async () => {
  await using db = await database();
  const columns = 'at timestamptz, done boolean default false';
  await db.query(
    `create table chores (id serial primary key, ${columns}); create table others (id serial primary key, ${columns})`,
  );
  const chores = async (count: number) => {
    await db.query(`truncate chores; insert into chores (at) select '2026-03-01Z' from generate_series(1, ${count});
      truncate others; insert into others (at) values ('2026-03-01Z')`);
    const result = await db.tick(AT, { only: ['chores', 'others'], batchSize: 10 });
    const { error = '', changed } = result.jobs[0]!;
    assert.deepEqual(result.jobs[1]!.changed, { do: 1 });
    const record =
      await db.one(`select error, work_left, finished_at is not null as ended, (changed ->> 'do')::integer as done
      from scheduler.runs where job = 'chores' order by id desc limit 1`);
    assert.deepEqual(record, { error: error || null, work_left: error !== '', ended: true, done: changed.do });
    return { error, changed: changed.do!, exitCode: result.exitCode };
  };

  // A job that is late by a few days catches up.
  await applied(db, yaml(`insert into chores (at) select due_at + interval '1 day' from changed`));
  assert.deepEqual(await chores(1), { error: '', changed: 10, exitCode: 0 });

  assert.match(await applied(db, yaml('insert into chores (at) select due_at from changed')), ENDLESS);
  const same = await chores(12);
  assert.match(same.error, ENDLESS);
  assert.equal(same.exitCode, 78);
  assert.ok(same.changed > 300 && same.changed < 1500, `${same.changed}`);

  await applied(db, yaml('insert into chores (at) select due_at from changed, generate_series(1, 2)'));
  const twice = await chores(1);
  assert.match(twice.error, ENDLESS);
  assert.ok(twice.changed > 300 && twice.changed < 3000, `${twice.changed}`);
  assert.match((await db.cli(['status', '--check'])).out, /chores was stopped by an error: The rule "do" of chores/);
});
