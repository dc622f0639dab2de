import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cli, database } from '../support/harness.ts';
import { applied, apply } from '../support/own.ts';
import { SCHEMA } from '../support/schema.ts';

const HOLDS = 'jobs: { holds: { table: holds, rules: { go: { due: at, where: not gone, set: gone = true } } } }';

test('on a database that only reads, each command does its work or says so in a sentence', async () => {
  await using db = await database();
  await db.tick();
  await db.query(`insert into scheduler.failures (tenant, job, rule, entity_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
    values ('${SCHEMA}', 'packages', 'activate', '1', 1, 'x', now(), now(), now())`);
  await db.insert('packages', { name: 'p', enable_schedule: true, scheduled_activation_time: new Date() });
  await db.query('create table holds (id serial primary key, at timestamptz, gone boolean default false)');
  await applied(db, HOLDS);
  await db.query(`alter database ${db.name} set default_transaction_read_only = on`);
  const reading = [
    'status',
    'next',
    'explain packages 1',
    'doctor',
    'history',
    'events',
    'failures',
    'migrate --status',
    'jobs',
  ];
  for (const line of reading) {
    const { code, err } = await db.cli(line.split(' '));
    assert.deepEqual([code, err], [line === 'doctor' ? 1 : 0, ''], line);
  }
  const writing = [
    'jobs remove holds',
    'rehearse --until 1d',
    'stop --reason x',
    'start',
    'failures retry --all',
    'failures drop --all',
    'prune',
  ];
  for (const line of [...writing, 'tick', 'packages', 'activate-now', 'migrate']) {
    const { code, err } = await db.cli(line.split(' '));
    assert.equal(code, 75, `${line}: ${err}`);
    assert.match(
      err,
      /The database takes no changes: cannot execute \w+ .*read-only transaction\. It is a standby, or set/,
    );
    assert.match(
      err,
      writing.includes(line) || line === 'migrate' ? /Nothing was changed; try again\.$/m : /The next run goes on\./,
    );
  }
  for (const options of [[], ['--dry-run'], ['--check', '--json'], ['--sql']]) {
    const { code, err, out } = await apply(db, HOLDS.replace('not gone', 'gone is false'), ...options);
    assert.equal(code, 75, `${options}: ${err}${out}`);
    assert.match(
      err,
      /The database takes no changes: .* It is a standby, or set .* Nothing was changed; try again\.\n$/,
    );
    assert.equal(out, '');
  }
  const { code, out } = await cli(['jobs', 'schema'], {
    env: { DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none' },
  });
  assert.deepEqual([code, JSON.parse(out).title], [0, 'Jobs of scheduler']);
});
