import type { Database } from '../db/client.ts';
import type { Control } from './controls.ts';
import { within } from './events.ts';
import { exceptPublic } from './tenants.ts';

/** Past runs, and who started or stopped what, in one list. */
export type Entry = Run | Intervention;

export interface Run {
  kind: 'run';
  /** Where it is not "public". Null: all tenants that a tick found idle. */
  tenant?: string | null;
  /** Events name the run by it. */
  number: number;
  at: string;
  /** Null: a tick that found nothing due for the jobs in `idle`. */
  job: string | null;
  idle: string[] | null;
  by: string | null;
  finishedAt: string | null;
  changed: Record<string, number>;
  failed: number;
  lateSeconds: number;
  unsent: number;
  workLeft: boolean;
  error: string | null;
  host: string;
  version: string;
}

/** It is about all jobs if it names none. */
type Intervention = Control & { kind: 'control'; tenant?: string | null; job: string | null };

interface HistoryFilter {
  tenant?: string | undefined;
  job: string | null;
  since: string | null;
  until: string | null;
  limit: number;
  /** With the runs that found nothing to do. */
  all: boolean;
}

const IDLE = `(r.finished_at is not null and r.changed = '{}' and r.failed = 0 and r.error is null and not r.work_left)`;

/** The newest that match, oldest first. */
export async function readHistory(db: Database, filter: HistoryFilter): Promise<Entry[]> {
  const rows = await db.query<{ entry: Entry }>(
    `select entry from (
       (select r.started_at as at, 1 as place, r.id, json_build_object(
          'kind', 'run', 'number', r.id, 'tenant', r.tenant, 'at', scheduler.iso(r.started_at), 'job', r.job, 'idle', r.idle, 'by', r.started_by, 'finishedAt', scheduler.iso(r.finished_at),
          'changed', r.changed, 'failed', r.failed, 'lateSeconds', extract(epoch from r.late_by), 'unsent', r.unsent,
          'workLeft', r.work_left, 'error', r.error, 'host', r.host, 'version', r.version
        ) as entry
        from scheduler.runs r
        where (:tenant::text is null or r.tenant is null or r.tenant = :tenant::text) and (:job::text is null or r.job = :job::text or :job::text = any(r.idle)) and ${within('r.started_at')} and (:all::boolean or not ${IDLE})
        order by r.started_at desc, r.id desc limit :limit::integer)
       union all
       (select c.at, 0, c.id, json_build_object(
          'kind', 'control', 'tenant', c.tenant, 'at', scheduler.iso(c.at), 'job', c.job, 'by', c.by, 'action', c.action, 'reason', c.reason
        )
        from scheduler.controls c
        where (:tenant::text is null or c.tenant is null or c.tenant = :tenant::text) and (:job::text is null or c.job is null or c.job = :job::text) and ${within('c.at')}
        order by c.id desc limit :limit::integer)
       order by at desc, place desc, id desc limit :limit::integer
     ) as newest
     order by at, place, id`,
    { ...filter, tenant: filter.tenant ?? null },
  );
  return rows.map(({ entry }) => exceptPublic(entry));
}
