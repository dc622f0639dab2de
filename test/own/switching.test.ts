import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../src/base/version.ts';
import { dumpOf } from '../support/dump.ts';
import { ACK, answer, fakeGateway, fakeNas } from '../support/fakes.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { commandsOf, readPage } from '../support/markdown.ts';
import { apply } from '../support/own.ts';
import { isHere, isLacking, shell } from '../support/playing.ts';

/** Three applications switch, each with the commands of the documentation alone. */

const EXAMPLES = join(ROOT, 'deploy/examples');
const NAIROBI = { SCHEDULER_DB_TIMEZONE: 'Africa/Nairobi', SCHEDULER_TIMEZONE: 'Africa/Nairobi' };
const section = (heading: string) => readPage('docs/adopting.md').sections.find((each) => each.heading === heading)!;
const commandsIn = (heading: string) =>
  section(heading).blocks.flatMap((block) => (block.language === 'sh' ? commandsOf(block) : []));

/** From the dump to the first tick. */
async function walk(db: TestDatabase, name: string, env: Record<string, string>, dump = schemaOf(name)): Promise<void> {
  const commands = commandsIn('From a dump to the first tick');
  assert.ok(commands.length <= 8, `${commands.length} commands`);
  const cwd = mkdtempSync(join(tmpdir(), 'sch-walk-'));
  writeFileSync(join(cwd, 'dump.sql'), dump);
  copyFileSync(join(EXAMPLES, name, 'scheduler.yaml'), join(cwd, 'scheduler.yaml'));
  try {
    for (const command of commands.filter(isHere)) {
      if (isLacking(command)) await db.query(dump);
      else {
        const { code, out, err } = await shell(command, { DATABASE_URL: db.url, ...env }, cwd);
        assert.equal(code, 0, `${name}: ${command}\n${out}${err}`);
      }
    }
  } finally {
    rmSync(cwd, { recursive: true });
  }
  assert.deepEqual(await lines(db, 'select * from scheduler.failures'), []);
  const doctor = await db.cli(['doctor'], { env });
  assert.equal(doctor.code, 0, doctor.out);
}

const schemaOf = (name: string) => readFileSync(join(EXAMPLES, name, 'schema.sql'), 'utf8');
const lines = async (db: TestDatabase, query: string) =>
  (await db.query(query)).map((row) => Object.values(row).map(String).join(' | '));

/** The way back: all is as in the dump, but for what ticks did to its rows. */
async function takeAway(db: TestDatabase, name: string): Promise<void> {
  const { code, out, err } = await db.cli(['uninstall', '--drop-columns', '--yes']);
  assert.equal(code, 0, out + err);
  await using before = await database({ empty: true });
  await before.query(schemaOf(name));
  const objects = async (each: TestDatabase) => (await dumpOf(each)).filter((line) => !/^\S+ \{"/.test(line));
  assert.deepEqual(await objects(db), await objects(before));
}

test('a hotspot in Laravel: sales, vouchers, and access from the payment to the end', async () => {
  await using db = await database({ empty: true });
  await using nas = await fakeNas((request) => request.send(request.reply(ACK)));
  await using gateway = await fakeGateway(answer(200, {}));
  const env = {
    ...{ ...NAIROBI, SCHEDULER_RADIUS_PORT: String(nas.port) },
    ...{ SCHEDULER_SMS: 'webhook', SCHEDULER_SMS_URL: gateway.url, SCHEDULER_SMS_SECRET: 'a key' },
  };
  await walk(db, 'laravel', env, schemaOf('laravel').replace('a-secret-of-the-router', nas.secret));
  assert.deepEqual(await lines(db, 'select name, status, is_active from packages order by id'), [
    '1 Hour | active | true',
    'Weekend | active | true',
    'Unlimited | inactive | false',
    'Holiday | draft | false',
    'Old | inactive | false',
  ]);
  // A queue that waited for a full second would be a tick late.
  const [due] = await lines(
    db,
    `select format_type(atttypid, atttypmod) from pg_attribute where attname = 'next_attempt_at' and attrelid = 'disconnections'::regclass`,
  );
  assert.equal(due, 'timestamp without time zone');
  assert.deepEqual(await lines(db, 'select status from vouchers order by id'), ['expired', 'used', 'unused']);
  // A payment from before gives nothing more. The customer whose hour is over is logged out.
  assert.deepEqual(await lines(db, 'select phone, subscribed, status from customers'), [
    '254700000001 | false | expired',
  ]);
  assert.deepEqual(await lines(db, 'select status, end_reason from hotspot_sessions'), ['expired | time is up']);
  assert.deepEqual(await lines(db, 'select username from radcheck union all select plain_password from credentials'), [
    '',
  ]);
  assert.deepEqual(
    [await lines(db, 'select session_id, reason, status from disconnections'), nas.requests.length],
    [['1 | time is up | disconnected'], 1],
  );

  // Two pay: a new customer for 5 GB, and one who was deleted for a package without limit.
  await db.query(`update customers set deleted_at = now();
    insert into radcheck (username, attribute, op, value) values ('254700000002', 'Cleartext-Password', ':=', 'of a row that is gone');
    insert into payments (package_id, phone, amount, reference, status, created_at, updated_at)
    select package, phone, 1000, phone, 'completed', at, at
    from (values (2, '254700000002'), (3, '254700000001')) as sold (package, phone) cross join (select date_trunc('second', now() at time zone 'Africa/Nairobi') as at) as paid`);
  const { code, out, err } = await db.cli(['tick'], { env });
  assert.equal(code, 0, out + err);
  assert.deepEqual(
    await lines(
      db,
      'select phone, subscribed, status, data_limit, deleted_at, created_at is not null from customers order by phone',
    ),
    ['254700000001 | true | active | null | null | true', '254700000002 | true | active | 5368709120 | null | true'],
  );
  const isOf = 'join customers c on c.id = customer_id and c.phone = username';
  assert.deepEqual(
    await lines(db, `select s.status, username from hotspot_sessions s ${isOf} order by s.status, username`),
    [...['active | 254700000001', 'active | 254700000002', 'expired | 254700000001']],
  );
  const granted = `select username, attribute, case attribute when 'Cleartext-Password' then 'new' else value end
    from (select * from radcheck union all select * from radreply) as all_of
    where attribute in ('Cleartext-Password', 'Mikrotik-Rate-Limit', 'Mikrotik-Total-Limit-Gigawords') order by 1, 2`;
  assert.deepEqual(await lines(db, granted), [
    ...['254700000001 | Cleartext-Password | new', '254700000001 | Mikrotik-Rate-Limit | 10M/20M'],
    ...['254700000002 | Cleartext-Password | new', '254700000002 | Mikrotik-Rate-Limit | 10M/20M'],
    '254700000002 | Mikrotik-Total-Limit-Gigawords | 1',
  ]);
  // The flag that its pages read tells of the change that is being made, and the column that is not null is emptied.
  assert.deepEqual(
    await lines(
      db,
      `select phone, sms_sent, sms_status, plain_password from credentials where payment_id > 1 order by phone`,
    ),
    [...['254700000001 | true | sent | ', '254700000002 | true | sent | ']],
  );
  assert.equal(gateway.asked.length, 2);
  await takeAway(db, 'laravel');
});

test('plans in Prisma: those bought ahead, and one that is pending', async () => {
  await using db = await database({ empty: true });
  await walk(db, 'prisma', {});
  assert.deepEqual(
    await lines(
      db,
      `select id, status, "isActive", "updatedAt" > "createdAt" - interval '1 minute' from "Subscription" order by id`,
    ),
    [
      'cm6c000000000ann1 | EXPIRED | false | true',
      'cm6c000000000ann2 | ACTIVE | true | true',
      'cm6c000000000ann3 | ACTIVE | false | false',
      'cm6c000000000bob1 | EXPIRED | false | true',
      'cm6c000000000bob2 | SCHEDULED | false | false',
    ],
  );
  assert.deepEqual(
    await lines(db, `select status, "updatedAt" = "sentAt" + interval '7 days' from "Invitation" order by id`),
    ['EXPIRED | true', 'PENDING | false'],
  );
  await takeAway(db, 'prisma');
});

test('telehealth in Django: sessions charged through plans, and special packages', async () => {
  await using db = await database({ empty: true });
  await walk(db, 'django', { ...NAIROBI, SCHEDULER_SESSION_RATE: '300' });
  assert.deepEqual(
    await lines(db, 'select status, reason, end_reason, sessions_used from care_textsession order by id'),
    [
      'active | a rash |  | 2',
      'ended | a cough | insufficient_sessions | 1',
      'expired | a fever | no_response | 0',
      'waiting_for_doctor | a question |  | 0',
    ],
  );
  assert.deepEqual(await lines(db, 'select credits_left from care_creditplan order by id'), ['9', '9', '3', '0']);
  assert.deepEqual(await lines(db, 'select doctor_id, balance, total_earned, currency from care_wallet order by 1'), [
    '3 | 1600.00 | 1600.00 | KES',
    '4 | 300.00 | 300.00 | KES',
  ]);
  assert.deepEqual(
    await lines(
      db,
      'select kind, amount, status, session_id, count(distinct reference) from care_walletentry group by 1, 2, 3, 4 order by 4',
    ),
    ['credit | 300.00 | completed | 1 | 2', 'credit | 300.00 | completed | 2 | 1'],
  );
  assert.deepEqual(await lines(db, 'select title, waits, is_active from care_specialpackage order by id'), [
    "Women's week | false | true",
    'Last week | false | false',
  ]);
  await takeAway(db, 'django');
});

test('the SQL of a plan can be run as it is: each thing is there once, and old payments stay paid', async () => {
  await using db = await database({ empty: true });
  await db.query(schemaOf('laravel'));
  const file = join(EXAMPLES, 'laravel/scheduler.yaml');
  assert.equal((await db.cli(['migrate'])).code, 0);
  const { code, out, err } = await db.cli(['apply', file, '--sql'], { env: NAIROBI });
  assert.equal(code, 0, err);
  for (const statement of out.split(/;\n/)) await db.query(statement);
  const plan = await db.cli(['apply', file, '--dry-run'], { env: NAIROBI });
  assert.equal(plan.code, 0, plan.out);
  assert.doesNotMatch(plan.out, /is added|is made|index|provision: due now/);
});

test('a file that would lose money is refused, in words that say what to write', async () => {
  await using db = await database({ empty: true });
  await db.query(schemaOf('django'));
  await db.query(schemaOf('laravel'));
  await db.query(`alter table care_textsession drop constraint textsession_status_valid,
    add constraint textsession_status_valid check (status in ('waiting_for_doctor', 'active', 'ended'))`);
  assert.equal((await db.cli(['migrate'])).code, 0);
  const file = (name: string) => readFileSync(join(EXAMPLES, name, 'scheduler.yaml'), 'utf8');
  const refused = async (yaml: string) => {
    const { code, out } = await apply(db, yaml, '--dry-run');
    assert.equal(code, 1, out);
    return out;
  };
  const telehealth = await refused(
    file('django')
      .replaceAll('text_sessions_remaining: credits_left, ', '')
      .replaceAll(`insert: { currency: "'KES'" }`, `insert: { currency: "'KES'", balance: 0 }`),
  );
  // An empty column beside theirs would mean that nobody has a credit.
  assert.match(telehealth, /care_creditplan has no column "text_sessions_remaining"/);
  assert.match(telehealth, /the job itself writes "balance": leave it out here/);
  const [, remedy] = /"textsession_status_valid" .* refuses 'expired' .*?(alter table .*;)/.exec(telehealth) ?? [];
  await db.query(remedy!);
  const fits = await apply(db, file('django'), '--dry-run');
  assert.equal(fits.code, 0, fits.out);
  const hotspot = await refused(
    file('laravel')
      .replaceAll('has_active_subscription: subscribed, ', '')
      .replace('set: { deleted_at: "null" }', 'set: { phone: "\'0\'" }'),
  );
  assert.match(hotspot, /customers has no column "has_active_subscription"/);
  assert.match(hotspot, /the job itself writes "phone", as "(username|phone_number)": leave it out here/);
});
