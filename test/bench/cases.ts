/** What is measured: for each job, rows that are due, and the least SQL that writes the same. One entry a job. */
export interface Case {
  job: string;
  /** The tick may take this many times as long as the bare statement. */
  bound: number;
  /** Fills the emptied tables with :n due rows. */
  fill: string;
  empty: string;
  /** One statement that makes the same writes to all rows. */
  bare: string;
  /** The same for one row, the oldest due: what a loop would do, in a transaction of its own. */
  one: string;
  /** Answers how many rows are done. */
  done: string;
}

const tell = `select count(pg_notify(channel, json_build_object('id', id, 'event', type, 'data', data)::text))
  from recorded, unnest(channels) as channel`;

const packages = (limit: string) => `
  with due as materialized (
    select id, scheduled_activation_time as due_at from packages
    where enable_schedule and status = 'inactive' and scheduled_activation_time <= now()
      and (activated_at is null or activated_at < scheduled_activation_time)
    ${limit}
    for update
  ),
  switched as (
    update packages p set status = 'active', is_active = true, activated_at = now(), updated_at = now()
    from due where p.id = due.id
    returning p.id, p.name, p.type as kind, due.due_at
  ),
  recorded as (
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, channels, data)
    select 'package.status.changed', 'packages', 'activate', id::text, due_at, now(),
      array['private-packages', 'private-admin-notifications'],
      jsonb_build_object(
        'package_id', id, 'package_name', name, 'package_type', kind, 'old_status', 'inactive', 'new_status', 'active',
        'is_active', true, 'scheduled_activation_time', due_at, 'timestamp', now(),
        'message', format('Package ''%s'' status changed from inactive to active', name)
      )
    from switched
    returning id, type, channels, data
  )
  ${tell}`;

export const CASES: Case[] = [
  {
    job: 'packages',
    bound: 1.25,
    empty: 'truncate packages, scheduler.events',
    fill: `insert into packages (name, enable_schedule, scheduled_activation_time, validity)
      select 'Package ' || n, true, now() - interval '1 day' + n * interval '1 ms', '30 days' from generate_series(1, :n) as n`,
    bare: packages(''),
    one: packages('order by scheduled_activation_time limit 1'),
    done: `select count(*)::integer as n from packages where status = 'active'`,
  },
];
