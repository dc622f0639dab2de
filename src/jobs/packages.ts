import {
  CREATED,
  flag,
  instant,
  key,
  money,
  remembered,
  small,
  span,
  starting,
  text,
  wallClock,
  whole,
  words,
} from '../job/columns.ts';
import { defineJob, type Event, failure, info, type Rule, type Table, warning } from '../job/define.ts';

const START = 'scheduled_activation_time';
const END = 'scheduler.sale_end(scheduled_activation_time, scheduled_deactivation_time, validity)';
const fresh = { newTableOnly: true };

// A table that is adopted may have been worked on before: its columns, as they are then, tell what was opened and closed.
const at = (column: string) => `scheduler.at(${column}, :dbZone::text)`;
const START_OF_ROW = at('scheduled_activation_time');
const END_OF_ROW = `scheduler.sale_end(${START_OF_ROW}, ${at('scheduled_deactivation_time')}, validity)`;
const IS_OPENED = `${at('activated_at')} >= ${START_OF_ROW}`;

/** What the scheduler did is kept as the window that it opened and the end that it closed, and compared by value. */
export const PACKAGES: Table = {
  name: 'packages',
  recognisedBy: ['enable_schedule', 'scheduled_activation_time'],
  columns: {
    id: key(),
    name: text({ notNull: true }),
    description: text(fresh),
    type: text({ notNull: true, default: "'hotspot'" }),
    price: { ...money({ notNull: true, default: '0', ...fresh }), type: 'numeric(12, 2)' },
    duration: text(fresh),
    data_limit: whole(fresh),
    upload_speed: text(fresh),
    download_speed: text(fresh),
    devices: small({ notNull: true, default: '1', ...fresh }),
    enable_schedule: flag({ notNull: true, default: 'false' }),
    scheduled_activation_time: instant(),
    scheduled_deactivation_time: instant(),
    validity: text(),
    repeats: text({ check: "repeats in ('daily', 'weekly', 'monthly')" }),
    hide_from_client: { ...starting(flag, 'false') },
    status: words(['active', 'inactive'], {
      notNull: true,
      default: "'inactive'",
      safeToAdd: true,
      check: "status in ('active', 'inactive')",
    }),
    is_active: starting(flag, 'false'),
    activated_at: instant(),
    deactivated_at: instant(),
    opened_start: remembered({
      began: `case when ${IS_OPENED} then ${START_OF_ROW} end`,
      comment: 'The start of the window that was last opened; kept by the scheduler.',
    }),
    opened_end: remembered({
      began: `case when ${IS_OPENED} then ${END_OF_ROW} end`,
      comment: 'The end of the window that was last opened; kept by the scheduler.',
    }),
    closed_end: remembered({
      began: `case when ${at('deactivated_at')} >= ${END_OF_ROW} then ${END_OF_ROW} end`,
      comment: 'The end that was last acted on; kept by the scheduler.',
    }),
    repeat_start: wallClock({
      comment: 'The wall-clock start of the first window of a repeated sale; kept by the scheduler.',
    }),
    repeat_length: span({
      comment: 'The length of the first window of a repeated sale on the wall clock; kept by the scheduler.',
    }),
    repeat_count: small({
      comment: 'How often a repeated sale has moved since its first window; kept by the scheduler.',
    }),
    created_at: { ...CREATED, ...fresh },
    updated_at: CREATED,
  },
};

const ENABLED = { 'the schedule is enabled': 'enable_schedule' };
const OFF_SALE = { 'it is off sale': "status = 'inactive'" };
const ON_SALE = { 'it is on sale': "status = 'active'" };
const NOT_YET_OPENED = {
  'this window was not yet opened': `(opened_start is distinct from ${START} or opened_end is distinct from ${END})`,
};
const NOT_YET_CLOSED = { 'this end was not yet acted on': `coalesce(closed_end <> ${END}, true)` };

const UNREADABLE_VALIDITY = {
  "validity '{validity}' is not a count and a unit, such as '2 hours', '7 days' or '1 month'":
    'scheduled_deactivation_time is null and validity is not null and scheduler.validity_seconds(validity) is null',
};
const REPEATS = "lower(repeats) in ('daily', 'weekly', 'monthly')";
const UNREADABLE_REPEATS = {
  "repeats '{repeats}' is none of daily, weekly, monthly": `nullif(repeats, '') is not null and not ${REPEATS}`,
};

const nextAfter = (moment: string) => `case when ${REPEATS} then scheduler.next_sale(scheduled_activation_time,
  scheduled_deactivation_time, validity, repeats, repeat_start, repeat_length, repeat_count, :zone::text, ${moment}) end`;
/**
 * A sale whose window is as long as its period goes on without a gap. That the next window has begun is asked besides, as a
 * clock that repeats an hour makes a gap. To name "now" keeps this out of the index.
 */
const GOES_ON = `coalesce((${nextAfter(`least(${START}, now)`)}).next_start <= ${END} and (${nextAfter('now')}).next_start <= now, false)`;

/** A finished window moves on in the statement that closes it, so that a sale switched off by hand never comes back. */
const MOVE_ON = {
  scheduled_activation_time: 'coalesce((next).next_start, scheduled_activation_time)',
  scheduled_deactivation_time: 'coalesce((next).next_stop, scheduled_deactivation_time)',
  repeat_start: '(next).first_start',
  repeat_length: '(next).first_length',
  repeat_count: '(next).count',
};
const CARRY = { next: nextAfter('now'), start: START, over: END };

const CHANNELS = ['private-packages', 'private-admin-notifications'];
const WHICH = { package_id: 'id', package_name: 'name', package_type: 'type' };

const statusChanged = (from: string, to: string, start: string): Event => ({
  type: 'package.status.changed',
  channels: CHANNELS,
  data: {
    ...WHICH,
    old_status: `'${from}'`,
    new_status: `'${to}'`,
    is_active: String(to === 'active'),
    scheduled_activation_time: start,
    timestamp: 'now',
  },
  message: `Package '{name}' status changed from ${from} to ${to}`,
});
const REPEATED: Event = {
  transition: 'repeat',
  type: 'package.schedule.repeated',
  channels: CHANNELS,
  data: {
    ...WHICH,
    scheduled_activation_time: START,
    scheduled_deactivation_time: 'scheduled_deactivation_time',
    timestamp: 'now',
  },
  message: "Package '{name}' goes on sale again at {scheduled_activation_time}",
  when: '(next).next_start is not null',
};
const NOTED: Event = { data: { package_id: 'id', package_name: 'name' } };

// A validity that cannot be read gives no end. Such a sale must not go on for ever in silence: it is found at its start.
const END_OR_FAULT = `coalesce(${END}, case when validity is not null then ${START} end)`;

const goOn: Rule = {
  due: END_OR_FAULT,
  where: { ...ENABLED, ...ON_SALE, ...NOT_YET_CLOSED, 'its next window follows without a gap': GOES_ON },
  carry: CARRY,
  set: {
    ...MOVE_ON,
    opened_start: '(next).next_start',
    opened_end: 'scheduler.sale_end((next).next_start, (next).next_stop, validity)',
  },
  event: REPEATED,
};

const deactivate: Rule = {
  due: END_OR_FAULT,
  where: {
    ...ENABLED,
    ...ON_SALE,
    ...NOT_YET_CLOSED,
    'its next window does not follow without a gap': `not ${GOES_ON}`,
  },
  fails: UNREADABLE_VALIDITY,
  carry: CARRY,
  set: {
    status: "'inactive'",
    is_active: 'false',
    deactivated_at: 'now',
    updated_at: 'now',
    closed_end: 'over',
    ...MOVE_ON,
  },
  event: [statusChanged('active', 'inactive', 'scheduler.iso(start)'), REPEATED],
};

const miss: Rule = {
  // A stop before the start makes an empty window: it has passed when both have.
  due: `greatest(${START}, ${END})`,
  where: {
    ...ENABLED,
    ...OFF_SALE,
    'it was not yet on sale for this start': `opened_start is distinct from ${START}`,
    ...NOT_YET_CLOSED,
    'it has a start': `${START} is not null`,
    'it has an end': `${END} is not null`,
  },
  carry: CARRY,
  set: { deactivated_at: 'now', closed_end: 'over', ...MOVE_ON },
  event: [
    {
      type: 'package.schedule.missed',
      channels: CHANNELS,
      data: {
        ...WHICH,
        scheduled_activation_time: 'scheduler.iso(start)',
        sale_end: 'scheduler.iso(over)',
        timestamp: 'now',
      },
      message: "Package '{name}' was never on sale: its window passed without a tick",
    },
    REPEATED,
  ],
};

/** Somebody switched it off inside its window. The end is noted, so that switching it on afterwards counts as theirs too. */
const settle: Rule = {
  due: END,
  where: {
    ...ENABLED,
    ...OFF_SALE,
    'it was on sale for this start': `opened_start is not distinct from ${START}`,
    ...NOT_YET_CLOSED,
  },
  set: { closed_end: END },
  event: NOTED,
};

const activate: Rule = {
  due: START,
  where: {
    ...ENABLED,
    ...OFF_SALE,
    ...NOT_YET_OPENED,
    // A clock that is set back opens nothing again.
    ...NOT_YET_CLOSED,
    'its end has not come': `coalesce(now < ${END}, true)`,
  },
  fails: { ...UNREADABLE_VALIDITY, ...UNREADABLE_REPEATS },
  set: {
    status: "'active'",
    is_active: 'true',
    activated_at: 'now',
    updated_at: 'now',
    opened_start: START,
    opened_end: END,
    closed_end: 'null',
  },
  event: statusChanged('inactive', 'active', START),
};

/** On already when its window began. That is noted, so that switching it off inside the window counts as somebody's wish. */
const keep: Rule = {
  due: START,
  where: { ...ENABLED, ...ON_SALE, ...NOT_YET_OPENED, ...NOT_YET_CLOSED },
  set: { opened_start: START, opened_end: END, closed_end: 'null' },
  event: NOTED,
};

const FAILED: Record<string, string> = {
  miss: 'close the missed window of',
  settle: 'note the end of',
  keep: 'note the start of',
  'go on': 'repeat',
};

export const job = defineJob({
  name: 'packages',
  summary: 'put hotspot packages on sale and take them off',
  everyMinutes: 1,
  order: 10,
  table: PACKAGES,
  // Closing comes first: a window that repeats may be open again, and is then activated in the same pass.
  rules: { 'go on': goOn, deactivate, miss, settle, activate, keep },
  log: {
    started: info('ProcessScheduledPackages job started'),
    found: (rule, count) => (rule === 'activate' ? info('Found packages to activate', { count }) : undefined),
    done: ({ transition, data: { package_id, package_name, ...data } }) => {
      const which = { package_id, package_name };
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
    failed: ({ id, rule, error }) => failure(`Failed to ${FAILED[rule] ?? rule} package`, { package_id: id, error }),
    finished: () => [info('ProcessScheduledPackages job completed successfully')],
  },
});
