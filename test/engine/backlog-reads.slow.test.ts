import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { total } from '../../src/engine/batch.ts';
import { CASES, type Case } from '../bench/cases.ts';
import { ownServer } from '../faults/server.ts';
import { database, type TestDatabase } from '../support/harness.ts';
import { applied } from '../support/own.ts';
import { share } from '../support/share.ts';
import { until } from '../support/until.ts';

/** A backlog costs what its rows cost: that no batch reads more for those before it, PostgreSQL's own counters tell. */

// A server of its own: an older transaction in any database keeps replaced rows from being cleaned up.
// It is undisturbed, too: an autovacuum that sums up a BRIN index reads the table, and is counted with whoever else reads it.
const server = await ownServer({ autovacuum: 'off' });
after(() => server[Symbol.asyncDispose]());

const BATCH = 200;
const [SHORT, LONG] = [2_000, 10_000];
// A few rows are read once for each run.
const SLACK = 0.1;

/** What is read of each table, its indexes' entries in the first place, for each row that was due. */
async function readsPerRow(db: TestDatabase, { job, empty, fill }: Case, rows: number): Promise<Map<string, number>> {
  for (const sql of [empty, fill.replaceAll(':n', String(rows)), 'vacuum analyze', 'select pg_stat_reset()'])
    await db.query(sql);
  const { jobs } = await db.tick(undefined, { only: [job], by: 'the test', batchSize: BATCH });
  assert.ok(total(jobs[0]!.changed) >= rows);
  await untilCounted(db);
  const counts = await db.query<{ name: string; reads: number }>(`
    select t.relid::regclass::text as name,
      (t.seq_tup_read + coalesce((select sum(idx_tup_read) from pg_stat_user_indexes i where i.relid = t.relid), 0))::double precision as reads
    from pg_stat_user_tables t`);
  return new Map(counts.map(({ name, reads }) => [name, reads / rows]));
}

/** A process counts together what it did when it ends, and PostgreSQL 14 tells what it knew half a second ago. */
async function untilCounted(db: TestDatabase): Promise<void> {
  const others = `select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`;
  await until('nobody else', async () => (await db.query(others)).length === 0, 60_000);
  await sleep(600);
}

for (const each of share(CASES)) {
  test(`${each.job}: of a backlog five times as long, no table has more read for each row`, async () => {
    await using db = await database({ server });
    if (each.table) await db.query(each.table);
    if (each.yaml) await applied(db, each.yaml);
    const short = await readsPerRow(db, each, SHORT);
    const long = await readsPerRow(db, each, LONG);
    assert.ok(Math.max(...long.values()) >= 1, 'something was counted');
    for (const [name, reads] of long) {
      const most = 1.2 * (short.get(name) ?? 0) + SLACK;
      assert.ok(reads <= most, `${name}: ${reads} reads for each row, of the shorter backlog ${short.get(name)}`);
    }
  });
}
