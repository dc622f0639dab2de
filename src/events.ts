import type { Database } from './db.ts';

/** PostgreSQL refuses a payload of 8,000 bytes, and channel names end at 63 (the cast to name cuts them as LISTEN does). */
export const RECORD_AND_TELL = `
  recorded as (
    insert into scheduler.events (type, job, transition, entity_id, due_at, occurred_at, run_id, channels, data)
    select type, :job::text, transition, entity_id, due_at, :now::timestamptz, :run::bigint, channels, data
    from outcome
    where type is not null
    order by due_at, step
    returning id, type, channels, data
  ),
  messages as materialized (
    select id, type, channels, json_build_object('id', id, 'event', type, 'data', data)::text as payload
    from recorded
    where :notify::boolean
  ),
  told as (
    select pg_notify(
      channel::name::text,
      case when octet_length(payload) < 8000 then payload
        else json_build_object('id', id, 'event', type, 'truncated', true)::text end
    )
    from messages cross join unnest(channels) as channel
  )`;

export interface Event {
  id: string;
  type: string;
  job: string;
  transition: string;
  entity_id: string;
  due_at: string | null;
  occurred_at: string;
  run_id: string | null;
  channels: string[];
  data: Record<string, unknown>;
}

const EVENT = `select e.id::text, e.type, e.job, e.transition, e.entity_id, scheduler.iso(e.due_at) as due_at,
  scheduler.iso(e.occurred_at) as occurred_at, e.run_id::text, e.channels, e.data from scheduler.events e`;

export interface EventFilter {
  job?: string;
  entity?: string;
  type?: string;
  since?: string;
  until?: string;
  limit: number;
}

/** The newest that match, oldest first. */
export function findEvents(db: Database, filter: EventFilter): Promise<Event[]> {
  return db.query<Event>(
    `select * from (
       ${EVENT}
       where (:job::text is null or e.job = :job::text)
         and (:entity::text is null or e.entity_id = :entity::text)
         and (:type::text is null or e.type = :type::text)
         and (:since::timestamptz is null or e.occurred_at >= :since::timestamptz)
         and (:until::timestamptz is null or e.occurred_at < :until::timestamptz)
       order by e.id desc limit :limit::integer
     ) as newest order by id::bigint`,
    { job: null, entity: null, type: null, since: null, until: null, ...filter },
  );
}

/** Events after an id on any of the channels (none named: on all), in order. */
export function eventsAfter(db: Database, id: string, channels: string[], limit: number): Promise<Event[]> {
  return db.query<Event>(
    `${EVENT} where e.id > :id::bigint and (cardinality(:channels::text[]) = 0 or e.channels && :channels::text[])
     order by e.id limit :limit::integer`,
    { id, channels, limit },
  );
}
