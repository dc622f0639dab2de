import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { total } from '../../src/engine/batch.ts';
import type { Explanation } from '../../src/inspect/explain/explain.ts';
import { conditionsOf } from '../../src/inspect/outlook.ts';
import type { Conditions, Job } from '../../src/job/define.ts';
import { job as credentials } from '../../src/jobs/hotspot/credentials.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import { lockOf } from '../../src/store/lock.ts';
import type { JobResult } from '../../src/store/runs.ts';
import { compiled } from '../support/compiled.ts';
import { CLEAR, DUE_ROWS, NOW } from '../support/due-rows.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { allExplained, explained, outlook, transitionOf } from '../support/looking.ts';
import { fill, JOBS, KINDS } from '../support/plans.ts';
import { SCHEMA } from '../support/schema.ts';
import { until } from '../support/until.ts';

const kinds = (explanation: Explanation) => explanation.transitions.map(({ verdict }) => verdict.kind);
const acts = (explanation: Explanation) => kinds(explanation).some((kind) => kind === 'now' || kind === 'along');

const minutes = (count: number) => new Date(Date.parse(NOW) + count * 60_000).toISOString();
const aPackage = (db: TestDatabase, row: object = {}) =>
  db.insert('packages', {
    ...{ name: 'Weekend', enable_schedule: true, status: 'inactive', scheduled_activation_time: minutes(-60) },
    ...{ validity: '2 hours', ...row },
  });

/** A tick must do to the row what was said about it. */
async function agrees(db: TestDatabase, job: string, env: Record<string, string>, what: string): Promise<void> {
  const said = await explained(db, job, 1, { at: NOW, env });
  const { jobs, skipped } = await db.tick(NOW, { only: [job], env });
  const [pass] = jobs;
  assert.ok(pass, JSON.stringify(skipped));
  assert.equal(pass.error, undefined, what);
  const verdicts = JSON.stringify(said.transitions.map(({ transition, verdict }) => [transition, verdict.sentence]));
  assert.equal(total(pass.changed) > 0, acts(said), `${what}: ${verdicts}, but ${JSON.stringify(pass.changed)}`);
  assert.equal(pass.failed > 0, kinds(said).includes('fails'), `${what}: ${verdicts}`);
}

// ── Every condition of every job

for (const [name, rules] of Object.entries(DUE_ROWS)) {
  test(`${name}: it says what would happen now, and of each condition that it is the one in the way`, async () => {
    const job = (await loadJobs()).find((each) => each.name === name)!;
    await using db = await database();
    for (const rule of (await compiled(db, job)).rules) {
      const { make, breaks, fails } = rules[rule.name]!;
      await db.query(CLEAR);
      await db.query(make);
      const due = transitionOf(await explained(db, name, 1, { at: NOW }), rule.name);
      assert.equal(due.verdict.kind, fails ? 'fails' : 'now', `${rule.name}: ${due.verdict.sentence}`);
      assert.match(due.verdict.sentence, fails ? /^would fail now/ : /^would happen now/);
      assert.ok(due.conditions.every(({ met }) => met));
      await agrees(db, name, {}, rule.name);

      assert.deepEqual(Object.keys(breaks).sort(), Object.keys(conditionsOf(rule)).sort(), rule.name);
      for (const [condition, way] of Object.entries(breaks)) {
        await db.query(CLEAR);
        await db.query(make);
        const env = typeof way === 'string' ? {} : way.env;
        if (typeof way === 'string') await db.query(way);
        const broken = transitionOf(await explained(db, name, 1, { at: NOW, env }), rule.name);
        const unmet = broken.conditions.filter(({ met }) => !met);
        const what = `${rule.name}, ${condition}: ${broken.verdict.sentence}`;
        // A condition that only narrows down for speed may follow from another one.
        const named = unmet
          .map((each) => each.condition)
          .filter((each) => each !== rule.whole?.part || each === condition);
        assert.deepEqual(named, [condition], what);
        assert.equal(broken.verdict.kind, 'not', what);
        assert.ok(broken.verdict.sentence.startsWith(`cannot happen because "${condition}" is not met`), what);
        await agrees(db, name, env, what);
      }
    }
  });
}

test('every job and every transition is covered', async () => {
  for (const job of await loadJobs()) {
    assert.deepEqual(Object.keys(job.rules).sort(), Object.keys(DUE_ROWS[job.name] ?? {}).sort(), job.name);
  }
});

test('conditions speak of the time in the one way that can be asked of another time', async () => {
  await using db = await database();
  for (const job of await loadJobs()) {
    for (const rule of (await compiled(db, job)).rules) {
      for (const sql of Object.values(rule.when)) assert.doesNotMatch(sql, /:now(?!::timestamptz)/, rule.name);
      assert.doesNotMatch(
        rule.at,
        /:now/,
        `${job.name}/${rule.name}: what comes next can only be told of a fixed due time`,
      );
    }
  }
});

// ── Rows as they come

const random = (seed: number) => () => {
  seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
  return seed / 2 ** 31;
};

const snapshot = async (db: TestDatabase, table: string): Promise<Record<string, string>> => {
  const rows = await db.query(`select id::text as id, to_jsonb(t)::text as row from ${table} t`);
  return Object.fromEntries(rows.map(({ id, row }) => [id, row]));
};

/** Fills a table with rows of any kind, and holds what is said of each against what a tick does. */
async function agreesOnMany(name: string, table: string, make: (pick: <T>(...of: T[]) => T) => object): Promise<void> {
  await using db = await database();
  const next = random(20_260_301);
  const pick = <T>(...of: T[]): T => of[Math.floor(next() * of.length)]!;
  let acting = 0;
  for (let round = 0; round < 3; round++) {
    await db.query(CLEAR);
    for (let n = 0; n < 40; n++) await db.insert(table, make(pick));
    const before = await snapshot(db, table);
    const said = await allExplained(db, name, Object.keys(before), { at: NOW });
    const result = await db.tick(NOW, { only: [name] });
    assert.equal(result.jobs[0]!.error, undefined);
    const after = await snapshot(db, table);
    const failed = new Set((await db.query('select entity_id from scheduler.failures')).map((row) => row.entity_id));
    for (const [id, explanation] of said) {
      const verdicts = explanation.transitions.map(({ transition, verdict }) => `${transition} ${verdict.sentence}`);
      const what = `${before[id]}\n${verdicts.join('\n')}`;
      assert.equal(after[id] !== before[id], acts(explanation), what);
      assert.equal(failed.has(id), kinds(explanation).includes('fails'), what);
      if (acts(explanation)) acting++;
    }
  }
  assert.ok(acting > 10 && acting < 110, `${acting} of 120 rows were due`);
}

test('for any packages it says what the tick then does', async () => {
  const time = () => [-4320, -1440, -181, -180, -120, -119, -60, -1, 0, 1, 60, 1440].map(minutes);
  await agreesOnMany('packages', 'packages', (pick) => ({
    name: 'n',
    enable_schedule: pick(true, true, true, false),
    status: pick('active', 'inactive'),
    scheduled_activation_time: pick(...time(), null),
    scheduled_deactivation_time: pick(null, null, ...time()),
    validity: pick('2 hours', '1 day', '1 hour', '60 minutes', null, 'banana', ''),
    repeats: pick(null, null, 'daily', 'weekly'),
    opened_start: pick(null, null, ...time()),
    opened_end: pick(null, null, ...time()),
    closed_end: pick(null, null, null, ...time()),
  }));
});

test('for any special packages it says what the tick then does', async () => {
  const days = ['2026-02-20', '2026-02-27', '2026-02-28', '2026-03-01', '2026-03-02', null];
  await agreesOnMany('special-packages', 'special_packages', (pick) => ({
    name: 'n',
    scheduled: pick(true, true, false),
    auto_activate: pick(true, true, false),
    auto_deactivate: pick(true, true, false),
    is_active: pick(true, false),
    schedule_date: pick(...days),
    schedule_time: pick(null, '00:00', '11:59', '12:00', '12:01', '23:59'),
    valid_until: pick(...days),
    timezone: pick(null, 'Africa/Nairobi', 'America/New_York', 'UTC+3', 'Nowhere'),
    closed_end: pick(null, null, '2026-02-28T00:00:00Z', '2026-03-01T00:00:00Z'),
  }));
});

test('for any subscriptions it says what the tick then does', async () => {
  let row = 0;
  const time = [-1440, -60, 0, 1, 60].map(minutes);
  await agreesOnMany('subscriptions', 'customer_packages', (pick) => ({
    // At most one ACTIVE each, as any tick leaves it.
    ...(++row % 2 ? { userId: `u${pick(1, 2, 3, 4, 5, 6, 7, 8)}` } : { userId: `own${row}` }),
    status: pick('SCHEDULED', 'SCHEDULED', 'ACTIVE', 'EXPIRED', 'CANCELLED'),
    scheduledStartDate: pick(...time, null),
    endDate: pick(...time, null),
    previousSubscriptionId: pick(null, null, 'gone'),
  }));
});

for (const name of ['deductions', 'session-endings']) {
  test(`for any text sessions, several to a patient, it says what ${name} then do`, async () => {
    await agreesOnMany(name, 'text_sessions', (pick) => ({
      patient_id: pick(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20),
      doctor_id: 1,
      status: pick('active', 'active', 'waiting_for_doctor', 'ended'),
      activated_at: pick(minutes(-31), minutes(-30), minutes(-11), minutes(-10), minutes(-9), minutes(5), null),
      sessions_remaining_before_start: pick(null, 0, 1, 3),
      auto_deductions_processed: pick(null, 0, 1, 3, -1),
      doctor_response_deadline: pick(minutes(-1), minutes(0), minutes(1), null),
    }));
  });
}

test('a session whose patient has no credit for the next block is said to end, and not to be charged', async () => {
  await using db = await database();
  const said = async (id: number) => {
    const { next, transitions } = await explained(db, 'deductions', id, { at: NOW });
    return [next?.transition, ...transitions.map(({ verdict }) => verdict.kind)];
  };
  for (const patient_id of [1, 2, 3, 4])
    await db.insert('text_sessions', { patient_id, doctor_id: 9, status: 'active', activated_at: minutes(-25) });
  const credit = (user_id: number, expires: number | null, row: object = {}) =>
    db.insert('subscriptions', {
      ...{ user_id, text_sessions_remaining: 1, expires_at: expires === null ? null : minutes(expires), ...row },
    });
  await credit(1, null, { text_sessions_remaining: 0 });
  await credit(1, null, { is_active: false });
  // Expired when the block was full, and a minute later.
  await credit(2, -15);
  await credit(3, -14);
  await credit(4, null);
  assert.deepEqual(await Promise.all([1, 2, 3, 4].map(said)), [
    ...[1, 2].map(() => ['end', 'not', 'now']),
    ...[3, 4].map(() => ['deduct', 'now', 'not']),
  ]);
  const { sentence } = transitionOf(await explained(db, 'deductions', 1, { at: NOW }), 'deduct').verdict;
  assert.match(sentence, /^cannot happen because "its patient has credit for the next block" is not met/);
  const events = async () =>
    (
      await db.query(`select distinct on (entity_id) entity_id as id, transition from scheduler.events order by 1, id`)
    ).map(({ id, transition }) => `${id} ${transition}`);
  await db.tick(NOW, { only: ['deductions'] });
  assert.deepEqual(await events(), ['1 end', '2 end', '3 deduct', '4 deduct']);
});

test('a session that is settled along with another one of its patient is told so', async () => {
  await using db = await database();
  const session = { patient_id: 5, doctor_id: 9, status: 'active', sessions_remaining_before_start: 3 };
  await db.insert('text_sessions', { ...session, activated_at: minutes(-30) });
  await db.insert('text_sessions', { ...session, activated_at: minutes(-15) });
  const { verdict } = transitionOf(await explained(db, 'session-endings', 2, { at: NOW }), 'end');
  assert.equal(verdict.kind, 'along');
  assert.equal(
    verdict.sentence,
    'is not due, but would happen now along with 1, which is due and has the same patient_id',
  );
  assert.equal(transitionOf(await explained(db, 'session-endings', 1, { at: NOW }), 'end').verdict.kind, 'now');
});

test('it says when another subscription replaces a subscription', async () => {
  await using db = await database();
  const row = { userId: 'u', endDate: minutes(600) };
  await db.insert('customer_packages', { ...row, id: 'old', status: 'ACTIVE' });
  await db.insert('customer_packages', { ...row, id: 'new', status: 'SCHEDULED', scheduledStartDate: minutes(60) });
  await db.insert('customer_packages', {
    ...row,
    id: 'else',
    userId: 'v',
    status: 'SCHEDULED',
    scheduledStartDate: NOW,
  });
  const replaced = async (id: string, at: string) =>
    transitionOf(await explained(db, 'subscriptions', id, { at }), 'expire previous').verdict.sentence;
  assert.equal(
    await replaced('old', NOW),
    'will happen at 2026-03-01 13:00:00Z (in 1 h), along with "activate" of new',
  );
  assert.equal(await replaced('old', minutes(60)), 'would happen now, along with "activate" of new');
  assert.match(await replaced('new', NOW), /^cannot happen because "it is active" is not met \(status = SCHEDULED\)/);
  assert.equal(
    transitionOf(await explained(db, 'subscriptions', 'old', { at: NOW }), 'activate').verdict.sentence,
    'cannot happen because "it is scheduled" is not met (status = ACTIVE), and it has no due time (scheduledStartDate = null)',
  );
  assert.equal(
    transitionOf(await explained(db, 'subscriptions', 'old', { at: NOW }), 'end').verdict.sentence,
    'cannot happen because "no other one is about to replace it" is not met (userId = u, then = 2026-03-01 22:00:00Z)',
  );
  await db.tick(minutes(60), { only: ['subscriptions'] });
  assert.equal((await db.one(`select status from customer_packages where id = 'old'`)).status, 'EXPIRED');
  await db.query(`update customer_packages set status = 'ACTIVE' where id = 'old'`);
  assert.match(await replaced('old', minutes(61)), /no other row of the same userId comes next by "activate"/);
});

// ── When

test('a transition that is still to come is told with its time and its conditions as they will be then', async () => {
  await using db = await database();
  await aPackage(db, { scheduled_activation_time: minutes(180) });
  const said = await explained(db, 'packages', 1, { at: NOW });
  const activate = transitionOf(said, 'activate');
  assert.deepEqual(activate.verdict, {
    kind: 'later',
    at: '2026-03-01T15:00:00Z',
    sentence: 'will happen at 2026-03-01 15:00:00Z (in 3 h)',
  });
  assert.equal(activate.asOf, '2026-03-01T15:00:00Z');
  assert.equal(
    activate.conditions.find(({ condition }) => condition === 'its end has not come')!.values.then,
    activate.asOf,
  );
  assert.deepEqual(said.next, { transition: 'activate', at: '2026-03-01T15:00:00Z' });
});

test('a transition is not promised if another one comes before it', async () => {
  await using db = await database();
  await aPackage(db);
  const { verdict } = transitionOf(await explained(db, 'packages', 1, { at: NOW }), 'miss');
  assert.equal(verdict.kind, 'after');
  assert.match(
    verdict.sentence,
    /^comes only after "activate", if that leaves it anything to do: it then will happen at /,
  );
});

test('as if it were another time: --at', async () => {
  await using db = await database();
  await aPackage(db);
  for (const [at, next] of [
    [minutes(-61), 'activate'],
    [minutes(59), 'activate'],
    [minutes(60), 'miss'],
  ] as const) {
    const said = await explained(db, 'packages', 1, { at });
    assert.equal(said.next?.transition, next, at);
    assert.equal(Date.parse(said.now), Date.parse(at));
  }
});

test('a row without a due time, or with one that never comes, is told so', async () => {
  await using db = await database();
  await db.insert('vouchers', { code: 'a' });
  await db.insert('vouchers', { code: 'b', expires_at: 'infinity' });
  const sentence = async (id: number) => transitionOf(await explained(db, 'vouchers', id), 'expire').verdict.sentence;
  assert.equal(await sentence(1), 'cannot happen because it has no due time (expires_at = null)');
  assert.equal(await sentence(2), 'cannot happen because its due time never comes (expires_at = infinity)');
});

test('a condition that is neither true nor false is not met', async () => {
  await using db = await database();
  await aPackage(db);
  await db.query(
    'alter table packages alter enable_schedule drop not null; update packages set enable_schedule = null',
  );
  assert.match(
    transitionOf(await explained(db, 'packages', 1, { at: NOW }), 'activate').verdict.sentence,
    /"the schedule is enabled" is not met \(enable_schedule = null\)/,
  );
  await agrees(db, 'packages', {}, 'a schedule that is neither on nor off');
});

// ── What else can be in the way

/** Somebody else's session, which ends with the test. */
async function session(db: TestDatabase, name: string) {
  const client = new pg.Client({ connectionString: db.url, application_name: name });
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

test('a fault of a row is told before a tick has tried the row', async () => {
  await using db = await database();
  await aPackage(db, { validity: 'banana', status: 'active', activated_at: minutes(-60) });
  const { verdict } = transitionOf(await explained(db, 'packages', 1, { at: NOW }), 'deactivate');
  assert.equal(verdict.kind, 'fails');
  assert.match(verdict.sentence, /^would fail now: validity 'banana' is not a count and a unit/);
});

test('a row that failed waits for its next attempt, then for an operator', async () => {
  await using db = await database();
  await aPackage(db);
  await db.query(`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not this one'; end $$;
    create trigger refuse before update on packages for each row execute function refuse()`);
  const only = { only: ['packages'] };
  await db.tick(NOW, only);
  const waiting = await explained(db, 'packages', 1, { at: minutes(1) });
  const { verdict } = transitionOf(waiting, 'activate');
  assert.equal(verdict.kind, 'later');
  assert.equal(verdict.sentence, 'will be tried at 2026-03-01 12:05:00Z (in 4 min), which is its attempt 2');
  assert.equal(waiting.failures[0]!.attempts, 1);
  assert.match(waiting.failures[0]!.error, /not this one/);
  assert.equal((await db.tick(minutes(1), only)).jobs[0]!.failed, 0);

  await db.tick(minutes(5), only);
  await db.tick(minutes(40), only);
  const quarantined = transitionOf(await explained(db, 'packages', 1, { at: minutes(41) }), 'activate').verdict;
  assert.equal(quarantined.kind, 'held');
  assert.match(
    quarantined.sentence,
    /quarantine since 2026-03-01 12:40:00Z, after 3 attempts.*not this one.*"scheduler failures retry packages 1"/,
  );

  await db.cli(['failures', 'retry', 'packages', '1']);
  assert.equal(transitionOf(await explained(db, 'packages', 1, { at: minutes(42) }), 'activate').verdict.kind, 'now');
});

test('a job that somebody stopped, or the environment switches off, holds its rows', async () => {
  await using db = await database();
  await aPackage(db);
  await db.query(
    `insert into customer_packages (id, "userId", status, "scheduledStartDate") values ('a', 'u', 'SCHEDULED', $1)`,
    [NOW],
  );
  await db.query(
    `insert into scheduler.controls (job, action, by, reason) values ('packages', 'stop', 'ann@host', 'moving house')`,
  );
  const paused = await explained(db, 'packages', 1, { at: NOW });
  const { verdict } = transitionOf(paused, 'activate');
  assert.equal(paused.state, 'paused');
  assert.equal(paused.next, null);
  assert.equal(verdict.kind, 'held');
  assert.match(
    verdict.sentence,
    /^cannot happen because packages is paused: stopped by ann@host at .*: moving house; else it would happen now/,
  );

  const env = { ENABLE_SUBSCRIPTION_SCHEDULER: 'false' };
  const off = transitionOf(await explained(db, 'subscriptions', 'a', { at: NOW, env }), 'activate').verdict;
  assert.match(off.sentence, /^cannot happen because subscriptions is switched off: by ENABLE_SUBSCRIPTION_SCHEDULER/);
});

test('settings that a transition lacks are in its way', async () => {
  await using db = await database();
  await db.query(DUE_ROWS.credentials!.send!.make);
  const said = await explained(db, 'credentials', 1, {
    at: NOW,
    env: { SCHEDULER_SMS: 'twilio', SCHEDULER_SMS_FROM: '+1' },
  });
  const { verdict } = transitionOf(said, 'send');
  assert.equal(verdict.kind, 'held');
  assert.match(verdict.sentence, /SCHEDULER_SMS is "twilio", so set SCHEDULER_SMS_USERNAME/);
});

test('a row that the application holds locked is left alone by the tick, and that is said', async () => {
  await using db = await database();
  await aPackage(db);
  await using application = await session(db, 'laravel');
  await application.query(`begin; update packages set name = 'Being edited' where id = 1`);
  const { verdict } = transitionOf(await explained(db, 'packages', 1, { at: NOW }), 'activate');
  assert.equal(verdict.kind, 'held');
  assert.match(verdict.sentence, /its row is locked by process \d+ \("laravel", \w+, idle in transaction, since .*\)/);
  // Its window is missed later only if the lock stays until then.
  const { next, transitions } = await explained(db, 'packages', 1, { at: NOW });
  assert.deepEqual(next, { transition: 'activate', at: NOW });
  assert.match(
    transitions.find(({ transition }) => transition === 'miss')!.verdict.sentence,
    /^comes only after "activate"/,
  );
  assert.match(
    (await db.cli(['explain', 'packages', '1', '--at', NOW])).out,
    /^packages 1, at .*: "activate" cannot happen because its row is locked by /,
  );
  assert.deepEqual((await db.tick(NOW, { only: ['packages'] })).jobs[0]!.changed, {});
  await application.query('rollback');
  assert.equal(transitionOf(await explained(db, 'packages', 1, { at: NOW }), 'activate').verdict.kind, 'now');
});

test('a replacement that cannot be started keeps no subscription from ending, and that is said before a tick has tried', async () => {
  await using db = await database();
  const row = { userId: 'u', status: 'SCHEDULED', scheduledStartDate: minutes(-5) };
  await db.insert('customer_packages', { id: 'old', userId: 'u', status: 'ACTIVE', endDate: minutes(-1) });
  await db.insert('customer_packages', { ...row, id: 'new', previousSubscriptionId: 'new' });
  const ends = async () => transitionOf(await explained(db, 'subscriptions', 'old', { at: NOW }), 'end').verdict;
  const { sentence } = transitionOf(await explained(db, 'subscriptions', 'new', { at: NOW }), 'activate').verdict;
  assert.equal(sentence, 'would fail now: it names itself as its previous subscription');
  assert.equal((await ends()).sentence, 'would happen now (due 2026-03-01 11:59:00Z, 1 min ago)');
  await db.insert('customer_packages', { ...row, id: 'newer' });
  assert.equal((await ends()).kind, 'not');
  await db.query(`delete from customer_packages where id = 'newer'`);
  const [{ changed, failed }] = (await db.tick(NOW, { only: ['subscriptions'] })).jobs as [JobResult];
  assert.deepEqual([changed, failed], [{ end: 1 }, 1]);
});

test('a table that nobody can read is said to be locked, and by whom; nothing waits for ever', async () => {
  await using db = await database();
  await aPackage(db);
  await using application = await session(db, 'psql');
  await application.query('begin; alter table packages add column colour text');
  const { code, out, err } = await db.cli(['explain', 'packages', '1']);
  assert.deepEqual([code, err], [0, '']);
  assert.match(
    out,
    /^packages 1: nobody can read it, as the table packages is locked \(AccessExclusiveLock\) by process \d+ \("psql", .*: a tick waits 2s for it/,
  );
  const said = await explained(db, 'packages', 1);
  assert.deepEqual([said.transitions, said.next], [[], null]);
});

test('another run at work is told, and so is how the last one ended', async () => {
  await using db = await database();
  await aPackage(db);
  await db.query(
    `insert into scheduler.runs (tenant, job, slot, at, started_at, finished_at, host, version, error)
    values ('${SCHEMA}', 'packages', 1, $1, $1, $1, 'h', '0', 'The tables of packages do not fit: so it is.')`,
    [NOW],
  );
  const { remarks } = await explained(db, 'packages', 1, { at: NOW });
  assert.equal(remarks.length, 1);
  assert.match(
    remarks[0]!,
    /^The last run of packages, at .*Z, was stopped by an error: The tables of packages do not fit/,
  );
  await using other = await session(db, 'scheduler lock');
  await other.query(`begin; select pg_advisory_xact_lock(${lockOf(`'${SCHEMA}'`)})`);
  const [said] = (await explained(db, 'packages', 1, { at: NOW })).remarks;
  assert.match(
    said!,
    /^Another run is at work: process \d+ \("scheduler lock", \w+, idle in transaction, since .*Z\)\. Until it ends, a tick leaves the work to it\.$/,
  );
  assert.equal((await db.tick(NOW, { only: ['packages'] })).locked, true);
});

test('a database that takes no changes is in the way of everything', async () => {
  await using db = await database();
  await aPackage(db);
  await db.query(`alter database ${db.name} set default_transaction_read_only = on`);
  const said = await explained(db, 'packages', 1, { at: NOW });
  assert.deepEqual(said.remarks, ['The database takes no changes: it is set to be read-only.']);
  const { kind, sentence } = transitionOf(said, 'activate').verdict;
  assert.equal(kind, 'held');
  assert.match(
    sentence,
    /^cannot happen because the database takes no changes: it is set to be read-only; else it would/,
  );
  await assert.rejects(db.tick(NOW, { only: ['packages'] }), /The database takes no changes/);
});

test('a job that has looked in its slot already comes to the row with the next one', async () => {
  await using db = await database();
  const tick = async (at: string) => (await db.tick(at, { only: ['accounting'] })).jobs[0]?.changed ?? {};
  assert.deepEqual(await tick(NOW), {});
  await db.query(DUE_ROWS.accounting!.sync!.make);
  const said = await explained(db, 'accounting', 1, { at: minutes(1) });
  assert.equal(
    transitionOf(said, 'sync').verdict.sentence,
    'will happen at 2026-03-01 12:05:00Z (in 4 min), as accounting looks every 5 minutes and has done so',
  );
  assert.deepEqual(said.next, { transition: 'sync', at: '2026-03-01T12:05:00Z' });
  assert.deepEqual(await tick(minutes(1)), {});
  assert.deepEqual(await tick(minutes(5)), { sync: 1 });
});

test('a job that is not installed says why', async () => {
  await using db = await database({ empty: true });
  await db.query('create table packages (weight numeric)');
  await db.migrate();
  const said = await explained(db, 'packages', 1);
  assert.equal(said.state, 'not installed');
  assert.match(said.why!, /packages\.enable_schedule/);
  assert.deepEqual(said.transitions, []);
});

test('a row that is missing where one transition looks is told from one that is nowhere', async () => {
  await using db = await database();
  await db.query(DUE_ROWS.accounting!.sync!.make);
  const said = await explained(db, 'accounting', 1, { at: NOW });
  assert.equal(
    transitionOf(said, 'sync closed').verdict.sentence,
    'cannot happen because there is no such row where it looks',
  );
  await assert.rejects(explained(db, 'accounting', 2, { at: NOW }), /There is no row with the id 2 in radacct/);
});

test('a condition that raises an error is told with it, and the others are answered all the same', async () => {
  await using db = await database();
  await db.query(DUE_ROWS.credentials!.send!.make);
  const { send } = credentials.rules;
  const where = { ...(send!.where as Conditions), 'its number is small': 'phone_number::integer < 10' };
  const broken: Job = { ...credentials, rules: { send: { ...send!, where } } };
  const said = transitionOf(await explained(db, 'credentials', 1, { at: NOW, jobs: [broken] }), 'send');
  assert.equal(said.verdict.kind, 'not');
  assert.equal(
    said.verdict.sentence,
    'cannot happen because "its number is small" cannot be answered: value "2547****678" is out of range for type integer',
  );
  assert.deepEqual(
    said.conditions.map(({ met }) => met),
    [true, true, true, false],
  );
});

// ── What it shows

test('each condition shows the columns, settings and times that it saw', async () => {
  await using db = await database();
  await aPackage(db, { activated_at: null });
  const said = transitionOf(await explained(db, 'packages', 1, { at: NOW }), 'activate');
  const seen = Object.fromEntries(said.conditions.map(({ condition, values }) => [condition, values]));
  assert.deepEqual(seen['it is off sale'], { status: 'inactive' });
  assert.deepEqual(seen['its end has not come'], {
    scheduled_activation_time: '2026-03-01T11:00:00Z',
    scheduled_deactivation_time: null,
    validity: '2 hours',
    now: '2026-03-01T12:00:00Z',
  });
  assert.deepEqual(said.dueValues, { scheduled_activation_time: '2026-03-01T11:00:00Z' });
  await db.insert('customer_packages', { id: 'a', userId: 'u', status: 'ACTIVE', endDate: NOW });
  const end = transitionOf(await explained(db, 'subscriptions', 'a', { at: NOW }), 'end');
  assert.deepEqual(end.conditions[1]!.values, { SCHEDULER_END_SUBSCRIPTIONS: 'true' });
});

test('all of it is of one moment, whatever is written meanwhile', async () => {
  await using db = await database();
  await aPackage(db, { validity: 'banana' });
  await using application = await session(db, 'laravel');
  await application.query('begin; lock table packages in access exclusive mode');
  const said = explained(db, 'packages', 1, { at: NOW });
  const waiting = `select from pg_locks where relation = 'packages'::regclass and not granted`;
  await until('explain waits for the table', async () => (await db.query(waiting)).length > 0);
  await application.query(`update packages set validity = '2 hours', status = 'active';
    insert into scheduler.events (type, job, transition, entity_id, occurred_at, channels, data)
    values ('x', 'packages', 'activate', '1', now(), '{}', '{}'); commit`);
  const { transitions, events } = await said;
  const { conditions } = transitions.find(({ transition }) => transition === 'activate')!;
  assert.deepEqual([conditions.find(({ condition }) => condition === 'it is off sale')!.met, events], [true, []]);
});

test('columns without a zone are shown as the instants they stand for', async () => {
  await using db = await database();
  await db.query('alter table vouchers alter expires_at type timestamp');
  await db.insert('vouchers', { code: 'a', expires_at: '2026-03-01 12:00:00' });
  const env = { SCHEDULER_DB_TIMEZONE: 'Africa/Nairobi' };
  const { due, dueValues } = transitionOf(await explained(db, 'vouchers', 1, { env }), 'expire');
  assert.equal(due, '2026-03-01T09:00:00Z');
  assert.deepEqual(dueValues, { expires_at: '2026-03-01T09:00:00Z' });
});

test('adopted tables are explained alike: ids, statuses and times of their own types', async () => {
  const kind = KINDS['adopted tables'];
  await using db = await fill(kind, 100, true);
  const env = { SCHEDULER_DB_TIMEZONE: kind.dbZone, SCHEDULER_TIMEZONE: 'Africa/Nairobi' };
  for (const { name, table } of JOBS) {
    const rows = await db.query(`select id from ${table.name} order by random() limit 20`);
    for (const { id } of rows) {
      const upper = id.toUpperCase();
      const said = await explained(db, name, upper, { at: NOW, env });
      assert.equal(said.id, id);
      assert.ok(said.transitions.every(({ conditions }) => conditions.every(({ error }) => error === null)));
    }
  }
  assert.ok((await outlook(db, { env })).transitions.length > 0);
});

test('no password, secret or whole phone number is shown, whatever a condition looks at', async () => {
  await using db = await database();
  await db.query(DUE_ROWS.credentials!.send!.make);
  await db.query(`update hotspot_credentials set plain_password = 'pa55word', username = '254712345678'`);
  const where = { 'it has it all': `concat(phone_number, "plain_password", username) = ''` };
  const curious: Job = { ...credentials, rules: { send: { ...credentials.rules.send!, where } } };
  const said = await explained(db, 'credentials', 1, { at: NOW, jobs: [curious] });
  assert.deepEqual(said.transitions[0]!.conditions[0]!.values, {
    phone_number: '2547****678',
    plain_password: '(not shown)',
    username: '2547****678',
  });
  assert.doesNotMatch(JSON.stringify(said), /pa55word|712345678/);
});

test('it tells what happened before, whichever job of the table did it', async () => {
  await using db = await database();
  await db.query(DUE_ROWS.deductions!.deduct!.make);
  await db.tick(NOW, { only: ['deductions'] });
  const { events } = await explained(db, 'session-endings', 1, { at: NOW });
  assert.deepEqual(
    events.map(({ job, type }) => [job, type]),
    [['deductions', 'text_session.deducted']],
  );
});

test('a role that may read the tables may ask', async () => {
  await using db = await database();
  await db.query(`drop role if exists onlooker; create role onlooker; grant usage on schema ${SCHEMA}, scheduler to onlooker;
    grant select on all tables in schema ${SCHEMA}, scheduler to onlooker`);
  const reader = { ...db, url: `${db.url}${db.url.includes('?') ? '&' : '?'}options=-c%20role%3Donlooker` };
  try {
    for (const [job, rules] of Object.entries(DUE_ROWS)) {
      await db.query(CLEAR);
      await db.query(Object.values(rules)[0]!.make);
      assert.ok(kinds(await explained(reader, job, 1, { at: NOW })).includes('now'), job);
      await outlook(reader);
    }
    await assert.rejects(explained({ ...reader, url: reader.url.replace('onlooker', 'nobody') }, 'packages', 1));
  } finally {
    await db.query('drop owned by onlooker; drop role onlooker');
  }
});
