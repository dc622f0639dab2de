import { harmless, inFile, type Mutant } from './mutant.ts';

export const HOTSPOT: Mutant[] = [
  ...inFile('src/jobs/hotspot/access.ts', 'jobs/hotspot/hotspot-sessions#starts after the end', [
    ['DOUBLED = 5', 'DOUBLED = 6', 'jobs/hotspot/disconnects#grow to half an hour'],
    ['d.next_attempt_at is not null or', 'false or'],
    ["pauseAfterSql('d.attempts + 1')", "pauseAfterSql('d.attempts')"],
    ['${user}.has_active_subscription and', '', 'jobs/hotspot/hotspot-sessions#whose time is up'],
  ]),
  ...inFile('src/jobs/hotspot/accounting.ts', 'jobs/hotspot/late-actors#takes nothing back', [
    [
      "r.radacctid is null or (r.acctstoptime is not null and not ${mayGoOn('r', 'a.changed_at')}) as closed",
      'r.acctstoptime is not null as closed',
      'jobs/hotspot/late-actors#that is deleted',
    ],
    [
      'greatest(r.acctinputoctets - coalesce(a.bytes_in, 0), 0) as more_in',
      'r.acctinputoctets - coalesce(a.bytes_in, 0) as more_in',
    ],
    [
      "radacct_id: `greatest(${seen('radacct_id')}, ${it.radacct_id})`",
      "radacct_id: `${seen('radacct_id')}`",
      'jobs/hotspot/late-actors#in the reverse order',
    ],
    ['`coalesce(${it[column]}, 0) + ${by}`', '`${by}`'],
    ['greatest(users.bytes, 1)', 'users.bytes', 'jobs/hotspot/accounting#a router may let through'],
    ['rest.bytes >> 32', 'rest.bytes >> 31', 'jobs/hotspot/accounting#a router may let through'],
    ["case when session_id is not null then 'sync' end", "'sync'", 'jobs/hotspot/accounting#sessions of others'],
    ['select a.closed or coalesce(r.acctinputoctets', 'select coalesce(r.acctinputoctets'],
    [
      "select not r.closed and not ${mayGoOn('a', 'r.changed_at')} or",
      'select false or',
      'jobs/hotspot/accounting#between the last look',
    ],
    ["interval '1 day', false", "interval '1 minute', false", 'jobs/hotspot/accounting#closed as silent is counted'],
    ['heard.changed_at + ${WINDOW} > now', 'true', 'jobs/hotspot/accounting#no router is heard'],
    [
      'left join lateral (${sessionThen(',
      'left join lateral (${sessionOf(',
      'jobs/hotspot/accounting#use from before a renewal',
    ],
    ['and is_of_today group by 1', 'group by 1', 'jobs/hotspot/accounting#use from before a renewal'],
    [
      'greatest(:radiusInterim::integer, coalesce(r.acctinterval, 0))',
      ':radiusInterim::integer',
      'jobs/hotspot/accounting#reports less often',
    ],
    ['acctstoptime: lastHeard,', 'acctstoptime: NOW,', 'jobs/hotspot/accounting#fell silent for 3'],
  ]),
  ...inFile('src/jobs/hotspot/hotspot-sessions.ts', 'jobs/hotspot/hotspot-sessions#a data limit that is', [
    [
      'when ${it.status}::text in (${SHUT_OUT}) then',
      'when false then',
      'jobs/hotspot/hotspot-sessions#who suspended a user',
    ],
    ['or ${usedUp(it.data_used, it.data_limit)})', ')'],
    [
      "select ${usedUp('u.data_used', 'u.data_limit')} from",
      'select true from',
      'jobs/hotspot/hotspot-sessions#or takes it away',
    ],
    [
      "where ${SPENT('u.')}",
      "where ${SPENT('u.')} and false",
      'jobs/hotspot/hotspot-sessions#that the application opened',
    ],
    [
      'select barred.*, username as name from barred\n      union all',
      'select barred.*, username as name from barred where false\n      union all',
      'jobs/hotspot/hotspot-sessions#whose time is up expires',
    ],
    [
      "set: { plain_password: 'null', expires_at",
      'set: { expires_at',
      'jobs/hotspot/hotspot-sessions#whose time is up expires',
    ],
  ]),
  ...inFile('src/jobs/hotspot/hotspot-sessions.ts', 'jobs/hotspot/hotspot-sessions#whom RADIUS lets in', [
    ['${t.radcheck} c where c.username =', '${t.radcheck} c where false and c.username ='],
    [
      'where u.id = r.hotspot_user_id and ${hasAccess',
      'where false and ${hasAccess',
      'jobs/hotspot/hotspot-sessions#the application renewed',
    ],
  ]),
  ...inFile('src/jobs/hotspot/packages.ts', 'jobs/packages-validity#not a sale for ever', [
    ['case when validity is not null then ${START} end', 'null::timestamptz'],
    [
      'coalesce(closed_end <> ${END}, true)',
      'coalesce(closed_end < ${END}, true)',
      'jobs/packages-by-value#once its end is moved',
    ],
    [
      '`(opened_start is distinct from ${START} or opened_end is distinct from ${END})`',
      '`(opened_start is distinct from ${START})`',
      'jobs/packages-by-value#opens the sale again',
    ],
    [
      "in ('daily', 'weekly', 'monthly')\"",
      "in ('daily', 'weekly')\"",
      'jobs/packages-repeats#after a sale that repeats',
    ],
    ['<= ${END} and (${nextAfter', '< ${END} and (${nextAfter', 'jobs/packages-by-value#as long as its period'],
    ["closed_end: 'null' }", "closed_end: 'closed_end' }", 'jobs/packages-by-value#closes the sale again'],
  ]),
  ...inFile('src/jobs/hotspot/payments.ts', 'jobs/hotspot/late-actors#the odd values', [
    ["and d.${column}::text <> '' and (", 'and (', 'jobs/hotspot/late-actors#receipts apart'],
    ["'refused_at is null'", "'true'", 'jobs/hotspot/payments#told once'],
    ["or d.status = 'completed' and", 'or', 'jobs/hotspot/late-actors#receipts apart'],
    [
      'coalesce(btrim(r.phone_number::text)',
      'coalesce((r.phone_number::text)',
      'jobs/hotspot/payments#that cannot be read',
    ],
    ['when r.amount < p.price', 'when r.amount <= p.price', 'jobs/hotspot/payments#a completed payment gives'],
    ['having sum(needed) = 0`;', 'having sum(needed) >= 0`;', 'jobs/hotspot/payments#that the application holds keeps'],
    ["'Expiration', 'Simultaneous-Use'`", "'Expiration'`", 'jobs/hotspot/payments#a second payment before'],
    ["'2100-01-01T00:00:00Z'", "'2200-01-01T00:00:00Z'"],
    ['nullif(p.data_limit::bigint, 0)', 'p.data_limit::bigint'],
    ['greatest(coalesce(p.devices, 1), 1)', 'coalesce(p.devices, 1)'],
    ['u.has_active_subscription and not', 'not', 'jobs/hotspot/late-actors#at the very end'],
    [
      'case when u.data_limit > 0 then u.data_limit end as',
      'u.data_limit as',
      'jobs/hotspot/hotspot-sessions#of -1 or 0',
    ],
    ['} > now`,', '} > now and false`,', 'jobs/hotspot/payments#clock of the application'],
    [
      'u.subscription_expires_at > case',
      'u.subscription_expires_at >= case',
      'jobs/hotspot/late-actors#at the very end',
    ],
    [
      'case when isfinite(todo.due_at) then todo.due_at else :now::timestamptz end',
      ':now::timestamptz',
      'jobs/hotspot/payments#came before the end',
    ],
    [
      "coalesce(array_to_string(old_passwords[1:1], ''), (",
      'coalesce((',
      'jobs/hotspot/payments#a second payment before',
    ],
    ["data_limit: 'g.data_limit - g.data_used'", "data_limit: 'g.data_limit'", 'jobs/hotspot/payments#adds its data'],
    ["nullif(:radiusIdle::text, '0')", ':radiusIdle::text', 'jobs/hotspot/payments#the intervals that'],
    ['rest.bytes & 4294967295', 'rest.bytes % 4294967295', 'jobs/hotspot/payments#the intervals that'],
  ]),
  ...inFile('src/jobs/hotspot/tables.ts', 'jobs/hotspot/late-actors#whatever word bars', [
    ['coalesce(${limit} > 0 and', 'coalesce(', 'jobs/hotspot/hotspot-sessions#of -1 or 0'],
    [
      '${used} >= ${limit}, false)`;',
      '${used} > ${limit}, false)`;',
      'jobs/hotspot/hotspot-sessions#a data limit that is',
    ],
    ["\"'suspended', 'blocked', 'banned', 'disabled'\"", "\"'suspended', 'banned', 'disabled'\""],
    [
      "once: ['transaction_id', 'mpesa_receipt']",
      "once: ['transaction_id']",
      'jobs/hotspot/payments#cannot be stored twice',
    ],
  ]),
  ...harmless('src/jobs/hotspot/payments.ts', [
    [
      "d.id) < (${completedAt('r.')}, r.id)",
      "d.id) <= (${completedAt('r.')}, r.id)",
      'a payment is never compared with itself',
    ],
  ]),
];
