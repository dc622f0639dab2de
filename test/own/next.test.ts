import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { explained, outlook } from '../support/looking.ts';
import { applied } from '../support/own.ts';

/** What "next" says of jobs of your own. */

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const YAML = `
jobs:
  daily:
    table: items
    every: 1 day
    rules: { go: { due: at, where: state = 'a', set: state = 'b' } }
  steps:
    table: steps
    rules:
      one: { due: at, where: state = 'a', fails: { "it is bad": bad }, set: state = 'b' }
      two: { due: later, where: "state in ('a', 'b')", set: state = 'c' }
`;

test('next heeds how often a job looks, and that a row which has failed waits', async () => {
  await using db = await database();
  await db.query(`create table items (id serial primary key, at timestamptz, state text default 'a');
    create table steps (id serial primary key, at timestamptz, later timestamptz, state text default 'a', bad boolean default true)`);
  await applied(db, YAML);
  await db.query(`insert into items (at) select now() + n * interval '1 hour' from unnest(array[-1, 30, 31, 80]) as n`);
  const listed = async (job: string, within = 3 * DAY) => {
    const { transitions, now } = await outlook(db, { job, within: within / 1000 });
    const midnight = Math.ceil(Date.parse(now) / DAY) * DAY;
    return transitions.map(({ transition, at, rows, overdue, id }) => {
      const when = job === 'daily' && !overdue ? (Date.parse(at) - midnight) / DAY : at;
      return [transition, id, rows, overdue, when];
    });
  };
  // Those that are due on the third day after today wait for the midnight after it.
  const [overdue, ...coming] = await listed('daily', 4.5 * DAY);
  assert.deepEqual(overdue!.slice(0, 4), ['go', '1', 1, true]);
  const days = (hours: number) => Math.ceil((Date.now() + hours * HOUR) / DAY) - Math.ceil(Date.now() / DAY);
  const expected = (some: [string, number][]) => {
    const minutes = [...new Set(some.map(([, hours]) => days(hours)))];
    return minutes.map((day) => {
      const of = some.filter(([, hours]) => days(hours) === day);
      return ['go', of[0]![0], of.length, false, day];
    });
  };
  const ahead: [string, number][] = [
    ['2', 30],
    ['3', 31],
    ['4', 80],
  ];
  assert.deepEqual(coming, expected(ahead));
  // One that comes due in the time asked for may have its turn after it.
  const [, ...near] = await listed('daily', 31.5 * HOUR);
  const turn = (hours: number) => Math.ceil((Date.now() + hours * HOUR) / DAY) * DAY;
  assert.deepEqual(near, expected(ahead.filter(([, hours]) => turn(hours) - Date.now() <= 31.5 * HOUR)));
  // It has done this day: what comes due meanwhile waits for the next one.
  await db.query(`update items set at = now() + interval '1 day' where id = 1`);
  await db.tick(undefined, { only: ['daily'] });
  await db.query(`update items set at = now() - interval '1 hour' where id = 1`);
  assert.deepEqual((await listed('daily', 4.5 * DAY))[0], ['go', '1', 1, false, 0]);

  // The first rule fails, and tries again in five minutes: the second one does not wait for it.
  await db.query(`insert into steps (at, later) values (now() - interval '1 minute', now() + interval '2 minutes')`);
  await db.tick(undefined, { only: ['steps'] });
  assert.deepEqual(
    (await outlook(db, { job: 'steps' })).transitions.map(({ transition, retry }) => [transition, retry]),
    [['two', null]],
  );
  await db.query(`update steps set later = now() + interval '20 minutes'`);
  const { transitions } = await outlook(db, { job: 'steps' });
  assert.deepEqual(
    transitions.map(({ transition, retry }) => [transition, retry]),
    [['one', 'it is bad']],
  );
});

test('explain names a backlog that was skipped as the reason', async () => {
  await using db = await database();
  await db.query(`create table steps (id serial primary key, at timestamptz, later timestamptz, state text default 'a', bad boolean);
    create table items (id serial primary key, at timestamptz, state text default 'a'); insert into items (at) values ('2026-03-01Z')`);
  await applied(db, YAML, '--backlog', 'skip');
  const { verdict } = (await explained(db, 'daily', 1)).transitions[0]!;
  assert.match(
    verdict.sentence,
    /cannot happen because "it came due after older rows were left alone \(--backlog skip\) at 20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ" is not met \(/,
  );
});
