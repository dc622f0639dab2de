import { configurationError } from '../base/errors.ts';
import type { Database } from '../db/client.ts';
import { named } from '../db/search-path.ts';

/** A table that was adopted, while the search path leads to none of that name that was, or to another one. */
export interface Elsewhere {
  table: string;
  schema: string;
  /** Where the search path finds the other one. */
  other: string | null;
}

/**
 * SQL for one such table, or null. One that has another in its place comes first. A table that has moved is none of them. If somebody
 * names a tenant, its tables are in a known place.
 */
export const ELSEWHERE = `(
  select json_build_object('table', a.name, 'schema', a.schema, 'other', other.nspname)
  from scheduler.adopted a
  join pg_namespace home on home.nspname = a.schema
  join pg_class c on c.relnamespace = home.oid and c.relname = a.name
  left join pg_class found on found.oid = ${named('a.name')}
  left join pg_namespace other on other.oid = found.relnamespace
  where not current_setting('scheduler.is_named')::boolean and c.oid is distinct from found.oid and not exists (
    select from scheduler.adopted b where b.name = a.name and b.schema = other.nspname
  )
  order by other.nspname is null, a.name limit 1
)`;

export async function readElsewhere(db: Database): Promise<Elsewhere | null> {
  const [found] = await db.query<{ elsewhere: Elsewhere | null }>(`select ${ELSEWHERE} as elsewhere`);
  return found!.elsewhere;
}

export const isElsewhere = ({ table, schema, other }: Elsewhere): string =>
  `The table ${table} that the scheduler works on is in the schema "${schema}", and this connection ${
    other
      ? `finds another one in the schema "${other}"`
      : `finds none (it looks in other schemas, or its role may not use that one)`
  }. Add "--tenant ${schema}", or "?schema=${schema}" to the connection URL; several schemas are tenants: see "tick --tenants".`;

export function refuseElsewhere(elsewhere: Elsewhere | null): void {
  if (elsewhere) throw configurationError(isElsewhere(elsewhere));
}
