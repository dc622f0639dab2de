import { inFile, type Mutant } from './mutant.ts';

const CONTROL = 'store/control-from-sql';

export const CONTROL_FROM_SQL: Mutant[] = [
  ...inFile('migrations/1_scheduler.sql', `${CONTROL}#in every state`, [
    ['(c.job is null or c.job = known.job) and (c.tenant', 'c.job = known.job and (c.tenant'],
    ['order by c.id desc limit 1\n      ) as word', 'order by c.id limit 1\n      ) as word'],
    ["every * interval '3 minutes'", "every * interval '30 minutes'", 'inspect/status#after three intervals'],
    [
      "clock_timestamp() - word_at > interval '1 day'",
      "clock_timestamp() - word_at > interval '1 hour'",
      'inspect/status#leaves a fresh pause',
    ],
    ['row_number() over (partition by state, word_at order by place) = 1', 'true'],
    ['when failing > 100 then', 'when failing > 1000 then', 'inspect/status#bears a hundred'],
    [
      'r.job = known.job and r.slot is not null order',
      'r.job = known.job order',
      'inspect/status#runs by hand do not count',
    ],
    [
      'filter (where f.quarantined_at is null)::integer as failing',
      '::integer as failing',
      'inspect/status#tells of its last run',
    ],
    ['ticked is not null and paused is null then', 'ticked is not null then', 'inspect/status#no longer installed'],
    ['and l.database = (select oid', 'and l.database <> (select oid', 'strangers/locks#of the run in the hands'],
  ]),
  ...inFile('migrations/1_scheduler.sql', `${CONTROL}#is controlled apart`, [
    ['and (c.tenant is null or c.tenant = of_tenant)', ''],
    ['where f.tenant = of_tenant and f.job = known.job', 'where f.job = known.job'],
    [
      'where r.tenant = of_tenant and r.job = known.job and r.slot is not null',
      'where r.job = known.job and r.slot is not null',
    ],
    ["elsif tenant is null and not 'public' = any(known) and cardinality(known) > 1 then", 'elsif false then'],
    [
      `"drop".id, f.entity_id)
        and f.tenant = coalesce(meant.tenant, f.tenant)`,
      '"drop".id, f.entity_id)',
    ],
    ["over (order by home <> 'public', home = '', home)", 'over (order by home desc)'],
  ]),
  ...inFile('migrations/1_scheduler.sql', `${CONTROL}#wrong argument is refused`, [
    ['if job <> all(known) then', 'if false then'],
    ['elsif tenant <> all(known) then', 'elsif false then'],
    ['elsif length(said) > 200 then', 'elsif length(said) > 201 then'],
    ["if coalesce(said, '') = '' then", 'if said is null then'],
    ["scheduler.check_job(coalesce(job, ''), tenant)", 'scheduler.check_job(job, tenant)'],
    ['if id is not null and job is null then', 'if false then'],
  ]),
  ...inFile('migrations/1_scheduler.sql', `${CONTROL}#it can do nothing else`, [
    [
      '  role text not null default session_user,\n  reason text',
      '  role text not null default current_user,\n  reason text',
    ],
    [
      '  role text not null default session_user,\n  -- The run',
      '  role text not null default current_user,\n  -- The run',
    ],
    ['scheduler.forget(integer), scheduler.status(text), ', 'scheduler.forget(integer), '],
    ['scheduler.retry(text, text, text), scheduler.drop', 'scheduler.drop'],
  ]),
  ...inFile('migrations/1_scheduler.sql', 'engine/tenants#belongs to no tenant', [
    ["return case when its_schema is null then tenant else '' end;", 'return tenant;'],
    ['and tenant is distinct from its_schema then', 'then'],
    ['and (dropping or exists (select from pg_namespace', 'and (exists (select from pg_namespace'],
    ['where place <= json_array_length(k.jobs) or k.tenant = first', ''],
    [
      'k.tenant = coalesce(jobs_of.tenant, k.tenant) and exists',
      'k.tenant = coalesce(jobs_of.tenant, k.tenant) or exists',
    ],
  ]),
  ...inFile('src/store/known-jobs.ts', `${CONTROL}#what only the program knows`, [
    ["if (now === (found.known[tenant] ?? (tenant === NO_TENANT && '[]'))) continue;", ''],
    ['if (missing.length > 0) return', 'if (missing.length > 1000) return'],
    ['settings.job[job.switch] === false', 'settings.job[job.switch] === true'],
  ]),
  ...inFile('src/store/requests.ts', 'engine/requests#once for two who ask', [
    ['max(id) over (partition by job) as', 'id as'],
    ['by: requested?.by ?? values.by', 'by: values.by'],
    [
      "const WAITING = 'run_id is null and refused is null';",
      "const WAITING = 'run_id is null';",
      'engine/requests#request that no tick can do',
    ],
    ['answer(`run_id = ${run}`)', 'answer(`run_id = run_id`)'],
  ]),
  ...inFile('src/store/runs.ts', 'engine/requests#that has nothing due answers', [
    ["${answerBy('(select id from stopped)')}", 'select'],
    ["where ${isIdle('asked.job')}", ''],
  ]),
  ...inFile('src/engine/plan.ts', 'engine/requests#nor a switch', [
    ['by: requested.by, evenIfPaused: true', 'evenIfPaused: true'],
    ['by: requested.by, evenIfPaused: true', 'by: requested.by', 'engine/requests#once for two who ask'],
  ]),
  ...inFile('src/engine/run.ts', 'engine/requests#request that no tick can do', [
    ['dryRun ? [] : requests', 'requests', 'engine/requests#once for two who ask'],
    ['by === undefined && !rehearsal ? requests : []', '!rehearsal ? requests : []'],
    ["const isMissing = names === 'all' &&", 'const isMissing ='],
    [
      "if (request.by === undefined && request.jobs.names === 'all')",
      'if (request.by === undefined)',
      'engine/requests#a tick that lingers',
    ],
  ]),
  ...inFile('src/engine/pass.ts', 'engine/requests#connection is lost', [
    ['.filter(({ job }) => !this.#records.has(job))', ''],
  ]),
  ...inFile('src/engine/linger.ts', 'engine/requests#a tick that lingers', [
    ['if (requested.length > 0) return', 'if (requested.length > 1) return'],
  ]),
  ...inFile('migrations/1_scheduler.sql', 'engine/requests#forgotten with the history', [
    ['delete from scheduler.requests where at <', 'delete from scheduler.requests where at >'],
  ]),
];
