import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { ROOT } from '../../src/base/version.ts';
import { lockOf } from '../../src/store/lock.ts';
import { LEVEL } from '../../src/store/migrate.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { readPage } from '../support/markdown.ts';
import { folder, play, shell } from '../support/playing.ts';

/** docs/operating.md: each failure is brought about, says the sentence that is quoted, and the commands shown run in it. */

type Leave = (undo: () => Promise<unknown>) => void;
type Environment = Record<string, string>;

interface Case {
  /** Puts the database into that state; may answer what the environment then holds besides its address. */
  given?(db: TestDatabase, leave: Leave): Promise<unknown>;
  empty?: boolean;
  /** What cron or an operator ran when it was said, and how that ended. */
  saw?: [command: string, code: number, env?: Environment][];
  /** Commands shown that end otherwise than with 0, by how they begin. */
  codes?: Record<string, number>;
  /** Quoted sentences that cannot be brought about here within seconds: they stand in the sources, and that test has seen them. */
  elsewhere?: Record<string, string>;
}

const PACKAGE = { name: 'Weekend', enable_schedule: true, scheduled_activation_time: '2026-01-01T10:00:00Z' };
const BAD = { ...PACKAGE, validity: 'banana' };

/** A session of somebody else that does this and stays. */
async function somebody(db: TestDatabase, leave: Leave, sql: string) {
  const client = new pg.Client({ connectionString: db.url });
  client.on('error', () => {});
  await client.connect();
  leave(() => client.end());
  await client.query(sql);
}

const CASES: Record<string, Case> = {
  '': { given: (db) => db.tick() },
  'The database cannot be reached (69)': {
    given: async () => ({ DATABASE_URL: 'postgresql://me:secret@127.0.0.1:9/application' }),
    saw: [['scheduler tick', 69]],
    codes: { 'scheduler doctor': 69 },
    elsewhere: { 'The connection to the database was lost': 'test/faults/outages.test.ts' },
  },
  'The connection is refused or not named (78)': {
    given: async (db) => {
      await db.tick();
      writeFileSync(join(folder, 'scheduler.env'), `DATABASE_URL=${db.url}\n`);
    },
    saw: [
      ['DATABASE_URL="${DATABASE_URL/t_/no_}" scheduler tick', 78],
      ['scheduler tick', 78, { DATABASE_URL: '' }],
    ],
  },
  'A setting is not valid (78)': {
    saw: [
      ['scheduler tick', 78, { SCHEDULER_TIMEZONE: 'Nairobi' }],
      ['scheduler tick', 78, { SCHEDULER_TIMEZOME: 'UTC' }],
    ],
  },
  'The schema is missing or old (78)': {
    empty: true,
    given: async (_, leave) => {
      const older = await database();
      leave(async () => older[Symbol.asyncDispose]());
      await older.query('delete from scheduler.migrations where id = $1', [LEVEL]);
      return { OLDER: older.url };
    },
    saw: [
      ['scheduler tick', 78],
      ['scheduler tick --database-url "$OLDER"', 78],
    ],
  },
  'The search path leads elsewhere (78)': {
    given: async (db) => {
      await db.query('create schema shop; create table shop.packages (like packages including all)');
    },
    saw: [['scheduler tick', 78, { PGOPTIONS: '-c search_path=shop' }]],
  },
  'A right is missing (78)': {
    given: async (db, leave) => {
      const role = `r_${db.name}`;
      await db.query(`create role ${role} login`);
      leave(() => db.query(`drop owned by ${role} cascade; drop role ${role}`));
      return { DATABASE_URL: db.url.replace('postgres@', `${role}@`) };
    },
    saw: [['scheduler tick', 78]],
  },
  'A job does not fit its tables (78)': {
    given: async (db) => {
      await db.insert('packages', PACKAGE);
      await db.query(
        'alter table packages alter column is_active drop default, alter column is_active type integer using 0',
      );
    },
    saw: [['scheduler tick', 78]],
    codes: { 'scheduler doctor': 1 },
    elsewhere: { 'The tables of … refuse every row alike': 'test/engine/bad-rows.test.ts' },
  },
  'A job is not installed': {
    given: async (db) => {
      await db.tick();
      await db.query('alter table packages rename to wares; create table packages (id serial primary key, name text)');
    },
    saw: [
      ['scheduler migrate', 0],
      ['scheduler status --check', 1],
    ],
    codes: { 'scheduler doctor': 1 },
  },
  'The deadline came (75)': {
    given: async (db) => {
      await db.query(`insert into packages (name, enable_schedule, scheduled_activation_time)
        select 'p' || n, true, '2026-01-01T10:00:00Z' from generate_series(1, 3000) as n`);
    },
    saw: [['scheduler tick --timeout 1 --batch-size 1', 75]],
  },
  'A row fails': { given: (db) => db.insert('packages', BAD), saw: [['scheduler tick', 1]] },
  'A row is in quarantine': {
    given: async (db) => {
      await db.insert('packages', BAD);
      for (const at of ['10:00', '10:05', '10:35']) await db.tick(`2026-01-01T${at}:00Z`);
      await db.tick();
    },
    saw: [['scheduler status --check', 1]],
  },
  'Another run holds the lock': {
    given: (db, leave) => somebody(db, leave, `begin; select pg_advisory_xact_lock(${lockOf("'public'")})`),
    saw: [['scheduler tick', 0]],
  },
  'Rows are late': {
    given: async (db) => {
      await db.tick();
      await db.insert('packages', PACKAGE);
    },
    saw: [['scheduler status --check', 1]],
  },
  'A row did not change': {
    given: async (db, leave) => {
      await db.insert('packages', PACKAGE);
      await somebody(db, leave, 'begin; select from packages for update');
    },
  },
  'No tick comes': {
    given: async (db) => {
      await db.tick();
      await db.query(`update scheduler.runs set started_at = started_at - interval '1 hour', slot = slot - 60`);
    },
    saw: [['scheduler status --check', 1]],
  },
  'It is paused': {
    given: async () => {},
    saw: [
      ['scheduler stop --reason "refunds first"', 0],
      ['scheduler status', 0],
    ],
  },
  'The database only reads': {
    given: async (db) => {
      await db.query(`alter database ${db.name} set default_transaction_read_only = on`);
    },
    saw: [['scheduler tick', 75]],
    codes: { 'scheduler doctor': 1 },
  },
  'The disk is full': { elsewhere: { '… was interrupted by the database': 'test/faults/outages.test.ts' } },
  'The notification queue is full': {
    elsewhere: { 'The notification queue is full': 'test/faults/notifications.test.ts' },
  },
  'The clocks differ': { elsewhere: { 'this machine is': 'test/inspect/doctor.test.ts' } },
  'The zone is wrong': {
    given: async (db) => {
      await db.insert('packages', PACKAGE);
      await db.migrate({ SCHEDULER_DB_TIMEZONE: 'Africa/Nairobi' });
      await db.tick();
    },
    saw: [['scheduler doctor', 1]],
  },
  'Users are not disconnected': {
    given: async (db) => {
      const queue = (nas: string) =>
        db.query(
          `insert into session_disconnections (username, nas_ip_address, acct_session_id, status, attempts, next_attempt_at, updated_at)
           values ('guest', $1, '81', 'pending', 0, now(), now())`,
          [nas],
        );
      await queue('10.0.0.1');
      await queue('nowhere.invalid');
      await queue('172.16.0.1');
      await db.query(`insert into session_disconnections (username, nas_ip_address, attempts, answer, next_attempt_at)
        values ('guest', '10.0.0.2', 4, 'refused with 506 (resources unavailable)', now() + interval '1 hour')`);
      await db.query(`insert into nas (nasname, shortname, secret)
        values ('nowhere.invalid', 'n', 'testing123'), ('172.16.0.0/12', 'wide', 'testing123')`);
    },
    saw: [['scheduler disconnects', 1]],
  },
  'SMS are not sent': {
    given: async (db) => {
      await db.query(
        `insert into hotspot_users (username, phone_number, has_active_subscription) values ('guest', '254712345678', true)`,
      );
      await db.query(
        `insert into hotspot_credentials (hotspot_user_id, username, plain_password, phone_number, sms_status, sms_next_attempt_at)
         select id, username, 'secret', phone_number, 'pending', now() from hotspot_users`,
      );
      return { SCHEDULER_SMS_SECRET: 'key', SCHEDULER_SMS_URL: 'http://127.0.0.1:9/sms' };
    },
    saw: [
      ['SCHEDULER_SMS=twilio scheduler tick', 78],
      ['SCHEDULER_SMS=webhook scheduler tick', 0],
      [`SCHEDULER_SMS=webhook scheduler tick --dry-run`, 0],
    ],
    elsewhere: { 'Credentials not sent, and given up': 'test/jobs/hotspot/credentials.test.ts' },
  },
  'A defect (70)': { elsewhere: { '… stopped on an unexpected error': 'test/engine/jobs-apart.test.ts' } },
};

/** As it is read: without the quotes' escapes of JSON, and in one line where a table breaks it. */
const readable = (output: string) => output.replaceAll('\\"', '"').replace(/\s+/g, ' ');

const SOURCES = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => readFileSync(join(ROOT, 'src', name), 'utf8'))
  .join('\n')
  .replace(/['"`] \+\s*['"`]/g, '');

const says = (text: string, sentence: string) =>
  new RegExp(
    sentence
      .split('…')
      .map((piece) => piece.trim().replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
      .join('.*?'),
  ).test(text);

const page = readPage('docs/operating.md');

test('each section has its case, and each case its section', () => {
  const headings = page.sections.map(({ heading }) => heading);
  assert.deepEqual(Object.keys(CASES).sort(), headings.sort());
});

for (const section of page.sections) {
  const { given, empty = false, saw = [], codes = {}, elsewhere = {} } = CASES[section.heading] ?? {};
  test(section.heading || 'looking first', async () => {
    await using db = await database({ empty });
    const undoings: (() => Promise<unknown>)[] = [];
    await using _ = {
      [Symbol.asyncDispose]: async () => {
        for (const undo of undoings) await undo();
      },
    };
    const more: unknown = await given?.(db, (undo) => undoings.push(undo));
    const env = { DATABASE_URL: db.url, ...(more as Environment | undefined) };
    let printed = '';
    for (const [command, code, own] of saw) {
      const result = await shell(command, { ...env, ...own });
      assert.equal(result.code, code, `${command}\n${result.out}${result.err}`);
      printed += result.out + result.err;
    }
    printed += await play(section, { db, env, codes });
    const quoted = section.blocks
      .filter(({ language }) => language === 'text')
      .flatMap(({ text }) => text.trim().split('\n'));
    for (const sentence of quoted) {
      const [, witness] = Object.entries(elsewhere).find(([start]) => sentence.startsWith(start)) ?? [];
      if (witness) {
        assert.ok(existsSync(join(ROOT, witness)), witness);
        assert.ok(
          sentence.split('…').every((piece) => SOURCES.includes(piece.trim())),
          `not in src: ${sentence}`,
        );
      } else {
        assert.ok(says(readable(printed), sentence), `nobody said: ${sentence}\n${printed}`);
      }
    }
  });
}
