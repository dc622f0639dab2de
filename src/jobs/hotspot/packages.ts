import { completed, defineJob, type Event, failure, info, type Line, type Rule, warning } from '../../job/define.ts';
import { PACKAGES } from './tables.ts';

const START = 'scheduled_activation_time';
const END = 'scheduler.sale_end(scheduled_activation_time, scheduled_deactivation_time, validity)';
// A validity that cannot be read gives no end. Such a sale must not go on for ever in silence: it is found at its start.
const END_OR_FAULT = `coalesce(${END}, case when validity is not null then ${START} end)`;

const ENABLED = { 'the schedule is enabled': 'enable_schedule' };
const OFF_SALE = { 'it is off sale': "status = 'inactive'" };
const ON_SALE = { 'it is on sale': "status = 'active'" };
const NOT_YET_CLOSED = {
  'this end was not yet acted on': `(closed_end is null or coalesce(closed_end <> ${END}, true))`,
};
const NOT_YET_OPENED = {
  'this window was not yet opened': `(opened_start is distinct from ${START} or opened_end is distinct from ${END})`,
};

const REPEATS = "lower(repeats) in ('daily', 'weekly', 'monthly')";
const UNREADABLE_VALIDITY = {
  "validity '{validity}' is not a count and a unit, such as '2 hours', '7 days' or '1 month'":
    'scheduled_deactivation_time is null and validity is not null and scheduler.validity_seconds(validity) is null',
};
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

const CARRY = { next: nextAfter('now'), start: START, over: END };
/** A finished window moves on in the statement that closes it, so that a sale switched off by hand never comes back. */
const MOVE_ON = {
  scheduled_activation_time: 'coalesce((next).next_start, scheduled_activation_time)',
  scheduled_deactivation_time: 'coalesce((next).next_stop, scheduled_deactivation_time)',
  ...{ repeat_start: '(next).first_start', repeat_length: '(next).first_length', repeat_count: '(next).count' },
};
const OPENED = { opened_start: START, opened_end: END, closed_end: 'null' };
const switched = (status: string, on: boolean) => ({
  ...{
    status: `'${status}'`,
    is_active: String(on),
    updated_at: 'now',
    [on ? 'activated_at' : 'deactivated_at']: 'now',
  },
});

const told = (type: string, data: Record<string, string>, message: string): Event => ({
  ...{ type, channels: ['private-packages', 'private-admin-notifications'], message },
  data: { package_id: 'id', package_name: 'name', package_type: 'type', ...data, timestamp: 'now' },
});
const statusChanged = (from: string, to: string, start: string): Event =>
  told(
    'package.status.changed',
    {
      ...{ old_status: `'${from}'`, new_status: `'${to}'`, is_active: String(to === 'active') },
      scheduled_activation_time: start,
    },
    `Package '{name}' status changed from ${from} to ${to}`,
  );
const MISSED = told(
  'package.schedule.missed',
  { scheduled_activation_time: 'scheduler.iso(start)', sale_end: 'scheduler.iso(over)' },
  "Package '{name}' was never on sale: its window passed without a tick",
);
const REPEATED: Event = {
  ...told(
    'package.schedule.repeated',
    { scheduled_activation_time: START, scheduled_deactivation_time: 'scheduled_deactivation_time' },
    "Package '{name}' goes on sale again at {scheduled_activation_time}",
  ),
  ...{ transition: 'repeat', when: '(next).next_start is not null' },
};
const NOTED: Event = { data: { package_id: 'id', package_name: 'name' } };

// Closing comes first: a window that repeats may be open again, and is then activated in the same pass.
const rules: Record<string, Rule> = {
  'go on': {
    due: END_OR_FAULT,
    where: { ...ENABLED, ...ON_SALE, ...NOT_YET_CLOSED, 'its next window follows without a gap': GOES_ON },
    carry: CARRY,
    set: {
      ...MOVE_ON,
      opened_start: '(next).next_start',
      opened_end: 'scheduler.sale_end((next).next_start, (next).next_stop, validity)',
    },
    event: REPEATED,
  },
  deactivate: {
    due: END_OR_FAULT,
    where: {
      ...{ ...ENABLED, ...ON_SALE, ...NOT_YET_CLOSED },
      'its next window does not follow without a gap': `not ${GOES_ON}`,
    },
    fails: UNREADABLE_VALIDITY,
    carry: CARRY,
    set: { ...switched('inactive', false), closed_end: 'over', ...MOVE_ON },
    event: [statusChanged('active', 'inactive', 'scheduler.iso(start)'), REPEATED],
  },
  miss: {
    // A stop before the start makes an empty window: it has passed when both have.
    due: `greatest(${START}, ${END})`,
    where: {
      ...{ ...ENABLED, ...OFF_SALE, ...NOT_YET_CLOSED },
      'it was not yet on sale for this start': `opened_start is distinct from ${START}`,
      'it has a start': `${START} is not null`,
      'it has an end': `${END} is not null`,
    },
    carry: CARRY,
    set: { deactivated_at: 'now', closed_end: 'over', ...MOVE_ON },
    event: [MISSED, REPEATED],
  },
  // Somebody switched it off inside its window. The end is noted, so that switching it on afterwards counts as theirs too.
  settle: {
    due: END,
    where: {
      ...{ ...ENABLED, ...OFF_SALE, ...NOT_YET_CLOSED },
      'it was on sale for this start': `opened_start is not distinct from ${START}`,
    },
    set: { closed_end: END },
    event: NOTED,
  },
  activate: {
    due: START,
    where: {
      // A clock that is set back opens nothing again: its end was acted on.
      ...{ ...ENABLED, ...OFF_SALE, ...NOT_YET_OPENED, ...NOT_YET_CLOSED },
      'its end has not come': `coalesce(now < ${END}, true)`,
    },
    fails: { ...UNREADABLE_VALIDITY, ...UNREADABLE_REPEATS },
    set: { ...switched('active', true), ...OPENED },
    event: statusChanged('inactive', 'active', START),
  },
  // On already when its window began. That is noted, so that switching it off inside the window counts as somebody's wish.
  keep: {
    due: START,
    where: { ...ENABLED, ...ON_SALE, ...NOT_YET_OPENED, ...NOT_YET_CLOSED },
    set: OPENED,
    event: NOTED,
  },
};

type Data = Record<string, unknown>;
const DONE: Record<string, (which: Data, data: Data) => Line> = {
  activate: (which, { scheduled_activation_time: scheduled_time }) =>
    info('Package activated', { ...which, scheduled_time }),
  deactivate: (which) => info('Package deactivated', { ...which, reason: 'Scheduled validity expired' }),
  miss: (which, { sale_end }) => warning('Package missed its whole sale window', { ...which, sale_end }),
  repeat: (which, { scheduled_activation_time: scheduled_time }) =>
    info('Package sale repeats', { ...which, scheduled_time }),
  keep: (which) => info('Package was on already when its window began', which),
  settle: (which) => info('Package stays as it was switched by hand', which),
};
const FAILED: Record<string, string> = {
  ...{ miss: 'close the missed window of', settle: 'note the end of', keep: 'note the start of', 'go on': 'repeat' },
};

export const job = defineJob({
  name: 'packages',
  summary: 'put hotspot packages on sale and take them off',
  everyMinutes: 1,
  order: 10,
  table: PACKAGES,
  rules,
  log: {
    started: info('ProcessScheduledPackages job started'),
    found: (rule, count) => (rule === 'activate' ? info('Found packages to activate', { count }) : undefined),
    done: ({ transition, data: { package_id, package_name, ...data } }) => [
      DONE[transition]!({ package_id, package_name }, data),
    ],
    failed: ({ id, rule, error }) => failure(`Failed to ${FAILED[rule] ?? rule} package`, { package_id: id, error }),
    finished: completed('ProcessScheduledPackages job completed successfully'),
  },
});
