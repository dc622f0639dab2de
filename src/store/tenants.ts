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
}

export interface Meant {
  /** Names and patterns, or a query. */
  text: string;
  /** Beside the owner of our own schema. */
  owners: string[];
  /** Only schemas that have a table of one of these jobs, or of one of your own. */
  jobs?: Job[];
}

export async function findTenants(db: Database, { text, owners, jobs }: Meant): Promise<Tenants> {
  const isQuery = /^\s*select\s/i.test(text);
  const words = isQuery ? [] : text.split(/[\s,]+/).filter(Boolean);
  const names = isQuery ? await answersOf(db, text) : words.filter((word) => !/[*?]/.test(word));
  const patterns = words.filter((word) => /[*?]/.test(word)).map(asLike);
  const found = await db.query<{ schema: string; owner: string; isTrusted: boolean }>(
    `select n.nspname::text as schema, o.rolname::text as owner, n.nspowner = ours.nspowner or o.rolname = any(:owners::text[]) as "isTrusted"
     from pg_namespace n join pg_roles o on o.oid = n.nspowner
     left join pg_namespace ours on ours.nspname = 'scheduler'
     where (n.nspname = any(:names::text[]) or n.nspname like any(:patterns::text[]))
       and n.nspname <> all(array['scheduler', 'information_schema']) and n.nspname not like 'pg\\_%'
       and (:tables::text[] is null
         or exists (select from pg_class c where c.relnamespace = n.oid and c.relkind in ('r', 'p') and c.relname = any(:tables::text[]))
         or exists (select from (${LATEST_OF_ALL}) as own where own.tenant = n.nspname and own.compiled is not null))
     order by 1`,
    { names, patterns, owners, tables: jobs?.map(({ table }) => table.name) ?? null },
  );
  return {
    names: found.flatMap(({ schema, isTrusted }) => (isTrusted ? [schema] : [])),
    strangers: found.flatMap(({ schema, owner, isTrusted }) => (isTrusted ? [] : [{ schema, owner }])),
  };
}

const asLike = (pattern: string) =>
  pattern
    .replace(/[\\_%]/g, '\\$&')
    .replaceAll('*', '%')
    .replaceAll('?', '_');

/** The query is the operator's own, and finds tables by their bare names. */
async function answersOf(db: Database, query: string): Promise<string[]> {
  const rows = await db
    .transaction(
      async (tx) => {
        await tx.query('set transaction read only');
        return tx.query<Record<string, unknown>>(query);
      },
      { asApplication: true },
    )
    .catch((error) => {
      if (!/^(42|22|25)/.test(error.code ?? '')) throw error;
      throw usageError(`The query of --tenants cannot be asked: ${error.message}.`);
    });
  return rows.flatMap((row) => {
    const [first] = Object.values(row);
    return typeof first === 'string' ? [first] : [];
  });
}

export const stranger = ({ schema, owner }: Tenants['strangers'][number]): string =>
  `The schema "${schema}" is no tenant: it belongs to the role "${owner}", which may put triggers there. If that is meant, name the role in SCHEDULER_TENANT_OWNERS.`;
