import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied } from '../support/own.ts';
import { ticker } from '../support/ticker.ts';

/** What is played is what ticks then do. */

const HOLDS = `
jobs:
  holds:
    table: holds
    zone: Europe/Berlin
    rules:
      warn:
        due: until - 30 minutes
        where: not released
        once: warned_for
        late: 10 minutes
        event: hold.ending
      release:
        due: until
        where: not released
        set: released = true, released_at = due_at
        event: { type: hold.released, channels: ["holds.{id}"] }
      again:
        due: again_at
        repeat: 1 day
      forget:
        due: released_at + 1 hour
        where: released
        delete: true
`;

test('three hours rehearsed are three hours ticked minute by minute', async () => {
  await using db = await database();
  await db.query(`create table holds (id serial primary key, until timestamptz, again_at timestamptz, released boolean not null default false, released_at timestamptz);
    insert into holds (until, again_at)
    select '2027-03-28 00:00Z'::timestamptz + n * interval '7 minutes', case when n % 3 = 0 then '2027-03-28 00:30Z'::timestamptz - (n % 5) * interval '1 day' end
    from generate_series(-3, 20) as n`);
  await applied(db, HOLDS);
  const from = Date.parse('2027-03-28T00:00:00Z');
  const until = from + 3 * 3_600_000;
  const iso = (at: number) => new Date(at).toISOString();
  const args = ['rehearse', '--from', iso(from), '--until', iso(until), '--job', 'holds', '--timeout', '60'];
  const { code, out, err } = await db.cli([...args, '--json']);
  assert.equal(code, 0, err);
  const { timeline, stopped } = JSON.parse(out);
  assert.equal(stopped, null);
  assert.equal((await db.query('select from scheduler.events')).length, 0, 'nothing of it is kept');

  await using ticks = await ticker(db, ['holds'], { by: 'test' });
  const changed: Record<string, number> = {};
  for (let at = from; at <= until; at += 60_000)
    for (const job of (await ticks.at(at)).jobs)
      for (const [name, count] of Object.entries(job.changed)) changed[name] = (changed[name] ?? 0) + count;
  const played: Record<string, number> = {};
  for (const { transition } of timeline) played[transition] = (played[transition] ?? 0) + 1;
  assert.deepEqual(played, changed);
  assert.ok(Object.keys(changed).length >= 5, JSON.stringify(changed));
  const told = await db.query(
    `select scheduler.iso(occurred_at) as at, entity_id as id, type, channels, data from scheduler.events order by id`,
  );
  const heard = timeline.filter((each: { event?: unknown }) => each.event);
  const key = (each: { at: string; id: string; type: string }) => `${Date.parse(each.at)} ${each.type} ${each.id}`;
  assert.deepEqual(
    heard
      .map((each: { at: string; id: string; event: { type: string } }) => key({ ...each, type: each.event.type }))
      .sort(),
    told.map((each) => key(each as { at: string; id: string; type: string })).sort(),
  );
});
