import type { Database } from '../db/client.ts';
import { RUN_ID } from './runs.ts';
import { exceptPublic } from './tenants.ts';

/** Most applications have no tenants, and need not hear of them. */
const payload = (more: string) => `case :tenant::text
        when 'public' then json_build_object('id', id, 'event', type, ${more})
        else json_build_object('id', id, 'event', type, 'tenant', :tenant::text, ${more}) end::text`;

/** Expects `run` of BEGIN_RUN. PostgreSQL refuses a payload of 8,000 bytes, and channel names end at 63 (the cast to name cuts them as LISTEN does). */
export const RECORD_AND_TELL = `
  recorded as (
    insert into scheduler.events (tenant, type, job, transition, entity_id, due_at, occurred_at, run_id, channels, data)
    select :tenant::text, type, :job::text, transition, entity_id, due_at, :now::timestamptz, ${RUN_ID}, channels, data
    from outcome
    where type is not null
    order by due_at, step
    returning id, type, channels, data
  ),
  told as (
    select pg_notify(
      channel::name::text,
      case when octet_length(payload) < 8000 then payload else ${payload("'truncated', true")} end
    )
    from (
      select id, type, channels, ${payload("'data', data")} as payload
      from recorded
      where :notify::boolean
      offset 0
    ) as message cross join unnest(channels) as channel
  )`;

export interface Event {
  id: number;
  /** Where it is not "public". */
  tenant?: string;
  type: string;
  job: string;
  transition: string;
  entityId: string;
  dueAt: string | null;
  occurredAt: string;
  runId: number | null;
  channels: string[];
  data: Record<string, unknown>;
}

const EVENT = `select e.id::double precision as id, e.tenant, e.type, e.job, e.transition, e.entity_id as "entityId",
  scheduler.iso(e.due_at) as "dueAt", scheduler.iso(e.occurred_at) as "occurredAt", e.run_id::double precision as "runId", e.channels, e.data
  from scheduler.events e`;

/** SQL on whether a time lies in the span of `:since` and `:until`, either of which may be null. */
export const within = (time: string) =>
  `(:since::timestamptz is null or ${time} >= :since::timestamptz) and (:until::timestamptz is null or ${time} < :until::timestamptz)`;

interface EventFilter {
  tenant?: string | undefined;
  job: string | null;
  entity: string | null;
  type: string | null;
  since: string | null;
  until: string | null;
  limit: number;
}

/** The newest that match, oldest first. */
export async function findEvents(db: Pick<Database, 'query'>, filter: EventFilter): Promise<Event[]> {
  const events = await db.query<Event>(
    `select * from (
       ${EVENT}
       where (:tenant::text is null or e.tenant = :tenant::text) and (:job::text is null or e.job = :job::text)
         and (:entity::text is null or e.entity_id = :entity::text)
         and (:type::text is null or e.type = :type::text)
         and ${within('e.occurred_at')}
       order by e.id desc limit :limit::integer
     ) as newest order by id`,
    { ...filter, tenant: filter.tenant ?? null },
  );
  return events.map(exceptPublic);
}

/** Ids that no event has, from the first to the last: one still uncommitted may turn up there. */
export interface Gap {
  first: number;
  last: number;
}

export interface News {
  /** On the channels asked for (none named: on all), in order. */
  events: Event[];
  /** What is new at the end of the log, whatever its channel: its highest id, and the gaps in it. */
  top: number;
  gaps: Gap[];
  /** The ids, whatever their channel, that have turned up in the gaps given. */
  late: number[];
  /** There is more than the limit let through. */
  more: boolean;
}

/** What the log holds above an id, and in the gaps below it. */
export async function readNews(
  db: Database,
  place: { top: number; gaps: Gap[] },
  channels: string[],
  limit: number,
): Promise<News> {
  const [news] = await db.transaction(
    (tx) =>
      tx.query<News>(
        `with fresh as materialized (
           select id, lag(id, 1, :top::bigint) over (order by id) as before
           from (select id from scheduler.events where id > :top::bigint order by id limit :limit::integer) as following
         ),
         late as materialized (
           select e.id
           from json_to_recordset(:gaps::json) as gap (first bigint, last bigint)
           join scheduler.events e on e.id between gap.first and gap.last
           order by e.id limit :limit::integer
         )
         select (select coalesce(max(id), :top::bigint) from fresh)::double precision as top,
           (select coalesce(json_agg(json_build_object('first', before + 1, 'last', id - 1) order by id), '[]') from fresh where id > before + 1) as gaps,
           (select coalesce(json_agg(id order by id), '[]') from late) as late,
           (select count(*) = :limit::integer from fresh) or (select count(*) = :limit::integer from late) as more,
           (
             select coalesce(json_agg(event order by id), '[]')
             from (
               ${EVENT} join (select id from fresh union all select id from late) as new on new.id = e.id
               where cardinality(:channels::text[]) = 0 or e.channels && :channels::text[]
             ) as event
           ) as events`,
        { top: place.top, gaps: JSON.stringify(place.gaps), channels, limit },
      ),
    { attempts: 1 },
  );
  return { ...news!, events: news!.events.map(exceptPublic) };
}

export async function lastEventId(db: Database): Promise<number> {
  const [last] = await db.query<{ id: number }>(
    'select coalesce(max(id), 0)::double precision as id from scheduler.events',
  );
  return last!.id;
}

/** The gaps in the newest part of the log. */
export function recentGaps(db: Database, top: number, reach: number): Promise<Gap[]> {
  return db.query<Gap>(
    `select (before + 1)::double precision as first, (id - 1)::double precision as last
     from (
       select id, lag(id) over (order by id) as before
       from scheduler.events where id <= :top::bigint and id > :top::bigint - :reach::bigint
     ) as recent
     where id > before + 1`,
    { top, reach },
  );
}

/**
 * The transactions that may have events which nobody can see yet. A transaction that inserts holds this lock from before it takes an
 * id until after its commit can be seen, so an id missing from the log stays missing once they are all gone.
 */
export async function eventWriters(db: Database): Promise<string[]> {
  const [found] = await db.query<{ writers: string[] }>(
    `select coalesce(json_agg(virtualtransaction), '[]') as writers
     from pg_locks
     where locktype = 'relation' and mode = 'RowExclusiveLock' and relation = 'scheduler.events'::regclass
       and database = (select oid from pg_database where datname = current_database())`,
  );
  return found!.writers;
}
