import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { here } from '../support/schema.ts';

test('migrate and doctor say which column a new row would lack, and that access would be sold which nothing ends', async () => {
  await using db = await database();
  await db.query(`alter table hotspot_users add tenant_id integer not null;
    drop table radacct`);
  const { code, err } = await db.cli(['migrate']);
  assert.equal(code, 78);
  assert.match(
    err,
    here(
      /payments are ready, but its rows would fail: a row that the job inserts into public\.hotspot_users has no "tenant_id"/,
    ),
  );
  assert.match(err, /"uses: payments", under "insert"/);
  const { out } = await db.cli(['doctor']);
  assert.match(
    out,
    here(/^failed +payments +a row that the job inserts into public\.hotspot_users has no "tenant_id"/m),
  );
  assert.match(
    out,
    /^failed +hotspot-sessions +.*payments is installed without it: access is sold, and nothing ends it/m,
  );
  await db.query('alter table hotspot_users alter tenant_id set default 1');
  const again = await db.cli(['migrate']);
  assert.equal(again.code, 0, again.err);
  assert.match(
    again.out + again.err,
    /payments is installed without hotspot-sessions: access is sold, and nothing ends it\./,
  );
});
