import type { Transaction } from '../db/client.ts';
import { TENANT } from '../db/search-path.ts';
import type { Run } from './history.ts';
import type { Standing } from './runs.ts';

export interface LastRun {
  job: string;
  nextCheck: string;
  lastTick: string | null;
  /** Since the last tick, or since somebody started the job: a start has a tick ahead of it. Null: never either. */
  silentSeconds: number | null;
  /** The latest one, whoever started it. */
  run: Omit<Run, 'kind' | 'number' | 'job' | 'idle' | 'unsent' | 'host' | 'version'> | null;
  failing: number;
  quarantined: number;
}

/** An idle run of a job, of its own tenant or of a tick that went through all of them. */
const IDLE = 'j.name = any(idle) and case when tenant is null then j.tenant <> all(apart) else tenant = j.tenant end';

export function readLastRuns(tx: Transaction, standing: Standing[]): Promise<LastRun[]> {
  const jobs = standing.map(({ job, control, installed }) => ({
    ...{
      name: job.name,
      tenant: installed?.tenant,
      every: job.everyMinutes,
      started: control?.action === 'start' ? control.at : null,
    },
  }));
  return tx.query<LastRun>(
    `select j.name as job,
       scheduler.iso(to_timestamp((floor(extract(epoch from clock_timestamp()) / 60 / j.every) + 1) * 60 * j.every)) as "nextCheck",
       scheduler.iso(tick.started_at) as "lastTick",
       extract(epoch from clock_timestamp() - greatest(tick.started_at, j.started))::double precision as "silentSeconds",
       (
         select json_build_object(
           'at', scheduler.iso(r.started_at), 'by', r.started_by, 'finishedAt', scheduler.iso(r.finished_at), 'changed', r.changed,
           'failed', r.failed, 'lateSeconds', extract(epoch from r.late_by), 'workLeft', r.work_left, 'error', r.error
         )
         from (
           select tick.*
           union all
           (select * from scheduler.runs where tenant = j.tenant and job = j.name and slot is null order by id desc limit 1)
           union all
           (select * from scheduler.runs where job is null and ${IDLE} and slot is null order by id desc limit 1)
         ) as r
         where r.id is not null order by r.started_at desc limit 1
       ) as run,
       (select count(*) from scheduler.failures f where f.tenant = j.tenant and f.job = j.name and f.quarantined_at is null)::integer as failing,
       (select count(*) from scheduler.failures f where f.tenant = j.tenant and f.job = j.name and f.quarantined_at is not null)::integer as quarantined
     from (
       select name, coalesce(tenant, ${TENANT}) as tenant, every, started
       from json_to_recordset(:jobs::json) as given (name text, tenant text, every integer, started timestamptz)
     ) as j
     left join lateral (
       select * from (
         (select * from scheduler.runs where tenant = j.tenant and job = j.name and slot is not null order by id desc limit 1)
         union all
         (select * from scheduler.runs where job is null and ${IDLE} and slot is not null order by id desc limit 1)
       ) as latest order by id desc limit 1
     ) as tick on true`,
    { jobs: JSON.stringify(jobs) },
  );
}
