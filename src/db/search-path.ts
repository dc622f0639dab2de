/**
 * A name may mean a function, an operator or a type of anybody's. Any role may have put some of its own into a schema of the
 * application's search path, and PostgreSQL prefers one that fits exactly. So our SQL sees PostgreSQL's own schema and no other.
 * Tables are looked for once, in the application's path, and written with their schema.
 */

const OURS = 'pg_catalog, pg_temp';

// Each is in the effect of the one before.
export const KEEP_AND_PIN = `
  select pg_catalog.set_config('scheduler.search_path', pg_catalog.current_setting('search_path'), true),
    pg_catalog.set_config('scheduler.schemas', pg_catalog.array_remove(pg_catalog.current_schemas(false), 'pg_catalog')::text, true),
    pg_catalog.set_config('search_path', '${OURS}', true)`;

export const PIN = `set local search_path = ${OURS}`;

/** The schemas of the application's path, in its order. */
export const SCHEMAS = `current_setting('scheduler.schemas')::name[]`;

/** SQL for the oid of the table, view or the like that the application's path finds by this name. */
export const named = (name: string): string => `(
    select c.oid from unnest(${SCHEMAS}) with ordinality as s (name, place)
    join pg_namespace n on n.nspname = s.name
    join pg_class c on c.relnamespace = n.oid and c.relname = ${name}::name
    order by s.place limit 1
  )`;

/**
 * A common table expression for a statement that changes the application's rows: their triggers expect its path. By the time
 * it is executed, PostgreSQL has long decided what the names in the statement mean. Each row to change must ask for it.
 */
export const OPENED = `open_path as materialized (
    select set_config('search_path', current_setting('scheduler.search_path'), true) as path
  )`;
export const IS_OPENED = '(select path from open_path) is not null';
/** Whether a statement leaves the path open for what follows in its transaction. */
export const opens = (sql: string): boolean => sql.includes(OPENED);
