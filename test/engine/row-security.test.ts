import assert from 'node:assert/strict';
import { test } from 'node:test';
import { active, due, START } from '../support/due-packages.ts';
import { database } from '../support/harness.ts';
import { grantRole } from '../support/roles.ts';
import { SCHEMA } from '../support/schema.ts';

test('rows that a policy hides from the role are an error of the job that doctor finds, too, and not an empty pass', async () => {
  await using db = await database();
  await due(db, 3);
  await db.query(
    `alter table packages enable row level security; create policy own on packages using (name = current_user)`,
  );
  const role = `tick_${db.name}`;
  await grantRole(db, role);
  try {
    const env = { DATABASE_URL: db.url.replace('postgres@', `${role}@`) };
    const tick = await db.cli(['tick'], { env });
    assert.equal(tick.code, 78);
    assert.match(tick.err, /row-level security policy for table \\"packages\\".*bypassrls/);
    const doctor = await db.cli(['doctor'], { env });
    assert.equal(doctor.code, 1);
    assert.match(doctor.out, /^failed +packages .*row-level security/m);
    assert.match(
      doctor.out,
      new RegExp(`^failed +rights +row-level security hides rows of ${SCHEMA}\\.packages from `, 'm'),
    );
    assert.match(doctor.out, new RegExp(`^-- As a superuser:\nalter role "${role}" bypassrls;$`, 'm'));
    await db.query(`alter role ${role} bypassrls`);
    assert.equal((await db.cli(['tick', '--at', START], { env })).code, 0);
    assert.equal(await active(db), 3);
  } finally {
    await db.query(`drop owned by ${role}; drop role ${role}`);
  }
});
