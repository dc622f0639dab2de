import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import pg from 'pg';
import { total } from '../../src/engine/batch.ts';
import type { Explanation } from '../../src/inspect/explain/explain.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import { ownServer } from '../faults/server.ts';
import { CLEAR, DUE_ROWS, NOW } from '../support/due-rows.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { explained } from '../support/looking.ts';
import { applied } from '../support/own.ts';

// For every transition of every job, and everything that may be in its way, the tick does what "explain" says.

/** Somebody else's transactions, which are open while it is asked and ticked. */
class Application implements AsyncDisposable {
  readonly #url: string;
  readonly #clients: pg.Client[] = [];

  constructor(db: TestDatabase) {
    this.#url = db.url;
  }

  async begin(...statements: string[]): Promise<void> {
    for (const sql of statements) {
      const client = new pg.Client({
        connectionString: this.#url,
        application_name: `laravel ${this.#clients.length}`,
      });
      await client.connect();
      this.#clients.push(client);
      await client.query(`begin; ${sql}`);
    }
  }

  async [Symbol.asyncDispose]() {
    for (const client of this.#clients) await client.end();
  }
}

interface Said {
  explanation: Explanation;
  sentences: string;
  acts: boolean;
  fails: boolean;
}

async function ask(db: TestDatabase, job: string, id: unknown): Promise<Said> {
  const explanation = await explained(db, job, id, { at: NOW });
  const kinds = explanation.transitions.map(({ verdict }) => verdict.kind);
  const sentences = [
    ...(explanation.unreadable ? [explanation.unreadable] : []),
    ...explanation.transitions.map(({ transition, verdict }) => `${transition} ${verdict.kind}: ${verdict.sentence}`),
  ].join('\n');
  return {
    ...{ explanation, sentences, acts: kinds.some((kind) => kind === 'now' || kind === 'along') },
    fails: kinds.includes('fails'),
  };
}

async function agreed(db: TestDatabase, job: string, what: string): Promise<Said> {
  const said = await ask(db, job, 1);
  const { jobs } = await db.tick(NOW, { only: [job] });
  const changed = total(jobs[0]?.changed ?? {});
  const told = `${what}\n${said.sentences}\nthe tick: ${JSON.stringify(jobs)}`;
  assert.equal(changed > 0, said.acts, told);
  const failed = await db.query('select from scheduler.failures where entity_id = $1 and last_failed_at = $2', [
    '1',
    NOW,
  ]);
  assert.equal(failed.length > 0, said.fails, told);
  return said;
}

/** A job, for each of its rules what makes a row 1 of that table due, and what comes before the first. */
interface Subject {
  name: string;
  rules: Record<string, { make: string; table: string }>;
  begin?(db: TestDatabase): Promise<unknown>;
}

async function builtIn(): Promise<Subject[]> {
  const jobs = await loadJobs();
  const tableOf = (name: string) => jobs.find((job) => job.name === name)!.table.name;
  return Object.entries(DUE_ROWS).map(([name, rules]) => ({
    name,
    rules: Object.fromEntries(
      Object.entries(rules).map(([rule, { make }]) => [
        rule,
        { make, table: rule === 'sync closed' ? 'scheduler.accounted' : tableOf(name) },
      ]),
    ),
  }));
}

const KINDS = {
  set: "set: kind = 'done'",
  delete: 'delete: true',
  once: 'once: told, event: item.told',
  repeat: 'repeat: 1 month',
  also: `set: kind = 'done', also: "insert into logs select id, due_at from changed"`,
};

const OWN: Subject = {
  name: 'items',
  rules: Object.fromEntries(
    Object.keys(KINDS).map((kind) => [
      kind,
      {
        table: 'items',
        make: `truncate items restart identity cascade;
          insert into items (at, kind) values (timestamptz '${NOW}' - interval '5 minutes', '${kind}')`,
      },
    ]),
  ),
  begin: async (db) => {
    await db.query(`create table items (id serial primary key, at timestamptz, kind text, told timestamptz);
      create table logs (id integer, at timestamptz)`);
    const rules = Object.entries(KINDS).map(([kind, does]) => `${kind}: { due: at, where: kind = '${kind}', ${does} }`);
    await applied(db, `jobs:\n  items:\n    table: items\n    rules:\n      ${rules.join('\n      ')}\n`);
  },
};

const where = (table: string, id = '1') => `${table === 'radacct' ? 'radacctid' : 'id'} = '${id}'`;

/** Ways to hold a row. */
const HOLDS: Record<string, (table: string) => string[]> = {
  'it was updated': (table) => {
    const [column] = where(table).split(' ');
    return [`update ${table} set ${column} = ${column} where ${where(table)}`];
  },
  'it was selected for update': (table) => [`select from ${table} where ${where(table)} for update`],
  'it was selected for share': (table) => [`select from ${table} where ${where(table)} for share`],
  'two have selected it for share': (table) => Array(2).fill(`select from ${table} where ${where(table)} for share`),
  'it was locked before a savepoint that is released': (table) => [
    `savepoint s; select from ${table} where ${where(table)} for update; release savepoint s`,
  ],
  'a new row refers to it': (table) => [refers(table)],
  'two new rows refer to it': (table) => [refers(table), refers(table)],
};

const refers = (table: string) =>
  `insert into refers_${table} select ${where(table).split(' ')[0]} from ${table} where ${where(table)}`;

/** A table whose rows refer to those of another one. */
const makeReferring = (table: string) => `
  drop table if exists refers_${table};
  create table refers_${table} as select ${where(table).split(' ')[0]} as ref from ${table} limit 0;
  alter table refers_${table} add foreign key (ref) references ${table}`;

const TABLE_LOCKS = ['share', 'access exclusive'];

// ── Rows beside it

const SESSIONS = `
  insert into subscriptions (user_id, text_sessions_remaining) values (5, 10);
  insert into doctor_wallets (doctor_id, balance) values (9, 0);
  insert into text_sessions (patient_id, doctor_id, status, activated_at, sessions_remaining_before_start)
  select 5, 9, 'active', timestamptz '${NOW}' - interval '40 minutes', 3 from generate_series(1, 2)`;
const CUSTOMER = `
  insert into customer_packages (id, "userId", status, "scheduledStartDate", "endDate") values
    ('1', 'u', 'SCHEDULED', timestamptz '${NOW}' - interval '5 minutes', null),
    ('2', 'u', 'ACTIVE', null, timestamptz '${NOW}' + interval '1 day'),
    ('3', 'u', 'SCHEDULED', timestamptz '${NOW}' - interval '4 minutes', null),
    ('4', 'u', 'CANCELLED', timestamptz '${NOW}' - interval '4 minutes', null)`;
const HOTSPOT = `
  insert into packages (name, price, duration) values ('1 Hour', 50, '1 hour');
  insert into hotspot_users (username, phone_number, data_used, data_limit) values ('u1', '254712345678', 1000, 500);
  insert into payments (phone_number, package_id, amount, transaction_id, status, updated_at)
  values ('254712345678', 1, 50, 'T1', 'completed', timestamptz '${NOW}');
  insert into radius_sessions (username, hotspot_user_id, status, expected_end)
  values ('u1', 1, 'active', timestamptz '${NOW}' - interval '5 minutes');
  insert into radacct (acctsessionid, acctuniqueid, username, nasipaddress, acctstarttime, acctupdatetime, acctstoptime,
    acctsessiontime, acctinputoctets, acctoutputoctets)
  values ('1', '1', 'u1', '10.0.0.1', timestamptz '${NOW}' - interval '1 hour', '${NOW}', '${NOW}', 60, 1000, 2000)`;

const TWO_PAYMENTS = `${HOTSPOT};
  insert into payments (phone_number, package_id, amount, transaction_id, status, updated_at)
  values ('254712345678', 1, 50, 'T2', 'completed', timestamptz '${NOW}')`;

const BESIDE: [job: string, make: string, held: string, kind: string, said: RegExp][] = [
  ['subscriptions', CUSTOMER, "customer_packages where id = '2'", 'held', /a row that it needs as well is locked/],
  ['subscriptions', CUSTOMER, "customer_packages where id = '3'", 'held', /a row that it needs as well is locked/],
  ['subscriptions', CUSTOMER, "customer_packages where id = '4'", 'now', /^/],
  ...['deductions', 'session-endings'].flatMap((job): (typeof BESIDE)[number][] => [
    [job, SESSIONS, 'text_sessions where id = 1', 'held', /its row is locked/],
    [job, SESSIONS, 'text_sessions where id = 2', 'now', /^/],
  ]),
  ['payments', TWO_PAYMENTS, 'payments where id = 1', 'held', /its row is locked/],
];

const SUBJECTS = await builtIn();

// Most of the time they wait for locks.
describe('explain and tick', { concurrency: 6 }, () => {
  for (const { name, rules, begin } of [...SUBJECTS, OWN]) {
    test(`${name}: whoever holds a row or its table, explain and tick agree, and it says who it is`, async () => {
      await using db = await database();
      await begin?.(db);
      for (const [rule, { table, make }] of Object.entries(rules)) {
        const prepare = async () => {
          await db.query(CLEAR);
          await db.query(make);
          return new Application(db);
        };
        const isOurs = table.includes('.');
        if (!isOurs) await db.query(makeReferring(table));
        for (const [how, hold] of Object.entries(HOLDS)) {
          if (isOurs && how.includes('refer')) continue;
          await using application = await prepare();
          await application.begin(...hold(table));
          const said = await agreed(db, name, `${name}, ${rule}: ${how}`);
          if (!said.acts) assert.match(said.sentences, /process \d+ \("laravel [01]"/, how);
        }
        for (const mode of TABLE_LOCKS) {
          await using application = await prepare();
          await application.begin(`lock table ${table} in ${mode} mode`);
          const said = await ask(db, name, 1);
          const result = await db.tick(NOW, { only: [name] });
          const what = `${name}, ${rule}, ${mode}: ${said.sentences}\n${JSON.stringify(result.jobs)}`;
          assert.equal(total(result.jobs[0]!.changed) > 0, said.acts, what);
          assert.equal(result.jobs[0]!.error !== undefined, !said.acts, what);
          if (!said.acts)
            assert.match(said.sentences, /the table [\w.]+ is locked \(\w+\) by process \d+ \("laravel 0"/, what);
        }
      }
    });

    test(`${name}: a failure, a quarantine and a stop are told as the tick takes them`, async () => {
      await using db = await database();
      await begin?.(db);
      for (const [rule, { make }] of Object.entries(rules)) {
        for (const [next, quarantined] of [
          ["timestamptz '2026-03-01T12:05:00Z'", 'null'],
          ["timestamptz '2026-03-01T12:00:00Z'", 'null'],
          ["'infinity'", "timestamptz '2026-03-01T11:00:00Z'"],
        ]) {
          await db.query(CLEAR);
          await db.query(make);
          await db.query(`insert into scheduler.failures
          (tenant, job, entity_id, rule, attempts, error, first_failed_at, last_failed_at, next_attempt_at, quarantined_at)
          values ('public', '${name}', '1', '${rule}', 2, 'so it is', '2026-03-01T11:00:00Z', '2026-03-01T11:00:00Z', ${next}, ${quarantined})`);
          await agreed(db, name, `${rule}, next attempt ${next}`);
        }
        await db.query(CLEAR);
        await db.query(make);
        await db.query(
          `insert into scheduler.controls (job, action, by, reason) values ('${name}', 'stop', 'ann', 'so it is')`,
        );
        assert.match((await agreed(db, name, `${rule}, stopped`)).sentences, /is paused: stopped by ann/);
      }
    });
  }

  test('if another row that it needs is locked, explain says by whom, and what a tick makes of it', async () => {
    await using db = await database();
    for (const [job, make, held, kind, sentence] of BESIDE) {
      await db.query(CLEAR);
      await db.query(make);
      await using application = new Application(db);
      await application.begin(`select from ${held} for update`);
      const { explanation, sentences } = await agreed(db, job, `${job}: ${held}`);
      const what = `${held}\n${sentences}`;
      assert.ok(
        explanation.transitions.some(({ verdict }) => verdict.kind === kind && sentence.test(verdict.sentence)),
        what,
      );
      if (kind !== 'now') assert.match(sentences, /by process \d+ \("laravel 0", /, what);
    }
  });

  test('also the second session of a patient, which is waited for, and an old subscription, which is replaced', async () => {
    await using db = await database();
    for (const [job, make, id, failed] of [
      ['deductions', SESSIONS, '2', 1],
      ['session-endings', SESSIONS, '2', 1],
      ['subscriptions', CUSTOMER, '2', 0],
    ] as const) {
      await db.query(CLEAR);
      await db.query(make);
      await using application = new Application(db);
      await application.begin(
        `select from ${job === 'subscriptions' ? 'customer_packages' : 'text_sessions'} where id = '${id}' for update`,
      );
      const said = await ask(db, job, id);
      await db.tick(NOW, { only: [job] });
      assert.deepEqual([said.acts, said.fails], [false, failed === 1], said.sentences);
      assert.match(said.sentences, /its row is locked by process \d+ \("laravel 0"/);
      assert.equal(
        (await db.query('select from scheduler.failures where entity_id = $1', [id])).length,
        failed,
        said.sentences,
      );
    }
  });

  test('a transaction that was prepared and forgotten is named', async () => {
    await using server = await ownServer({ max_prepared_transactions: '1' });
    await using db = await database({ server });
    const { make } = DUE_ROWS.packages!.activate!;
    for (const [sql, said] of [
      [
        'select from packages for update',
        /its row is locked by the prepared transaction "bank" \(postgres, since .*Z\)/,
      ],
      [
        'lock table packages in share mode',
        /the table packages is locked \(ShareLock\) by the prepared transaction "bank"/,
      ],
    ] as const) {
      await db.query(CLEAR);
      await db.query(make);
      await using application = new Application(db);
      await application.begin(`${sql}; prepare transaction 'bank'`);
      assert.match((await agreed(db, 'packages', sql)).sentences, said);
      await db.query(`rollback prepared 'bank'`);
    }
  });
});
