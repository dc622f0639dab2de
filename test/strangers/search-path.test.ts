import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../support/harness.ts';
import { NOW } from '../support/hotspot-rows.ts';
import { grantRole } from '../support/roles.ts';
import { SCHEMA } from '../support/schema.ts';
import { setTraps } from '../support/traps.ts';
import { fill, fillOutside, outside } from '../support/world.ts';

/** Functions and operators that a stranger has put into a schema of the search path are never called. */

const COMMANDS = [
  ['migrate'],
  ['tick', '--dry-run', '--at', NOW],
  ['tick', '--at', NOW],
  ['tick', '--linger', '2'],
  ['doctor'],
  ['status'],
  ['next'],
  ['failures'],
  ['history'],
  ['events'],
  ['explain', 'packages', '1'],
  ['explain', 'special-packages', '1'],
  ['explain', 'payments', '825'],
  ['explain', 'deductions', '901'],
  ['stop', 'packages', '--reason', 'a test'],
  ['start', 'packages'],
  ['prune'],
];

/** Texts with a length and words of an enum type, as applications have them. */
const OTHER_TYPES = `
  create type sale_status as enum ('active', 'inactive');
  alter table packages alter name type varchar(255), alter validity type varchar(50), alter repeats drop default;
  alter table special_packages alter name type varchar(255), alter timezone type varchar(64);
  alter table payments alter phone_number type varchar(20), alter status type varchar(20);
  alter table hotspot_users alter username type varchar(64), alter phone_number type varchar(20)`;

test('traps spring where a plain statement calls them', async () => {
  await using db = await database();
  const sprung = await setTraps(db);
  assert.deepEqual(await sprung(), []);
  await db.query(`select 'a'::varchar = 'b'::varchar`);
  assert.deepEqual(await sprung(), ['varchar = varchar']);
  await db.query('select make_interval(secs => 5::bigint)');
  assert.match((await sprung())[0]!, /^make_interval\(.*secs int8/);
  await db.query(`select format('%s', 'x'::text)`);
  assert.deepEqual(await sprung(), ['format(text, text)']);
});

test('no command calls what a stranger has put into the search path', async () => {
  await using world = await outside();
  await using db = await database();
  await fill(db, world.nas);
  await fillOutside(db);
  await db.query(OTHER_TYPES).catch((error) => assert.fail(error.message));
  const sprung = await setTraps(db, [`${SCHEMA}.sale_status`]);
  const role = `tick_${db.name}`;
  await grantRole(db, role);
  assert.deepEqual(await sprung(), [], 'deploy/roles.sql');
  await db.query(`drop owned by ${role}; drop role ${role}`);
  for (const args of COMMANDS) {
    const { code, err } = await db.cli(args, { env: world.env });
    assert.deepEqual(await sprung(), [], `${args.join(' ')} (${code}): ${err}`);
    assert.ok(code === 0 || code === 1, `${args.join(' ')} (${code}): ${err}`);
  }
});
