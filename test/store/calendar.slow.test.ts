import assert from 'node:assert/strict';
import { after as afterAll, test } from 'node:test';
import { ownServer } from '../faults/server.ts';
import { agreed, changes, compare, DAY, expected, ZONES } from '../support/calendar.ts';
import { database } from '../support/harness.ts';
import { share } from '../support/share.ts';
import { ticker } from '../support/ticker.ts';

process.env.TZ = 'Asia/Kathmandu';
const server = await ownServer({ timezone: 'America/St_Johns' });
afterAll(() => server[Symbol.asyncDispose]());

test('scheduler.instant agrees with the offsets of luxon around every change of 39 zones from 2020 to 2035', async (t) => {
  await using db = await database({ server });
  let compared = 0;
  for (const zone of ZONES) {
    compared += await compare(db, zone, changes(zone));
  }
  t.diagnostic(`${compared} times`);
  assert.ok(compared > 10_000);
});

const midnight = (wall: number) => Math.floor(wall / DAY) * DAY;
const local = (wall: number) => new Date(wall).toISOString().slice(0, -1);

test('special packages open and close at the very instant around every change, whatever the zones of process, server, database, role and session', async (t) => {
  await using db = await database({ server });
  await db.query(`alter database ${db.name} set timezone = 'America/Los_Angeles'`);
  await db.query(`alter role current_user in database ${db.name} set timezone = 'Asia/Tehran'`);
  const rows: { name: string; zone: string; opens: string | null; closes: string | null; due: number }[] = [];
  const told: Record<'agreed' | 'left out', number> = { agreed: 0, 'left out': 0 };
  for (const zone of share(ZONES)) {
    const all = changes(zone);
    const known = await agreed(db, zone, all);
    told.agreed += known.length;
    told['left out'] += all.length - known.length;
    for (const change of known) {
      const [before, after] = [change.at + change.before, change.at + change.after];
      for (const wall of [before - 60_000, before, after, (before + after) / 2, midnight(before)]) {
        rows.push({ name: `open ${rows.length}`, zone, opens: local(wall), closes: null, due: expected(change, wall) });
      }
      // The last valid day is the one before this midnight.
      for (const wall of [midnight(before), midnight(after) + DAY]) {
        rows.push({
          name: `close ${rows.length}`,
          zone,
          opens: null,
          closes: local(wall - DAY),
          due: expected(change, wall),
        });
      }
    }
  }
  await db.query(
    `insert into special_packages (name, timezone, scheduled, is_active, auto_activate, auto_deactivate, schedule_date, schedule_time, valid_until)
     select name, zone, opens is not null, opens is null, true, true, opens::date, opens::time, closes::date
     from json_to_recordset($1::json) as r (name text, zone text, opens timestamp, closes timestamp)`,
    [JSON.stringify(rows)],
  );
  const env = { SCHEDULER_TIMEZONE: 'Australia/Lord_Howe', SCHEDULER_DB_TIMEZONE: 'America/Havana' };
  await db.migrate(env);
  await using ticks = await ticker(db, ['special-packages'], { env, by: 'the test' });
  const moments = [...new Set(rows.map(({ due }) => due))].sort((a, b) => a - b);
  for (const moment of moments) {
    await ticks.at(moment - 1);
    const { exitCode } = await ticks.at(moment);
    assert.equal(exitCode, 0);
  }
  const seen = await db.query(
    `select data ->> 'package_name' as name, due_at, occurred_at, transition from scheduler.events`,
  );
  const found = new Map(
    seen.map(({ name, due_at, occurred_at, transition }) => [
      name,
      `${transition} due ${due_at.toISOString()} done ${occurred_at.toISOString()}`,
    ]),
  );
  const wrong = rows
    .map((row) => {
      const at = new Date(row.due).toISOString();
      return {
        ...row,
        expected: `${row.opens ? 'activate' : 'deactivate'} due ${at} done ${at}`,
        found: found.get(row.name),
      };
    })
    .filter((row) => row.found !== row.expected);
  assert.deepEqual(wrong.slice(0, 3), []);
  assert.equal(seen.length, rows.length);
  t.diagnostic(`${rows.length} rows, ${2 * moments.length} ticks; changes ${JSON.stringify(told)}`);
  assert.ok(told['left out'] <= 0.05 * told.agreed, `tzdata of Node: ${process.versions.tz}`);
});
