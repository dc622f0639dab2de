import { failure, flag, info, type Job, type Rule, STAMP, waits } from '../job/define.ts';

const START = 'scheduler.at(c."scheduledStartDate", :dbZone::text)';
const END = 'scheduler.at(c."endDate", :dbZone::text)';

const unanswerable = (alias: string) => `case
  when ${alias}."userId" is null then 'it belongs to no customer'
  when ${alias}."previousSubscriptionId" = ${alias}.id then 'it names itself as its previous subscription'
  when (
    select p."userId" is distinct from ${alias}."userId" from customer_packages p where p.id = ${alias}."previousSubscriptionId"
  ) then format('its previous subscription %s belongs to another customer', ${alias}."previousSubscriptionId")
end`;

/**
 * A customer is free when nobody else holds a row that matters: the active ones and those that are due. Every runner asks
 * for the oldest due row first, so that one of them gets the whole customer instead of each a part. What somebody else
 * holds, the application perhaps, is not waited for: that customer's turn comes with the next tick.
 * "No key update" lets the application go on referring to these rows, from a new invoice for instance. They are locked by
 * where they lie ("spot"), not by another search for their ids; one that has moved since is as good as held.
 */
const NEEDED = `
  needed as materialized (
    select customer.key, c.id, c.ctid as spot,
      row_number() over (partition by customer.key order by c.status = 'ACTIVE', ${START}, c.id) as place
    from (select distinct key, "userId" from due) as customer
    join customer_packages c on c."userId" = customer."userId"
    where c.status in ('SCHEDULED', 'ACTIVE') and (c.status = 'ACTIVE' or ${START} <= :now::timestamptz)
    union all
    select due.key, c.id, c.ctid, 1 from due join customer_packages c on c.id = due.id where due."userId" is null
  )`;
const LOCK_CUSTOMERS = `
  with ${NEEDED},
  oldest as materialized (
    select needed.key
    from needed join customer_packages c on c.ctid = needed.spot and c.id = needed.id
    where needed.place = 1 and c.status = 'SCHEDULED'
    for no key update of c skip locked
  ),
  held as materialized (
    select needed.key
    from needed join customer_packages c on c.ctid = needed.spot and c.id = needed.id
    where case when needed.place > 1 then needed.key in (select key from oldest) end and c.status in ('SCHEDULED', 'ACTIVE')
    for no key update of c skip locked
  )
  select key
  from (
    select key, 1 as needed from needed union all select key, -1 from oldest union all select key, -1 from held
  ) as rows
  group by key having sum(needed) = 0`;

const DETAILS = `c.id, c."userId" as user_id, c."packageId" as package_id, c."previousSubscriptionId" as previous,
        ${START} as scheduled_start, scheduler.at(c."startDate", :dbZone::text) as started`;

/** Expects id and the DETAILS of the changed row, its statuses and a message. */
const EVENT = `
  array_remove(array['private-subscriptions', 'private-admin-notifications', 'user.' || user_id::text], null) as channels,
  jsonb_build_object(
    'subscription_id', id, 'user_id', user_id, 'package_id', package_id, 'old_status', old_status, 'new_status', new_status,
    'previous_subscription_id', previous, 'scheduled_start_date', scheduler.iso(scheduled_start),
    'start_date', scheduler.iso(started), 'replaced_by', replaced_by, 'timestamp', ${STAMP},
    'message', message
  ) as data`;

const ACTIVE = { 'it is active': "c.status = 'ACTIVE'" };

const ACTIVATE: Rule = {
  name: 'activate',
  row: 'customer_packages c',
  at: START,
  when: { 'it is scheduled': "c.status = 'SCHEDULED'" },
  wrong: unanswerable('c'),
  each: {
    key: `coalesce(c."userId"::text, 'nobody, ' || c.id::text)`,
    lock: LOCK_CUSTOMERS,
    others: { transition: 'expire previous', when: ACTIVE },
  },
  needs: {
    free: `with ${NEEDED} select c.tableoid, c.id, c.xmax from needed join customer_packages c on c.id = needed.id`,
  },
  carry: 'c."userId"',
  change: `
    replaced as (
      update customer_packages c
      set status = 'EXPIRED', "isActive" = false, "updatedAt" = :now::timestamptz
      from todo where c."userId" = todo."userId" and ${Object.values(ACTIVE).join(' and ')}
      returning todo.id as replaced_by, todo.due_at, ${DETAILS}
    ),
    -- The first comparison makes the old one end before the new one starts, as an index on "one ACTIVE each" demands.
    switched as (
      update customer_packages c
      set status = 'ACTIVE', "isActive" = true, "startDate" = :now::timestamptz, "updatedAt" = :now::timestamptz
      from todo where (select count(*) from replaced) >= 0 and c.id = todo.id
      returning todo.due_at, ${DETAILS}
    ),
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

const END_EXPIRED: Rule = {
  name: 'end',
  row: 'customer_packages c',
  at: END,
  when: {
    ...ACTIVE,
    'ending is not switched off': ':endSubscriptions::boolean',
    // Otherwise this rule could take the row from a runner that is replacing it, and the replacement would wait a tick.
    // One that cannot be started replaces nothing, also in the words of "explain", which is asked before it was tried.
    'no other one is about to replace it': `not exists (
      select from customer_packages n
      where n."userId" = c."userId" and n.status = 'SCHEDULED'
        and scheduler.at(n."scheduledStartDate", :dbZone::text) <= :now::timestamptz
        and (${unanswerable('n')}) is null
        and not ${waits("'subscriptions'", 'n.id')}
    )`,
  },
  change: `
    ended as (
      update customer_packages c
      set status = 'EXPIRED', "isActive" = false, "updatedAt" = :now::timestamptz
      from todo where c.id = todo.id
      returning todo.due_at, ${DETAILS}, 'ACTIVE' as old_status, 'EXPIRED' as new_status, null as replaced_by,
        format('Subscription %s has ended', c.id) as message
    ),
    outcome as (
      select 1 as step, 'end' as transition, 'subscription.expired' as type, id::text as entity_id, due_at, ${EVENT}
      from ended
    )`,
};

const failedTo = (rule: string, id: string, error: string) => `Failed to ${rule} subscription ${id}: ${error}`;

export const job: Job = {
  name: 'subscriptions',
  summary: 'start subscriptions bought ahead, end the ones they replace and those whose time is over',
  everyMinutes: 1,
  order: 30,
  tables: {
    customer_packages: [
      ...['id', 'userId', 'packageId', 'status', 'isActive', 'startDate', 'endDate'],
      ...['scheduledStartDate', 'previousSubscriptionId', 'createdAt', 'updatedAt'],
    ],
  },
  adopt: 'adopt_subscriptions',
  settings: {
    enableSubscriptions: flag('ENABLE_SUBSCRIPTION_SCHEDULER', true),
    endSubscriptions: flag('SCHEDULER_END_SUBSCRIPTIONS', true),
  },
  switch: 'enableSubscriptions',
  // Ending comes second: what was bought and was over within one outage starts and ends in the same pass.
  rules: [ACTIVATE, END_EXPIRED],
  lines: {
    started: info('Starting scheduled subscription activation check'),
    found: (rule, count) =>
      rule === 'activate' ? info(`Found ${count} scheduled subscriptions to activate`) : undefined,
    done: ({ transition, step, entity_id: id, data }) => {
      const activating = info(`Activating scheduled subscription ${data.replaced_by ?? id} for user ${data.user_id}`);
      switch (transition) {
        case 'activate':
          return [...(step === 1 ? [activating] : []), info(`Activated subscription ${id}`)];
        case 'expire previous':
          return [...(step === 1 ? [activating] : []), info(`Expired previous subscription ${id}`)];
        default:
          return [info(`Ended subscription ${id}`)];
      }
    },
    failed: (rule, id, error) => failure(failedTo(rule, id, error)),
    finished: (changed, failures, failed) => {
      const activated = changed.activate ?? 0;
      if (activated + failed === 0) return [info('No scheduled subscriptions to activate')];
      const errors = failures.map((each) => failedTo(each.rule, each.id, each.error));
      return [
        info(`Scheduled subscription activation completed: ${activated} activated, ${failed} errors`),
        ...(failed > 0 ? [failure(`Auto-activation errors: ${failed} [ ${errors.join(', ')} ]`)] : []),
      ];
    },
  },
};
