import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database, type TestDatabase } from '../support/harness.ts';
import { SCHEMA } from '../support/schema.ts';
import { screen } from '../support/terminal.ts';

const sale = (name: string, over: object = {}) => ({
  name,
  enable_schedule: true,
  scheduled_activation_time: '2026-03-01T10:00:00Z',
  validity: '2 hours',
  ...over,
});

async function json(db: TestDatabase, args: string[]) {
  const { code, out, err } = await db.cli([...args, '--json']);
  assert.equal(code, 0, err);
  return JSON.parse(out);
}

// ── history

test('history lists runs and who started or stopped what in one list, the newest last, without idle runs', async () => {
  await using db = await database();
  await db.cli(['tick']);
  await db.insert('packages', sale('One', { scheduled_activation_time: new Date(Date.now() - 5000) }));
  await db.cli(['packages']);
  await db.cli(['stop', 'packages', '--reason', 'price error']);
  await db.cli(['start']);
  await db.cli(['packages']);
  const { history: entries } = await json(db, ['history']);
  assert.deepEqual(
    entries.map(({ kind, job, action }: Record<string, unknown>) => [kind, job, action]),
    [
      ['run', 'packages', undefined],
      ['control', 'packages', 'stop'],
      ['control', null, 'start'],
    ],
  );
  const [run, stop] = entries;
  assert.deepEqual(run.changed, { activate: 1 });
  assert.deepEqual(await db.query('select run_id::integer from scheduler.events'), [{ run_id: run.number }]);
  assert.ok(run.at <= run.finishedAt);
  assert.match(run.by, /^\w+@\S+$/);
  assert.ok(run.lateSeconds >= 5 && run.lateSeconds < 30);
  assert.equal(stop.reason, 'price error');
  assert.deepEqual(
    entries.map(({ at }: { at: string }) => at).sort(),
    entries.map(({ at }: { at: string }) => at),
  );

  const { history: all } = await json(db, ['history', '--all']);
  assert.ok(all.filter(({ kind }: { kind: string }) => kind === 'run').length > 2);

  const { out } = await db.cli(['history']);
  assert.match(out, /^(?:tenant +)?number +at +job +what +late by +took +by$/m);
  assert.match(out, /^\w* +\d+ {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ {2}packages +activate 1 +\d+ s +\d+\.\d s +\w+@/m);
  assert.match(out, /packages +stopped by \S+@\S+: price error/);
  assert.match(out, /\(all\) +started/);
});

test('history is narrowed by job, time and number', async () => {
  await using db = await database();
  for (const [job, ago] of [
    ['packages', '3 days'],
    ['packages', '2 hours'],
    ['special-packages', '1 hour'],
    ['packages', '1 minute'],
  ]) {
    await db.query(
      `insert into scheduler.runs (job, at, started_at, finished_at, changed, host, version)
       values ($1, now(), now() - $2::interval, now(), '{"activate": 1}', $3, 'v')`,
      [job, ago, ago],
    );
  }
  const hosts = async (...args: string[]) =>
    (await json(db, ['history', ...args])).history.map(({ host }: { host: string }) => host);
  assert.deepEqual(await hosts(), ['3 days', '2 hours', '1 hour', '1 minute']);
  assert.deepEqual(await hosts('packages'), ['3 days', '2 hours', '1 minute']);
  assert.deepEqual(await hosts('--since', '1d'), ['2 hours', '1 hour', '1 minute']);
  assert.deepEqual(await hosts('--until', '90m'), ['3 days', '2 hours']);
  assert.deepEqual(await hosts('--since', '1d', '--until', '90m'), ['2 hours']);
  assert.deepEqual(await hosts('--limit', '2'), ['1 hour', '1 minute']);
  assert.match((await db.cli(['history', '--since', '1s'])).out, /Nothing happened in that time/);
});

test('history shows a run that was killed, one that left work, and one that an error ended', async () => {
  await using db = await database();
  await db.query(
    `insert into scheduler.runs (job, at, started_at, finished_at, work_left, error, host, version) values
       ('packages', now(), now() - interval '3 minutes', null, false, null, 'h', 'v'),
       ('packages', now(), now() - interval '2 minutes', now(), true, null, 'h', 'v'),
       ('packages', now(), now() - interval '1 minute', now(), false, 'The tables of packages do not fit.', 'h', 'v')`,
  );
  const { out } = await db.cli(['history']);
  assert.match(out, /not finished +tick on h$.*work left.*The tables of packages do not fit\./ms);
});

// ── events

test('events are found by row, type, job and time; the newest last', async () => {
  await using db = await database();
  const one = await db.insert('packages', sale('One'));
  const two = await db.insert('packages', sale('Two', { validity: '1 hour' }));
  await db.insert('packages', sale('Three', { scheduled_activation_time: '2026-03-01T08:00:00Z', validity: '1 hour' }));
  await db.tick('2026-03-01T10:00:00Z');
  await db.tick('2026-03-01T11:00:00Z');
  const types = async (...args: string[]) =>
    (await json(db, ['events', ...args])).events.map(
      ({ type, entityId }: Record<string, string>) => `${type} ${entityId}`,
    );
  const changed = 'package.status.changed';
  const all = [`package.schedule.missed 3`, `${changed} ${one.id}`, `${changed} ${two.id}`, `${changed} ${two.id}`];
  assert.deepEqual(await types(), all);
  assert.deepEqual(await types('packages', String(two.id)), all.slice(2));
  assert.deepEqual(await types('--type', 'package.schedule.missed'), all.slice(0, 1));
  assert.deepEqual(await types('--since', '2026-03-01T11:00'), all.slice(3));
  assert.deepEqual(await types('--until', '2026-03-01T11:00Z'), all.slice(0, 3));
  assert.deepEqual(await types('--limit', '2'), all.slice(2));
  assert.deepEqual(await types('special-packages'), []);
  assert.deepEqual(await types('packages', String(one.id)), [all[1]]);

  const [event] = (await json(db, ['events', 'packages', String(one.id)])).events;
  assert.equal(event.id, 2);
  assert.equal(event.dueAt, '2026-03-01T10:00:00Z');
  assert.equal(event.data.package_name, 'One');
  assert.deepEqual(event.channels, ['private-packages', 'private-admin-notifications']);
});

test('history and events say that there is more than they list', async () => {
  await using db = await database();
  for (const name of ['One', 'Two']) await db.insert('packages', sale(name));
  await db.tick('2026-03-01T10:00:00Z', { only: ['packages'] });
  await db.tick('2026-03-01T10:01:00Z', { only: ['packages'] });
  for (const [args, noun, nouns] of [
    [['events'], 'event', 'events'],
    [['history', '--all'], 'entry', 'entries'],
  ] as const) {
    const of = async (limit: string) => {
      const { out, err } = await db.cli([...args, '--limit', limit]);
      return [out.trimEnd().split('\n').length - 1, err && JSON.parse(err).msg];
    };
    assert.deepEqual(await of('1'), [1, `Only the newest ${noun} is listed, and there are more: --limit lists them.`]);
    assert.deepEqual(await of('2'), [2, ''], `two ${nouns}`);
  }
});

test('on a narrow terminal, history says first what went wrong', async () => {
  await using db = await database();
  await db.query(`insert into scheduler.runs (tenant, job, at, started_at, finished_at, changed, failed, late_by, unsent, work_left, host, version)
    values ('${SCHEMA}', 'packages', '2026-03-01', '2026-03-01', '2026-03-01 00:01', '{"activate":1,"deactivate":1,"miss":1,"repeat":1,"keep":1}', 3, '1 s', 0, true, 'h', '1')`);
  assert.match((await screen(db, ['history'], 80)).join('\n'), / packages +failed 3, work left, /);
});

test('--since without an offset is read in SCHEDULER_TIMEZONE', async () => {
  await using db = await database();
  await db.insert('packages', sale('One'));
  await db.tick('2026-03-01T10:00:00Z');
  const env = { SCHEDULER_TIMEZONE: 'Africa/Nairobi' };
  assert.match((await db.cli(['events', '--since', '2026-03-01T13:00'], { env })).out, /package\.status\.changed/);
  assert.equal((await db.cli(['events', '--since', '2026-03-01T13:01'], { env })).out, 'No such event.\n');
});

test('events are a table for people', async () => {
  await using db = await database();
  await db.insert('packages', sale('One'));
  await db.tick('2026-03-01T10:00:30Z');
  const { out } = await db.cli(['events']);
  assert.match(out, /^(?:tenant +)?id +at +job +row +event +due +message\n/);
  assert.match(
    out,
    /^\w* *1 {2}2026-03-01 10:00:30Z {2}packages +1 +package\.status\.changed {2}2026-03-01 10:00:00Z {2}Package 'One' status changed from inactive to active$/m,
  );
});
