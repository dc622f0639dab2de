import type { Transaction } from '../db/client.ts';
import { type Found, readStanding, type Standing, type Wanted } from '../store/standing.ts';

const GONE = `
  select concat(wanted.schema, '.', wanted.name) as table from json_to_recordset(:tables::json) as wanted (schema name, name name)
  where not exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = wanted.schema and c.relname = wanted.name
  )`;

/**
 * Looks as a tick would. The tables of a job of your own are where "apply" found them: a tick meets an error if one is gone,
 * and to look is cheap enough only here.
 */
export async function look(
  tx: Transaction,
  jobs: Wanted,
  { at, dbZone }: { at?: string | undefined; dbZone: string },
): Promise<Found> {
  const found = await readStanding(tx, jobs, { at, lock: false, dbZone });
  const places = ({ installed }: Standing) =>
    Object.values(installed?.tables ?? {})
      .flatMap((table) => table ?? [])
      .map(({ schema, name }) => ({ schema, name }));
  const tables = JSON.stringify(found.jobs.flatMap(places));
  const gone = new Set((await tx.query<{ table: string }>(GONE, { tables })).map(({ table }) => table));
  const standing = found.jobs.map((each) => {
    const missing = places(each).flatMap(({ schema, name }) =>
      gone.has(`${schema}.${name}`) ? `${schema}.${name}` : [],
    );
    return missing.length === 0 ? each : { ...each, missing, installed: undefined };
  });
  return { ...found, jobs: standing };
}
