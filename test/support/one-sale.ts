import type { TestDatabase, TickOptions } from './harness.ts';

/** Sales of one package, ticked at times. */

export const sale = (over: object = {}) => ({
  name: 'Weekend Special',
  type: 'hotspot',
  enable_schedule: true,
  scheduled_activation_time: '2026-03-01T10:00:00Z',
  validity: '2 hours',
  ...over,
});

// Events stay for the whole of a test, however far it goes.
const KEEP_EVENTS = { SCHEDULER_RETENTION: '36500' };
export const tick = (db: TestDatabase, at: string, { env = {} }: TickOptions = {}) =>
  db.tick(at, { only: ['packages'], env: { ...KEEP_EVENTS, ...env } });
export const theRow = (db: TestDatabase) => db.one('select * from packages');
export const kinds = async (db: TestDatabase) => (await db.events()).map((event) => event.transition);
export const iso = (at: Date | null) => at?.toISOString().replace('.000Z', 'Z');

/** Ticks at each time and tells what the status was afterwards. */
export async function statuses(db: TestDatabase, times: string[], options: TickOptions = {}) {
  const seen: string[] = [];
  for (const time of times) {
    await tick(db, time, options);
    seen.push((await theRow(db)).status);
  }
  return seen;
}

export async function windowAfter(db: TestDatabase, time: string, options: TickOptions = {}) {
  await tick(db, time, options);
  const row = await theRow(db);
  return [iso(row.scheduled_activation_time), iso(row.scheduled_deactivation_time)];
}
