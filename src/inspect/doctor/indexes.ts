import { isZone, type Settings } from '../../base/config.ts';
import type { Installed } from '../../job/compile.ts';
import { indexesOf } from '../../job/indexes.ts';
import { builtAs, isMarked } from '../../job/steps.ts';
import { type Catalog, onceName, tablesOf } from '../../job/tables.ts';
import { type Exam, failed, migrate, ok, quoteName, type Result } from './finding.ts';

/** The indexes that "scheduler migrate" puts beside the application's tables. */

interface Wanted {
  name: string;
  schema: string;
  on: string;
  oid: string;
  definition: string | null;
  /** It keeps a value of this column from being stored twice, and nothing due is found by it. */
  once: string | null;
}

function wantedBy({ job }: Installed, catalog: Catalog, { timezone, dbTimezone }: Settings): Wanted[] {
  return tablesOf(job).flatMap((table) => {
    const found = catalog[table.name]!;
    const { schema, oid } = found;
    const indexes = [
      ...indexesOf(job, table, catalog, { zone: timezone, dbZone: dbTimezone }).map((index) => ({
        ...{ ...index, once: null },
      })),
      ...(table.once ?? []).map((once) => ({ name: onceName(found, once), definition: null, once })),
    ];
    return indexes.map((index) => ({ schema, on: table.name, oid, ...index }));
  });
}

interface Index extends Omit<Wanted, 'oid'> {
  present: boolean;
  valid: boolean | null;
  /** What it was built from, in its comment; "migrate" leaves one of an operator alone. */
  built: string | null;
}

const INDEXES = `
  select w.name, w.schema, w.on, w.definition, w.once, i.indexrelid is not null as present, i.indisvalid and i.indisready as valid,
    obj_description(i.indexrelid, 'pg_class') as built
  from (
    select distinct * from jsonb_to_recordset(:wanted::jsonb)
      as each (name text, schema text, "on" text, oid oid, definition text, once text)
  ) as w
  left join pg_class c on c.relname = w.name and c.relnamespace = to_regnamespace(quote_ident(w.schema))
  left join pg_index i on i.indexrelid = c.oid and i.indrelid = w.oid
  -- The application's own will do.
  where i.indexrelid is not null or w.once is null or not scheduler.stored_once(w.name, w.oid, w.once)
  order by present, w.on, w.name`;

export async function checkIndexes(exam: Exam, installed: Installed[], catalog: Catalog): Promise<Result> {
  const { db, settings } = exam;
  const wanted = installed.flatMap((each) => wantedBy(each, catalog, settings));
  const indexes = await db.query<Index>(INDEXES, { wanted: JSON.stringify(wanted) });
  const broken = indexes.filter(({ valid }) => !valid);
  if (broken.length > 0) return brokenOnes(exam, broken);
  const strange = indexes.filter(
    ({ definition, built }) => definition && isMarked(built) && built !== builtAs(definition),
  );
  if (strange.length > 0) return strangeOnes(exam, strange);
  if (indexes.length === 0) return ok('no built-in job needs one');
  return ok(`all ${indexes.length} ${indexes.length === 1 ? 'index' : 'indexes'} in place`);
}

function brokenOnes(exam: Exam, broken: Index[]): Result {
  const all = broken.map(({ name, on, present }) => `${name} on ${on} is ${present ? 'invalid' : 'missing'}`);
  const harm = [
    ...(broken.some(({ once }) => !once) ? ['finding what is due would read the whole table'] : []),
    ...(broken.some(({ once }) => once) ? ['a value that must be stored once may be stored twice'] : []),
  ];
  const drop = broken.filter(({ present }) => present);
  return failed(`${all.join(', ')}: ${harm.join(', and ')}`, [
    ...(drop.length > 0 ? ['-- As the owner of the table:'] : []),
    ...drop.map(({ schema, name }) => `drop index ${quoteName(schema)}.${quoteName(name)};`),
    '# It waits for, and holds up, writers to that table while it builds. On a large one build it beforehand, by hand with "create index concurrently".',
    ...migrate(exam),
  ]);
}

function strangeOnes(exam: Exam, strange: Index[]): Result {
  const { settings } = exam;
  const harm = 'they are not used, and finding what is due reads the whole table';
  const ofZones = strange.filter((index) => zonesOf(index).length > 0);
  const names = (ofZones.length > 0 ? ofZones : strange).map(({ name }) => name).join(', ');
  if (ofZones.length === 0)
    return failed(`${names} built for another version of the job or of its table: ${harm}`, migrate(exam));
  const zones = [...new Set(ofZones.flatMap(zonesOf))];
  return failed(
    `${names} built for another zone (${zones.join(', ')}), ` +
      `while SCHEDULER_DB_TIMEZONE is ${settings.dbTimezone} and SCHEDULER_TIMEZONE is ${settings.timezone}: ${harm}`,
    ['# If the settings are right; otherwise mend those.', ...migrate(exam)],
  );
}

const textsIn = (definition: string) => [...definition.matchAll(/'((?:[^']|'')*)'/g)].map(([, text]) => text!);

/** The zones for which an index was built, where others stand now. */
function zonesOf({ built, definition }: Index): string[] {
  const wanted = textsIn(definition!);
  return textsIn(built!).filter((text, n) => text !== wanted[n] && isZone(text) && isZone(wanted[n] ?? ''));
}
