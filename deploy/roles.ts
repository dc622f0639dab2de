import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { install } from '../src/job/compile.ts';
import type { Job } from '../src/job/define.ts';
import { quoteText } from '../src/job/expressions.ts';
import { ADMIN_RIGHTS, type Needed, OWN_RIGHTS, rightsOf } from '../src/job/rights.ts';
import { type Catalog, tablesOf } from '../src/job/tables.ts';
import { loadJobs } from '../src/jobs/index.ts';

// Writes deploy/roles.sql, beside this file: "npm run roles".

/** A database that has every table with every column as it is defined. */
function asDefined(jobs: Job[]): Catalog {
  const catalog: Catalog = {};
  for (const { name, columns } of jobs.flatMap(tablesOf)) {
    const types = Object.entries(columns).map(([column, { type }]) => [column, type]);
    const known = catalog[name]?.columns;
    catalog[name] = {
      oid: '0',
      schema: 'public',
      name,
      owner: '',
      columns: { ...known, ...Object.fromEntries(types) },
      notNull: {},
    };
  }
  return catalog;
}

const script = (own: string[], admin: string[], tables: string[]) => `\
-- Written by "npm run roles" from what the jobs do; change it there.
-- The least that the program needs. Run it as the owner of the database after "scheduler migrate":
--   psql "$DATABASE_URL" -v role=scheduler_tick -f deploy/roles.sql
-- Migrating itself needs more: run "scheduler migrate" as the owner.

\\set ON_ERROR_STOP on
\\if :{?role}
\\else
  \\set role scheduler_tick
\\endif

select pg_catalog.format('create role %I login', :'role')
where not exists (select from pg_catalog.pg_roles where rolname = :'role') \\gexec

grant usage on schema scheduler to :"role";
${own.join('\n')}

-- For an application's admin page: it may call the functions that control the scheduler, read what they tell, and nothing else.
select 'create role scheduler_admin nologin'
where not exists (select from pg_catalog.pg_roles where rolname = 'scheduler_admin') \\gexec

grant usage on schema scheduler to scheduler_admin;
${admin.join('\n')}

-- The application's tables, as far as they exist; their schemas; and the sequences of columns that were made with "serial".
with needed (name, rights) as (values
  ${tables.join(',\n  ')}
),
found as (
  select c.oid, n.nspname as schema, c.relname as name, needed.rights
  from needed
  join pg_catalog.pg_class c on c.oid = pg_catalog.to_regclass(pg_catalog.quote_ident(needed.name))::pg_catalog.oid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
)
select distinct pg_catalog.format('grant usage on schema %I to %I', schema, :'role')
from found where not pg_catalog.has_schema_privilege(:'role', schema, 'usage')
union all
select pg_catalog.format('grant %s on %I.%I to %I', rights, schema, name, :'role') from found
union all
select pg_catalog.format('grant usage on sequence %I.%I to %I', n.nspname, s.relname, :'role')
from found
join pg_catalog.pg_depend d on d.refobjid = found.oid and d.deptype = 'a'
  and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid and d.classid = d.refclassid
join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'
join pg_catalog.pg_namespace n on n.oid = s.relnamespace
where found.rights like '%insert%' \\gexec
`;

/** What deploy/roles.sql has to say. */
export async function rolesSql(): Promise<string> {
  const jobs = await loadJobs();
  const catalog = asDefined(jobs);
  const granted = (needed: Needed[], role: string) =>
    needed.map(({ table, rights }) => `grant ${rights.join(', ')} on ${table} to ${role};`);
  const needed = rightsOf(jobs.map((job) => install(job, catalog, 'UTC')));
  return script(
    granted(OWN_RIGHTS, ':"role"'),
    granted(ADMIN_RIGHTS, 'scheduler_admin'),
    needed.map(({ table, rights }) => `(${quoteText(table)}, '${rights.join(', ')}')`),
  );
}

if (process.argv[1] === import.meta.filename)
  writeFileSync(fileURLToPath(new URL('roles.sql', import.meta.url)), await rolesSql());
