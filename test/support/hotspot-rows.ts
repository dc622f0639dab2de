import assert from 'node:assert/strict';
import type { RunResult } from '../../src/engine/run.ts';
import type { TestDatabase } from './harness.ts';

/** Rows of a hotspot operator, and what the jobs made of them. */

export const NOW = '2026-03-01T10:00:00Z';
export const at = (minutes: number) => new Date(Date.parse(NOW) + minutes * 60_000).toISOString();
export const epoch = (time: string) => String(Date.parse(time) / 1000);

const HOUR = { name: '1 Hour', price: 50, duration: '1 hour', upload_speed: '2M', download_speed: '4M', devices: 2 };

export const hotspotPackage = (db: TestDatabase, over: object = {}) => db.insert('packages', { ...HOUR, ...over });

let payments = 0;
export const pay = (db: TestDatabase, packageId: unknown, over: object = {}) =>
  db.insert('payments', {
    phone_number: '254712345678',
    mac_address: 'AA:BB:CC:00:11:22',
    package_id: packageId,
    amount: 50,
    transaction_id: `T${++payments}`,
    mpesa_receipt: `R${payments}`,
    status: 'completed',
    updated_at: NOW,
    ...over,
  });

let sessions = 0;
/** What FreeRADIUS writes when a router reports a session. */
export const online = (db: TestDatabase, username: string, over: object = {}) =>
  db.insert('radacct', {
    acctsessionid: `8100${++sessions}`,
    acctuniqueid: `unique-${sessions}`,
    username,
    nasipaddress: '10.0.0.1',
    framedipaddress: '10.5.50.7',
    callingstationid: 'AA-BB-CC-00-11-22',
    acctstarttime: NOW,
    acctupdatetime: NOW,
    acctsessiontime: 0,
    acctinputoctets: 0,
    acctoutputoctets: 0,
    ...over,
  });

export const theUser = (db: TestDatabase) => db.one('select * from hotspot_users');
export const theSession = (db: TestDatabase) => db.one(`select * from radius_sessions where status = 'active'`);

const attributes = async (db: TestDatabase, table: string, username: string) => {
  const rows = await db.query(`select * from ${table} where username = $1`, [username]);
  for (const row of rows) assert.equal(row.op, ':=', `${row.attribute} has the operator that FreeRADIUS needs`);
  const found = Object.fromEntries(rows.map((row) => [row.attribute, row.value]));
  assert.equal(Object.keys(found).length, rows.length, `${username} has each attribute once in ${table}`);
  return found;
};
export const checksOf = (db: TestDatabase, username: string) => attributes(db, 'radcheck', username);
export const repliesOf = (db: TestDatabase, username: string) => attributes(db, 'radreply', username);

/** What one job of a run did; a job that stopped on an error fails the test. */
export function passOf(result: RunResult, job: string) {
  const pass = result.jobs.find((each) => each.job === job);
  assert.ok(pass, JSON.stringify(result.skipped));
  assert.equal(pass.error, undefined);
  return pass;
}
