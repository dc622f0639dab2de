import { CREATED, flag, idOf, instant, key, starting, text, words } from '../job/columns.ts';
import {
  defineJob,
  failure,
  info,
  type Row,
  type Rule,
  STAMP,
  setting,
  type Table,
  type Tables,
  waits,
} from '../job/define.ts';
import { NOW, quoteText } from '../job/expressions.ts';

const TABLE: Table = {
  name: 'customer_packages',
  recognisedBy: ['scheduledStartDate', 'previousSubscriptionId'],
  columns: {
    id: key('text'),
    userId: idOf(text({ notNull: true })),
    packageId: idOf(text()),
    // No default for a status that was never there: it would start every old row.
    status: words(['SCHEDULED', 'ACTIVE', 'EXPIRED'], {
      ...{ notNull: true, default: "'SCHEDULED'", writes: ['ACTIVE', 'EXPIRED'] },
    }),
    isActive: starting(flag, 'false'),
    startDate: instant(),
    endDate: instant(),
    scheduledStartDate: instant(),
    // No foreign key: a previous subscription that is gone must not keep its successor from starting.
    previousSubscriptionId: idOf(text()),
    createdAt: CREATED,
    updatedAt: CREATED,
  },
  // A customer's rows without their history.
  indexes: { of_customer: `("userId") where status in ('SCHEDULED', 'ACTIVE')` },
};

const ACTIVE = { 'it is active': "status = 'ACTIVE'" };

const unanswerable = (t: Tables, r: string) => `case
  when ${r}."userId" is null then 'it belongs to no customer'
  when ${r}."previousSubscriptionId" = ${r}.id then 'it names itself as its previous subscription'
  when (
    select p."userId" is distinct from ${r}."userId" from ${t.customer_packages} p where p.id = ${r}."previousSubscriptionId"
  ) then format('its previous subscription %s belongs to another customer', ${r}."previousSubscriptionId")
end`;

/**
 * A customer is free when nobody else holds a row that matters: the active ones and those that are due. Every runner asks
 * for the oldest due row first, so that one of them gets the whole customer. A customer that somebody else holds waits for
 * the next tick. "No key update" lets the application go on referring to these rows, from a new invoice for instance.
 */
const lockCustomers = (t: Tables) => `
  with needed as materialized (
    select customer.key, c.id, c.place as spot,
      row_number() over (partition by customer.key order by c.status = 'ACTIVE', c."scheduledStartDate", c.id) as place
    from (select distinct key, "userId" from due) as customer
    join ${t.customer_packages} c on c."userId" = customer."userId"
    where c.status in ('SCHEDULED', 'ACTIVE') and (c.status = 'ACTIVE' or c."scheduledStartDate" <= :now::timestamptz)
    union all
    select due.key, c.id, c.place, 1 from due join ${t.customer_packages} c on c.id = due.id where due."userId" is null
  ),
  oldest as materialized (
    select needed.key
    from needed join ${t.customer_packages} c on c.place = needed.spot and c.id = needed.id
    where needed.place = 1 and c.status = 'SCHEDULED'
    for no key update of c skip locked
  ),
  held as materialized (
    select needed.key
    from needed join ${t.customer_packages} c on c.place = needed.spot and c.id = needed.id
    where case when needed.place > 1 then needed.key in (select key from oldest) end and c.status in ('SCHEDULED', 'ACTIVE')
    for no key update of c skip locked
  )
  select key
  from (
    select key, 1 as needed from needed union all select key, -1 from oldest union all select key, -1 from held
  ) as rows
  group by key having sum(needed) = 0`;

const details = (it: Row) => `${it.id} as id, ${it.userId} as user_id, ${it.packageId} as package_id,
        ${it.previousSubscriptionId} as previous, ${it.scheduledStartDate} as scheduled_start, ${it.startDate} as started`;

const EXPIRED = { status: "'EXPIRED'", isActive: 'false', updatedAt: NOW };
const STARTED = { status: "'ACTIVE'", isActive: 'true', startDate: NOW, updatedAt: NOW };

/** Expects the details of the changed row, its statuses and a message. */
const EVENT = `
  array_remove(array['private-subscriptions', 'private-admin-notifications', 'user.' || user_id::text], null) as channels,
  jsonb_build_object(
    'subscription_id', id, 'user_id', user_id, 'package_id', package_id, 'old_status', old_status, 'new_status', new_status,
    'previous_subscription_id', previous, 'scheduled_start_date', scheduler.iso(scheduled_start),
    'start_date', scheduler.iso(started), 'replaced_by', replaced_by, 'timestamp', ${STAMP},
    'message', message
  ) as data`;

const activate: Rule = {
  due: '"scheduledStartDate"',
  where: { 'it is scheduled': "status = 'SCHEDULED'" },
  fails: (t) => unanswerable(t, 'r'),
  together: {
    key: `coalesce("userId"::text, 'nobody, ' || id::text)`,
    lock: lockCustomers,
    others: { transition: 'expire previous', where: ACTIVE },
  },
  carry: { userId: '"userId"' },
  change: (t) => `
    replaced as (${t.customer_packages.update((it: Row) => ({
      set: EXPIRED,
      from: 'todo',
      where: `${it.userId} = todo."userId" and ${it.status} = 'ACTIVE'`,
      returning: `todo.id as replaced_by, todo.due_at, ${details(it)}`,
    }))}),
    -- The first comparison makes the old one end before the new one starts, as an index on "one ACTIVE each" demands.
    switched as (${t.customer_packages.update((it: Row) => ({
      set: STARTED,
      from: 'todo',
      where: `(select count(*) from replaced) >= 0 and ${it.id} = todo.id`,
      returning: `todo.due_at, ${details(it)}`,
    }))}),
    -- It starts after all that it replaces, however many a customer had.
    moved as (
      select case when id in (select replaced_by from replaced) then 1000000 else 1 end as step, 'activate' as transition,
        'subscription.activated' as type, 'SCHEDULED' as old_status, 'ACTIVE' as new_status, null as replaced_by,
        format('Subscription %s is active', id) as message, due_at, id, user_id, package_id, previous, scheduled_start, started
      from switched
      union all
      select row_number() over (partition by replaced_by order by id), 'expire previous', 'subscription.expired', 'ACTIVE',
        'EXPIRED', replaced_by,
        case when replaced_by in (select id from switched) then format('Subscription %s expired, replaced by %s', id, replaced_by)
          else scheduler.refuse('a trigger or a rule of the table suppressed the update') end,
        due_at, id, user_id, package_id, previous, scheduled_start, started
      from replaced
    ),
    outcome as (
      select step, transition, type, id::text as entity_id, due_at, ${EVENT}
      from moved
    )`,
};

const end: Rule = {
  due: '"endDate"',
  where: (t, job) => ({
    ...ACTIVE,
    'ending is not switched off': ':endSubscriptions::boolean',
    // Otherwise this rule could take the row from a runner that is replacing it, and the replacement would wait a tick.
    // One that cannot be started replaces nothing.
    'no other one is about to replace it': `not exists (
      select from ${t.customer_packages} n
      where n."userId" = r."userId" and n.status = 'SCHEDULED' and n."scheduledStartDate" <= now
        and (${unanswerable(t, 'n')}) is null
        and not ${waits(quoteText(job), "'activate'", 'n.id')}
    )`,
  }),
  change: (t) => `
    ended as (${t.customer_packages.update((it: Row) => ({
      set: EXPIRED,
      from: 'todo',
      where: `${it.id} = todo.id`,
      returning: `todo.due_at, ${details(it)}, 'ACTIVE' as old_status, 'EXPIRED' as new_status, null as replaced_by,
        format('Subscription %s has ended', ${it.id}) as message`,
    }))}),
    outcome as (
      select 1 as step, 'end' as transition, 'subscription.expired' as type, id::text as entity_id, due_at, ${EVENT}
      from ended
    )`,
};

const failedTo = ({ rule, id, error }: { rule: string; id: string; error: string }) =>
  `Failed to ${rule} subscription ${id}: ${error}`;

export const job = defineJob({
  name: 'subscriptions',
  summary: 'start subscriptions bought ahead, end the ones they replace and those whose time is over',
  everyMinutes: 1,
  order: 30,
  table: TABLE,
  settings: {
    enableSubscriptions: setting('ENABLE_SUBSCRIPTION_SCHEDULER', true),
    endSubscriptions: setting('SCHEDULER_END_SUBSCRIPTIONS', true),
  },
  switch: 'enableSubscriptions',
  // Ending comes second: what was bought and was over within one outage starts and ends in the same pass.
  rules: { activate, end },
  log: {
    started: info('Starting scheduled subscription activation check'),
    found: (rule, count) =>
      rule === 'activate' ? info(`Found ${count} scheduled subscriptions to activate`) : undefined,
    done: ({ transition, step, entity_id: id, data }) => {
      const activating = info(`Activating scheduled subscription ${data.replaced_by ?? id} for user ${data.user_id}`);
      const said: Record<string, string> = {
        activate: 'Activated',
        'expire previous': 'Expired previous',
        end: 'Ended',
      };
      const done = info(`${said[transition]} subscription ${id}`);
      return step === 1 && transition !== 'end' ? [activating, done] : [done];
    },
    failed: (failed) => failure(failedTo(failed)),
    finished: (changed, failures, failed) => {
      const activated = changed.activate ?? 0;
      if (activated + failed === 0) return [info('No scheduled subscriptions to activate')];
      return [
        info(`Scheduled subscription activation completed: ${activated} activated, ${failed} errors`),
        ...(failed > 0 ? [failure(`Auto-activation errors: ${failed} [ ${failures.map(failedTo).join(', ')} ]`)] : []),
      ];
    },
  },
});
