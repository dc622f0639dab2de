import { failure, info, type Job, type Rule, STAMP, warning } from '../job/define.ts';

// A row's own zone, else SCHEDULER_TIMEZONE.
const ZONE = "coalesce(nullif(s.timezone, ''), :zone::text)";
const OPENS = `scheduler.instant(scheduler.opening(s.schedule_date, s.schedule_time), ${ZONE})`;
const CLOSES = `scheduler.instant(scheduler.day_end(s.valid_until), ${ZONE})`;
const SWITCHED_OFF = 'scheduler.at(s.deactivated_at, :dbZone::text)';

const AWAITED = { 'it is scheduled': 's.scheduled', 'it switches on by itself': 's.auto_activate' };
const NOT_YET_CLOSED = {
  'its last day was not yet acted on': `(${SWITCHED_OFF} is null or ${SWITCHED_OFF} < ${CLOSES})`,
};

const UNKNOWN_ZONE = `case when not scheduler.known_zone(${ZONE})
  then format('timezone %L is not a zone that PostgreSQL knows, such as ''Africa/Nairobi''', left(s.timezone, 80)) end`;

const CHANNELS = "array['private-packages', 'private-admin-notifications'] as channels";

const statusData = (from: string, to: string, active: boolean) => `
  jsonb_build_object(
    'package_id', id, 'package_name', name, 'package_type', 'special', 'old_status', '${from}', 'new_status', '${to}',
    'is_active', ${active}, 'scheduled_activation_time', scheduler.iso(opens), 'timestamp', ${STAMP},
    'message', format('Package ''%s'' status changed from ${from} to ${to}', name)
  ) as data`;

const ACTIVATE: Rule = {
  name: 'activate',
  row: 'special_packages s',
  at: OPENS,
  when: { ...AWAITED, 'its last day is not over': `coalesce(:now::timestamptz < ${CLOSES}, true)` },
  wrong: UNKNOWN_ZONE,
  carry: `s.is_active as was_active, ${OPENS} as opens`,
  change: `
    switched as (
      update special_packages s set is_active = true, scheduled = false, updated_at = :now::timestamptz
      from todo where s.id = todo.id
      returning s.id, s.name, todo.due_at, todo.opens, todo.was_active
    ),
    outcome as (
      select 1 as step, 'activate' as transition, case when was_active is not true then 'special_package.status.changed' end as type,
        ${CHANNELS}, id::text as entity_id, due_at, ${statusData('inactive', 'active', true)}
      from switched
    )`,
};

const MISS: Rule = {
  name: 'miss',
  row: 'special_packages s',
  at: `greatest(${OPENS}, ${CLOSES})`,
  when: {
    ...AWAITED,
    'it has a start': 's.schedule_date is not null',
    'it has a last day': 's.valid_until is not null',
  },
  wrong: UNKNOWN_ZONE,
  carry: `${OPENS} as opens, s.valid_until`,
  change: `
    switched as (
      update special_packages s set scheduled = false, deactivated_at = :now::timestamptz from todo where s.id = todo.id
      returning s.id, s.name, todo.due_at, todo.opens, todo.valid_until
    ),
    outcome as (
      select 1 as step, 'miss' as transition, 'special_package.schedule.missed' as type, ${CHANNELS}, id::text as entity_id, due_at,
        jsonb_build_object(
          'package_id', id, 'package_name', name, 'scheduled_activation_time', scheduler.iso(opens),
          'valid_until', valid_until, 'timestamp', ${STAMP},
          'message', format('Package ''%s'' was never switched on: its last day passed without a tick', name)
        ) as data
      from switched
    )`,
};

const DEACTIVATE: Rule = {
  name: 'deactivate',
  row: 'special_packages s',
  at: CLOSES,
  when: { 'it is on': 's.is_active', 'it switches off by itself': 's.auto_deactivate', ...NOT_YET_CLOSED },
  wrong: UNKNOWN_ZONE,
  carry: `${OPENS} as opens`,
  change: `
    switched as (
      update special_packages s set is_active = false, deactivated_at = :now::timestamptz, updated_at = :now::timestamptz
      from todo where s.id = todo.id
      returning s.id, s.name, todo.due_at, todo.opens
    ),
    outcome as (
      select 1 as step, 'deactivate' as transition, 'special_package.status.changed' as type, ${CHANNELS},
        id::text as entity_id, due_at, ${statusData('active', 'inactive', false)}
      from switched
    )`,
};

/** Off already when its last day ended. That is noted, so that switching it on afterwards counts as somebody's wish. */
const SETTLE: Rule = {
  name: 'settle',
  row: 'special_packages s',
  at: CLOSES,
  when: {
    'it is off': 's.is_active is not true',
    'it does not wait for its start': '(s.scheduled and s.auto_activate) is not true',
    'it switches off by itself': 's.auto_deactivate',
    ...NOT_YET_CLOSED,
  },
  change: `
    closed as (
      update special_packages s set deactivated_at = :now::timestamptz from todo where s.id = todo.id
      returning s.id, s.name, todo.due_at
    ),
    outcome as (
      select 1 as step, 'settle' as transition, null as type, '{}'::text[] as channels, id::text as entity_id, due_at,
        jsonb_build_object('package_id', id, 'package_name', name) as data
      from closed
    )`,
};

const FAILED: Record<string, string> = { miss: 'close the missed schedule of', settle: 'note the end of' };

export const job: Job = {
  name: 'special-packages',
  summary: 'switch special packages on at their hour and off after their last valid day',
  everyMinutes: 1,
  order: 20,
  tables: {
    special_packages: [
      ...['id', 'name', 'scheduled', 'schedule_date', 'schedule_time', 'auto_activate', 'auto_deactivate', 'is_active'],
      ...['valid_until', 'timezone', 'deactivated_at', 'updated_at'],
    ],
  },
  adopt: 'adopt_special_packages',
  // What is over goes first, so that nothing looks at it twice.
  rules: [MISS, DEACTIVATE, SETTLE, ACTIVATE],
  lines: {
    started: info('ProcessSpecialPackages job started'),
    found: (rule, count) => (rule === 'activate' ? info('Found special packages to activate', { count }) : undefined),
    done: ({ transition, data }) => {
      const which = { package_id: data.package_id, package_name: data.package_name };
      switch (transition) {
        case 'activate':
          return [info('Special package activated', { ...which, scheduled_time: data.scheduled_activation_time })];
        case 'deactivate':
          return [info('Special package deactivated', { ...which, reason: 'Last valid day is over' })];
        case 'miss':
          return [warning('Special package missed its last valid day', { ...which, valid_until: data.valid_until })];
        default:
          return [info('Special package stays as it was switched by hand', which)];
      }
    },
    failed: (rule, id, error) =>
      failure(`Failed to ${FAILED[rule] ?? rule} special package`, { package_id: id, error }),
    finished: () => [info('ProcessSpecialPackages job completed successfully')],
  },
};
