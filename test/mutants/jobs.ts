import { harmless, inFile, type Mutant } from './mutant.ts';

export const JOBS: Mutant[] = [
  ...inFile('src/jobs/subscriptions.ts', 'jobs/subscriptions#takes over from the current', [
    ['= ${r}.id then', '= ${r}."userId" then', 'jobs/subscriptions#foreign or itself'],
    [
      'group by key having sum(needed) = 0',
      'group by key having sum(needed) >= 0',
      'jobs/subscriptions#whose row the application holds is left',
    ],
    ['`${it.userId} = todo."userId" and', '`${it.id} = todo.id and'],
    ['then 1000000 else 1 end', 'then 1 else 1000000 end', 'jobs/subscriptions#a chain resolves'],
    ["and not ${waits(quoteText(job), \"'activate'\", 'n.id')}", '', 'jobs/subscriptions#a quarantined successor'],
    ["setting('ENABLE_SUBSCRIPTION_SCHEDULER', true)", "setting('ENABLE_SUBSCRIPTION_SCHEDULER', false)"],
  ]),
  ...inFile('src/jobs/special-packages.ts', 'jobs/special-packages-by-value#until the last day is edited', [
    ['coalesce(closed_end <> ${CLOSES}, true)', 'coalesce(closed_end < ${CLOSES}, true)'],
    ["'it switches on by itself': 'auto_activate' }", '}', 'jobs/special-packages#it is not switched on'],
    ['or is_active and ${OPENS} < ${CLOSES}', '', 'jobs/special-packages-by-value#misses its window is switched off'],
    [
      "set: { is_active: 'true', scheduled: 'false', closed_end: 'null'",
      "set: { is_active: 'true', scheduled: 'false'",
      'jobs/special-packages-by-value#taken back to its first',
    ],
    [
      "statusChanged('inactive', 'active', 'not was_active')",
      "statusChanged('inactive', 'active')",
      'jobs/special-packages#no event when is_active',
    ],
    ["was_active: 'is_active is true'", "was_active: 'is_active'", 'jobs/special-packages#was never set is a change'],
    [
      "where: { 'it is on': 'is_active', ...SWITCHES_OFF, ...NOT_YET_CLOSED }",
      "where: { 'it is on': 'is_active', ...NOT_YET_CLOSED }",
      'jobs/special-packages#without auto_deactivate',
    ],
    [
      'and ${OPENS} <= ${CLOSES}) is not true`',
      'and ${OPENS} >= ${CLOSES}) is not true`',
      'jobs/special-packages-by-value#a hand after the last day wins',
    ],
  ]),
  ...inFile('src/jobs/text-sessions/session-endings.ts', 'jobs/text-sessions/session-endings#has its pending blocks', [
    ['settling(TIME_OVER, ACTIVE, true)', 'settling(TIME_OVER, ACTIVE, false)'],
    ["'user.{patient_id}'", "'user.{doctor_id}'", 'jobs/text-sessions/session-endings#that no doctor answered'],
  ]),
  ...inFile('src/jobs/text-sessions/settle.ts', 'jobs/text-sessions/deductions#one credit per full', [
    [
      '`least(scheduler.full_blocks(activated_at, now), ${ALLOWED})`',
      '`scheduler.full_blocks(activated_at, now)`',
      'jobs/text-sessions/session-endings#has its pending blocks',
    ],
    ["'it has a patient': 'patient_id is not null',", '', 'jobs/text-sessions/deductions#a session without a patient'],
    [
      'for no key update of s skip locked',
      'for update of s skip locked',
      'jobs/text-sessions/deductions#does not hold its deduction back',
    ],
    ["since, coalesce(u.expires_at, 'infinity')", "since, coalesce(u.expires_at, '-infinity')"],
    [
      'over (partition by w.patient_id order by scheduler.block_end(w.activated, n), w.id)',
      'over (partition by w.patient_id order by w.id, n)',
      'jobs/text-sessions/deductions#two sessions of one patient',
    ],
    [
      'scheduler.block_end(w.activated, n), w.id) as place',
      'scheduler.block_end(w.activated, n), w.id desc) as place',
      'jobs/text-sessions/credits#at the same instant',
    ],
    [
      'generate_series(w.processed + 1, w.processed + w.payable)',
      'generate_series(w.processed, w.processed + w.payable - 1)',
    ],
    [
      '/ 600)::bigint - 1 - w.processed',
      '/ 600)::bigint - w.processed',
      'jobs/text-sessions/deductions#a credit that expires during',
    ],
    ['- 1 - w.processed))', '- 1))', 'jobs/text-sessions/credits#expire later than the block'],
    [
      'lag(upto, 1, 0::bigint) over (partition by user_id order by since, id)',
      'lag(upto, 1, 0::bigint) over (order by since, id)',
      'jobs/text-sessions/credits#patients are told apart',
    ],
    [
      'lag(upto, 1, 0::bigint) over (partition by user_id order by since, id)',
      'lag(upto, 1, 0::bigint) over (partition by user_id order by id)',
      'jobs/text-sessions/credits#patients are told apart',
    ],
    [
      'filter (where d.expires > last.due) as after_last',
      'filter (where d.expires >= last.due) as after_last',
      'jobs/text-sessions/credits#expires exactly now',
    ],
    [
      'filter (where d.expires > last.due) as after_last',
      'as after_last',
      'jobs/text-sessions/credits#expires exactly now',
    ],
    [
      'filter (where d.expires > :now::timestamptz) as credits',
      'as credits',
      'jobs/text-sessions/credits#the middle one of three',
    ],
    ['when coalesce(c.paid, 0) < w.owed then', 'when coalesce(c.paid, 0) <= w.owed then'],
    [
      'case when w.time_over <= :now',
      'case when w.time_over < :now',
      'jobs/text-sessions/session-endings#time ends at the instant',
    ],
    [
      "when 'time_expired' then time_over",
      "when 'time_expired' then :now::timestamptz",
      'jobs/text-sessions/session-endings#has its pending blocks',
    ],
    [
      'where coalesce(w.rate, :sessionRate::numeric) > 0 and',
      'where coalesce(w.rate, :sessionRate::numeric) >= 0 and',
      'jobs/text-sessions/deductions#without any rate',
    ],
    ['least(:now::timestamptz, ends)', 'ends', 'jobs/text-sessions/deductions#the event tells'],
  ]),
  ...inFile('src/jobs/text-sessions/tables.ts', 'jobs/text-sessions/adoption#a doctor has one wallet', [
    ["unique: ['doctor_id'],", ''],
  ]),
  ...harmless('src/jobs/text-sessions/settle.ts', [
    [
      'when p.expires > w.activated then',
      'when p.expires >= w.activated then',
      'a credit of no time pays for no block either way',
    ],
  ]),
  ...harmless('src/jobs/text-sessions/settle.ts', [
    ['BLOCKS_AT_ONCE = 1008', 'BLOCKS_AT_ONCE = 100', 'what is beyond it comes with the next batch'],
  ]),
];
