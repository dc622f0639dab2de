import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import type { Event } from '../../src/job/define.ts';
import { job as packages } from '../../src/jobs/hotspot/packages.ts';
import { due, START, tick } from '../support/due-packages.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { TENANT } from '../support/schema.ts';

/** What listeners hear. */

async function listening(db: TestDatabase, channel: string) {
  const client = new pg.Client({ connectionString: db.url });
  await client.connect();
  const heard: string[] = [];
  client.on('notification', ({ payload }) => heard.push(payload!));
  await client.query(`listen "${channel}"`);
  return {
    heard,
    end: async () => {
      await client.query('select 1');
      await client.end();
    },
  };
}

for (const [what, name] of [
  ['long', 'x'.repeat(9000)],
  ['of many bytes', '€'.repeat(3000)],
] as const) {
  test(`a payload too ${what} for PostgreSQL carries the id instead of the data, which the event has`, async () => {
    await using db = await database();
    await due(db, 2);
    await db.query('update packages set name = $1 where id = 1', [name]);
    const listener = await listening(db, 'private-packages');
    await tick(db);
    await listener.end();
    const [first, second] = await db.events();
    assert.deepEqual(JSON.parse(listener.heard[0]!), {
      id: Number(first!.id),
      event: first!.type,
      ...TENANT,
      truncated: true,
    });
    assert.equal(first!.data.package_name, name);
    assert.deepEqual(JSON.parse(listener.heard[1]!).data, second!.data);
  });
}

test('a payload of 7,999 bytes is sent whole', async () => {
  await using db = await database();
  for (const extra of [0, 1]) {
    await due(db, 1);
    const listener = await listening(db, 'private-packages');
    await db.query(`update packages set name = repeat('x', 100) where status = 'inactive'`);
    const dry = await tick(db, START, { dryRun: true });
    assert.deepEqual(dry.jobs[0]!.changed, { activate: 1 });
    await listener.end();
    await db.query(`delete from packages`);
    await due(db, 1);
    const probe = await listening(db, 'private-packages');
    await tick(db);
    await probe.end();
    const length = Buffer.byteLength(probe.heard[0]!);
    const [, name] = /"package_name": ?"([^"]*)"/.exec(probe.heard[0]!)!;
    await db.query('delete from packages');
    await db.query(
      `insert into packages (name, enable_schedule, scheduled_activation_time, validity) values (repeat('x', $1::integer), true, '${START}', '2 hours')`,
      // The name is in the payload twice: whole in the data, and cut at 200 characters in the message.
      [7999 - (length - 2 * name!.length) - 200 + extra],
    );
    const final = await listening(db, 'private-packages');
    await tick(db);
    await final.end();
    assert.equal('truncated' in JSON.parse(final.heard[0]!), extra === 1, final.heard[0]!.slice(-200));
    await db.query('delete from packages');
  }
});

test('a channel name beyond 63 bytes is cut as LISTEN cuts it', async () => {
  await using db = await database();
  await due(db, 1);
  const channel = `private-${'café-'.repeat(20)}`;
  const activate = packages.rules.activate!;
  const rules = {
    ...packages.rules,
    activate: { ...activate, event: { ...(activate.event as Event), channels: [channel] } },
  };
  const listener = await listening(db, channel);
  const result = await db.tick(START, { jobs: { builtIn: [{ ...packages, rules }], names: 'all' } });
  await listener.end();
  assert.equal(result.exitCode, 0, JSON.stringify(result));
  assert.equal(listener.heard.length, 1);
  assert.deepEqual((await db.events())[0]!.channels[0], channel);
});
