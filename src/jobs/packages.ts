import { failure, info, type Job, type Rule, STAMP, warning } from '../job/define.ts';

const START = 'scheduler.at(p.scheduled_activation_time, :dbZone::text)';
const STOP = 'scheduler.at(p.scheduled_deactivation_time, :dbZone::text)';
const END = `scheduler.sale_end(${START}, ${STOP}, p.validity)`;
const SWITCHED_ON = 'scheduler.at(p.activated_at, :dbZone::text)';
const SWITCHED_OFF = 'scheduler.at(p.deactivated_at, :dbZone::text)';

const ENABLED = { 'the schedule is enabled': 'p.enable_schedule' };
const OFF_SALE = { 'it is off sale': "p.status = 'inactive'" };
const ON_SALE = { 'it is on sale': "p.status = 'active'" };
const NOT_YET_ACTIVATED = { 'it was not yet activated for this start': `coalesce(${SWITCHED_ON} < ${START}, true)` };
const NOT_YET_CLOSED = {
  'this window was not yet closed': `case when p.deactivated_at is null then true else coalesce(${SWITCHED_OFF} < ${END}, true) end`,
};

const UNREADABLE_VALIDITY = `
  when p.scheduled_deactivation_time is null and p.validity is not null and scheduler.validity_seconds(p.validity) is null
    then format('validity %L is not a count and a unit, such as ''2 hours'', ''7 days'' or ''1 month''', left(p.validity, 80))`;
const UNREADABLE = `case ${UNREADABLE_VALIDITY}
  when nullif(p.repeats, '') is not null and lower(p.repeats) not in ('daily', 'weekly', 'monthly')
    then format('repeats %L is none of daily, weekly, monthly', left(p.repeats, 80))
end`;

const STATUS_CHANGED = `
  'package.status.changed' as type,
  array['private-packages', 'private-admin-notifications'] as channels`;

const statusData = (from: string, to: string, active: boolean) => `
  jsonb_build_object(
    'package_id', id, 'package_name', name, 'package_type', kind, 'old_status', '${from}', 'new_status', '${to}',
    'is_active', ${active}, 'scheduled_activation_time', scheduler.iso(start), 'timestamp', ${STAMP},
    'message', format('Package ''%s'' status changed from ${from} to ${to}', name)
  ) as data`;

const ACTIVATE: Rule = {
  name: 'activate',
  row: 'packages p',
  at: START,
  when: {
    ...ENABLED,
    ...OFF_SALE,
    ...NOT_YET_ACTIVATED,
    ...NOT_YET_CLOSED,
    'its end has not come': `coalesce(:now::timestamptz < ${END}, true)`,
  },
  wrong: UNREADABLE,
  change: `
    switched as (
      update packages p
      set status = 'active', is_active = true, activated_at = :now::timestamptz, updated_at = :now::timestamptz
      from todo where p.id = todo.id
      returning p.id, p.name, p.type as kind, todo.due_at as start
    ),
    outcome as (
      select 1 as step, 'activate' as transition, ${STATUS_CHANGED}, id::text as entity_id, start as due_at,
        ${statusData('inactive', 'active', true)}
      from switched
    )`,
};

/** A finished window moves on in the very statement that closes it, so that a sale switched off by hand never comes back. */
const closing = (assignments: string, over = 'todo.due_at') => `
    closed as (
      update packages p
      set ${assignments} deactivated_at = :now::timestamptz,
        scheduled_activation_time = coalesce((todo.next).next_start, p.scheduled_activation_time),
        scheduled_deactivation_time = coalesce((todo.next).next_stop, p.scheduled_deactivation_time),
        repeat_day = coalesce((todo.next).aimed_day, p.repeat_day),
        repeat_start = (todo.next).aimed_start,
        repeat_stop = (todo.next).aimed_stop
      from todo where p.id = todo.id
      returning p.id, p.name, p.type as kind, todo.due_at, todo.start, (todo.next).next_start, (todo.next).next_stop,
        ${over} as over
    )`;

const REPEATED = `
    select 2, 'repeat', 'package.schedule.repeated', array['private-packages', 'private-admin-notifications'], id::text, due_at,
      jsonb_build_object(
        'package_id', id, 'package_name', name, 'package_type', kind, 'scheduled_activation_time', scheduler.iso(next_start),
        'scheduled_deactivation_time', scheduler.iso(next_stop), 'timestamp', ${STAMP},
        'message', format('Package ''%s'' goes on sale again at %s', name, scheduler.iso(next_start))
      )
    from closed where next_start is not null`;

const NEXT_WINDOW = `
  ${START} as start,
  case when lower(p.repeats) in ('daily', 'weekly', 'monthly') then
    scheduler.next_window(${START}, ${STOP}, p.validity, p.repeats, p.repeat_day, p.repeat_start, p.repeat_stop,
      :zone::text, :now::timestamptz) end as next`;

const DEACTIVATE: Rule = {
  name: 'deactivate',
  row: 'packages p',
  // A validity that cannot be read gives no end. Such a sale must not go on for ever in silence: it is found at its start.
  at: `coalesce(${END}, case when p.validity is not null then ${START} end)`,
  when: {
    ...ENABLED,
    ...ON_SALE,
    ...NOT_YET_CLOSED,
    'it was not switched on after its end': `coalesce(${SWITCHED_ON} < ${END}, true)`,
  },
  wrong: `case ${UNREADABLE_VALIDITY} end`,
  carry: NEXT_WINDOW,
  change: `${closing("status = 'inactive', is_active = false, updated_at = :now::timestamptz,")},
    outcome as (
      select 1 as step, 'deactivate' as transition, ${STATUS_CHANGED}, id::text as entity_id, due_at,
        ${statusData('active', 'inactive', false)}
      from closed
      union all
      ${REPEATED}
    )`,
};

const MISS: Rule = {
  name: 'miss',
  row: 'packages p',
  // A stop before the start makes an empty window: it has passed when both have.
  at: `greatest(${START}, ${END})`,
  when: {
    ...ENABLED,
    ...OFF_SALE,
    ...NOT_YET_ACTIVATED,
    ...NOT_YET_CLOSED,
    'it has a start': 'p.scheduled_activation_time is not null',
    'it has an end': `${END} is not null`,
  },
  carry: `${NEXT_WINDOW}, ${END} as over`,
  change: `${closing('', 'todo.over')},
    outcome as (
      select 1 as step, 'miss' as transition, 'package.schedule.missed' as type,
        array['private-packages', 'private-admin-notifications'] as channels, id::text as entity_id, due_at,
        jsonb_build_object(
          'package_id', id, 'package_name', name, 'package_type', kind, 'scheduled_activation_time', scheduler.iso(start),
          'sale_end', scheduler.iso(over), 'timestamp', ${STAMP},
          'message', format('Package ''%s'' was never on sale: its window passed without a tick', name)
        ) as data
      from closed
      union all
      ${REPEATED}
    )`,
};

/** Somebody switched it off inside its window. The end is noted, so that switching it on afterwards counts as theirs too. */
const SETTLE: Rule = {
  name: 'settle',
  row: 'packages p',
  at: END,
  when: { ...ENABLED, ...OFF_SALE, 'it was activated for this start': `${SWITCHED_ON} >= ${START}`, ...NOT_YET_CLOSED },
  change: `
    closed as (
      update packages p set deactivated_at = :now::timestamptz from todo where p.id = todo.id
      returning p.id, p.name, todo.due_at
    ),
    outcome as (
      select 1 as step, 'settle' as transition, null as type, '{}'::text[] as channels, id::text as entity_id, due_at,
        jsonb_build_object('package_id', id, 'package_name', name) as data
      from closed
    )`,
};

/** On already when its window began. That is noted, so that switching it off inside the window counts as somebody's wish. */
const KEEP: Rule = {
  name: 'keep',
  row: 'packages p',
  at: START,
  when: { ...ENABLED, ...ON_SALE, ...NOT_YET_ACTIVATED, ...NOT_YET_CLOSED },
  change: `
    kept as (
      update packages p set activated_at = :now::timestamptz from todo where p.id = todo.id
      returning p.id, p.name, todo.due_at
    ),
    outcome as (
      select 1 as step, 'keep' as transition, null as type, '{}'::text[] as channels, id::text as entity_id, due_at,
        jsonb_build_object('package_id', id, 'package_name', name) as data
      from kept
    )`,
};

const FAILED: Record<string, string> = {
  miss: 'close the missed window of',
  settle: 'note the end of',
  keep: 'note the start of',
};

export const job: Job = {
  name: 'packages',
  summary: 'put hotspot packages on sale and take them off',
  everyMinutes: 1,
  order: 10,
  tables: {
    packages: [
      ...[
        'id',
        'name',
        'type',
        'enable_schedule',
        'scheduled_activation_time',
        'scheduled_deactivation_time',
        'validity',
      ],
      ...['repeats', 'repeat_day', 'repeat_start', 'repeat_stop', 'status', 'is_active', 'activated_at'],
      ...['deactivated_at', 'updated_at'],
    ],
  },
  adopt: 'adopt_repeating_packages',
  // Closing comes first: a window that repeats may be open again, and is then activated in the same pass.
  rules: [DEACTIVATE, MISS, SETTLE, ACTIVATE, KEEP],
  lines: {
    started: info('ProcessScheduledPackages job started'),
    found: (rule, count) => (rule === 'activate' ? info('Found packages to activate', { count }) : undefined),
    done: ({ transition, data }) => {
      const which = { package_id: data.package_id, package_name: data.package_name };
      switch (transition) {
        case 'activate':
          return [info('Package activated', { ...which, scheduled_time: data.scheduled_activation_time })];
        case 'deactivate':
          return [info('Package deactivated', { ...which, reason: 'Scheduled validity expired' })];
        case 'miss':
          return [warning('Package missed its whole sale window', { ...which, sale_end: data.sale_end })];
        case 'repeat':
          return [info('Package sale repeats', { ...which, scheduled_time: data.scheduled_activation_time })];
        case 'keep':
          return [info('Package was on already when its window began', which)];
        default:
          return [info('Package stays as it was switched by hand', which)];
      }
    },
    failed: (rule, id, error) => failure(`Failed to ${FAILED[rule] ?? rule} package`, { package_id: id, error }),
    finished: () => [info('ProcessScheduledPackages job completed successfully')],
  },
};
