import type { Sample } from './sample.ts';

export const subscriptions: Sample = {
  title: 'A SaaS product: subscriptions bought ahead',
  story: 'One that starts "after the current plan" takes over at its time, and the current one ends.',
  channel: 'private-subscriptions',
  fill: `
    insert into customer_packages (id, "userId", status, "isActive", "startDate", "endDate", "scheduledStartDate", "previousSubscriptionId")
    select id, customer, case when active then 'ACTIVE' else 'SCHEDULED' end, active, case when active then minute + start::interval end,
      minute + stop::interval, case when not active then minute + start::interval end, previous
    from (values
      ('basic-1', 'ann', true, '-30 days', '5 minutes', null),
      ('premium-1', 'ann', false, '-1 minute', '30 days', 'basic-1'),
      ('basic-2', 'ben', true, '-10 days', '20 days', null),
      ('premium-2', 'ben', false, '20 days', '50 days', 'basic-2'),
      ('trial-3', 'cleo', true, '-14 days', '-2 minutes', null),
      ('basic-4', 'dan', false, '-1 minute', '30 days', 'basic-4')
    ) as sample (id, customer, active, start, stop, previous)
    cross join date_trunc('minute', :now::timestamptz) as minute`,
  show: `
    select id as subscription, "userId" as customer, status,
      to_char(coalesce("scheduledStartDate", "startDate"), 'DD Mon HH24:MI') as start, to_char("endDate", 'DD Mon HH24:MI') as "end",
      case id
        when 'basic-1' then 'is about to be replaced'
        when 'premium-1' then 'its start has come'
        when 'premium-2' then 'starts when basic-2 ends'
        when 'trial-3' then 'its time is over'
        when 'basic-4' then 'names itself as previous'
      end as "what to know"
    from customer_packages order by "userId", id`,
};
