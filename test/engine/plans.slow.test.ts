import { test } from 'node:test';
import { compiledFor, fill, JOBS, KINDS, NOW, readsNothing, readsOnlyItsIndex } from '../support/plans.ts';

for (const [name, kind] of Object.entries(KINDS)) {
  test(`in ${name} of 200,000 rows, statistics from a quiet hour do not lead a busy one astray`, async () => {
    await using db = await fill(kind, 200_000, false);
    const later = { now: '2026-03-08T12:00:00Z', limit: 100 };
    for (const job of JOBS) {
      const installed = await compiledFor(db, job, kind);
      for (const rule of installed.rules.filter(({ name }) => name !== 'go on'))
        await readsOnlyItsIndex(db, kind, installed, rule, 100, later);
    }
  });

  test(`in ${name}, statistics from a busy hour do not lead a quiet one astray`, async () => {
    await using db = await fill(kind, 20_000, false);
    await db.query(
      `update packages set scheduled_activation_time = null, opened_start = null, opened_end = null, closed_end = null`,
    );
    await db.query(`update packages set scheduled_activation_time = '2026-01-01' where id::text like '%1%'`);
    await db.query(
      `update special_packages set valid_until = '2026-02-01', schedule_date = '2026-01-01', closed_end = null`,
    );
    await db.query('analyze');
    await db.tick(NOW, { env: { SCHEDULER_DB_TIMEZONE: kind.dbZone, SCHEDULER_TIMEZONE: 'Africa/Nairobi' } });
    await db.query('vacuum');
    for (const job of JOBS) await readsNothing(db, kind, job);
  });
}
