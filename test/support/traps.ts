import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../src/base/version.ts';
import type { TestDatabase } from './harness.ts';
import { SCHEMA } from './schema.ts';

/**
 * A role with "create" on a schema of the search path can put these there: functions and operators of the names that our SQL
 * uses, for exactly the types that it uses them with. PostgreSQL prefers those to its own that need a conversion.
 */

const FAMILIES = [
  ['text', 'varchar', 'bpchar', 'name', '"char"'],
  ['int2', 'int4', 'int8', 'numeric', 'float8', 'oid', 'regclass'],
  ['timestamptz', 'timestamp', 'date', 'time', 'interval', 'int4', 'float8'],
  ['json', 'jsonb', 'text', 'varchar', 'int4', 'text[]'],
  ['text[]', 'varchar[]', 'name[]', 'text', 'varchar'],
  ['uuid', 'text', 'varchar'],
  ['inet', 'text', 'varchar'],
  ['bool'],
  ['tid'],
  ['xid', 'int4', 'int8'],
];
const TRUE = ['=', '<>', '<', '<=', '>', '>=', '~', '!~', '~*', '!~*', '~~', '~~*', '@>', '<@', '&&', '?'];
const SAME = ['+', '-', '*', '/', '%', '||', '->', '->>', '#>', '#>>', '&', '|', '<<', '>>'];

const unique = (all: string[]) => [...new Set(all)];

/** Every word of the sources before a bracket, or before an arrow. */
function words(before: '\\(' | ' =>'): string[] {
  const files = ['src', 'migrations', 'deploy'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(ts|sql)$/.test(entry.name))
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8')),
  );
  return unique(files.flatMap((text) => text.match(new RegExp(`\\b[a-z_0-9]+(?=${before})`, 'g')) ?? []));
}

function operators(own: string[]): { as: string; result: string; operator: string; left: string; right: string }[] {
  const families = [...FAMILIES, ...own.map((type) => [type, 'text', 'varchar', 'name'])];
  const pairs = unique(families.flatMap((types) => types.flatMap((left) => types.map((right) => `${left} ${right}`))));
  return pairs.flatMap((pair) => {
    const [left, right] = pair.split(' ') as [string, string];
    return [...TRUE, ...SAME].map((operator) => ({
      ...{ operator, left, right, as: `${left} ${operator} ${right}` },
      result: TRUE.includes(operator) ? 'boolean' : left,
    }));
  });
}

// As plain functions of the same names; those with a name for each argument and defaults can be called by one of them.
const FUNCTIONS = `
  with used as (
    select p.oid, p.proname, p.proargnames as names, p.pronargs as n, p.pronargdefaults as defaults,
      array(select format_type(t, null) from unnest(p.proargtypes) with ordinality as a (t, n) order by n) as types
    from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any($1) and p.pronargs > 0
  ),
  exact (name, arguments) as (
    select proname, array_to_string(array(
      select case t when 'text' then s when '"any"' then s when 'anyelement' then s when 'anynonarray' then s
        when 'anyarray' then s || '[]' when 'anycompatible' then s when 'anycompatiblearray' then s || '[]'
        when 'bigint' then 'integer' when 'double precision' then 'numeric' else t end
      from unnest(types) with ordinality as a (t, n) order by n), ', ')
    from used, unnest($2::text[]) as s where n <= 5
    union
    select proname, array_to_string(array(
      select format('%I %s default null', name, s) from unnest(names) as name where name = any($3)), ', ')
    from used, unnest($2::text[]) as s where defaults >= n - 1 and names && $3
    union
    select proname, array_to_string(array_fill(s, array[k]), ', ') from used, generate_series(1, 8) as k, unnest($2::text[]) as s
    where types[n] = '"any"'
    union
    select proname, 'text, ' || array_to_string(array_fill(s, array[k]), ', ')
    from used, generate_series(1, 3) as k, unnest($2::text[]) as s where types[n] = '"any"'
  )
  select name, arguments from exact where arguments !~ '"any"|any|internal|cstring|record|event|trigger'`;

/** Sets them for everybody, and answers which of them was the last to spring, in whatever transaction. */
export async function setTraps(db: TestDatabase, own: string[] = []): Promise<() => Promise<string[]>> {
  const types = ['text', 'varchar', 'name', 'int4', 'int8', 'numeric', 'timestamptz', 'timestamp', 'jsonb', ...own];
  const called = await db.query<{ name: string; arguments: string }>(FUNCTIONS, [words('\\('), types, words(' =>')]);
  const traps = [
    ...operators(own).map(({ as, result, operator, left, right }, n) => ({
      as,
      make: [
        `create function ${SCHEMA}.trap_${n}(${left}, ${right}) returns ${result} language plpgsql as $t$ begin perform pg_catalog.setval('${SCHEMA}.sprung', :id); return null; end $t$`,
        `create operator ${SCHEMA}.${operator} (leftarg = ${left}, rightarg = ${right}, function = ${SCHEMA}.trap_${n})`,
      ],
    })),
    ...called.map((each) => ({
      as: `${each.name}(${each.arguments})`,
      make: [
        `create function ${SCHEMA}.${each.name}(${each.arguments}) returns text language plpgsql as $t$ begin perform pg_catalog.setval('${SCHEMA}.sprung', :id); return null; end $t$`,
      ],
    })),
  ];
  await db.query(`create sequence ${SCHEMA}.sprung; create table ${SCHEMA}.traps (id bigint, name text)`);
  const statements = traps.flatMap(({ make }, id) => make.map((sql) => sql.replace(':id', String(id + 1))));
  await db.query(`create function ${SCHEMA}.make_traps(statements text[]) returns void language plpgsql as $$
    declare statement text;
    begin
      foreach statement in array statements loop
        begin execute statement; exception when others then null; end;
      end loop;
    end $$`);
  await db.query(`select ${SCHEMA}.make_traps($1)`, [statements]);
  return async () => {
    const { id, sprung } = await db.one(`select last_value::integer as id, is_called as sprung from ${SCHEMA}.sprung`);
    return sprung ? [traps[id - 1]!.as] : [];
  };
}
