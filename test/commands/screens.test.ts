import assert from 'node:assert/strict';
import { test } from 'node:test';
import { widthOf } from '../../src/base/wrap.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { applied } from '../support/own.ts';
import { onTerminal, screen } from '../support/terminal.ts';

/** What a person sees: every command on a terminal of two widths, with rows as they are and with rows as strangers make them. */

const LONG = `a-job-of-forty-letters-which-is-the-mo${'s'.repeat(2)}`;
const HOSTILE = '予約の確認 e\u0301\u0301te\u0301 \u001b[2J\u001b]0;title\u0007\r\nfake line \u202edesrever';

const PLAIN = { job: 'bookings', rule: 'release', title: 'Weekend' };

interface Shown {
  job: string;
  rule: string;
  title: string;
}

/** Jobs that failed, are paused and did something; rows by whose names a table grows. */
async function fill(db: TestDatabase, { job, rule, title }: Shown): Promise<void> {
  await db.query(
    'create table things (id text primary key, title text, at timestamptz, gone boolean not null default false)',
  );
  await applied(
    db,
    `jobs: { ${job}: { table: things, rules: { ${rule}: { due: at, where: not gone, set: gone = true, event: thing.gone, fails: { "'it is {title}'": title like 'bad%' } } } } }`,
  );
  for (const [id, name] of [
    ['1', title],
    ['2', `bad ${title}`],
    ['10', `bad ${title}`],
    [title, 'good'],
  ])
    await db.query(`insert into things values ($1, $2, '2026-03-01')`, [id, name]);
  const sale = { name: title, enable_schedule: true, scheduled_activation_time: '2026-03-01T10:00:00Z' };
  await db.insert('packages', sale);
  await db.insert('packages', { ...sale, validity: title });
  await db.insert('packages', {
    ...sale,
    scheduled_activation_time: new Date(Date.now() + 3_600_000),
    validity: '1 day',
  });
  await db.cli(['tick']);
  await db.cli(['stop', 'vouchers', '--reason', `the shop moves: ${title}`.slice(0, 200)]);
}

const commands = ({ job, title }: Shown): string[][] => [
  ...[['status'], ['status', '--wide'], ['status', '--check'], ['status', job], ['status', '--tenants', 'public']],
  ...[['next'], ['next', '--wide'], ['explain', job, '2'], ['explain', job, '2', '--all'], ['explain', job, title]],
  ...[['explain', 'packages', '2'], ['explain', 'packages', '3', '--all'], ['history'], ['history', '--wide']],
  ...[['events'], ['events', '--wide'], ['failures'], ['failures', '--wide'], ['jobs'], ['jobs', '--wide']],
  ...[['jobs', 'history', job], ['rehearse', '--until', '2h'], ['rehearse', '--until', '2h', '--wide'], ['doctor']],
  ...[['migrate', '--dry-run'], ['migrate', '--status'], ['tick'], ['tick', '--dry-run'], ['run', job, '--dry-run']],
  ...[['start', 'vouchers'], ['stop', 'vouchers', '--reason', 'again'], ['activate-now', '--dry-run'], ['prune']],
  ...[['listen', '--since', '0']],
];

// A remedy is copied as it stands.
const COPIED = /^(#|--|scheduler |\* |[a-z ]+;$)/;

for (const [what, shown] of Object.entries({
  'rows as they are': PLAIN,
  'rows as strangers make them': {
    job: LONG,
    rule: `"rule of forty letters and spaces ${'y'.repeat(7)}"`,
    title: HOSTILE,
  },
}))
  for (const columns of [80, 120])
    test(`no line is wider than a terminal of ${columns} columns: ${what}`, async () => {
      await using db = await database();
      await fill(db, shown);
      const faults: string[] = [];
      const all = commands(shown);
      for (let n = 0; n < all.length; n += 3)
        await Promise.all(
          all.slice(n, n + 3).map(async (args) => {
            const lines = await screen(db, args, columns);
            const tooWide = lines.filter((line) => !COPIED.test(line) && widthOf(line) > columns);
            faults.push(...tooWide.map((line) => `${args.join(' ')}: ${line}`));
            assert.doesNotMatch(lines.join('\n'), /(?!\n)\p{Cc}|\u202e|^fake line/mu, args.join(' '));
          }),
        );
      assert.deepEqual(faults, []);
    });

test('the help of every command fits a terminal of 80 columns', async () => {
  await using db = await database();
  const names = [...(await loadJobs()).map(({ name }) => name), ...new Set(commands(PLAIN).map(([name]) => name!))];
  for (const name of [...names, 'embedded', 'demo', 'install', 'uninstall', 'completion', 'man', 'apply']) {
    const lines = await screen(db, [name, '--help'], 80);
    assert.deepEqual(
      lines.filter((line) => !line.startsWith('  $ ') && widthOf(line) > 80),
      [],
      name,
    );
  }
});

const together = (lines: string[]) => lines.join('').replaceAll(/\s/g, '');

test('--wide and a pipe show columns that a narrow terminal leaves out', async () => {
  await using db = await database();
  const shown = { job: LONG, rule: 'release', title: `${HOSTILE} ${'z'.repeat(20)}` };
  await fill(db, shown);
  const narrow = await screen(db, ['status'], 80);
  for (const said of [/^12 jobs: 9 ok, 2 failing, 1 paused\./m, /^There is more: --wide shows it\.$/m])
    assert.match(narrow.join('\n'), said);
  const reason = together([`the shop moves: ${HOSTILE}`]).slice(0, 20);
  for (const args of [
    ['status', '--wide'],
    ['status', 'vouchers'],
    ['history', '--wide'],
  ])
    assert.ok(together(await screen(db, args, 80)).includes(reason), args.join(' '));
  for (const args of [['failures'], ['explain', LONG, '2'], ['next']])
    assert.match(together(await screen(db, args, 80)), /z{20}/, args.join(' '));
  for (const args of [['status'], ['failures'], ['events'], ['history'], ['jobs']]) {
    const { out } = await db.cli(args);
    assert.match(out, new RegExp(`^.*${LONG}.*$`, 'm'), args.join(' '));
    assert.doesNotMatch(out, /…|--wide/, args.join(' '));
  }
});

test('the status of eleven built-in jobs and five own ones is one screen', async () => {
  await using db = await database();
  await db.query('create table things (id serial primary key, at timestamptz, gone boolean not null default false)');
  const jobs = ['holds', 'trials', 'invitations', 'password-resets', 'rooms'].map(
    (name, n) =>
      `  ${name}: { table: things, rules: { go: { due: at, where: not gone and id = ${n}, set: gone = true } } }`,
  );
  await applied(db, `jobs:\n${jobs.join('\n')}`);
  await db.insert('things', { at: '2026-03-01' });
  await db.insert('packages', {
    name: 'p',
    enable_schedule: true,
    scheduled_activation_time: new Date(),
    validity: 'x',
  });
  await db.cli(['tick']);
  await db.cli(['stop', 'vouchers', '--reason', 'as the shop moves '.repeat(10)]);
  const lines = await screen(db, ['status'], 80);
  assert.ok(lines.length < 24, lines.join('\n'));
  assert.match(lines.join('\n'), /^16 jobs: 14 ok, 1 failing, 1 paused\.$/m);
});

test('rows that failed alike are one line on a terminal, with ids in the order of numbers', async () => {
  await using db = await database();
  const row = { name: 'p', enable_schedule: true, scheduled_activation_time: '2026-03-01T10:00:00Z' };
  for (const id of [2, 10, 9]) await db.insert('packages', { ...row, id, validity: 'banana' });
  await db.insert('packages', { ...row, id: 1, validity: 'apple' });
  await db.cli(['tick']);
  const lines = await screen(db, ['failures'], 120);
  assert.match(lines.join('\n'), /^(\w+ +)?packages +activate +3 +2, 9, 10 /m);
  assert.match(lines.join('\n'), /^(\w+ +)?packages +activate +1 +1 /m);
  const each = (await db.cli(['failures'])).out.split('\n').map((line) => /packages +(\d+) /.exec(line)?.[1]);
  assert.deepEqual(each.filter(Boolean), ['1', '2', '9', '10']);
});

test('an event has a message on every screen: its own, or some of its fields', async () => {
  await using db = await database();
  await fill(db, PLAIN);
  for (const args of [['events'], ['events', '--wide'], ['listen', '--since', '0']]) {
    const lines = (await screen(db, args, 80)).join('\n');
    assert.match(lines, /Package 'Weekend' status changed from inactive to active/, args.join(' '));
    assert.match(lines, /at = 2026-03-01 00:00:00Z, gone = true/, args.join(' '));
  }
  const [line] = await screen(db, ['listen', '--since', '0', '--json'], 80);
  assert.equal(JSON.parse(line!).type, 'package.status.changed');
});

test('events and rehearsals of rows with long ids name the job and the row', async () => {
  await using db = await database();
  await db.query(
    'create table rooms (id uuid primary key default gen_random_uuid(), at timestamptz, gone boolean default false)',
  );
  await applied(
    db,
    'jobs: { bookings: { table: rooms, rules: { release: { due: at, where: not gone, set: gone = true, event: { type: conference.room.is.free.again, message: "it is free" } } } } }',
  );
  await db.query(`insert into rooms (at) values ('2026-03-01')`);
  await db.cli(['tick']);
  await db.query(`insert into rooms (at) values (now() + interval '1 hour')`);
  for (const args of [['events'], ['rehearse', '--until', '2h']]) {
    const said = (await screen(db, args, 80)).join('\n');
    assert.match(said, /^.*\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ +bookings .*[0-9a-f-]{36}$/m, said);
    assert.match(said, /^ {2}conference\.room\.is\.free\.again/m, said);
  }
});

test('a sentence about an error is broken between words, at the width of the terminal', async () => {
  await using db = await database();
  const { written } = await onTerminal(db, ['events', 'nosuch'], { columns: 60 });
  const lines = written.trimEnd().split('\n');
  assert.ok(lines.length > 2 && lines.every((line) => line.length <= 60), written);
  assert.match(written, /"nosuch" is not a job; valid:/);
  assert.match(lines.join(' '), /session-endings, payments, credentials, accounting/);
});
