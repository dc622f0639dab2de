import { inFile, type Mutant } from './mutant.ts';

export const STORE: Mutant[] = [
  ...inFile('src/store/tenants.ts', "store/tenants#a stranger's schema", [
    ['n.nspowner = ours.nspowner or', 'true or'],
    ['or o.rolname = any(:owners::text[])', ''],
    [".replaceAll('*', '%')", ".replaceAll('*', '')"],
    [
      "or o.rolname = 'pg_database_owner'",
      "or false and o.rolname = 'pg_database_owner'",
      'store/tenants#said in one way',
    ],
    ['(n.nspname::text, name) not in', '(n.nspname::text, name) in', 'store/tenants#said in one way'],
    ["if (typeof first !== 'string') throw", "if (typeof first === 'bigint') throw", 'store/tenants#said in one way'],
    ["tenant === 'public' ? rest", 'false ? rest', 'engine/tenants#in the payload'],
  ]),
  ...inFile('src/store/controls.ts', 'inspect/status#stop pauses everything', [
    ['order by tenant, job, id desc`', 'order by tenant, job, id`'],
    ['(control.job ?? job) === job', 'control.job === job'],
    [' && (control.tenant ?? tenant) === tenant', '', 'engine/tenants#are nothing to the others'],
  ]),
  ...inFile('src/store/events.ts', 'inspect/gaps', [
    ['octet_length(payload) < 8000', 'octet_length(payload) < 7999', 'engine/notifications#7,999 bytes'],
    ['octet_length(payload) < 8000', 'length(payload) < 8000', 'engine/notifications#for PostgreSQL carries'],
    ['channel::name::text', 'channel', 'engine/notifications#beyond 63 bytes'],
    ['where type is not null\n', '', 'jobs/hotspot/accounting#reach the session and its user'],
    ['${time} >= :since', '${time} > :since'],
    ['${time} < :until', '${time} <= :until'],
    [
      'order by e.id desc limit :limit::integer\n     ) as newest order by id',
      'order by e.id limit :limit::integer\n     ) as newest order by id',
      'store/history#events are found by row',
    ],
    [
      'where id > :top::bigint order by id limit',
      'where id >= :top::bigint order by id limit',
      'inspect/listener#a higher id',
    ],
    [
      'from fresh where id > before + 1) as gaps',
      'from fresh where id > before + 2) as gaps',
      'inspect/listener#a higher id',
    ],
    ['between gap.first and gap.last', 'between gap.first and gap.first'],
    [
      'where cardinality(:channels::text[]) = 0 or e.channels',
      'where e.channels',
      'inspect/listener#on several channels',
    ],
    ['id > :top::bigint - :reach::bigint', 'id > :top::bigint', 'inspect/listener#already under way'],
  ]),
  ...inFile('src/store/failures.ts', 'engine/bad-rows#is retried after 5 minutes', [
    ['order by place, tried desc', 'order by tried desc', 'store/failures#no job hides'],
    ["interval '30 minutes'", "interval '3 minutes'"],
    ['f.entity_id = looked.id and not stands)', 'f.entity_id = looked.id and false)', 'own/failures'],
    ['::${rule.idType} and ${family', '::${rule.idType} and not ${family', 'own/failures'],
    ['const ATTEMPTS = 3;', 'const ATTEMPTS = 4;'],
    ['error = excluded.error,', '', 'engine/same-ids#the error of a failure'],
    [
      'where f.next_attempt_at <= excluded.last_failed_at',
      'where true',
      'jobs/hotspot/payments#two runners found wrong',
    ],
    [
      'f.job = :job::text and f.rule = :rule::text and f.entity_id = o',
      'f.rule = :rule::text and f.entity_id = o',
      'engine/same-ids#two jobs have rows',
    ],
    [
      'where tenant = ${ofTenant} and job = ${ofJob} and rule = ${ofRule}',
      'where tenant = ${ofTenant} and job <> ${ofJob} and rule = ${ofRule}',
    ],
    ['and (:id::text is null or entity_id = :id::text)', '', 'inspect/explain#next attempt'],
  ]),
  ...inFile('src/store/own-jobs.ts', 'own/tenants#names no existing schema', [
    ['tenant !== null && isOwn === ofThis', 'isOwn === ofThis'],
  ]),
  ...inFile('src/store/migrate.ts', 'job/adopt#keeps no other table', [
    ['faults.push(...known);', ''],
    [
      'if (states.some(({ former }) => former))',
      'if (states.every(({ former }) => former && false))',
      'cli#of an earlier edition',
    ],
    [
      "sqlState(error) === '42501' ? notTheOwner",
      "sqlState(error) === '42502' ? notTheOwner",
      'job/adopt#does not own the table',
    ],
  ]),
  ...inFile('src/store/uninstall.ts', 'store/uninstall#on a database where nothing is', [
    ["dropColumns || what === 'index'", 'true'],
    ['may || !calling.includes(name)', 'true', 'store/uninstall#another owner since'],
    ['if (full) answer =', 'if (!full) answer ='],
    ['if (others.length === 0) return', 'return', 'store/uninstall#under another name'],
    ['sqlState(error) !== STILL_USED', 'true', 'store/uninstall#under another name'],
    ['or strpos(d.description, :applied::text) > 0', '', 'store/uninstall#leaves an application as it was'],
  ]),
  ...inFile('src/store/retention.ts', 'engine/runs#an idle tick forgets', [
    ['`< :now::timestamptz - make_interval', '`> :now::timestamptz - make_interval'],
    ['as oldest where occurred_at ${EXPIRED})\n  or exists', 'as oldest where false)\n  or exists'],
    ['as oldest where started_at ${EXPIRED})\n  or exists', 'as oldest where false)\n  or exists'],
    ['as oldest where at ${EXPIRED})`', 'as oldest where false)`', 'engine/requests#a tenant that is gone'],
  ]),
  ...inFile('src/store/standing.ts', 'engine/slots#a cadence of five', [
    [
      'and r.finished_at is not null and not r.work_left',
      'and r.finished_at is not null',
      'engine/slots#with work left',
    ],
    ['coalesce(:at::timestamptz, now()) as now', 'now() as now'],
    ['bool_or(id = 1 and name <>', 'bool_or(name <>', 'cli#of an earlier edition'],
  ]),
  ...inFile('src/store/runs.ts', 'engine/runs#a later batch', [['where :run::bigint is null\n', '']]),
];
