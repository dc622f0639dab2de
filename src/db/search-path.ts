import pg from 'pg';

/**
 * A name may mean a function, an operator or a type of anybody's. Any role may have put some of its own into a schema of the
 * application's search path, and PostgreSQL prefers one that fits exactly. So our SQL sees PostgreSQL's own schema and no other.
 * Tables are looked for once, in the application's path, and written with their schema.
 */

export const OURS = 'pg_catalog, pg_temp';

/** SQL for the path of a tenant: its schema, before those that its role sees anyway. */
export const pathOf = (tenant: string): string =>
  `pg_catalog.concat_ws(', ', ${pg.escapeLiteral(pg.escapeIdentifier(tenant))}, nullif(pg_catalog.current_setting('search_path'), ''))`;

/** Keeps the path of the application aside, and pins ours. The tables of a tenant are looked for in its own schema alone. */
export function keepAndPin(tenant: string | undefined): string {
  const path = tenant === undefined ? `pg_catalog.current_setting('search_path')` : pathOf(tenant);
  const schemas =
    tenant === undefined
      ? `pg_catalog.array_remove(pg_catalog.current_schemas(false), 'pg_catalog')`
      : `array[${pg.escapeLiteral(tenant)}]`;
  // Each is in the effect of the one before.
  return `
  select pg_catalog.set_config('scheduler.search_path', ${path}, true), pg_catalog.set_config('scheduler.schemas', ${schemas}::text, true),
    pg_catalog.set_config('scheduler.is_named', '${tenant !== undefined}', true),
    pg_catalog.set_config('search_path', '${OURS}', true)`;
}

export const PIN = `set local search_path = ${OURS}`;

/** The schemas of the application's path, in its order. */
export const SCHEMAS = `current_setting('scheduler.schemas')::name[]`;

/** The one in which they are looked for first. */
export const tenantOf = (schemas: string): string => `coalesce((${schemas})[1]::text, 'public')`;
export const TENANT = tenantOf(SCHEMAS);

/** SQL for the oid of the table, view or the like that the application's path finds by this name. */
export const named = (name: string, schemas = SCHEMAS): string => `(
    select c.oid from unnest(${schemas}) with ordinality as s (name, place)
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
