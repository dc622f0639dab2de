import { isZone } from '../../base/config.ts';
import { LEVEL } from '../../store/migrate.ts';
import { counted, type Exam, type Finding, failed, ok, warning } from './finding.ts';

/** The schema "scheduler", and what "scheduler migrate" put beside the application's tables. */

export async function checkSchema({ db, program }: Exam): Promise<Finding> {
  const [found] = await db.query<{ present: boolean; readable: boolean }>(
    `select present, present and has_schema_privilege(oid, 'usage') and has_table_privilege(migrations, 'select') as readable
     from (select to_regnamespace('scheduler') as oid) as schema
     left join lateral (
       select c.oid as migrations, true as present from pg_class c where relnamespace = schema.oid and relname = 'migrations'
     ) as found on true`,
  );
  const migrate = [program.command('migrate')];
  if (!found?.present) return failed('schema', 'the schema "scheduler" is not in this database', migrate);
  if (!found.readable) return failed('schema', 'the level of the schema cannot be read: see "rights"');
  const [{ level } = { level: 0 }] = await db.query<{ level: number }>(
    'select coalesce(max(id), 0) as level from scheduler.migrations',
  );
  if (level < LEVEL)
    return failed('schema', `the schema is at level ${level}, and this version needs ${LEVEL}`, migrate);
  if (level > LEVEL)
    return warning(
      'schema',
      `the schema is at level ${level}, and this version knows ${LEVEL}: a newer version has migrated it`,
      ['# Install that version here as well, before a tick meets what it does not know.'],
    );
  return ok('schema', `level ${level}, as this version needs`);
}

interface Index {
  name: string;
  on: string;
  /** It keeps a value from being stored twice, and nothing due is found by it. */
  unique: boolean;
  definition: string | null;
  valid: boolean | null;
}

/** Those that the adopting functions ensure: their text is the one list of them. */
const INDEXES = `
  with ensured as (
    select distinct call[1] as kind, call[2] as name, call[3] as on, call[4] as col
    from pg_proc p
    cross join lateral regexp_matches(
      p.prosrc, 'scheduler\\.ensure_(\\w+)\\(\\s*''(\\w+)'',\\s*''(\\w+)''(?:,\\s*''(\\w+)'')?', 'g'
    ) as call
    where p.pronamespace = to_regnamespace('scheduler') and p.proname like 'adopt\\_%'
  )
  select e.name, e.on, e.kind = 'once' as unique, pg_get_indexdef(i.indexrelid) as definition, i.indisvalid and i.indisready as valid
  from ensured e
  join pg_class t on t.oid = to_regclass(e.on)
  left join pg_class c on c.relname = e.name and c.relnamespace = t.relnamespace
  left join pg_index i on i.indexrelid = c.oid and i.indrelid = t.oid
  where e.on = any(:tables::text[])
    -- The application's own will do.
    and (i.indexrelid is not null or e.kind <> 'once' or not scheduler.stored_once(e.name, t.oid, e.col))
  order by e.on, e.name`;

export async function checkIndexes({ db, settings, program, jobs }: Exam, installed: string[]): Promise<Finding> {
  const tables = jobs.filter((job) => installed.includes(job.name)).flatMap((job) => Object.keys(job.tables));
  const indexes = await db.query<Index>(INDEXES, { tables: [...new Set(tables)] });
  const missing = indexes.filter((index) => index.definition === null);
  const invalid = indexes.filter((index) => index.valid === false);
  const broken = [...missing, ...invalid];
  const strange = indexes.filter((index) => index.definition && zonesIn(index.definition, settings).length > 0);
  const rebuild =
    '# It waits for, and holds up, writers to that table while it builds. On a large one build it beforehand, by ';
  if (broken.length > 0) {
    const all = [
      ...missing.map(({ name, on }) => `${name} on ${on} is missing`),
      ...invalid.map(({ name, on }) => `${name} on ${on} is invalid`),
    ];
    const harm = [
      ...(broken.some(({ unique }) => !unique) ? ['finding what is due would read the whole table'] : []),
      ...(broken.some(({ unique }) => unique) ? ['what must be stored once may be stored twice'] : []),
    ];
    return failed('indexes', `${all.join(', ')}: ${harm.join(', and ')}`, [
      ...invalid.map(({ name }) => `drop index ${name};`),
      `${rebuild}hand with "create index concurrently".`,
      program.command('migrate'),
    ]);
  }
  if (strange.length > 0) {
    const zones = [...new Set(strange.flatMap(({ definition }) => zonesIn(definition!, settings)))];
    return failed(
      'indexes',
      `${strange.map(({ name }) => name).join(', ')} built for another zone (${zones.join(', ')}), ` +
        `while SCHEDULER_DB_TIMEZONE is ${settings.dbTimezone} and SCHEDULER_TIMEZONE is ${settings.timezone}: ` +
        'they are not used, and finding what is due reads the whole table',
      ['# If the settings are right; otherwise mend those.', program.command('migrate')],
    );
  }
  return ok('indexes', `all ${counted(indexes.length, 'index', 'indexes')} in place`);
}

const AT = /scheduler\.at\((?:"[^"]+"|\w+), '([^']+)'::text\)/g;

/** The zones written into an index that are not the configured ones. */
function zonesIn(definition: string, settings: { timezone: string; dbTimezone: string }): string[] {
  const ofColumns = [...definition.matchAll(AT)].map(([, zone]) => zone!);
  const others = [...definition.replaceAll(AT, '').matchAll(/'([^']+)'::(?:text|character varying)/g)]
    .map(([, text]) => text!)
    .filter((text) => (text === 'UTC' || text.includes('/')) && isZone(text));
  return [
    ...ofColumns.filter((zone) => zone !== settings.dbTimezone),
    ...others.filter((zone) => zone !== settings.timezone),
  ];
}
