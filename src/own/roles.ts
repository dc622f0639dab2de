import { configurationError } from '../base/errors.ts';
import type { Database, Transaction } from '../db/client.ts';
import { quoteName } from '../job/expressions.ts';
import { type Lack, lackingRights, OWN_RIGHTS, rightsOf } from '../job/rights.ts';
import { all, readStanding } from '../store/standing.ts';
import type { Files } from './definition.ts';
import { needs } from './doctor.ts';
import type { Applying, Change } from './plan.ts';
import { type Seen, seeTable } from './server.ts';

/** Finds the role that may apply a file, and grants to the one that ticks. The first may write the definitions, and add to the tables. */

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

/** Grants all that a tick needs in this database, and answers what was lacking. A grant that did nothing is an error. */
export async function grantNeeded(
  tx: Transaction,
  { settings, builtIn }: Pick<Applying, 'settings' | 'builtIn'>,
  role: string,
): Promise<Lack[]> {
  const own = await needs({ db: tx, jobs: builtIn });
  const standing = await readStanding(tx, all(builtIn), { lock: false, dbZone: settings.dbTimezone });
  const ofBuiltIn = rightsOf(standing.jobs.flatMap(({ installed }) => installed ?? []));
  const lacking = () => lackingRights(tx, role, [...OWN_RIGHTS, ...ofBuiltIn, ...own.needs], own.functions);
  const statement = ({ rights, object }: Lack) => `grant ${rights} on ${object} to ${quoteName(role)}`;
  const granted = await lacking();
  for (const each of granted) await tx.attempt(async () => void (await tx.query(statement(each))));
  // Without the right to grant there is an error, or only a warning.
  const left = await lacking();
  if (left.length === 0) return granted;
  const remedies = left.map((each) => `as "${each.owner}" or a superuser, ${statement(each)}`);
  throw configurationError(
    `No job is applied: this role may not grant all that ${role} needs. Do that first: ${remedies.join('; ')}.`,
  );
}
