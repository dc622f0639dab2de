import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';

/** A name that every object of JavaScript has is a name like any other. */

const YAML = `
jobs:
  constructor:
    table: things
    rules:
      constructor:
        due: at
        where: { toString: "\\"constructor\\" = 'open'", valueOf: not "hasOwnProperty" }
        set: constructor = 'done', "hasOwnProperty" = true
        event: { type: thing.done, data: [constructor] }
      toString:
        due: at
        where: { constructor: "constructor = 'next'" }
        fails: { constructor: "id = 3" }
        set: { constructor: "'over'" }
`;

test('jobs, rules, conditions and columns may have the names of the prototype of an object', async () => {
  await using db = await database();
  await db.query(`create table things (id serial primary key, at timestamptz default '2026-03-01', constructor text, "hasOwnProperty" boolean default false);
    insert into things (constructor) values ('open'), ('next'), ('next')`);
  assert.match(await applied(db, YAML, '--backlog', 'run'), /\+ constructor/);
  assert.match(await applied(db, YAML), /Nothing has changed/);
  const { jobs } = await db.tick('2026-03-02T00:00:00Z', { only: ['constructor'] });
  assert.deepEqual(jobs[0]!.changed, { constructor: 1, toString: 1 });
  assert.deepEqual(await db.query('select id, constructor as is from things order by id'), [
    { id: 1, is: 'done' },
    { id: 2, is: 'over' },
    { id: 3, is: 'next' },
  ]);
  for (const args of [
    ['status', 'constructor'],
    ['next', 'constructor'],
    ['history', 'constructor'],
    ['doctor'],
    ['rehearse', '--until', '1d'],
    ['jobs', 'show', 'constructor'],
  ]) {
    const { err } = await db.cli(args);
    assert.equal(err, '', args.join(' '));
  }
  const explained = await db.cli(['explain', 'constructor', '1', '--all']);
  assert.match(explained.out, /toString +constructor = done/, explained.err);
  assert.match(await applied(db, YAML.replace('      toString:\n', '      valueOf:\n')), /the rule "valueOf" is new/);
});

test('a rule may add a column of such a name', async () => {
  await using db = await database();
  await db.query(`create table things (id serial primary key, at timestamptz)`);
  await applied(db, 'jobs: { things: { table: things, rules: { go: { due: at, once: constructor } } } }');
  await db.query(`insert into things (at) values ('2026-03-01')`);
  const { jobs } = await db.tick('2026-03-02T00:00:00Z', { only: ['things'] });
  assert.deepEqual(jobs[0]!.changed, { go: 1 });
});

test('"__proto__" is refused as a name: it would get lost', async () => {
  await using db = await database();
  await db.query(`create table things (id serial primary key, at timestamptz, gone boolean default false)`);
  for (const where of ['{ __proto__: not gone }', 'not gone'])
    for (const rule of ['__proto__', 'go']) {
      if (rule === 'go' && where === 'not gone') continue;
      const yaml = `jobs: { things: { table: things, rules: { ${rule}: { due: at, where: ${where}, set: gone = true } } } }`;
      const { code, out } = await apply(db, yaml);
      assert.equal(code, 1);
      assert.match(out, /"__proto__" cannot be a name here: give it another/);
    }
  const { out } = await apply(
    db,
    'jobs: { things: { table: things, rules: { go: { due: at, where: not gone, set: __proto__ = 1 } } } }',
  );
  assert.match(out, /"__proto__" cannot be a name here: give it another/);
});
