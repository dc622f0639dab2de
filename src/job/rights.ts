import type { Transaction } from '../db/client.ts';
import { named } from '../db/search-path.ts';
import type { Installed } from './compile.ts';
import { quoteName } from './expressions.ts';
import { placeOf, storedKey, storedName, tablesOf } from './tables.ts';

export interface Needed {
  /** Or "schema" and its name. */
  table: string;
  /** The same with its schema, in quotes. */
  place?: string;
  /** In the words of GRANT. */
  rights: string[];
}

const ALL = ['select', 'insert', 'update', 'delete'];

/** All that an application's admin page needs. */
export const ADMIN_RIGHTS: Needed[] = [
  ...['overview', 'failing', 'recent'].map((view) => ({ table: `scheduler.${view}`, rights: ['select'] })),
  ...[
    ...['status(text)', 'stop(text, text, text, text)', 'start(text, text, text, text)', 'request(text, text, text)'],
    ...['requested(bigint)', 'retry(text, text, text)', 'drop(text, text, text)'],
  ].map((signature) => ({ table: `function scheduler.${signature}`, rights: ['execute'] })),
];

/** The rights on the program's own tables of a role that only ticks. */
export const OWN_RIGHTS: Needed[] = [
  { table: 'scheduler.migrations', rights: ['select'] },
  { table: 'scheduler.adopted', rights: ['select'] },
  {
    table: 'scheduler.runs',
    // The first columns of a run are written once. These tell how it ended, and a trigger keeps them when it has.
    rights: ['select', 'insert', 'update (finished_at, changed, failed, late_by, unsent, work_left, error)'],
  },
  { table: 'scheduler.events', rights: ['select', 'insert'] },
  { table: 'scheduler.failures', rights: ALL },
  { table: 'scheduler.controls', rights: ['select', 'insert'] },
  // Only the owner may write there: a tick runs what it says.
  { table: 'scheduler.jobs', rights: ['select'] },
  { table: 'scheduler.known_jobs', rights: ['select', 'insert', 'update'] },
  { table: 'scheduler.requests', rights: ['select', 'update (run_id, refused)'] },
  { table: 'scheduler.accounted', rights: ALL },
  { table: 'scheduler.accounted_up_to', rights: ['select', 'update'] },
  { table: 'scheduler.holds', rights: ['select', 'update'] },
  ...ADMIN_RIGHTS.filter(({ rights }) => rights.includes('select')),
  // Some do more than their caller may: forget() removes old history, and those of an admin act on the tables above.
  { table: 'all functions in schema scheduler', rights: ['execute'] },
];

export const usageOf = (schema: string): Needed => ({ table: `schema ${schema}`, rights: ['usage'] });

/** The SQL of a job casts to the type of its key, and to those of the columns that it writes. */
function schemasOf({ job, tables, writes }: Installed): Needed[] {
  const types = tablesOf(job).flatMap((table) => {
    const columns = [...(writes.get(table.name) ?? [])].map((name) => storedName(table, name));
    return [storedKey(table), ...columns].map((column) => tables[table.name]?.columns[column] ?? '');
  });
  return types.flatMap((type) => /^("(?:[^"]|"")+"|\w+)\./.exec(type)?.[1] ?? []).map(usageOf);
}

/** The rights on the application's tables that follow from the SQL of some jobs. */
export function rightsOf(installed: Installed[]): Needed[] {
  const all = installed.flatMap(({ rights, tables }) =>
    [...rights].map(([table, rights]) => ({ table, place: placeOf(tables[table]!), rights })),
  );
  const places = [...new Map(all.map(({ table, place }) => [place, table]))].sort();
  const ofTables = places.map(([place, table]) => ({
    ...{ table, place },
    rights: ALL.filter((right) => all.some((each) => each.place === place && each.rights.has(right))),
  }));
  return [...ofTables, ...installed.flatMap(schemasOf)];
}

export interface Lack {
  /** What is missing, in the words of GRANT: "update on public.packages", "usage on schema scheduler". */
  rights: string;
  object: string;
  owner: string;
}

// Reading takes the whole table, as rows are named by their place in it. To write, some columns may do: planning each job's
// statements shows whether those were the right ones.
const NEEDED = `
  with wanted as (
    select want.* from jsonb_to_recordset(:wanted::jsonb) as want ("table" text, place text, rights text[])
  ),
  needed as (
    select n.nspname, c.relname, c.oid, c.relowner, want.rights
    from wanted as want cross join lateral (select parse_ident(coalesce(want.place, want.table), false) as parts) as ident
    join pg_class c on c.oid = case cardinality(parts)
      when 1 then ${named('parts[1]')}
      else (select p.oid from pg_class p join pg_namespace pn on pn.oid = p.relnamespace where pn.nspname = parts[1] and p.relname = parts[2]) end
    join pg_namespace n on n.oid = c.relnamespace
    where not want.rights && '{usage,execute}' -- of schemas and functions
  )`;

const LACKING = `${NEEDED},
  tables as (
    select string_agg(distinct r.name, ', ') as rights, format('%I.%I', nspname, relname) as object, relowner as owner
    from needed cross join unnest(rights) as r (name)
    cross join lateral (select split_part(r.name, ' ', 1) as kind) as of -- without the columns that it is for
    where not has_table_privilege(:role::name, oid, kind)
      and not (kind in ('insert', 'update') and has_any_column_privilege(:role::name, oid, kind))
    group by nspname, relname, relowner
  ),
  schemas as (
    select 'usage', format('schema %I', nspname), nspowner from pg_namespace n
    where (
        nspname = 'scheduler' or nspname in (select nspname from needed)
        or nspname in (select (parse_ident(substr("table", 8)))[1] from wanted where "table" like 'schema %') or nspname in (
          -- PostgreSQL passes over a schema of the search path that it may not use, as if its tables were not there.
          select replace(btrim(part, ' "'), '$user', :role::text) from regexp_split_to_table(current_setting('scheduler.search_path'), ',') as part
        )
      )
      and not has_schema_privilege(:role::name, oid, 'usage')
  ),
  -- An identity column needs no right on its sequence; a default that asks one, such as that of "serial", does.
  sequences as (
    select distinct 'usage', format('sequence %I.%I', n.nspname, s.relname), s.relowner
    from needed
    join pg_attrdef def on def.adrelid = needed.oid
    join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = def.oid and d.refclassid = 'pg_class'::regclass
    join pg_class s on s.oid = d.refobjid and s.relkind = 'S'
    join pg_namespace n on n.oid = s.relnamespace
    where 'insert' = any(needed.rights) and case when s.relkind = 'S' then not has_sequence_privilege(:role::name, s.oid, 'usage') end
  ),
  functions as (
    select 'execute', 'all functions in schema scheduler', min(proowner::bigint)::oid from pg_proc
    where pronamespace = to_regnamespace('scheduler') and not has_function_privilege(:role::name, oid, 'execute')
    having count(*) > 0
  ),
  expressions as (
    select distinct 'execute', format('function %s', p.oid::regprocedure), p.proowner
    from pg_proc p
    where p.pronamespace not in (select oid from pg_namespace where nspname in ('pg_catalog', 'scheduler'))
      -- To ask for one by its name takes a right on its schema.
      and p.oid::regprocedure::text = any(:functions::text[]) and not has_function_privilege(:role::name, p.oid, 'execute')
  )
  select rights, object, pg_get_userbyid(owner) as owner
  from (
    select 1 as place, * from schemas union all select 2, * from tables
    union all select 3, * from sequences union all select 4, * from functions union all select 5, * from expressions
  ) as lacking (place, rights, object, owner)
  order by place, object`;

/** What a role lacks of what is needed; `functions` are those that expressions name. */
export const lackingRights = (
  tx: Pick<Transaction, 'query'>,
  role: string,
  wanted: Needed[],
  functions: string[] = [],
): Promise<Lack[]> => tx.query<Lack>(LACKING, { wanted: JSON.stringify(wanted), role, functions });

/** The tables of which row-level security hides rows from a role. A transaction of ours then meets an error. */
const HIDDEN = `${NEEDED}
  select distinct format('%I.%I', needed.nspname, needed.relname) as place
  from needed join pg_class c on c.oid = needed.oid join pg_roles me on me.rolname = :role::text
  where c.relrowsecurity and not (me.rolsuper or me.rolbypassrls) and (c.relforcerowsecurity or not pg_has_role(me.oid, c.relowner, 'usage'))
  order by place`;

export async function hiddenFrom(
  tx: Pick<Transaction, 'query'>,
  role: string,
  wanted: Needed[],
): Promise<{ sentence: string; remedy: string } | undefined> {
  const hidden = await tx.query<{ place: string }>(HIDDEN, { wanted: JSON.stringify(wanted), role });
  if (hidden.length === 0) return undefined;
  const sentence = `row-level security hides rows of ${hidden.map(({ place }) => place).join(', ')} from ${role}`;
  return { sentence, remedy: `alter role ${quoteName(role)} bypassrls;` };
}
