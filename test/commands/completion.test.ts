import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { loadJobs } from '../../src/jobs/index.ts';
import { cli, database, LAUNCHER } from '../support/harness.ts';
import { applied } from '../support/own.ts';
import { SCHEMA } from '../support/schema.ts';

const scripts: Record<string, string> = {};
async function scriptFor(shell: string): Promise<string> {
  scripts[shell] ??= (await cli(['completion', shell])).out;
  return scripts[shell];
}

/** What bash itself would offer for that line, with the cursor at its end. Its words are cut where bash cuts them. */
async function offered(line: string, url = ''): Promise<string[]> {
  const words = line.split(/ +|(=)/).filter((word) => word !== undefined);
  if (line.endsWith('=')) words.pop();
  const script = `${await scriptFor('bash')}
    scheduler() { '${LAUNCHER}' "$@"; }
    COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')})
    COMP_CWORD=${words.length - 1}
    $(complete -p scheduler | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const out = execFileSync('bash', ['--noprofile', '--norc', '-c', script], {
    encoding: 'utf8',
    cwd: '/',
    env: { PATH: process.env.PATH, DATABASE_URL: url },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return out.split('\n').filter(Boolean);
}

const jobs = async () => (await loadJobs()).map(({ name }) => name);

test('completion prints a script that the shell can read', async () => {
  execFileSync('bash', ['-n'], { input: await scriptFor('bash') });
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { code, out, err } = await cli(['completion', shell]);
    assert.deepEqual([code, err], [0, '']);
    for (const name of await jobs()) assert.match(out, new RegExp(`\\b${name}\\b`));
    for (const option of ['--dry-run', '--reason', '--exec']) assert.ok(out.includes(option.slice(2)), option);
  }
});

test('completion wants to know the shell, and names the ones it knows', async () => {
  for (const args of [[], ['tcsh']]) {
    const { code, err } = await cli(['completion', ...args]);
    assert.equal(code, 2);
    assert.match(err, /valid: bash, zsh, fish\.$/m);
  }
});

test('bash completes commands', async () => {
  assert.deepEqual(await offered('scheduler sta'), ['status', 'start']);
  assert.deepEqual(await offered('scheduler --env-file /x --debug his'), ['history']);
  const all = await offered('scheduler ');
  for (const name of [...(await jobs()), 'tick', 'completion']) assert.ok(all.includes(name), name);
});

test('bash completes the options of the command, and those of every command', async () => {
  assert.deepEqual(await offered('scheduler tick --d'), ['--dry-run', '--database-url', '--debug']);
  assert.deepEqual(await offered('scheduler stop packages --re'), ['--reason']);
  assert.deepEqual(await offered('scheduler prune --dry'), []);
  assert.deepEqual(await offered('scheduler --no'), ['--no-color']);
});

test('bash completes the names of jobs, actions and shells where one is wanted', async () => {
  assert.deepEqual(await offered('scheduler stop '), await jobs());
  assert.deepEqual(await offered('scheduler stop pa'), ['packages', 'payments']);
  assert.deepEqual(await offered('scheduler stop packages '), []);
  assert.deepEqual(await offered('scheduler events v'), ['vouchers']);
  assert.deepEqual(await offered('scheduler migrate --create=v'), ['vouchers']);
  assert.deepEqual(await offered('scheduler migrate --create al'), ['all']);
  assert.deepEqual(await offered('scheduler migrate --create='), ['all', ...(await jobs())]);
  assert.deepEqual(await offered('scheduler failures re'), ['retry']);
  assert.deepEqual(await offered('scheduler embedded '), ['start', 'stop', 'url']);
  assert.deepEqual(await offered('scheduler completion b'), ['bash']);
});

test('bash completes the names of files where one is wanted, and nothing where a value is free', async () => {
  assert.deepEqual(await offered('scheduler --env-file /etc/os-r'), ['/etc/os-release']);
  assert.deepEqual(await offered('scheduler tick --env-file=/etc/os-r'), ['/etc/os-release']);
  assert.deepEqual(await offered('scheduler apply /etc/os-r'), ['/etc/os-release']);
  assert.deepEqual(await offered('scheduler apply /etc/passwd --dry-run /etc/os-r'), ['/etc/os-release']);
  assert.deepEqual(await offered('scheduler tick --at '), []);
  assert.deepEqual(await offered('scheduler events --since '), []);
});

test('bash completes what only the database knows, and only what is a word for it', async () => {
  await using db = await database();
  await db.query('create table things (id text primary key, at timestamptz, gone boolean not null default false)');
  await applied(
    db,
    "jobs: { holds: { table: things, rules: { go: { due: at, where: not gone, set: gone = true, event: { type: hold.over, channels: [holds] }, fails: { no: id <> '1' } } } } }",
  );
  const evil = '$(touch /tmp/evil)';
  for (const id of ['1', 'seven', evil, 'two words', '-x'])
    await db.query(`insert into things values ($1, '2026-03-01')`, [id]);
  await db.cli(['tick']);
  const url = db.programUrl;
  assert.deepEqual(await offered('scheduler run h', url), ['hotspot-sessions', 'holds']);
  assert.deepEqual(await offered('scheduler failures retry ho', url), ['hotspot-sessions', 'holds']);
  assert.deepEqual(await offered('scheduler jobs show ', url), ['holds']);
  for (const line of ['explain', 'events', 'failures retry', 'rehearse --until 2d', 'failures', 'failures --wide'].map(
    (each) => `${each} holds `,
  ))
    assert.deepEqual(await offered(`scheduler ${line}`, url), ['seven'], line);
  assert.deepEqual(await offered('scheduler explain packages ', url), []);
  assert.deepEqual(await offered('scheduler events --type hold', url), ['hold.over']);
  assert.deepEqual(await offered('scheduler listen ho', url), ['holds']);
  assert.deepEqual(await offered('scheduler status --tenant ', url), [SCHEMA]);
  const nowhere = 'postgresql://127.0.0.1:1/none';
  assert.deepEqual(await offered('scheduler run v', nowhere), ['vouchers']);
});
