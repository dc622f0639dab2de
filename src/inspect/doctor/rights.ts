import { type Exam, type Finding, failed, ok, quoteName } from './finding.ts';

/** What a role needs that only ticks; deploy/roles.sql grants the same, and a test holds the two together. */
export const OWN_RIGHTS: Record<string, string> = {
  'scheduler.migrations': 'select',
  'scheduler.runs': 'select, insert, update, delete',
  'scheduler.events': 'select, insert, update, delete',
  'scheduler.failures': 'select, insert, update, delete',
  'scheduler.controls': 'select, insert',
  'scheduler.accounted': 'select, insert, update, delete',
  'scheduler.accounted_up_to': 'select, update',
};

/** Only as far as an installed job uses the table. */
export const RIGHTS: Record<string, string> = {
  packages: 'select, update',
  special_packages: 'select, update',
  customer_packages: 'select, update',
  text_sessions: 'select, update',
  subscriptions: 'select, update',
  text_session_deductions: 'select, insert',
  doctor_wallets: 'select, insert, update',
  wallet_transactions: 'select, insert',
  payments: 'select, update',
  hotspot_users: 'select, insert, update',
  radius_sessions: 'select, insert, update',
  hotspot_credentials: 'select, insert, update',
  session_disconnections: 'select, insert, update',
  data_usage_logs: 'insert',
  vouchers: 'select, update',
  radcheck: 'select, insert, delete',
  radreply: 'select, insert, delete',
  radacct: 'select, update',
  nas: 'select',
};

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
    from jsonb_to_recordset(:wanted::jsonb) as want (name text, rights text[])
    join pg_class c on c.oid = case
      when want.name like 'scheduler.%' then
        (select oid from pg_class where relnamespace = to_regnamespace('scheduler') and relname = split_part(want.name, '.', 2))
      else to_regclass(quote_ident(want.name)) end
    join pg_namespace n on n.oid = c.relnamespace
  ),
  tables as (
    select string_agg(r.name, ', ' order by r.place) as rights, format('%I.%I', nspname, relname) as object, relowner as owner
    from needed cross join unnest(rights) with ordinality as r (name, place)
    where not has_table_privilege(oid, r.name)
      and not (r.name in ('insert', 'update') and has_any_column_privilege(oid, r.name))
    group by nspname, relname, relowner
  ),
  schemas as (
    select 'usage', format('schema %I', nspname), nspowner from pg_namespace n
    where (
        nspname = 'scheduler' or nspname in (
          -- PostgreSQL passes over a schema of the search path that it may not use, as if its tables were not there.
          select replace(btrim(part, ' "'), '$user', current_user) from regexp_split_to_table(current_setting('search_path'), ',') as part
        )
      )
      and not has_schema_privilege(oid, 'usage')
  ),
  -- An identity column needs no right on its sequence; one made with "serial" does.
  sequences as (
    select distinct 'usage', format('sequence %s', s.oid::regclass), s.relowner
    from needed
    join pg_depend d on d.refobjid = needed.oid and d.classid = 'pg_class'::regclass and d.deptype = 'a'
    join pg_class s on s.oid = d.objid and s.relkind = 'S'
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

export async function checkRights({ db, jobs, server }: Exam, installed: string[]): Promise<Finding> {
  const using = jobs.filter(({ name }) => installed.includes(name)).flatMap((job) => Object.keys(job.tables));
  const needed = [...Object.entries(OWN_RIGHTS), ...Object.entries(RIGHTS).filter(([table]) => using.includes(table))];
  const wanted = needed.map(([name, rights]) => ({ name, rights: rights.split(', ') }));
  const lacking = await db.query<Lack>(LACKING, { wanted: JSON.stringify(wanted) });
  if (lacking.length === 0) return ok('rights', `${server.role} may do all that the jobs need`);
  const role = quoteName(server.role);
  const owners = [...new Set(lacking.map(({ owner }) => owner))];
  // So many at once are one mistake, and the SQL names each.
  const named =
    lacking.length < 4
      ? lacking.map(({ rights, object }) => `${rights} on ${object}`).join('; ')
      : `rights on ${lacking.length} objects`;
  return failed('rights', `${server.role} lacks ${named}`, [
    `-- As ${owners.join(', ')} or a superuser:`,
    ...lacking.map(({ rights, object }) => `grant ${rights} on ${object} to ${role};`),
  ]);
}
