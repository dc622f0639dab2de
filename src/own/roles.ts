import { configurationError } from '../base/errors.ts';
import type { Database } from '../db/client.ts';
import { quoteName } from '../job/expressions.ts';
import type { Files } from './definition.ts';
import type { Change } from './plan.ts';
import { type Seen, seeTable } from './server.ts';

/** Finds the role that may apply a file. It may write the definitions, and add to the tables. */

export const tablesOfChange = ({ built, using }: Change): Seen[] =>
  using ? [...using.places.values()].map(({ seen }) => seen) : built ? [built.table] : [];

/** A superuser cannot try what an ordinary role may write, as it does not run it. */
export async function checkRole(db: Database): Promise<void> {
  const [who] = await db.query<{ me: string; keeper: string; isAbove: boolean; may: boolean }>(
    `select me.rolname::text as me, keeper.rolname::text as keeper, me.rolsuper and not keeper.rolsuper as "isAbove",
       has_table_privilege(c.oid, 'insert') as may
     from pg_class c join pg_roles keeper on keeper.oid = c.relowner join pg_roles me on me.rolname = current_user
     where c.oid = to_regclass('scheduler.jobs')`,
  );
  const { me, keeper, isAbove, may } = who!;
  if (may && !isAbove) return;
  const why = isAbove ? 'is a superuser, which does not run what an ordinary role may write' : 'may not write there';
  throw configurationError(
    `Nothing is applied: the definitions of jobs belong to the role "${keeper}", and "${me}" ${why}. Apply as "${keeper}".`,
  );
}

/** The tables of some files that this role cannot add to, and how it can. */
export async function whyNotOwner(db: Database, { jobs }: Files): Promise<string | undefined> {
  const names = jobs.flatMap(({ table, uses }) => [
    table,
    ...Object.values(uses?.tables ?? {}).flatMap((each) => each.table ?? []),
  ]);
  return db.transaction(async (tx) => {
    const oids: string[] = [];
    for (const name of names) oids.push(...[(await seeTable(tx, name))?.oid ?? []].flat());
    const [who] = await tx.query<{ me: string; owners: string[]; tables: string[] }>(
      `select current_user::text as me, array_agg(distinct pg_get_userbyid(c.relowner)::text) as owners,
         array_agg(distinct concat(n.nspname, '.', c.relname)) as tables
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where c.oid = any(:oids::oid[]) and not pg_has_role(c.relowner, 'member')
       having count(*) > 0`,
      { oids },
    );
    if (!who) return undefined;
    const { me, owners, tables } = who;
    const are = tables.length === 1 ? 'belongs' : 'belong';
    const remedy = `grant ${owners.map(quoteName).join(', ')} to ${quoteName(me)}`;
    return `${tables.join(', ')} ${are} to ${owners.map((each) => `"${each}"`).join(', ')}, and "${me}" is no member of that role: only the owner of a table adds to it. As a superuser: ${remedy}; then apply again.`;
  });
}
