import { configurationError } from '../base/errors.ts';
import type { Database } from '../db/client.ts';
import { named } from '../db/search-path.ts';

/** A table that is where it was adopted, while the search path leads to none, or to another one of that name. */
export interface Elsewhere {
  table: string;
  schema: string;
  /** Where the search path finds the other one. */
  other: string | null;
}

/** SQL for one such table, or null. One that has another in its place comes first. A table that has moved is none of them. */
export const ELSEWHERE = `(
  select json_build_object('table', a.name, 'schema', a.schema, 'other', other.nspname)
  from scheduler.adopted a
  join pg_namespace home on home.nspname = a.schema
  join pg_class c on c.relnamespace = home.oid and c.relname = a.name
  left join pg_class found on found.oid = ${named('a.name')}
  left join pg_namespace other on other.oid = found.relnamespace
  where c.oid is distinct from found.oid
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
  }. Failures, pauses and history are kept for one application per database: add "?schema=${schema}" to the connection URL, or give the other application a database of its own.`;

export function refuseElsewhere(elsewhere: Elsewhere | null): void {
  if (elsewhere) throw configurationError(isElsewhere(elsewhere));
}
