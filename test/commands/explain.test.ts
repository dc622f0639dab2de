import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied } from '../support/own.ts';

const HOUR = 3_600_000;
const at = (hours: number) => new Date(Date.now() + hours * HOUR).toISOString();

const sale = { name: 'Weekend', enable_schedule: true, status: 'active', validity: '2 hours' };

test('it answers "why was this not activated?" in words', async () => {
  await using db = await database();
  const start = at(-1);
  await db.insert('packages', {
    ...{ ...sale, scheduled_activation_time: start, opened_start: start },
    opened_end: new Date(Date.parse(start) + 2 * HOUR),
  });
  const short = (await db.cli(['explain', 'packages', '1'])).out;
  const { code, out, err } = await db.cli(['explain', 'packages', '1', '--all']);
  assert.equal(code, 0, err);
  assert.equal(short.split('\n')[1], out.split('\n')[1], 'the two lines that answer come first');
  assert.doesNotMatch(short, /as seen/);
  assert.equal(err, '');
  assert.match(out, /^packages 1: "deactivate" will happen at .* \(in (1 h|59 min).*\)\.$/m);
  assert.match(out, /^No tick does packages: none has ever come\.$/m);
  assert.match(out, /^activate cannot happen because "it is off sale" is not met \(status = active\), and "/m);
  assert.match(out, /^met +condition +as seen$/m);
  assert.match(out, /^yes +the schedule is enabled +enable_schedule = true$/m);
  assert.match(out, /^no +it is off sale +status = active$/m);
  assert.match(out, /^yes +due .*, 1 h.* ago +scheduled_activation_time = /m);
  assert.ok(
    out.indexOf('deactivate will happen') < out.indexOf('activate cannot happen'),
    'what comes first is said first',
  );
});

test('with --json it is one object', async () => {
  await using db = await database();
  await db.insert('packages', { ...sale, status: 'inactive', scheduled_activation_time: at(-1) });
  const { code, out } = await db.cli(['explain', 'packages', '01', '--json']);
  assert.equal(code, 0);
  const answer = JSON.parse(out);
  assert.equal(answer.id, '1', 'the id is as the table has it');
  assert.equal(answer.next.transition, 'activate');
  assert.equal(
    answer.transitions.find((each: { transition: string }) => each.transition === 'activate').verdict.kind,
    'now',
  );
});

test('an unknown job, an unknown row and what is no id are sentences, exit 2', async () => {
  await using db = await database();
  await db.query('alter table special_packages alter id drop identity');
  await db.query('alter table special_packages alter id type uuid using gen_random_uuid()');
  for (const [args, said] of [
    [
      ['explain', 'bananas', '1'],
      /^scheduler: "bananas" is not a job; valid: packages, special-packages, .*vouchers\.$/,
    ],
    [['explain', 'packages', '17'], /^scheduler: There is no row with the id 17 in packages\.$/],
    [['explain', 'packages', 'abc'], /^scheduler: "abc" is not an id of packages, whose ids are of the type bigint\.$/],
    [['explain', 'packages', '99999999999999999999'], /^scheduler: "9+" is not an id of packages/],
    [
      ['explain', 'special-packages', 'abc'],
      /^scheduler: "abc" is not an id of special_packages, whose ids are of the type uuid\.$/,
    ],
    [['explain', 'packages'], /^scheduler explain: missing required argument 'id'/],
    [['explain', 'packages', '1', '--at', 'soon'], /^scheduler: --at is "soon", which is not a time/],
  ] as const) {
    const { code, out, err } = await db.cli([...args]);
    assert.equal(code, 2, err);
    assert.equal(out, '');
    assert.match(err.trimEnd(), said);
  }
});

test('only times are written as times: a word with a T in it stays as it is', async () => {
  await using db = await database();
  await db.insert('customer_packages', {
    id: 'Ticket',
    userId: 'T',
    status: 'ACTIVE',
    endDate: '2026-03-01T10:00:00Z',
  });
  await db.insert('special_packages', { name: 'T', scheduled: true, auto_activate: true, schedule_date: '2026-03-01' });
  const at = ['--at', '2026-03-01T10:00:00Z'];
  assert.match(
    (await db.cli(['explain', 'subscriptions', 'Ticket', '--all', ...at])).out,
    /status = ACTIVE$[\s\S]*endDate = 2026-03-01 10:00:00Z$/m,
  );
  assert.match((await db.cli(['explain', 'special-packages', '1', '--all', ...at])).out, /SCHEDULER_TIMEZONE = UTC$/m);
});

test('a failure, what holds a job, and what happened before are said', async () => {
  await using db = await database();
  await db.insert('packages', { ...sale, status: 'inactive', scheduled_activation_time: at(-1) });
  await db.tick(undefined, { only: ['packages'] });
  await db.query(`update packages set validity = 'banana'`);
  await db.tick(undefined, { only: ['packages'] });
  await db.cli(['stop', 'packages', '--reason', 'prices are wrong']);
  const { out } = await db.cli(['explain', 'packages', '1', '--all']);
  assert.match(out, /^"deactivate" cannot happen because packages is paused: stopped by .*: prices are wrong/m);
  assert.match(out, /^"deactivate" failed once, the last time at .*: validity 'banana' .* Next attempt: \d/m);
  assert.match(out, /^What happened to it before$/m);
  assert.match(out, /package\.status\.changed .*status changed from inactive to active$/m);
});

test('on a schema that was never migrated it says what to do', async () => {
  await using db = await database({ empty: true });
  const { code, err } = await db.cli(['explain', 'packages', '1']);
  assert.equal(code, 78);
  assert.match(err, /Run "scheduler migrate" once/);
});

test('two lines say why it did not change, and what happens next', async () => {
  await using db = await database();
  const lines = async (id: number) => (await db.cli(['explain', 'packages', String(id)])).out.split('\n').slice(0, 2);
  await db.insert('packages', {
    ...sale,
    status: 'inactive',
    enable_schedule: false,
    scheduled_activation_time: at(1),
  });
  await db.insert('packages', { ...sale, status: 'inactive', scheduled_activation_time: at(1) });
  await db.insert('packages', { ...sale, status: 'inactive', scheduled_activation_time: at(-1), validity: 'banana' });
  await db.cli(['tick']);
  assert.deepEqual(await lines(1), [
    'packages 1: as it is, nothing comes next.',
    '"miss" and "activate" cannot happen because "the schedule is enabled" is not met (enable_schedule = false).',
  ]);
  const [next, why] = await lines(2);
  assert.match(next!, /^packages 2: "activate" will happen at \S+ \S+ \(in (1 h|59 min .*)\)\.$/);
  assert.match(why!, /^It is due at \S+ \S+: scheduled_activation_time = \S+ \S+Z\.$/);
  const [again, failed] = await lines(3);
  assert.match(again!, /^packages 3: "activate" will fail at .* attempt 2: validity 'banana' is not a count/);
  assert.match(failed!, /^"activate" failed once, the last time at \S+ \S+Z\.$/);
  await db.cli(['stop', 'packages', '--reason', 'prices are wrong']);
  assert.match(
    (await lines(2))[1]!,
    /^"activate" cannot happen because packages is paused: .*: prices are wrong; else/,
  );
});

test('with --all, a failure is told once; a row that was released has not failed 0 times', async () => {
  await using db = await database();
  await db.insert('packages', { ...sale, status: 'inactive', scheduled_activation_time: at(-1) });
  await db.query(`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not this one'; end $$;
    create trigger refuse before update on packages for each row execute function refuse()`);
  await db.tick(undefined, { only: ['packages'] });
  const all = async () => (await db.cli(['explain', 'packages', '1', '--all'])).out;
  const failed = await all();
  assert.match(failed, /^packages 1: "activate" will be tried at .*, which is its attempt 2\.$/m);
  assert.equal(
    failed.match(/^"activate" failed once, the last time at .*: not this one\. Next attempt: \d/gm)!.length,
    1,
  );
  await db.cli(['failures', 'retry', 'packages', '1']);
  const released = await all();
  assert.match(
    released,
    /^"activate" was released after it failed at \S+ \S+Z: not this one\. Next attempt: with the next tick\.$/m,
  );
  assert.doesNotMatch(released, /0 times/);
});

test('a command that it suggests takes an id that begins with "-" for an id', async () => {
  await using db = await database();
  await db.query(`create table list (id text primary key, at timestamptz, gone boolean not null default false)`);
  await applied(
    db,
    'jobs: { list: { table: list, rules: { go: { due: at, where: not gone, set: gone = true, fails: { no: "true" } } } } }',
  );
  await db.query(`insert into list values ('--all', '2026-03-01')`);
  assert.match((await db.cli(['next', 'list'])).out, /see "scheduler explain list -- --all"/);
  for (const time of ['10:00', '10:05', '10:35']) await db.tick(`2026-03-02T${time}:00Z`, { only: ['list'] });
  const { out, err } = await db.cli(['explain', 'list', '--', '--all']);
  assert.match(out, /runs "scheduler failures retry list -- --all"/, err);
  assert.match((await db.cli(['failures', 'retry', 'list', '--', '--all'])).out, /^Released 1 row/);
});
