import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadJobs } from '../src/jobs/index.ts';
import { cli, database, type Finished, finished, LAUNCHER } from './support/harness.ts';

const OWN = [
  ...['tick', 'status', 'next', 'explain', 'history', 'events', 'failures', 'listen', 'start', 'stop', 'activate-now'],
  ...['migrate', 'uninstall', 'prune', 'embedded', 'demo', 'install', 'completion', 'man'],
];
/** They have nothing to do with a database that somebody names. */
const WITHOUT_DATABASE = ['embedded', 'demo', 'install', 'completion', 'man'];
const commands = async () => [...OWN, ...(await loadJobs()).map((job) => job.name)];
/** What a command does not go without. */
const NEEDED: Record<string, string[]> = { stop: ['--reason', 'x'], explain: ['packages', '1'], uninstall: ['--yes'] };

/** Asserts the exit code, and that what was said is sentences for an operator and nothing else. */
function refused({ code, out, err }: Finished, expected: number, ...said: RegExp[]): void {
  assert.equal(code, expected, err);
  assert.equal(out, '');
  for (const pattern of said) assert.match(err, pattern);
  assert.match(err, /^scheduler.*: .*[.)?]\n$/s);
  assert.doesNotMatch(err, /^\s+at /m, 'no stack trace');
}

async function folder() {
  const path = await mkdtemp(join(tmpdir(), 'cli-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

/** The launcher as a shell would start it: any path to it, any folder, any environment. */
function shell(script: string, env: Record<string, string> = {}, cwd = '/'): Promise<Finished> {
  return finished(spawn('/bin/sh', ['-c', script], { cwd, env: env as NodeJS.ProcessEnv }));
}

// ── Help

test('without a command it prints its help to standard error and exits 2', async () => {
  const { code, out, err } = await cli([]);
  assert.equal(code, 2);
  assert.equal(out, '');
  for (const name of await commands()) assert.match(err, new RegExp(`^  ${name}\\b`, 'm'));
  const groups = ['Every minute:', 'One job, now:', 'Looking:', 'Control:', 'Setting up and trying out:'];
  const places = groups.map((group) => err.indexOf(`\n${group}\n`));
  assert.deepEqual(
    places,
    [...places].sort((a, b) => a - b),
  );
  assert.ok(places.every((place) => place > 0));
});

test('--help is printed to standard output and exits 0, for each command with examples, exit codes and all options', async () => {
  assert.equal((await cli(['--help'])).code, 0);
  for (const name of await commands()) {
    const { code, out, err } = await cli([name, '--help']);
    assert.equal(code, 0, name);
    assert.equal(err, '');
    assert.match(out, new RegExp(`Examples:\n  \\$ .*scheduler ${name}`), name);
    assert.match(out, /Exit codes:\n {3}0 {2}done\n/, name);
    for (const option of ['database-url', 'env-file', 'embedded', 'no-color', 'debug', 'version', 'help']) {
      assert.match(out, new RegExp(`--${option}\\b.* {2}\\w`), `${name} ${option}`);
    }
    for (const line of out.split('\n').filter((each) => /^ {2}-/.test(each))) {
      assert.match(line, /^ {2}-.* {2}\w/, `${name}: an option without a description`);
    }
    assert.ok(Math.max(...out.split('\n').map((line) => line.length)) <= 100, name);
  }
});

test('--version prints the version of the package', async () => {
  const { version } = (await import('../package.json', { with: { type: 'json' } })).default;
  assert.deepEqual(await cli(['--version']), { code: 0, out: `${version}\n`, err: '' });
  assert.deepEqual(await cli(['-V']), { code: 0, out: `${version}\n`, err: '' });
});

// ── The launcher

test('it runs from any folder, through a symbolic link, with an empty environment', async () => {
  await using db = await database();
  await using bin = await folder();
  await symlink(LAUNCHER, join(bin.path, 'sched'));
  await symlink('sched', join(bin.path, 'again'));
  const run = `${bin.path}/again status --json --database-url '${db.url}'`;
  for (const [env, cwd] of [
    ['', '/'],
    ['', bin.path],
    ['PATH=/usr/bin:/bin', '/tmp'],
  ] as const) {
    const { code, out, err } = await shell(`exec env -i ${env} ${run}`, {}, cwd);
    assert.equal(err, '');
    assert.equal(code, 0);
    assert.equal(JSON.parse(out).scheduler.isRunning, false);
  }
  const fromPath = await shell(`again --version`, { PATH: `${bin.path}:/usr/bin:/bin` });
  assert.equal(fromPath.code, 0, fromPath.err);
});

test('a Node that is older than the package says is refused by the launcher', async () => {
  const run = (version: string) => {
    const older = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } });`;
    return cli(['--version'], { env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(older)}` } });
  };
  const { engines } = (await import('../package.json', { with: { type: 'json' } })).default;
  assert.equal(engines.node, '>=20.12');
  for (const version of ['18.20.1', '20.0.0', '20.11.1'])
    refused(await run(version), 78, new RegExp(`Node\\.js ${version} is too old; it needs 20\\.12 or later`));
  for (const version of ['20.12.0', '21.0.0', '22.3.0']) assert.equal((await run(version)).code, 0);
});

test('a reader that goes away ends any command quietly', async () => {
  await using db = await database();
  await db.tick();
  for (const command of ['--help', 'status', 'history --all', 'migrate --status', 'tick --help']) {
    const { out, err } = await shell(`'${LAUNCHER}' ${command} | true; echo over`, {
      PATH: '/usr/bin:/bin',
      DATABASE_URL: db.url,
    });
    assert.deepEqual([out, err], ['over\n', ''], command);
  }
});

// ── Wrong usage: 2

test('a wrong command line exits 2, and names the mistake and the valid choices', async () => {
  const nowhere = { env: { DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none' } };
  const cases: [string[], ...RegExp[]][] = [
    [['nosuch'], /unknown command 'nosuch'/, /valid: tick, .*status.*man\./],
    [['--nosuch'], /unknown option '--nosuch'/, /valid: .*--database-url.*--help\./],
    [['tick', '--nosuch'], /scheduler tick: unknown option '--nosuch'/, /valid: --dry-run, --at.*--debug, --help\./],
    [['stauts'], /unknown command 'stauts'; did you mean "status"\?\n$/],
    [['tick', '--dryrun'], /unknown option '--dryrun'; did you mean "--dry-run"\?\n$/],
    [['stop', 'package', '--reason', 'x', '--tz', 'Mars'], /--tz is "Mars"; valid: local, UTC, or a zone/],
    [['status', '--log-format', 'xml'], /--log-format is "xml"; valid: text, json/],
    [['status', '--quiet', '--debug'], /'-q, --quiet' cannot be used with option '--debug'/],
    [['tick', '--at'], /scheduler tick: option '--at <time>' argument missing/],
    [['tick', 'extra'], /scheduler tick: too many arguments/],
    [['tick', '--at', 'yesterday'], /--at is "yesterday", which is not a time; valid: 2026-11-20T10:00/],
    [['tick', '--at', '2999-01-01'], /--at 2999-01-01 lies in the future.*--dry-run/],
    [['tick', '--batch-size', '0'], /--batch-size.*'0' is invalid.*whole number from 1 to 100000/],
    [['tick', '--batch-size', '1e3'], /'1e3' is invalid/],
    [['tick', '--timeout', 'soon'], /--timeout.*'soon' is invalid\. Valid: from 1 s to 1 d, such as 55/],
    [['history', '--since', '12:00 maybe'], /--since is "12:00 maybe", which is not a time/],
    [['events', '--until', '0'.repeat(20)], /--until is "0+", which is not a time/],
    [['events', '--limit', '-1'], /--limit.*'-1' is invalid/],
    [['stop', 'packages'], /scheduler stop: required option '--reason <text>' not specified/],
    [['stop', '--reason', ' '], /--reason is empty/],
    [['failures', 'retry'], /failures retry needs a job, or --all/],
    [['failures', 'packages', '7', '8'], /"8" is one too many/],
    [['listen', '--since', 'then'], /--since.*'then' is invalid.*whole number/],
    [['listen', ''], /A channel is empty; valid: a name/],
    [['embedded'], /embedded needs an action; valid: start, stop, url\./],
    [['embedded', 'nosuch'], /"nosuch" is not an action; valid: start, stop, url\./],
    [
      ['status', '--embedded', '--database-url', 'postgresql://h/d'],
      /'--embedded' cannot be used with option '--database-url/,
    ],
    [['status', '--env-file', '/no/such/file'], /"\/no\/such\/file" of --env-file cannot be read/],
  ];
  for (const [args, ...said] of cases) refused(await cli(args, nowhere), 2, ...said);
});

test('a job that is neither built in nor in the database exits 2, and the valid ones are named', async () => {
  await using db = await database();
  const jobs = (await loadJobs()).map((job) => job.name).join(', ');
  const valid = new RegExp(`"nosuch" is not a job; valid: ${jobs}\\.`);
  for (const args of [
    ['history', 'nosuch'],
    ['events', 'nosuch'],
    ['failures', 'nosuch'],
    ['start', 'nosuch'],
    ['stop', 'nosuch', '--reason', 'x'],
  ])
    refused(await db.cli(args), 2, valid);
});

// ── Configuration: 78

test('all faults of the configuration are named at once, and exit 78', async () => {
  const env = {
    SCHEDULER_TIMEZONE: 'Mars/Olympus',
    SCHEDULER_DB_TIMEZONE: '+3',
    SCHEDULER_RETENTION: 'for ever',
    SCHEDULER_LOG_LEVEL: 'loud',
    SCHEDULER_LOG_FORMAT: 'xml',
    SCHEDULER_RETENSION: '9',
    PGCONNECT_TIMEOUT: '-1',
  };
  for (const command of await commands()) {
    if (WITHOUT_DATABASE.includes(command)) continue;
    refused(
      await cli([command, ...(NEEDED[command] ?? [])], { env }),
      78,
      /SCHEDULER_TIMEZONE is "Mars\/Olympus"; valid: .*Africa\/Nairobi/,
      /SCHEDULER_DB_TIMEZONE is "\+3"/,
      /SCHEDULER_RETENTION is "for ever"; valid: a number of days/,
      /SCHEDULER_LOG_LEVEL is "loud"; valid: debug, info/,
      /SCHEDULER_LOG_FORMAT is "xml"; valid: text, json/,
      /SCHEDULER_RETENSION is not a setting; valid: .*SCHEDULER_RETENTION/,
      /PGCONNECT_TIMEOUT is "-1"/,
      /No database is named\. Give --database-url, or set DATABASE_URL, or libpq's PGHOST.*--embedded/,
    );
  }
});

test('"tick --env-file", as cron starts it, does and says what it does with other options, too', async () => {
  await using db = await database();
  await using place = await folder();
  const file = join(place.path, 'env');
  await writeFile(file, `DATABASE_URL=${db.url}\n`);
  await db.insert('packages', { name: 'p', enable_schedule: true, scheduled_activation_time: new Date() });
  const { code, out, err } = await cli(['tick', '--env-file', file]);
  assert.deepEqual([code, err], [0, '']);
  assert.match(out, /packages +activate +1/);
  for (const more of [[], ['--json']]) {
    refused(await cli(['tick', '--env-file', '/no/such/file', ...more]), 2, /"\/no\/such\/file" of --env-file cannot/);
    refused(await cli(['tick', '--env-file', '/dev/null', ...more]), 78, /No database is named/);
  }
});

test('an --env-file adds to the environment, which wins', async () => {
  await using db = await database();
  await using place = await folder();
  const file = join(place.path, 'env');
  await writeFile(file, `DATABASE_URL="${db.url}"\nSCHEDULER_TIMEZONE=Mars/Olympus\n`);
  refused(await cli(['status', '--env-file', file]), 78, /SCHEDULER_TIMEZONE is "Mars\/Olympus"/);
  const { code } = await cli(['status', '--env-file', file], { env: { SCHEDULER_TIMEZONE: 'Africa/Nairobi' } });
  assert.equal(code, 0);
});

test('a certificate that cannot be read, and sslmode=verify-ca without one, exit 78 and are named', async () => {
  const url = 'postgresql://u:hunter2@db/x?sslmode=verify-ca';
  for (const [more, what] of [
    ['&sslrootcert=/no/such/file', /sslrootcert is "\/no\/such\/file", which cannot be read: ENOENT\.$/m],
    ['', /sslmode is "verify-ca", which needs sslrootcert/],
  ] as const) {
    const refusal = await cli(['status', '--database-url', `${url}${more}`]);
    refused(refusal, 78, what);
    assert.doesNotMatch(refusal.err, /hunter2/);
  }
});

test('a connection string that is none, or not of PostgreSQL, exits 78 without being printed', async () => {
  for (const url of ['postgresql://u:hunter2@[bad/db', 'host=db password=hunter2', 'mysql://u:hunter2@db/x']) {
    const refusal = await cli(['status', '--database-url', url, '--debug']);
    assert.equal(refusal.code, 78);
    assert.match(refusal.err, /--database-url .*valid: postgresql:\/\/user:password@host:5432\/database/);
    assert.doesNotMatch(refusal.err, /hunter2/);
  }
});

test('a server that refuses the role, the password or the database exits 78, and the password is never printed', async () => {
  await using db = await database();
  const refusals: [Partial<URL>, RegExp][] = [
    [{ password: 'hunter2' }, /refuses the connection: password authentication failed/],
    [{ username: 'nobody', password: 'hunter2' }, /refuses the connection/],
    [{ pathname: '/nosuch' }, /database "nosuch" does not exist/],
  ];
  for (const [wrong, said] of refusals) {
    const url = Object.assign(new URL(db.tcpUrl), wrong);
    for (const args of [['status'], ['tick'], ['listen'], ['tick', '--debug']]) {
      const { code, out, err } = await cli([...args, '--database-url', url.href]);
      assert.equal(code, 78);
      assert.match(err, said);
      assert.match(err, /Check the user, the password and the database name/);
      assert.doesNotMatch(out + err, /hunter2/);
      assert.ok(!(out + err).includes(new URL(db.tcpUrl).password));
    }
  }
});

test('a schema that was never made, or is too old, is a sentence with exit code 78 for every command', async () => {
  await using db = await database({ empty: true });
  const all = (await commands()).filter((name) => !['migrate', 'uninstall', ...WITHOUT_DATABASE].includes(name));
  const args = (name: string) => [name, ...(NEEDED[name] ?? [])];
  for (const name of all) {
    const none = /The schema "scheduler" is not in this database\. Run "scheduler migrate" once/;
    refused(await db.cli(args(name)), 78, none);
  }
  await db.migrate();
  await db.query('delete from scheduler.migrations');
  const old = /The schema "scheduler" is at level 0, and this version needs \d+\. Run "scheduler migrate"/;
  for (const name of all) refused(await db.cli(args(name)), 78, old);
});

test('a schema of an earlier edition is refused, with what to do about it', async () => {
  await using db = await database();
  await db.query(`update scheduler.migrations set name = 'engine' where id = 1`);
  const what = /made by an earlier edition.*"drop schema scheduler cascade".*then "scheduler migrate"/;
  for (const name of ['tick', 'status', 'migrate']) refused(await db.cli([name]), 78, what);
  await db.query('drop schema scheduler cascade');
  assert.equal((await db.cli(['migrate'])).code, 0);
  assert.equal((await db.cli(['tick'])).code, 0);
});

test('a role without the rights is told which one is missing, and exits 78', async () => {
  await using db = await database();
  const role = `r_${db.name}`;
  await db.query(`create role ${role} login`);
  try {
    const url = db.url.replace('postgres@', `${role}@`);
    const lacking = /lacks a right: permission denied for schema scheduler\. Grant it/;
    for (const command of ['tick', 'status', 'history', 'events', 'failures', 'start', 'prune', 'listen'])
      refused(await cli([command, '--database-url', url]), 78, lacking);
    await db.query(
      `grant usage on schema scheduler to ${role}; grant select on all tables in schema scheduler to ${role}`,
    );
    assert.equal((await cli(['status', '--database-url', url])).code, 0);
    refused(await cli(['start', '--database-url', url]), 78, /permission denied for function start/);
    refused(await cli(['prune', '--database-url', url]), 78, /permission denied for function forget/);
  } finally {
    await db.query(`drop owned by ${role}; drop role ${role}`);
  }
});

// ── Out of reach: 69

test('a database that cannot be reached exits 69', async () => {
  const url = 'postgresql://u:hunter2@127.0.0.1:1/d?application_name=x&password=hunter2';
  const said = /The database at postgresql:\/\/u:\*\*\*@127\.0\.0\.1:1\/d.* cannot be reached: .*ECONNREFUSED/;
  for (const command of ['tick', 'status', 'listen', 'prune', 'migrate']) {
    const refusal = await cli([command, '--database-url', url]);
    refused(refusal, 69, said);
    assert.doesNotMatch(refusal.err, /hunter2/);
  }
  refused(await cli(['status', '--database-url', 'postgresql://u@no-such-host.invalid/d']), 69, /cannot be reached/);
});

test('a server that accepts and says nothing is given up after PGCONNECT_TIMEOUT', async () => {
  const sockets: Socket[] = [];
  const mute = createServer((socket) => sockets.push(socket.on('error', () => {})));
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  const { port } = mute.address() as { port: number };
  try {
    const timed = async (args: string[], port: number) => {
      const began = Date.now();
      const env = { DATABASE_URL: `postgresql://u@127.0.0.1:${port}/d`, PGCONNECT_TIMEOUT: '1' };
      const ended = await cli(args, { env });
      return { ended, took: Date.now() - began };
    };
    for (const args of [['tick'], ['status'], ['listen']]) {
      const { ended, took } = await timed(args, port);
      refused(ended, 69, /cannot be reached: .*timeout/);
      // A slow machine takes a while to start a process: as long as to be refused at once.
      const { took: start } = await timed(args, 1);
      assert.ok(took > 900 && took - start < 2000, `${took} ms, of which ${start} ms to start`);
    }
  } finally {
    for (const socket of sockets) socket.destroy();
    mute.close();
  }
});

test('--embedded without a running embedded server exits 69 and says how to start it', async () => {
  await using place = await folder();
  const env = { TMPDIR: place.path };
  const said = /No embedded server is running.*scheduler embedded start/;
  for (const line of ['status --embedded', '--embedded tick', 'listen --embedded', 'embedded url'])
    refused(await cli(line.split(' '), { env }), 69, said);
  const { code, out } = await cli(['embedded', 'stop'], { env });
  assert.deepEqual([code, out], [0, 'No embedded server was running.\n']);
});

// ── --debug

test('--debug adds the stack of an error, without a password', async () => {
  const url = 'postgresql://u:hunter2@127.0.0.1:1/d';
  for (const args of [
    ['status', '--debug', '--database-url', url],
    ['--debug', '--database-url', url, 'tick'],
  ]) {
    const { code, err } = await cli(args);
    assert.equal(code, 69);
    assert.match(err, /^ +at /m);
    assert.doesNotMatch(err, /hunter2/);
  }
});

// ── prune

test('prune costs little also when PostgreSQL believes that the history is empty, as after it was', async () => {
  await using db = await database();
  await db.query(`alter table scheduler.events set (autovacuum_enabled = false);
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, channels, data)
    select 'x', 'packages', 'activate', n, now(), now(), '{}', '{}' from generate_series(1, 50000) as n;
    update pg_class set reltuples = 0, relpages = 60 where oid = 'scheduler.events'::regclass`);
  const began = performance.now();
  assert.equal((await db.cli(['prune'])).code, 0);
  assert.ok(performance.now() - began < 10_000);
});

test('prune forgets what is past its retention, in events and runs, and nothing else', async () => {
  await using db = await database();
  for (const age of ['100 days', '91 days', '10 days', '0']) {
    await db.query(
      `insert into scheduler.runs (job, at, started_at, finished_at, host, version) values ('packages', now(), now() - $1::interval, now(), 'h', 'v')`,
      [age],
    );
    await db.query(
      `insert into scheduler.events (type, job, transition, entity_id, occurred_at, channels, data) values ('t', 'packages', 'activate', '1', now() - $1::interval, '{}', '{}')`,
      [age],
    );
  }
  const json = await db.cli(['prune', '--json']);
  assert.deepEqual(JSON.parse(json.out), { events: 2, runs: 2, retentionDays: 90 });
  const { code, out } = await db.cli(['prune'], { env: { SCHEDULER_RETENTION: '5 days' } });
  assert.equal(code, 0);
  assert.equal(out, 'Forgot 1 events and 1 runs older than 5 days.\n');
  assert.equal((await db.events()).length, 1);
});
