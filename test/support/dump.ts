import { spawnSync } from 'node:child_process';
import type { TestDatabase } from './harness.ts';

const OF_USERS = `n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'`;
const COMMENT = (oid: string, of: string) => `coalesce(obj_description(${oid}, '${of}'), '-')`;

const CATALOG = `
  select concat_ws(' ', 'schema', nspname, nspowner::regrole, nspacl, ${COMMENT('oid', 'pg_namespace')}) as line from pg_namespace n where ${OF_USERS}
  union all
  select concat_ws(' ', 'relation', n.nspname, relname, relkind, relowner::regrole, relacl, reloptions, relrowsecurity, ${COMMENT('c.oid', 'pg_class')},
    pg_get_expr(relpartbound, c.oid), case relkind when 'i' then pg_get_indexdef(c.oid) when 'v' then pg_get_viewdef(c.oid) end)
  from pg_class c join pg_namespace n on n.oid = relnamespace where ${OF_USERS}
  union all
  select concat_ws(' ', 'column', n.nspname, relname, rank() over (partition by c.oid order by attnum), attname, format_type(atttypid, atttypmod),
    attnotnull, attidentity, attgenerated, attacl, pg_get_expr(adbin, adrelid), col_description(c.oid, attnum))
  from pg_attribute a join pg_class c on c.oid = attrelid join pg_namespace n on n.oid = relnamespace
  left join pg_attrdef on adrelid = attrelid and adnum = attnum
  where ${OF_USERS} and attnum > 0 and not attisdropped and relkind in ('r', 'p', 'v')
  union all
  select concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(c.oid), ${COMMENT('c.oid', 'pg_constraint')})
  from pg_constraint c join pg_namespace n on n.oid = connamespace where ${OF_USERS}
  union all
  select concat_ws(' ', 'trigger', pg_get_triggerdef(oid), tgenabled) from pg_trigger where not tgisinternal
  union all
  select concat_ws(' ', 'function', n.nspname, proname, proacl, md5(prosrc)) from pg_proc join pg_namespace n on n.oid = pronamespace where ${OF_USERS}
  union all
  select concat_ws(' ', 'type', n.nspname, typname, typacl) from pg_type join pg_namespace n on n.oid = typnamespace where ${OF_USERS}
  order by 1`;

/** Everything that is in a database, as lines: its objects with their rights and comments, and its rows. */
export async function dumpOf(db: TestDatabase): Promise<string[]> {
  const objects = (await db.query(CATALOG)).map(({ line }) => line as string);
  const tables = await db.query(
    `select format('%I.%I', n.nspname, relname) as name from pg_class join pg_namespace n on n.oid = relnamespace
     where relkind = 'r' and ${OF_USERS} order by 1`,
  );
  const rows: string[] = [];
  for (const { name } of tables)
    rows.push(
      ...(await db.query(`select to_json(t)::text as row from ${name} t order by 1`)).map(
        ({ row }) => `${name} ${row}`,
      ),
    );
  return [...objects, ...rows, ...schemaDump(db)];
}

/** By pg_dump itself, where there is one that knows this server. */
function schemaDump(db: TestDatabase): string[] {
  const { status, stdout } = spawnSync('pg_dump', ['-s', db.url], { encoding: 'utf8' });
  // A random word of each dump guards it from what psql would take for a command.
  return status === 0 ? stdout.split('\n').filter((line) => !/^\\(un)?restrict /.test(line)) : [];
}
