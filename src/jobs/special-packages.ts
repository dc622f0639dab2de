import { CREATED, day, flag, hour, key, remembered, starting, text } from '../job/columns.ts';
import { completed, defineJob, type Event, failure, info, type Rule, type Table, warning } from '../job/define.ts';

// A row's own zone, else SCHEDULER_TIMEZONE.
const ZONE = "coalesce(nullif(timezone, ''), :zone::text)";
const OPENS = `scheduler.instant(scheduler.opening(schedule_date, schedule_time), ${ZONE})`;
const CLOSES = `scheduler.instant(scheduler.day_end(valid_until), ${ZONE})`;

const TABLE: Table = {
  name: 'special_packages',
  recognisedBy: ['schedule_date', 'auto_activate'],
  columns: {
    id: key(),
    name: text({ notNull: true }),
    scheduled: starting(flag, 'false'),
    schedule_date: day(),
    schedule_time: hour(),
    auto_activate: flag({ notNull: true, default: 'false' }),
    auto_deactivate: starting(flag, 'false'),
    is_active: starting(flag, 'false'),
    valid_until: day(),
    timezone: text(),
    closed_end: remembered('The end of the last valid day that was acted on'),
    created_at: { ...CREATED, newTableOnly: true },
    updated_at: CREATED,
  },
};

const AWAITED = { 'it is scheduled': 'scheduled', 'it switches on by itself': 'auto_activate' };
const SWITCHES_OFF = { 'it switches off by itself': 'auto_deactivate' };
const NOT_YET_CLOSED = {
  'its last day was not yet acted on': `(closed_end is null or coalesce(closed_end <> ${CLOSES}, true))`,
};
const UNKNOWN_ZONE = {
  "timezone '{timezone}' is not a zone that PostgreSQL knows, such as 'Africa/Nairobi'": `not scheduler.known_zone(${ZONE})`,
};

const CHANNELS = ['private-packages', 'private-admin-notifications'];
const statusChanged = (from: string, to: string, when?: string): Event => ({
  type: 'special_package.status.changed',
  channels: CHANNELS,
  data: {
    ...{ package_id: 'id', package_name: 'name', package_type: "'special'" },
    ...{ old_status: `'${from}'`, new_status: `'${to}'`, is_active: String(to === 'active') },
    ...{ scheduled_activation_time: 'scheduler.iso(opens)', timestamp: 'now' },
  },
  message: `Package '{name}' status changed from ${from} to ${to}`,
  ...(when && { when }),
});
const NOTED: Event = { data: { package_id: 'id', package_name: 'name' } };
const CARRY = { opens: OPENS, closes: CLOSES, was_active: 'is_active is true' };

const activate: Rule = {
  due: OPENS,
  where: {
    ...AWAITED,
    // One that is on already is switched off like any other: its start is noted first, as a tick in time would have done.
    'its last day is not over, or closes nothing': `coalesce(now < ${CLOSES}, true) or auto_deactivate is not true
      or is_active and ${OPENS} < ${CLOSES}`,
  },
  fails: UNKNOWN_ZONE,
  carry: CARRY,
  set: { is_active: 'true', scheduled: 'false', closed_end: 'null', updated_at: 'now' },
  event: [
    statusChanged('inactive', 'active', 'not was_active'),
    { ...NOTED, transition: 'activate', when: 'was_active' },
  ],
};

const miss: Rule = {
  due: `greatest(${OPENS}, ${CLOSES})`,
  where: {
    ...AWAITED,
    ...SWITCHES_OFF,
    'it is off': 'is_active is not true',
    'it has a start': 'schedule_date is not null',
    'it has a last day': 'valid_until is not null',
  },
  fails: UNKNOWN_ZONE,
  carry: CARRY,
  set: { scheduled: 'false', closed_end: 'closes' },
  event: {
    type: 'special_package.schedule.missed',
    channels: CHANNELS,
    data: {
      ...{ package_id: 'id', package_name: 'name', scheduled_activation_time: 'scheduler.iso(opens)' },
      ...{ valid_until: 'valid_until', timestamp: 'now' },
    },
    message: "Package '{name}' was never switched on: its last day passed without a tick",
  },
};

const deactivate: Rule = {
  due: CLOSES,
  where: { 'it is on': 'is_active', ...SWITCHES_OFF, ...NOT_YET_CLOSED },
  fails: UNKNOWN_ZONE,
  carry: CARRY,
  set: { is_active: 'false', closed_end: 'closes', updated_at: 'now' },
  event: statusChanged('active', 'inactive'),
};

/** Off already when its last day ended. That is noted, so that switching it on afterwards counts as somebody's wish. */
const settle: Rule = {
  due: CLOSES,
  where: {
    'it is off': 'is_active is not true',
    'it does not wait for its start until then': `(scheduled and auto_activate and ${OPENS} <= ${CLOSES}) is not true`,
    ...SWITCHES_OFF,
    ...NOT_YET_CLOSED,
  },
  set: { closed_end: CLOSES },
  event: NOTED,
};

const FAILED: Record<string, string> = { miss: 'close the missed schedule of', settle: 'note the end of' };

export const job = defineJob({
  name: 'special-packages',
  summary: 'switch special packages on at their hour and off after their last valid day',
  everyMinutes: 1,
  order: 20,
  table: TABLE,
  rules: { activate, miss, deactivate, settle },
  log: {
    started: info('ProcessSpecialPackages job started'),
    found: (rule, count) => (rule === 'activate' ? info('Found special packages to activate', { count }) : undefined),
    done: ({ transition, data: { package_id, package_name, ...data } }) => {
      const which = { package_id, package_name };
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
    failed: ({ id, rule, error }) =>
      failure(`Failed to ${FAILED[rule] ?? rule} special package`, { package_id: id, error }),
    finished: completed('ProcessSpecialPackages job completed successfully'),
  },
});
