import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSettings, type Settings } from '../../src/base/config.ts';
import { withoutPassword } from '../../src/base/connection.ts';
import { Stop } from '../../src/base/stop.ts';
import { jobVariables } from '../../src/context.ts';
import { loadJobs } from '../../src/jobs/index.ts';

const VARIABLES = jobVariables(await loadJobs());
const DATABASE_URL = 'postgresql://u@h/d';
const read = (env: Record<string, string>): Settings => readSettings({ DATABASE_URL, ...env }, VARIABLES, {});

test('each kind of setting takes its values to both ends, and no other', () => {
  const cases: [string, good: string[], bad: string[]][] = [
    ['ENABLE_SUBSCRIPTION_SCHEDULER', ['true', 'on', 'off', '0', 'No'], ['maybe']],
    ['SCHEDULER_SESSION_RATE', ['0', '2.50'], ['-1', '1e3', 'much']],
    ['SCHEDULER_TIMEZONE', ['UTC', 'Africa/Nairobi'], ['+03:00', 'Mars/Olympus']],
    ['SCHEDULER_RETENTION', ['1', '36500 days'], ['0', '36501']],
    ['PGCONNECT_TIMEOUT', ['1', '3600'], ['0', '3601']],
    ['SCHEDULER_RADIUS_PORT', ['1', '65535'], ['0', '65536']],
    ['SCHEDULER_RADIUS_INTERIM', ['60', '86400'], ['59', '86401']],
    ['SCHEDULER_RADIUS_IDLE', ['0', '86400'], ['86401']],
  ];
  for (const [name, good, bad] of cases) {
    for (const value of good) assert.doesNotThrow(() => read({ [name]: value }), `${name}=${value}`);
    for (const value of bad) assert.throws(() => read({ [name]: value }), { exitCode: 78 }, `${name}=${value}`);
  }
});

test('a database is named by an option, by a URL, or by what libpq itself reads', () => {
  const { connection } = readSettings({ DATABASE_URL }, {}, { databaseUrl: 'postgresql://u@other/d' });
  assert.equal(connection.url, 'postgresql://u@other/d');
  assert.doesNotThrow(() => readSettings({ PGHOST: 'h' }, {}, {}));
  assert.throws(() => readSettings({ PGSSLMODE: 'require' }, {}, {}), /No database is named/);
  for (const url of ['postgresqlx://h/d', 'mysql://h/d'])
    assert.throws(() => read({ DATABASE_URL: url }), /begins with/);
});

test('a connection string is shown without its password, whatever that holds', () => {
  assert.equal(withoutPassword('postgres://u:p@ss/w@rd@h/d'), 'postgres://u:***@h/d');
  assert.equal(withoutPassword('postgres://h/d?password=longer-than-that&x=1'), 'postgres://h/d?password=***&x=1');
});

test('the first reason to stop is the one that counts', () => {
  const stop = new Stop();
  stop.request('deadline');
  stop.request('signal');
  assert.equal(stop.reason, 'deadline');
});
