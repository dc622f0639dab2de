import assert from 'node:assert/strict';
import { test } from 'node:test';
import { database } from '../harness.ts';

const sale = (over: object = {}) => ({
  name: 'Weekend Special',
  enable_schedule: true,
  scheduled_activation_time: '2026-03-01T10:00:00Z',
  validity: '2 hours',
  ...over,
});

test('a package whose sale window has begun is switched on', async () => {
  await using db = await database();
  const { id } = await db.insert('packages', sale());
  await db.tick('2026-03-01T10:00:30Z');
  const row = await db.one('select * from packages');
  assert.equal(row.status, 'active');
  assert.equal(row.is_active, true);
  assert.equal(row.activated_at.toISOString(), '2026-03-01T10:00:30.000Z');
  const event = await db.one('select * from scheduler.events');
  assert.equal(event.type, 'package.status.changed');
  assert.deepEqual(event.channels, ['private-packages', 'private-admin-notifications']);
  assert.equal(event.entity_id, String(id));
  assert.equal(event.data.message, "Package 'Weekend Special' status changed from inactive to active");
});
