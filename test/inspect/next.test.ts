import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Coming } from '../../src/inspect/next.ts';
import { coming, overdue } from '../../src/inspect/outlook.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import { CLEAR, DUE_ROWS, NOW } from '../support/due-rows.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { explained, outlook } from '../support/looking.ts';
import { compiledFor, fill, indexOf, JOBS, KINDS, explain as planOf, scansOf, values } from '../support/plans.ts';
import { SCHEMA } from '../support/schema.ts';

// "next" looks ahead from the database's own clock.
const HOUR = 3_600_000;
const at = (hours: number) => new Date(Date.now() + hours * HOUR).toISOString();

const aPackage = (db: TestDatabase, row: object = {}) =>
  db.insert('packages', { name: 'Weekend', enable_schedule: true, status: 'inactive', validity: '2 hours', ...row });
const brief = ({ job, transition, rows, id, overdue }: Coming) => [job, transition, rows, id, overdue];

for (const [name, rules] of Object.entries(DUE_ROWS)) {
  test(`${name}: what the next tick does is there as overdue, once`, async () => {
    await using db = await database();
    for (const [rule, { make, fails = false }] of Object.entries(rules)) {
      await db.query(CLEAR);
      // A row that was due months ago has also been over for months: as if it had been written today.
      await db.query(
        make
          .replaceAll(`timestamptz '${NOW}'`, "date_trunc('minute', now())")
          .replaceAll(/'2026-0(2-2\d|3-01)'/g, (day) => `(current_date - (date '2026-03-01' - date ${day}))`),
      );
      const { transitions } = await outlook(db, { job: name, within: 60 });
      const said = await explained(db, name, 1);
      const expected = said.transitions
        .filter(({ verdict }) => verdict.kind === (fails ? 'fails' : 'now'))
        .map(({ transition }) => transition);
      assert.deepEqual(expected, [rule]);
      // Beside a report, the row may have something else to come.
      const listed = fails ? transitions.filter((each) => each.overdue) : transitions;
      assert.deepEqual(listed.map(brief), [[name, rule, 1, '1', true]]);
    }
  });
}

test('the list begins with the soonest, and has a line for each job, transition and minute', async () => {
  await using db = await database();
  const minute = new Date(Math.ceil((Date.now() + 3 * HOUR) / 60_000) * 60_000).getTime();
  for (const seconds of [59, 0, 30, 60]) {
    await aPackage(db, { scheduled_activation_time: new Date(minute + seconds * 1000) });
  }
  const start = at(-1);
  const opened = { opened_start: start, opened_end: new Date(Date.parse(start) + 2 * HOUR) };
  await aPackage(db, { status: 'active', scheduled_activation_time: start, ...opened });
  await db.insert('vouchers', { code: 'a', expires_at: at(2) });
  await db.insert('vouchers', { code: 'b', expires_at: at(25) });
  await db.insert('vouchers', { code: 'c', expires_at: at(-1) });
  const { transitions, more, held, quarantined, now, until } = await outlook(db);
  assert.deepEqual(transitions.map(brief), [
    ['vouchers', 'expire', 1, '3', true],
    ['packages', 'deactivate', 1, '5', false],
    ['vouchers', 'expire', 1, '1', false],
    ['packages', 'activate', 3, '2', false],
    ['packages', 'activate', 1, '4', false],
  ]);
  assert.equal(Date.parse(transitions[3]!.at), minute);
  assert.equal(Date.parse(until) - Date.parse(now), 24 * HOUR);
  assert.deepEqual([more, held, quarantined], [false, [], 0]);
});

test('a row is listed once: what may be left to do afterwards depends on what comes first', async () => {
  await using db = await database();
  await aPackage(db, { scheduled_activation_time: at(1) });
  await aPackage(db, { scheduled_activation_time: at(-1) });
  await aPackage(db, { scheduled_activation_time: at(-4) });
  const { transitions } = await outlook(db);
  assert.deepEqual(transitions.map(brief), [
    ['packages', 'miss', 1, '3', true],
    ['packages', 'activate', 1, '2', true],
    ['packages', 'activate', 1, '1', false],
  ]);
});

test('conditions are asked as of the time that they will count', async () => {
  await using db = await database();
  // It stops before it starts: then its end will have come.
  await aPackage(db, { scheduled_activation_time: at(2), scheduled_deactivation_time: at(1) });
  // The access will be over when the SMS could be sent.
  const sms = { username: 'u', phone_number: '254712345678', sms_next_attempt_at: at(3) };
  await db.insert('hotspot_credentials', { ...sms, expires_at: at(2) });
  const { transitions } = await outlook(db);
  assert.deepEqual(transitions.map(brief), [
    ['packages', 'miss', 1, '1', false],
    ['credentials', 'give up', 1, '1', false],
  ]);
});

test('only of one job, and only as far ahead as asked', async () => {
  await using db = await database();
  await aPackage(db, { scheduled_activation_time: at(1) });
  await db.insert('vouchers', { code: 'a', expires_at: at(1) });
  await db.insert('vouchers', { code: 'b', expires_at: at(3) });
  assert.deepEqual((await outlook(db, { job: 'vouchers', within: 2 * 3600 })).transitions.map(brief), [
    ['vouchers', 'expire', 1, '1', false],
  ]);
});

test('no more lines than asked for, and it is said that there is more', async () => {
  await using db = await database();
  await db.query(`insert into vouchers (code, expires_at)
    select n, now() + n * interval '90 seconds' from generate_series(-3, 500) as n`);
  for (const limit of [1, 2, 50]) {
    const { transitions, more } = await outlook(db, { limit });
    assert.equal(transitions.length, limit);
    assert.ok(more);
    assert.deepEqual(
      transitions.slice(0, 2).map(({ rows, overdue }) => [rows, overdue]),
      [
        [4, true],
        [1, false],
      ].slice(0, limit),
    );
  }
});

test('counts are whole, also in the last minute shown', async () => {
  await using db = await database();
  const soon = `date_trunc('minute', now()) + interval '5 minutes'`;
  await db.query(`
    insert into packages (name, enable_schedule, scheduled_activation_time) values ('a', true, ${soon} + interval '10 seconds');
    insert into packages (name, enable_schedule, status, scheduled_activation_time, scheduled_deactivation_time, opened_start, opened_end)
      select 'b', true, 'active', '2026-01-01', stop, '2026-01-01', stop from (select ${soon} + interval '30 seconds' as stop) as s;
    insert into vouchers (code, expires_at) select 'a' || n, ${soon} from generate_series(1, 3) n;
    insert into vouchers (code, expires_at) select 'b' || n, ${soon} + interval '59 seconds' from generate_series(1, 4) n`);
  const { transitions, more } = await outlook(db, { limit: 1 });
  assert.deepEqual(transitions.map(brief), [['vouchers', 'expire', 7, '1', false]]);
  assert.ok(more);
});

test('a minute with very many rows is not counted to its end, and what follows it is still found', async () => {
  await using db = await database();
  await db.query(`
    insert into vouchers (code, expires_at) select n, date_trunc('minute', now()) + interval '5 minutes' from generate_series(1, 10500) n;
    insert into vouchers (code, expires_at) values ('later', now() + interval '1 hour')`);
  const { transitions } = await outlook(db);
  assert.deepEqual(
    transitions.map(({ rows, orMore }) => [rows, orMore]),
    [
      [10_000, true],
      [1, false],
    ],
  );
});

test('rows that failed come with their next attempt; quarantined ones are left out and counted', async () => {
  await using db = await database();
  const start = at(-1);
  const opened = { opened_start: start, opened_end: null };
  await aPackage(db, { status: 'active', scheduled_activation_time: start, validity: 'banana', ...opened });
  const only = { only: ['packages'] };
  await db.tick(undefined, only);
  const [again] = (await outlook(db)).transitions;
  assert.deepEqual(brief(again!), ['packages', 'deactivate', 1, '1', false]);
  assert.match(again!.retry!, /validity 'banana'/);
  assert.equal(again!.wouldFail, 1);
  const [failure] = await db.query('select next_attempt_at from scheduler.failures');
  assert.equal(Date.parse(again!.at), failure!.next_attempt_at.getTime());

  // Mended in the meantime, it is none of that any more.
  await db.query(`update packages set validity = '1 day', opened_end = opened_start + interval '24 hours'`);
  const mended = (await outlook(db)).transitions;
  assert.deepEqual(mended.map(brief), [['packages', 'deactivate', 1, '1', false]]);
  assert.equal(mended[0]!.retry?.slice(0, 8), 'validity');
  assert.equal(mended[0]!.wouldFail, 0);
  await db.query(`update packages set enable_schedule = false`);
  assert.deepEqual((await outlook(db)).transitions, []);

  await db.query(`update packages set enable_schedule = true, validity = 'banana'`);
  await db.query(`update scheduler.failures set attempts = 3, quarantined_at = now(), next_attempt_at = 'infinity'`);
  const { transitions, quarantined } = await outlook(db);
  // Its end is another one: that is noted, whatever becomes of it.
  assert.deepEqual([transitions.map(brief), quarantined], [[['packages', 'keep', 1, '1', true]], 1]);
  assert.deepEqual((await db.tick(undefined, only)).jobs[0]!.changed, { keep: 1 });
  assert.deepEqual((await outlook(db)).transitions, []);
});

test('rows that would fail are counted as such', async () => {
  await using db = await database();
  for (const validity of ['banana', '1 day', '']) {
    await aPackage(db, { validity, scheduled_activation_time: at(-1) });
  }
  const [activate] = (await outlook(db)).transitions;
  assert.deepEqual([activate!.rows, activate!.wouldFail], [3, 2]);
});

test('jobs that are paused, switched off or not installed are named, and theirs is not listed', async () => {
  await using db = await database({ empty: true });
  await db.query('create table vouchers (weight numeric)');
  await db.migrate();
  await aPackage(db, { scheduled_activation_time: at(1) });
  await db.query(
    `insert into customer_packages ("userId", "scheduledStartDate") values ('u', now() + interval '1 hour')`,
  );
  await db.query(
    `insert into scheduler.controls (job, action, by, reason) values ('packages', 'stop', 'ann@host', 'moving')`,
  );
  const env = { ENABLE_SUBSCRIPTION_SCHEDULER: 'false', SCHEDULER_SMS: 'twilio' };
  const { transitions, held } = await outlook(db, { env });
  assert.deepEqual(transitions, []);
  const why = Object.fromEntries(held.map((each) => [`${each.job} ${each.transition ?? ''}`.trim(), each.why]));
  assert.deepEqual(Object.keys(why).sort(), ['credentials send', 'packages', 'subscriptions', 'vouchers']);
  assert.match(why.packages!, /^paused: stopped by ann@host at .*: moving$/);
  assert.equal(why.subscriptions, 'switched off: by ENABLE_SUBSCRIPTION_SCHEDULER');
  assert.match(why.vouchers!, /^not installed: vouchers\.id, .* missing$/);
  assert.match(why['credentials send']!, /^SCHEDULER_SMS is "twilio"/);
});

test('while nobody ticks it says so', async () => {
  await using db = await database();
  assert.match((await outlook(db)).notRunning!, /no tick has ever come/);
  await db.tick();
  assert.equal((await outlook(db)).notRunning, null);
});

test('every transition of every job can be asked', async () => {
  await using db = await database();
  await db.query(
    `insert into scheduler.failures select '${SCHEMA}', name, 'x', '1', 1, 'x', now(), now(), now() + interval '1 minute', null
    from unnest($1::text[]) as name`,
    [(await loadJobs()).map(({ name }) => name)],
  );
  assert.deepEqual((await outlook(db)).transitions, []);
});

// ── What it reads

for (const [name, kind] of Object.entries(KINDS)) {
  test(`in ${name} of 100,000 rows, each transition reads its own index, and of it only the span asked for`, async () => {
    await using db = await fill(kind, 100_000, false);
    await db.query('set enable_seqscan = off; set enable_bitmapscan = off');
    for (const job of JOBS) {
      const { rules } = await compiledFor(db, job, kind);
      for (const rule of rules.filter(({ name }) => name !== 'go on')) {
        const table = job.table.name;
        const parameters = { ...values(job, kind.dbZone), from: NOW, until: '2026-03-01T14:00:00Z', most: 10_000 };
        for (const about of [coming, overdue]) {
          const sql = about(rule, { rules, everyMinutes: 1 });
          const scans = scansOf(await planOf(db, sql, parameters), table);
          const what = `${job.name}/${rule.name}: ${JSON.stringify(scans)}`;
          assert.deepEqual(
            scans.map((scan) => [scan['Node Type'], scan['Index Name']]),
            [['Index Scan', `${table}_${indexOf(table, rule.name)}`]],
            what,
          );
          // 35 packages start in each minute, from an hour after NOW on.
          assert.ok(scans[0]!['Actual Rows'] + (scans[0]!['Rows Removed by Filter'] ?? 0) <= 2200, what);
        }
      }
    }
  });
}
