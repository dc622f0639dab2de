import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';

const at = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString();

test('it lists what will happen and when, soonest first, and flags what is overdue', async () => {
  await using db = await database();
  const sale = { name: 'Weekend', enable_schedule: true, status: 'inactive', validity: '1 day' };
  for (const hours of [3, -1]) await db.insert('packages', { ...sale, scheduled_activation_time: at(hours) });
  await db.insert('packages', { ...sale, validity: 'banana', scheduled_activation_time: at(-2) });
  const { code, out, err } = await db.cli(['next']);
  assert.equal(code, 0, err);
  const [heading, overdue, later, ...rest] = out.split('\n');
  assert.match(heading!, /^when +job +transition +rows +row +remark$/);
  assert.match(overdue!, /^\d{4}-\d\d-\d\d [\d:]+Z +overdue, 2 h.* ago +packages +activate +2 +3 … +1 would fail$/);
  assert.match(later!, /Z +in (3 h|2 h 59 min).* +packages +activate +1 +1$/);
  assert.match(rest.join('\n'), /^Scheduler is not running: no tick has ever come; .*\.$/m);
});

test('a row that would fail is named with the command that says why', async () => {
  await using db = await database();
  const row = { name: 'p', enable_schedule: true, scheduled_activation_time: at(-1), validity: 'banana' };
  await db.insert('packages', row);
  assert.match((await db.cli(['next'])).out, / would fail: see "scheduler explain packages 1"$/m);
});

test('rows that failed for several reasons are not given the reason of one', async () => {
  await using db = await database();
  const row = { name: 'p', enable_schedule: true, scheduled_activation_time: at(-1) };
  await db.insert('packages', { ...row, validity: 'banana' });
  await db.tick(undefined, { only: ['packages'] });
  const remark = async () => /tried again after: (validity 'banana'.*?)(; |$)/m.exec((await db.cli(['next'])).out)![1]!;
  assert.doesNotMatch(await remark(), /others/);
  await db.insert('packages', { ...row, validity: 'apple' });
  await db.tick(undefined, { only: ['packages'] });
  await db.query(
    'update scheduler.failures set next_attempt_at = (select max(next_attempt_at) from scheduler.failures)',
  );
  assert.match(await remark(), /, and others$/);
});

test('with --json it is one object', async () => {
  await using db = await database();
  await db.insert('vouchers', { code: 'top-secret', expires_at: at(1) });
  const { code, out } = await db.cli(['next', 'vouchers', '--within', '90m', '--json']);
  assert.equal(code, 0);
  const { transitions, now, until } = JSON.parse(out);
  assert.equal(transitions.length, 1);
  assert.equal(Date.parse(until) - Date.parse(now), 90 * 60_000);
  assert.doesNotMatch(out, /top-secret/);
});

test('spans may be written in words', async () => {
  await using db = await database();
  await db.insert('vouchers', { code: 'a', expires_at: at(25) });
  for (const [within, count] of [
    ['2 hours', 0],
    ['1400 min', 0],
    ['26h', 1],
    ['2 Days', 1],
    ['1w', 1],
  ] as const) {
    const { out, err } = await db.cli(['next', '--within', within, '--json']);
    assert.equal(err, '');
    assert.equal(JSON.parse(out).transitions.length, count, within);
  }
});

test('a span, a job or a count that is none is a sentence, exit 2', async () => {
  await using db = await database();
  for (const [args, said] of [
    [
      ['--within', 'soon'],
      /^scheduler: --within is "soon", which is not a span of time; valid: 90m, 24h, 7d, "2 hours"\.\n$/,
    ],
    [['--within', '-1h'], /^scheduler.*\n$/],
    [['--within', '1.5h'], /--within is "1\.5h"/],
    [['--within', '2 months'], /--within is "2 months"/],
    [['bananas'], /^scheduler: "bananas" is not a job; valid: packages, /],
    [['--limit', '0'], /a whole number from 1 to 10000/],
  ] as const) {
    const { code, out, err } = await db.cli(['next', ...args]);
    assert.equal(code, 2, err);
    assert.equal(out, '');
    assert.match(err, said);
  }
});

test('when nothing comes it says so, and why not', async () => {
  await using db = await database();
  await db.tick();
  assert.match(
    (await db.cli(['next', '--within', '1h'])).out,
    /^Nothing will happen until \d{4}-\d\d-\d\d [\d:]+Z\.\n$/,
  );
  await db.cli(['stop', '--reason', 'moving']);
  assert.match(
    (await db.cli(['next'])).out,
    /^packages, special-packages, .*, and vouchers are paused: stopped by .*: moving\.$/m,
  );
});
