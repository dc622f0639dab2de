import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied } from '../support/own.ts';

/** A failure that nothing can clear any more is forgotten. */

const at = (time: string) => `2026-03-10T${time}:00Z`;

const yaml = (name: string, rules: string[], more = '') => `
jobs:
  ${name}:
    table: items
${more}    rules:
${rules.map((rule) => `      ${rule}: { due: at, where: { it is open: state = 'open', it is wanted: "(meta ->> 'n')::integer > 0" }, fails: { "it is {state}": bad }, set: state = '${rule}' }`).join('\n')}
  keeper: { table: items, where: state = 'kept', rules: { go: { due: at, delete: true } } }
`;

test('the failures of rows and rules that are gone go away; history moves along to a new name', async () => {
  await using db = await database();
  await db.query(
    `create table items (id serial primary key, at timestamptz, state text default 'open', bad boolean default true, meta jsonb default '{"n":1}')`,
  );
  await applied(db, yaml('items', ['one', 'two']));
  await db.query(`insert into items (at) select '2026-03-10T10:00Z' from generate_series(1, 7)`);
  const failures = () =>
    db.query(`select job, rule, entity_id::integer as id, attempts from scheduler.failures order by 1, 2, 3`);
  const ids = async (rule: string) => (await failures()).flatMap((each) => (each.rule === rule ? each.id : []));
  const tick = (time: string) => db.tick(at(time), { only: ['items'] });
  await tick('10:00');
  assert.deepEqual(await ids('one'), [1, 2, 3, 4, 5, 6, 7]);

  // They wait for their next attempt.
  await db.query(`delete from items where id = 1; update items set state = 'over' where id = 2; update items set at = '2026-03-11Z' where id = 3;
    update items set meta = '{"n":0}' where id = 4`);
  await tick('10:04');
  assert.equal((await failures()).length, 14);
  await tick('10:05');
  assert.deepEqual(
    [await ids('one'), await ids('two')],
    [
      [5, 6, 7],
      [5, 6, 7],
    ],
  );
  await tick('10:35');
  assert.deepEqual(new Set((await failures()).map(({ attempts }) => attempts)), new Set([3]));

  // In quarantine; a condition that raises on another row hides no row that is gone.
  await db.query(`delete from items where id = 5; update items set meta = '{"n":"x"}' where id = 6`);
  await tick('10:40');
  assert.deepEqual(await ids('one'), [6, 7]);

  // A rule that is gone, and a new name for the job.
  await applied(db, yaml('things', ['one', 'three'], '    was: items\n'), '--backlog', 'run');
  assert.deepEqual(new Set((await failures()).map(({ job, rule }) => `${job} ${rule}`)), new Set(['things one']));
  const history = await db.cli(['jobs', 'history', 'things']);
  assert.match(history.out, /applied as items\n.*applied\n$/);
  assert.equal((await db.cli(['jobs', 'history', 'items'])).code, 2);
  await applied(db, yaml('things', ['one', 'three'], '    was: items\n'));

  // A job that was removed.
  await db.cli(['jobs', 'remove', 'things']);
  assert.deepEqual(await failures(), []);
  await db.query(`insert into scheduler.failures (job, rule, entity_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
    values ('things', 'one', '1', 1, 'e', now(), now(), now())`);
  const { out, err } = await db.cli(['failures', 'drop', 'things']);
  assert.match(out, /Forgot 1 row/, err);
  assert.match((await db.cli(['rehearse', '--until', '1d', 'things'])).err, /"things" is not a job/);
});
