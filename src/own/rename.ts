import type { Transaction } from '../db/client.ts';
import { SCHEMAS } from '../db/search-path.ts';
import { LOCK } from '../store/lock.ts';

export interface Renamed {
  was: string;
  name: string;
  /** The schema of its table. */
  tenant: string;
}

/** Pauses, failures and history move along to the new name of a job. A run that is at work would write under the old one. */
export async function rename(tx: Transaction, renamed: Renamed[]): Promise<void> {
  if (renamed.length === 0) return;
  await tx.query(`select pg_advisory_xact_lock(${LOCK}), set_config('statement_timeout', '0', true)`);
  for (const each of renamed) {
    await tx.query(
      `update scheduler.jobs set name = :name::text where name = :was::text and (tenant is null or tenant = any(${SCHEMAS}))`,
      { ...each },
    );
    for (const table of ['events', 'controls', 'runs'])
      await tx.query(
        `update scheduler.${table} set job = :name::text where job = :was::text and coalesce(tenant, :tenant::text) = :tenant::text`,
        { ...each },
      );
    await tx.query(
      `update scheduler.runs set idle = array_replace(idle, :was::text, :name::text)
       where :was::text = any(idle) and coalesce(tenant, :tenant::text) = :tenant::text`,
      { ...each },
    );
    // The new name may have failures of its own, from when it was used before.
    await tx.query(
      `update scheduler.failures f set job = :name::text
       where tenant = :tenant::text and job = :was::text and not exists (
         select from scheduler.failures o where o.job = :name::text and (o.tenant, o.rule, o.entity_id) = (f.tenant, f.rule, f.entity_id)
       )`,
      { ...each },
    );
    await tx.query('delete from scheduler.failures where tenant = :tenant::text and job = :was::text', { ...each });
  }
}
