import { configurationError } from '../base/errors.ts';
import type { Database, Transaction } from '../db/client.ts';
import { sqlState } from '../db/states.ts';
import { asOwner } from '../job/adopt.ts';
import { quoteName } from '../job/expressions.ts';
import { ADDED, ADDED_BY_APPLY, MADE, MADE_FOR_ITSELF, type Report, type Step } from '../job/steps.ts';
import { notOurs, refuseForeign, tablesOfOthers } from './migrate.ts';

/** Something that bears a mark of ours, wherever it is by now and whatever its name. */
interface Added {
  what: 'index' | 'column' | 'table';
  name: string;
  /** Its table or index, as SQL names it. */
  place: string;
  column: string | null;
  owner: string;
  /** This role may act as its owner. */
  may: boolean;
  comment: string;
}

// A thing of a partition, or of a table that inherits, goes with that of the parent.
const ALL_ADDED = `
  select kind.what, concat_ws('.', n.nspname, c.relname, a.attname) as name, format('%I.%I', n.nspname, c.relname) as place,
    quote_ident(a.attname) as column, pg_get_userbyid(c.relowner)::text as owner, pg_has_role(c.relowner, 'member') as may,
    d.description as comment
  from pg_description d
  join pg_class c on d.classoid = 'pg_class'::regclass and c.oid = d.objoid and not c.relispartition and c.relpersistence <> 't'
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid and d.objsubid > 0
  cross join lateral (
    select case when c.relkind in ('i', 'I') then 'index' when a.attname is not null then 'column' else 'table' end as what
  ) as kind
  where (kind.what = 'table' and strpos(d.description, :made::text) > 0
      or kind.what <> 'table' and (strpos(d.description, :added::text) > 0 or strpos(d.description, :applied::text) > 0))
    and c.relkind in ('r', 'p', 'i', 'I') and coalesce(a.attinhcount, 0) = 0
  order by kind.what = 'table', kind.what = 'column', n.nspname, c.relname, a.attnum`;

/** What names something of the schema and lies outside of it; a part of a thing within is within. */
const USERS = `
  with ours as (
    select 'pg_class'::regclass as class, oid from pg_class where relnamespace = to_regnamespace('scheduler')
    union all select 'pg_proc'::regclass, oid from pg_proc where pronamespace = to_regnamespace('scheduler')
    union all select 'pg_type'::regclass, oid from pg_type where typnamespace = to_regnamespace('scheduler')
  )
  select distinct pg_describe_object(d.classid, d.objid, 0) as what, case when c.relkind in ('i', 'I') then format('%s.%s', n.nspname, c.relname) end as index
  from pg_depend d join ours on ours.class = d.refclassid and ours.oid = d.refobjid
  left join pg_class c on d.classid = 'pg_class'::regclass and c.oid = d.objid
  left join pg_namespace n on n.oid = c.relnamespace
  where d.deptype = 'n' and (d.classid, d.objid) not in (select class, oid from ours)
    and not exists (
      select from pg_depend part join ours on ours.class = part.refclassid and ours.oid = part.refobjid
      where part.classid = d.classid and part.objid = d.objid and part.deptype in ('a', 'i')
    )
  order by 1`;

/** The rights of roles on tables that stay. Nothing tells whether "apply", deploy/roles.sql or somebody else has granted them. */
const RIGHTS = `
  with ticking as (
    select a.grantee as oid from pg_class c cross join aclexplode(c.relacl) as a
    where c.oid = to_regclass('scheduler.runs') and a.privilege_type = 'INSERT' and a.grantee not in (0, c.relowner)
  ),
  kept as (
    select n.nspname, c.relowner as owner, c.relacl as acl, format('%s%I.%I', case when c.relkind = 'S' then 'sequence ' end, n.nspname, c.relname) as object
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    union all select nspname, nspowner, nspacl, format('schema %I', nspname) from pg_namespace
    union all
    select n.nspname, p.proowner, p.proacl, format('function %s', p.oid::regprocedure) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  )
  select string_agg(distinct lower(a.privilege_type), ', ') as rights, object, pg_get_userbyid(a.grantee)::text as role
  from kept cross join aclexplode(acl) as a join ticking on ticking.oid = a.grantee
  where a.grantee <> owner and nspname not in ('scheduler', 'pg_catalog', 'information_schema')
  group by a.grantee, object order by role, object`;

/**
 * Takes away the indexes that were added and the schema "scheduler"; with `dropColumns` the columns and tables, too. All of it,
 * or nothing. `left` counts the columns and tables that stay as nobody has asked for them to go.
 */
export async function uninstall(db: Database, dropColumns: boolean, report: Report): Promise<{ left: number }> {
  const { steps, left } = await db.transaction(
    async (tx) => {
      await tx.query(
        `select set_config('lock_timeout', '10s', true), set_config('client_min_messages', 'warning', true)`,
      );
      await refuseForeign(tx);
      await refuseOthers(tx);
      const calling = await callingIndexes(tx);
      const all = await tx.query<Added>(ALL_ADDED, { made: MADE, added: ADDED, applied: ADDED_BY_APPLY });
      const asked = all.filter(({ what }) => dropColumns || what === 'index');
      const going = asked.filter(({ may, name }) => may || !calling.includes(name));
      const steps: Step[] = [];
      for (const each of going) steps.push({ what: each.what, name: each.name, ...(await drop(tx, each)) });
      // They call our functions, so they cannot stay, whoever has built them.
      for (const name of await callingIndexes(tx)) steps.push({ does: 'drop', what: 'index', name });
      const [schema] = await tx.query(`select from pg_namespace where nspname = 'scheduler'`);
      if (schema) {
        const rights = await tx.query<{ rights: string; object: string; role: string }>(RIGHTS);
        steps.push(...rights.map(keptRight));
        await tx.query('drop schema scheduler cascade');
        steps.push({ does: 'drop', what: 'schema', name: 'scheduler' });
      }
      return { steps, left: all.length - asked.length };
    },
    { unbounded: true },
  );
  for (const step of steps) report(step);
  return { left };
}

const keptRight = ({ rights, object, role }: { rights: string; object: string; role: string }): Step => ({
  ...{ does: 'keep', what: 'right', name: `${rights} on ${object} of ${role}` },
  note: `if its ticks alone needed that, "revoke ${rights} on ${object} from ${quoteName(role)}" takes it away`,
});

/** With the schema goes all that is in it. */
async function refuseOthers(tx: Transaction): Promise<void> {
  const others = await tablesOfOthers(tx);
  if (others.length > 0) throw configurationError(`Nothing is uninstalled: ${notOurs(others)}`);
  const [schema] = await tx.query(`select from pg_namespace where nspname = 'scheduler'`);
  let isOurs = !schema;
  await tx.attempt(async () => {
    if (schema)
      isOurs = (await tx.query('select from scheduler.migrations where id = 1 and name is not null')).length > 0;
  });
  if (!isOurs)
    throw configurationError(
      'Nothing is uninstalled: the schema "scheduler" does not say that this program has made it (its table migrations is not there, or empty). Drop it by hand if nobody needs it.',
    );
}

/** The indexes that go with the schema. Whatever else uses it would go without a word. */
async function callingIndexes(tx: Transaction): Promise<string[]> {
  const users = await tx.query<{ what: string; index: string | null }>(USERS);
  const others = users.flatMap(({ what, index }) => (index ? [] : [what.replace('rule _RETURN on ', '')]));
  if (others.length === 0) return users.map(({ index }) => index!);
  throw configurationError(
    `Nothing is uninstalled: something uses what is in the schema "scheduler" (${others.slice(0, 5).join('; ')}). Drop or change that first.`,
  );
}

async function drop(tx: Transaction, added: Added): Promise<Pick<Step, 'does' | 'note'>> {
  const { what, place, column, owner, may, comment } = added;
  if (!may) return { does: 'keep', note: `it belongs to the role "${owner}"` };
  let answer: Pick<Step, 'does' | 'note'> = { does: 'drop' };
  await tx.query('savepoint dropping');
  try {
    await asOwner(tx, { owner }, async () => {
      if (what === 'table' && !comment.includes(MADE_FOR_ITSELF)) {
        await tx.query(`lock table ${place} in access exclusive mode`);
        const [full] = await tx.query(`select from ${place} limit 1`);
        if (full) answer = { does: 'keep', note: 'it holds rows of a business' };
      }
      if (answer.does === 'keep') return;
      await tx.query(what === 'column' ? `alter table ${place} drop column ${column}` : `drop ${what} ${place}`);
    });
  } catch (error) {
    if (sqlState(error) !== STILL_USED) throw error;
    await tx.query('rollback to savepoint dropping');
    const { detail = '' } = error as { detail?: string };
    return { does: 'keep', note: detail.replaceAll('\n', '; ').slice(0, 500) };
  }
  return answer;
}

const STILL_USED = '2BP01'; // dependent objects still exist
