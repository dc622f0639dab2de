import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { NOW } from '../support/hotspot-rows.ts';
import { assertSame, fill, fillOutside, outside, remember, type Snapshot, snapshot } from '../support/world.ts';

/** Nothing outside a row decides what it means: the settings of role, database and session change no result. */

const SETTINGS: Record<string, Record<string, string>> = {
  'as they come': {},
  'those of one server': {
    DateStyle: `'SQL, DMY'`,
    IntervalStyle: 'sql_standard',
    TimeZone: `'America/St_Johns'`,
    timezone_abbreviations: `'India'`,
    standard_conforming_strings: 'off',
    default_transaction_isolation: 'serializable',
    default_transaction_deferrable: 'on',
    extra_float_digits: '-15',
    transform_null_equals: 'on',
    quote_all_identifiers: 'on',
    array_nulls: 'off',
    bytea_output: 'escape',
    plan_cache_mode: 'force_generic_plan',
  },
  'those of another': {
    DateStyle: `'German'`,
    IntervalStyle: 'iso_8601',
    TimeZone: `'Pacific/Chatham'`,
    timezone_abbreviations: `'Australia'`,
    default_transaction_isolation: `'repeatable read'`,
    extra_float_digits: '3',
    lock_timeout: `'1ms'`,
    idle_in_transaction_session_timeout: `'1ms'`,
    enable_indexscan: 'off',
  },
};

test('no setting of role, database or session changes a result', async () => {
  await using world = await outside();
  await using db = await database();
  await fill(db, world.nas);
  await fillOutside(db);
  const restore = await remember(db);
  let expected: Snapshot | undefined;
  let told: string[] | undefined;
  for (const [name, settings] of Object.entries(SETTINGS)) {
    await restore();
    for (const [setting, value] of Object.entries(settings)) {
      // A role's setting for a database counts before the database's own.
      const whose = setting.length % 2 ? `database ${db.name}` : `role current_user in database ${db.name}`;
      await db.query(`alter ${whose} set ${setting} = ${value}`);
    }
    const env = { ...world.env, SCHEDULER_DB_TIMEZONE: 'Asia/Kolkata' };
    const { code, out, err } = await db.cli(['tick', '--at', NOW, '--json'], { env });
    assert.equal(code, 1, err); // a row here and there is bad
    const { now, jobs } = JSON.parse(out);
    assert.equal(Date.parse(now), Date.parse(NOW), `${name}: ${now}`);
    // Recorded as finished, with what was changed.
    const runs = await db.query(`select from scheduler.runs where finished_at is null or error is not null`);
    assert.deepEqual(runs, [], name);
    for (const setting of Object.keys(settings)) {
      await db.query(`alter database ${db.name} reset ${setting}`);
      await db.query(`alter role current_user in database ${db.name} reset ${setting}`);
    }
    // By a session from before the settings.
    const found = await snapshot(db);
    const said = [
      ...jobs.map((job: object) => JSON.stringify({ ...job, run: null })),
      err.replace(/"time":"[^"]*",/g, ''),
    ];
    if (!expected) [expected, told] = [found, said];
    assertSame(found, expected, name);
    assert.deepEqual(said, told, name);
  }
});
