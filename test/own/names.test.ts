import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';
import { SCHEMA } from '../support/schema.ts';

/** Columns that are called like those of our own statements. */

const AT = '2026-03-10T12:00:00Z';

const TASKS = `
jobs:
  tasks:
    table: tasks
    where: place <> 'nowhere' and "now" is null
    rules:
      remind:
        due: due_at - 1 day
        where: { it is not wrong: not wrong, it has a place: due_at > '2020-01-01' and id <> '' }
        once: ended
        event: { type: task.near, data: [id, due_at, r, t], message: "{id} of {place} at {due_at}", channels: ["task.{id}"] }
      close:
        due: due_at
        where: not applies and exists (select from places where places.id = place)
        fails: { "the id {id} at {place} is none": id = '' and due_at is not null }
        set: applies = true, changed = due_at, r = id || t
        also: insert into log (id, due_at, no, at) select id, due_at, no, place from changed
      again:
        due: other
        where: applies
        set: other = own_rule.due_at + interval '2 days', changed = own_row.due_at
      go:
        due: other
        where: wrong
        delete: true
        event: task.gone
`;

test('a table may have columns that are called like ours', async () => {
  await using db = await database();
  await db.query(`create table places (id text);
    create table log (id text, due_at timestamptz, no integer, at text);
    create table tasks (no serial primary key, id text, due_at timestamptz, now timestamptz, place text default 'here', wrong boolean default false,
      applies boolean default false, r text, t text default 't', changed timestamptz, other timestamptz, ended timestamptz, todo text, "row" text);
    insert into places values ('here')`);
  assert.match(await applied(db, TASKS), /The next tick knows them/);
  await db.query(`insert into tasks (id, due_at, place, wrong, other) values
    ('a', '2026-03-10 11:00Z', 'here', false, '2026-03-09Z'), ('', '2026-03-10 11:00Z', 'here', false, null), ('c', '2026-03-10 11:00Z', 'nowhere', false, null),
    ('d', '2026-03-11 11:00Z', 'here', false, null), ('e', null, 'here', true, '2026-03-01Z')`);
  const { jobs } = await db.tick(AT, { only: ['tasks'] });
  assert.deepEqual(
    jobs[0]!.failures.map(({ id, rule, error }) => [id, rule, error]),
    [['2', 'close', 'the id  at here is none']],
  );
  assert.deepEqual(jobs[0]!.changed, { remind: 2, close: 1, again: 1, go: 1 });
  assert.deepEqual((await db.tick(AT, { only: ['tasks'] })).jobs[0]!.changed, {});
  assert.deepEqual(
    await db.query(
      `select no, id, r, applies, changed = due_at as same, scheduler.iso(ended) as ended, scheduler.iso(other) as other from tasks order by no`,
    ),
    [
      {
        no: 1,
        id: 'a',
        r: 'at',
        applies: true,
        same: true,
        ended: '2026-03-09T11:00:00Z',
        other: '2026-03-11T00:00:00Z',
      },
      { no: 2, id: '', r: null, applies: false, same: null, ended: null, other: null },
      { no: 3, id: 'c', r: null, applies: false, same: null, ended: null, other: null },
      { no: 4, id: 'd', r: null, applies: false, same: null, ended: '2026-03-10T11:00:00Z', other: null },
    ],
  );
  assert.deepEqual(await db.query('select id, due_at is not null as due, no, at from log'), [
    { id: 'a', due: true, no: 1, at: 'here' },
  ]);
  const [near] = await db.query(
    `select entity_id, data, channels from scheduler.events where type = 'task.near' order by entity_id`,
  );
  assert.deepEqual(near, {
    entity_id: '1',
    data: { id: 'a', due_at: '2026-03-10T11:00:00Z', r: null, t: 't', message: 'a of here at 2026-03-10 11:00:00+00' },
    channels: ['task.a'],
  });
  const { out, code } = await db.cli(['explain', 'tasks', '4']);
  assert.equal(code, 0, out);
  const listed = await db.cli(['next', 'tasks', '--json', '--within', '2d']);
  assert.equal(listed.code, 0, listed.err);
});

test('a word that is a column and has a meaning besides is a fault where it may mean either', async () => {
  await using db = await database();
  await db.query('create table tasks (id serial primary key, due_at timestamptz, done_at timestamptz)');
  const yaml = `
jobs:
  tasks:
    table: tasks
    rules:
      late: { due: due_at + 1 day, where: done_at is null, set: done_at = due_at }
`;
  const { out, code, file } = await apply(db, yaml);
  assert.equal(code, 1);
  assert.equal(
    out.split('\n')[0],
    `${file}:6:75: "due_at" is a column of ${SCHEMA}.tasks, and has a meaning of its own in a rule: write own_row.due_at for the column, or own_rule.due_at`,
  );
});
