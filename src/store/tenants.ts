import { isQuery } from '../base/config.ts';
import { usageError } from '../base/errors.ts';
import type { Database } from '../db/client.ts';
import type { Job } from '../job/define.ts';
import { LATEST_OF_ALL } from './own-jobs.ts';

/** Tenants: schemas with the same tables, each with rows, failures, pauses and history of its own. */

/** Most applications have no tenants: theirs is the schema "public", and goes without saying. */
export function exceptPublic<T extends { tenant?: string | null }>({ tenant, ...rest }: T): T {
  return (tenant === 'public' ? rest : { ...rest, tenant }) as T;
}

export interface Tenants {
  names: string[];
  /** Schemas that match, and belong to roles that nobody has named: their triggers would be run. */
  strangers: { schema: string; owner: string }[];
  /** Those that have a table of a job of your own, which was applied for other tenants and not for this one. */
  unapplied: { schema: string; tables: string[] }[];
  /** Names that no schema has. */
  unknown: string[];
}

export interface Meant {
  /** Names and patterns, or a query. */
  text: string;
  /** Beside the owner of our own schema. */
  owners: string[];
  /** Only schemas that have a table of one of these jobs, or of one of your own. */
  jobs?: Job[];
}

interface Candidate {
  schema: string;
  owner: string;
  isTrusted: boolean;
  hasJob: boolean;
  without: string[];
}

// The schema "public" belongs to whoever owns the database, by a role that stands for it.
const IS_OURS = `(
  n.nspowner = ours.nspowner or o.rolname = any(:owners::text[])
  or o.rolname = 'pg_database_owner' and ours.nspowner = (select datdba from pg_database where datname = current_database())
)`;

export async function findTenants(db: Database, { text, owners, jobs }: Meant): Promise<Tenants> {
  const words = isQuery(text) ? [] : text.split(/[\s,]+/).filter(Boolean);
  const written = words.filter((word) => !/[*?]/.test(word));
  const names = isQuery(text) ? await answersOf(db, text) : written;
  const patterns = words.filter((word) => /[*?]/.test(word)).map(asLike);
  const found = await db.query<Candidate>(
    `with own as materialized (
       select tenant, (parse_ident(definition ->> 'table', false))[1] as name
       from (${LATEST_OF_ALL}) as latest where tenant is not null and compiled is not null
     ),
     named as materialized (select distinct name from own where name is not null)
     select n.nspname::text as schema, o.rolname::text as owner, coalesce(${IS_OURS}, false) as "isTrusted",
       n.nspname::text in (select tenant from own) or exists (
         select from pg_class c where c.relnamespace = n.oid and c.relkind in ('r', 'p') and c.relname = any(:tables::text[])
       ) as "hasJob",
       array(
         select name from named join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p') and c.relname = name
         where (n.nspname::text, name) not in (select tenant, name from own where name is not null) order by 1
       ) as without
     from pg_namespace n join pg_roles o on o.oid = n.nspowner
     left join pg_namespace ours on ours.nspname = 'scheduler'
     where (n.nspname = any(:names::text[]) or n.nspname like any(:patterns::text[]))
       and n.nspname <> all(array['scheduler', 'information_schema']) and n.nspname not like 'pg\\_%'
     order by 1`,
    { names, patterns, owners, tables: jobs?.map(({ table }) => table.name) ?? [] },
  );
  const ours = found.filter(({ isTrusted }) => isTrusted);
  return {
    names: ours.flatMap(({ schema, hasJob }) => (hasJob || !jobs ? [schema] : [])),
    strangers: found.filter((each) => !each.isTrusted && (each.hasJob || each.without.length > 0 || !jobs)),
    unapplied: jobs
      ? ours.flatMap(({ schema, without: tables }) => (tables.length > 0 ? [{ schema, tables }] : []))
      : [],
    unknown: written.filter((name) => !found.some(({ schema }) => schema === name)),
  };
}

const asLike = (pattern: string) =>
  pattern
    .replace(/[\\_%]/g, '\\$&')
    .replaceAll('*', '%')
    .replaceAll('?', '_');

/** The query is the operator's own, and finds tables by their bare names. As a part of another one it is one statement, and only reads. */
async function answersOf(db: Database, query: string): Promise<string[]> {
  const refused = (why: string) => usageError(`The query of --tenants cannot be asked: ${why}.`);
  const rows = await db
    .transaction(
      async (tx) => {
        await tx.query('set transaction read only');
        return tx.query<Record<string, unknown>>(`select * from (${query.replace(/[;\s]*$/, '')}\n) as tenants`);
      },
      { asApplication: true },
    )
    .catch((error) => {
      throw /^(0A|42|22|25)/.test(error.code ?? '') ? refused(error.message) : error;
    });
  return rows.flatMap((row) => {
    const [first] = Object.values(row);
    if (first === null) return [];
    if (typeof first !== 'string') throw refused('its first column is no text');
    return [first];
  });
}

export const stranger = ({ schema, owner }: Tenants['strangers'][number]): string =>
  `The schema "${schema}" is no tenant: it belongs to the role "${owner}", which may put triggers there. If that is meant, name the role in SCHEDULER_TENANT_OWNERS.`;

const NAMED = 5;

export function unapplied(all: Tenants['unapplied']): string {
  const named = all.slice(0, NAMED).map(({ schema, tables }) => `${schema} (${tables.join(', ')})`);
  const more = all.length > NAMED ? `, and ${all.length - NAMED} more` : '';
  return `Tables of jobs of your own that were not applied for their tenant: ${named.join(', ')}${more}. "scheduler apply FILE --tenants …" does so.`;
}
