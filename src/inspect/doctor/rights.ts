import { named } from '../../db/search-path.ts';
import type { Installed } from '../../job/compile.ts';
import { OWN_RIGHTS, rightsOf } from '../../job/rights.ts';
import { type Exam, failed, ok, quoteName, type Result } from './finding.ts';

interface Lack {
  /** What is missing, in the words of GRANT: "update on public.packages", "usage on schema scheduler". */
  rights: string;
  object: string;
  owner: string;
}

// Reading takes the whole table, as rows are named by their place in it. To write, some columns may do: planning each job's
// statements shows whether those were the right ones.
const LACKING = `
  with needed as (
    select n.nspname, c.relname, c.oid, c.relowner, want.rights
    from jsonb_to_recordset(:wanted::jsonb) as want ("table" text, rights text[])
    join pg_class c on c.oid = case
      when want.table like 'scheduler.%' then
        (select oid from pg_class where relnamespace = to_regnamespace('scheduler') and relname = split_part(want.table, '.', 2))
      else ${named('want.table')} end
    join pg_namespace n on n.oid = c.relnamespace
  ),
  tables as (
    select string_agg(r.name, ', ' order by r.place) as rights, format('%I.%I', nspname, relname) as object, relowner as owner
    from needed cross join unnest(rights) with ordinality as r (name, place)
    cross join lateral (select split_part(r.name, ' ', 1) as kind) as of -- without the columns that it is for
    where not has_table_privilege(oid, kind)
      and not (kind in ('insert', 'update') and has_any_column_privilege(oid, kind))
    group by nspname, relname, relowner
  ),
  schemas as (
    select 'usage', format('schema %I', nspname), nspowner from pg_namespace n
    where (
        nspname = 'scheduler' or nspname in (
          -- PostgreSQL passes over a schema of the search path that it may not use, as if its tables were not there.
          select replace(btrim(part, ' "'), '$user', current_user) from regexp_split_to_table(current_setting('scheduler.search_path'), ',') as part
        )
      )
      and not has_schema_privilege(oid, 'usage')
  ),
  -- An identity column needs no right on its sequence; one made with "serial" does.
  sequences as (
    select distinct 'usage', format('sequence %I.%I', n.nspname, s.relname), s.relowner
    from needed
    join pg_depend d on d.refobjid = needed.oid and d.classid = 'pg_class'::regclass and d.deptype = 'a'
    join pg_class s on s.oid = d.objid and s.relkind = 'S'
    join pg_namespace n on n.oid = s.relnamespace
    where 'insert' = any(needed.rights) and case when s.relkind = 'S' then not has_sequence_privilege(s.oid, 'usage') end
  ),
  functions as (
    select 'execute', 'all functions in schema scheduler', min(proowner::bigint)::oid from pg_proc
    where pronamespace = to_regnamespace('scheduler') and not has_function_privilege(oid, 'execute')
    having count(*) > 0
  )
  select rights, object, pg_get_userbyid(owner) as owner
  from (
    select 1 as place, * from schemas union all select 2, * from tables
    union all select 3, * from sequences union all select 4, * from functions
  ) as lacking (place, rights, object, owner)
  order by place, object`;

/** The rights follow from what the rules do: deploy/roles.sql, which is made from the same, grants them. */
export async function checkRights({ db, server }: Exam, installed: Installed[]): Promise<Result> {
  const wanted = [...OWN_RIGHTS, ...rightsOf(installed)];
  const lacking = await db.query<Lack>(LACKING, { wanted: JSON.stringify(wanted) });
  if (lacking.length === 0) return ok(`${server.role} may do all that the jobs need`);
  const role = quoteName(server.role);
  const owners = [...new Set(lacking.map(({ owner }) => owner))];
  // So many at once are one mistake, and the SQL names each.
  const named =
    lacking.length < 4
      ? lacking.map(({ rights, object }) => `${rights} on ${object}`).join('; ')
      : `rights on ${lacking.length} objects`;
  return failed(
    `${server.role} lacks ${named}`,
    owners.flatMap((each) => [
      `-- As ${each} or a superuser:`,
      ...lacking
        .filter(({ owner }) => owner === each)
        .map(({ rights, object }) => `grant ${rights} on ${object} to ${role};`),
    ]),
  );
}
