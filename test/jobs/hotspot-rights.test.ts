import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../src/version.ts';
import { fakeNas } from '../gateways/fakes.ts';
import { database, type TestDatabase } from '../harness.ts';
import { hotspotPackage, online, pay, theUser } from '../hotspot-rows.ts';

/** What psql would make of deploy/roles.sql. */
async function grant(db: TestDatabase, role: string) {
  const text = readFileSync(join(ROOT, 'deploy/roles.sql'), 'utf8')
    .replace(/^--.*$|^\\.*$|^ +\\set.*$/gm, '')
    .replaceAll(`:'role'`, `'${role}'`)
    .replaceAll(':"role"', `"${role}"`);
  for (const statement of text.split(/;|(?=\\gexec)/)) {
    const [generated, rest] = statement.startsWith('\\gexec') ? [true, statement.slice(6)] : [false, statement];
    if (generated) for (const row of last) await db.query(Object.values(row)[0] as string);
    last = rest.trim() ? await db.query(rest) : [];
  }
}
let last: Record<string, unknown>[] = [];

test('the rights in deploy/roles.sql are enough for every hotspot job', async () => {
  await using db = await database();
  await using nas = await fakeNas((request) => request.send(request.reply(41)));
  const role = `tick_${db.name}`;
  await grant(db, role);
  try {
    const { id } = await hotspotPackage(db);
    await pay(db, id, { updated_at: new Date() });
    await db.insert('nas', { nasname: '127.0.0.1', shortname: 'test', secret: nas.secret });
    await db.insert('vouchers', { code: 'x', expires_at: '2026-01-01' });
    const url = new URL(db.tcpUrl);
    const asRole = { PGOPTIONS: `-c role=${role}`, SCHEDULER_RADIUS_PORT: String(nas.port) };
    const run = async (job: string) => {
      const { code, err } = await db.cli([job], { env: { ...asRole, DATABASE_URL: url.href } });
      assert.equal(code, 0, `${job}: ${err}`);
    };
    for (const job of ['payments', 'credentials', 'vouchers']) await run(job);
    const { username } = await theUser(db);
    await online(db, username, { nasipaddress: '127.0.0.1', acctupdatetime: new Date(), acctinputoctets: 5 });
    await online(db, username, { acctupdatetime: '2026-01-01', acctstarttime: '2026-01-01' });
    await run('accounting');
    await pay(db, id, { updated_at: new Date() });
    await run('payments');
    await db.query(
      'update radius_sessions set expected_end = now(); update hotspot_users set subscription_expires_at = now()',
    );
    for (const job of ['hotspot-sessions', 'disconnects']) await run(job);
    assert.equal((await db.one('select status from session_disconnections')).status, 'disconnected');
  } finally {
    await db.query(`drop owned by "${role}"; drop role "${role}"`);
  }
});
