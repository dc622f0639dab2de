import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agreed, changes, compare, expected } from '../calendar.ts';
import { database } from '../harness.ts';

const ZONES = [
  ...['Africa/Cairo', 'Africa/Casablanca', 'Africa/El_Aaiun', 'Africa/Juba', 'Africa/Nairobi', 'America/Asuncion'],
  ...[
    'America/Havana',
    'America/New_York',
    'America/Nuuk',
    'America/Santiago',
    'America/Sao_Paulo',
    'America/Scoresbysund',
  ],
  ...[
    'America/St_Johns',
    'Antarctica/Casey',
    'Antarctica/Troll',
    'Asia/Amman',
    'Asia/Beirut',
    'Asia/Gaza',
    'Asia/Kathmandu',
  ],
  ...['Asia/Pyongyang', 'Asia/Tehran', 'Australia/Adelaide', 'Australia/Lord_Howe', 'Europe/Berlin', 'Europe/Dublin'],
  ...['Europe/Istanbul', 'Europe/Volgograd', 'Pacific/Apia', 'Pacific/Chatham', 'Pacific/Easter', 'Pacific/Fiji'],
];

test('scheduler.instant agrees with the offsets of luxon around every change of 31 zones from 2020 to 2035', async (t) => {
  await using db = await database();
  let compared = 0;
  for (const zone of ZONES) {
    compared += await compare(db, zone, changes(zone, Date.UTC(2020, 0, 1), Date.UTC(2036, 0, 1)));
  }
  t.diagnostic(`${compared} times`);
  assert.ok(compared > 10_000);
});

const DAY = 86_400_000;
const midnight = (wall: number) => Math.floor(wall / DAY) * DAY;
const local = (wall: number) => new Date(wall).toISOString().slice(0, -1);

test('special packages open and close at the right instant around every change, whatever the zones of process, server and session', async () => {
  process.env.TZ = 'Asia/Kathmandu';
  await using db = await database();
  await db.query(`alter database ${db.name} set timezone = 'America/Los_Angeles'`);
  const rows: { name: string; zone: string; opens: string | null; closes: string | null; due: string }[] = [];
  for (const zone of ZONES) {
    for (const change of await agreed(db, zone, changes(zone, Date.UTC(2020, 0, 1), Date.UTC(2036, 0, 1)))) {
      const [before, after] = [change.at + change.before, change.at + change.after];
      const due = (wall: number) => new Date(expected(change, wall)).toISOString();
      for (const wall of [before - 1000, before, after, (before + after) / 2, midnight(before)]) {
        rows.push({ name: `open ${rows.length}`, zone, opens: local(wall), closes: null, due: due(wall) });
      }
      // The last valid day is the one before this midnight.
      for (const wall of [midnight(before), midnight(after) + DAY]) {
        rows.push({ name: `close ${rows.length}`, zone, opens: null, closes: local(wall - DAY), due: due(wall) });
      }
    }
  }
  await db.query(
    `insert into special_packages (name, timezone, scheduled, is_active, auto_activate, auto_deactivate, schedule_date, schedule_time, valid_until)
     select name, zone, opens is not null, opens is null, true, true, opens::date, opens::time, closes::date
     from json_to_recordset($1::json) as r (name text, zone text, opens timestamp, closes timestamp)`,
    [JSON.stringify(rows)],
  );
  const env = {
    SCHEDULER_TIMEZONE: 'Australia/Lord_Howe',
    SCHEDULER_DB_TIMEZONE: 'America/St_Johns',
  };
  const { exitCode } = await db.tick('2037-01-01T00:00:00Z', { only: ['special-packages'], env });
  assert.equal(exitCode, 0);
  const seen = await db.query(`select data ->> 'package_name' as name, due_at, transition from scheduler.events`);
  const found = new Map(seen.map(({ name, due_at, transition }) => [name, `${transition} ${due_at.toISOString()}`]));
  const wrong = rows
    .map(({ name, zone, opens, closes, due }) => ({
      zone,
      opens,
      closes,
      expected: `${opens ? 'activate' : 'deactivate'} ${due}`,
      found: found.get(name),
    }))
    .filter((row) => row.found !== row.expected);
  assert.deepEqual(wrong.slice(0, 3), []);
  assert.ok(rows.length > 3000, `${rows.length} rows`);
});
