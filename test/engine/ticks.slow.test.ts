import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { STRIDE } from '../support/share.ts';
import { ticker } from '../support/ticker.ts';

test('10,000 ticks show exactly one on and one off', async () => {
  await using db = await database();
  await db.query(`insert into packages (name, enable_schedule, scheduled_activation_time, scheduled_deactivation_time, validity)
    values ('by validity', true, '2026-03-01T12:00Z', null, '2 days'), ('by stop', true, '2026-03-02T12:00Z', '2026-03-03T12:00Z', null),
      ('already over', true, '2026-01-01T00:00Z', null, '1 hour')`);
  await db.query(`insert into special_packages (name, scheduled, auto_activate, auto_deactivate, schedule_date, schedule_time, valid_until)
    values ('special', true, true, true, '2026-03-02', '23:00', '2026-03-04')`);
  await using ticks = await ticker(db, ['packages', 'special-packages'], {});
  const start = Date.parse('2026-03-01T00:00:00Z');
  for (let minute = 0; minute < 10_000; minute += STRIDE) {
    await ticks.at(start + minute * 60_000);
  }
  const seen = await db.query(
    `select data ->> 'package_name' as name, transition, (occurred_at at time zone 'UTC')::text as at from scheduler.events order by id`,
  );
  assert.deepEqual(
    seen.map(({ name, transition, at }) => `${at} ${name} ${transition}`),
    [
      '2026-03-01 00:00:00 already over miss',
      '2026-03-01 12:00:00 by validity activate',
      '2026-03-02 12:00:00 by stop activate',
      '2026-03-02 23:00:00 special activate',
      '2026-03-03 12:00:00 by validity deactivate',
      '2026-03-03 12:00:00 by stop deactivate',
      '2026-03-05 00:00:00 special deactivate',
    ],
  );
});
