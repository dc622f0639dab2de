import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';

/** Due times in SQL that may raise, and what a row's values may spoil. */

const AT = '2026-03-10T12:00:00Z';

const LEASES = `
jobs:
  leases:
    table: leases
    rules:
      end:
        due: (meta ->> 'ends')::timestamptz
        where: state = 'open'
        set: state = 'over', at = due_at
        event: lease.over
      day:
        due: (meta ->> 'day')::date + (meta ->> 'days')::integer
        where: state = 'open'
        delete: true
`;

test('a due time in SQL that raises is due at once, harms no insert, and the row says what raised', async () => {
  await using db = await database();
  await db.query(`create table leases (id serial primary key, meta jsonb, state text default 'open', at timestamptz);
    create role writer; grant insert on leases to writer; grant usage on sequence leases_id_seq to writer`);
  const dry = await applied(db, LEASES, '--dry-run');
  assert.match(dry, /due_[0-9a-f]{12}/);
  assert.equal((await db.query(`select from pg_proc where proname ~ '^due_'`)).length, 0, 'a dry run makes nothing');
  const { out: sql } = await apply(db, LEASES, '--sql');
  assert.match(sql, /create or replace function scheduler\.due_/);
  await applied(db, LEASES);
  assert.deepEqual(
    await db.query(`select prosecdef, provolatile, proconfig from pg_proc where proname ~ '^due_' limit 1`),
    [
      {
        ...{ prosecdef: false, provolatile: 'i' },
        proconfig: ['search_path=pg_catalog, pg_temp', 'TimeZone=UTC', 'DateStyle=ISO, MDY', 'IntervalStyle=postgres'],
      },
    ],
  );
  await db.query(`set role writer; set timezone = 'Asia/Tokyo'; set datestyle = 'SQL, DMY';
    insert into leases (meta) values ('{"ends": "2026-03-10 12:00"}'), ('{"ends": "soon"}'), ('{"ends": "2026-03-10 12:01"}'), ('{}'), (null),
      ('{"day": "2026-03-01", "days": "9"}'), ('{"day": "2026-03-01", "days": "10"}'), ('{"day": "2026-03-01", "days": "many"}'), ('{"ends": "03/04/2026"}');
    reset role; reset timezone; reset datestyle`);
  const { jobs } = await db.tick(AT, { only: ['leases'] });
  assert.equal(jobs[0]!.error, undefined);
  assert.deepEqual(jobs[0]!.changed, { end: 2, day: 1 });
  assert.deepEqual(
    jobs[0]!.failures.map(({ id, rule, error }) => [id, rule, error]),
    [
      ['2', 'end', 'invalid input syntax for type timestamp with time zone: "soon"'],
      ['8', 'day', 'invalid input syntax for type integer: "many"'],
    ],
  );
  assert.deepEqual(await db.query(`select id, scheduler.iso(at) as at from leases where state = 'over' order by id`), [
    { id: 1, at: '2026-03-10T12:00:00Z' },
    { id: 9, at: '2026-03-04T00:00:00Z' },
  ]);
  const { out } = await db.cli(['explain', 'leases', '2']);
  assert.match(out, /invalid input syntax for type timestamp with time zone: "soon"/);
  // Another expression is another function. The old one goes when neither a job nor an index needs it.
  const until = LEASES.replace("->> 'ends'", "->> 'until'");
  await applied(db, until, '--backlog', 'run');
  const [old] =
    await db.query(`select c.oid::regclass::text as name from pg_depend d join pg_proc p on p.oid = d.refobjid
    join pg_class c on c.oid = d.objid where p.proname ~ '^due_' and p.prosrc ~ 'ends' and refclassid = 'pg_proc'::regclass`);
  if (old) await db.query(`drop index ${old.name}`);
  await applied(db, until);
  assert.deepEqual(await db.query(`select prosrc ~ 'until' as until from pg_proc where proname ~ '^due_' order by 1`), [
    { until: false },
    { until: true },
  ]);
});

test('a channel that cannot be is a failure of its row; one with a null in it is left out; a text is cut', async () => {
  await using db = await database();
  await db.query(
    `create table notes (id serial primary key, at timestamptz, room text, body text, done boolean default false)`,
  );
  await applied(
    db,
    `
jobs:
  notes:
    table: notes
    rules:
      tell:
        due: at
        where: not done
        set: done = true
        event: { type: note.due, channels: ["room.{room}", all], data: [body], message: "It says {body}" }
`,
  );
  await db.query(
    `insert into notes (at, room, body) values ('2026-03-10Z', repeat('x', 58), repeat('b', 5000)), ('2026-03-10Z', repeat('é', 30), ''), ('2026-03-10Z', E'a\\nb', ''), ('2026-03-10Z', null, '')`,
  );
  const { jobs } = await db.tick(AT, { only: ['notes'] });
  assert.deepEqual(jobs[0]!.changed, { tell: 2 });
  assert.deepEqual(
    jobs[0]!.failures.map(({ id, error }) => [id, error]),
    [
      ['2', `the channel "room.${'é'.repeat(30)}" is empty, longer than 63 bytes, or has control characters`],
      ['3', 'the channel "room.a?b" is empty, longer than 63 bytes, or has control characters'],
    ],
  );
  const events = await db.query('select entity_id, channels, data from scheduler.events order by entity_id');
  assert.deepEqual(
    events.map(({ entity_id, channels }) => [entity_id, channels]),
    [
      ['1', [`room.${'x'.repeat(58)}`, 'all']],
      ['4', ['all']],
    ],
  );
  assert.deepEqual([events[0]!.data.body.length, events[0]!.data.message.length], [200, 208]);
});
