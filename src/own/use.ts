import type { Settings } from '../base/config.ts';
import { nearest } from '../base/nearest.ts';
import type { Transaction } from '../db/client.ts';
import { beginOf, columnsToAdd, definition, typeOf } from '../job/add-columns.ts';
import { adopt, asOwner } from '../job/adopt.ts';
import { type Installed, install } from '../job/compile.ts';
import type { Job, Table } from '../job/define.ts';
import { NOW, quoteName, quoteText } from '../job/expressions.ts';
import { type Laid, lay } from '../job/lay.ts';
import type { Report } from '../job/steps.ts';
import {
  type Catalog,
  type Found,
  keyOf,
  placeOf,
  readCatalog,
  storedKey,
  storedName,
  tableNames,
  tablesOf,
} from '../job/tables.ts';
import { addWord, lackingWords, refusedWords } from '../job/words.ts';
import { isUse, layTable, type Place, saidOf, type Using } from './build-use.ts';
import type { OwnJob, Path } from './definition.ts';
import { checkFit, checkKey, filledBy, notesOfKey } from './fit.ts';
import { type IndexPlan, planIndexes } from './indexes.ts';
import type { Built } from './making.ts';
import { knowsZone, readExpression, readStatement, requireReading, seeTable, whyNoTable } from './server.ts';

/** Reads what a file says of a built-in job's tables, and plans what they lack. */

/** A column or a table that is added. */
export interface Addition {
  words: string;
  sql: string;
}

type Fault = (path: Path, message: string, offset?: number) => void;

export interface UsePlan {
  built: Built;
  using: Using;
  indexes: IndexPlan[];
  adds: Addition[];
}

export async function planUse(
  tx: Transaction,
  { settings, builtIn }: { settings: Settings; builtIn: Job[] },
  own: OwnJob,
  fault: Fault,
): Promise<UsePlan | undefined> {
  if (!isUse(own)) return undefined;
  let isSound = true;
  const refuse: Fault = (...said) => {
    isSound = false;
    fault(...said);
  };
  const used = builtIn.find(({ name }) => name === own.uses.job);
  if (!used)
    return void refuse(
      ['uses'],
      noneOf(
        own.uses.job,
        'no built-in job',
        builtIn.map(({ name }) => name),
      ),
    );
  const others = Object.keys(used.tables ?? {});
  for (const name of Object.keys(own.uses.tables))
    if (!others.includes(name))
      refuse(
        ['tables', name],
        others.length > 0
          ? noneOf(name, `no other table of ${used.name}`, others)
          : `${used.name} has one table, which "table" names`,
      );
  const notes: Omit<Built, 'job' | 'table'> = { columns: {}, notes: [], functions: {}, needs: [], makes: [] };
  const [laid, places] = [{} as Record<string, Laid>, new Map<string, Place>()];
  for (const { table, said, path } of saidOf(own, used)) {
    const seen = await seeTable(tx, said.table ?? table.name);
    if (!seen && table.ours && said.table === undefined) continue;
    if (!seen) {
      const which = `the job needs a table for "${table.name}": say under "tables" which one it is, ${table.name}: { table: NAME }`;
      refuse([...path, 'table'], said.table === undefined ? which : await whyNoTable(tx, said.table));
      continue;
    }
    const building = {
      read: (...asked: [string, string | null, string[]]) => readExpression(tx, seen, ...asked),
      readStatement: (...asked: [string, Record<string, string>]) => readStatement(tx, seen, ...asked),
      knowsZone: (zone: string) => knowsZone(tx, zone),
      ...{ fault: refuse, dbZone: settings.dbTimezone },
    };
    const filled = filledBy(builtIn, table.name);
    const place: Place = { table, said, path, seen, building, unsafe: new Set(), filled };
    await asOwner(tx, seen, async () => {
      await requireReading(tx);
      laid[table.name] = await layTable(own, place, notes);
    });
    places.set(table.name, place);
  }
  if (!isSound) return undefined;
  const identity = {
    ...own,
    summary: own.summary ?? used.summary,
    everyMinutes: own.everyMinutes || used.everyMinutes,
  };
  const job = lay(used, identity, { job: used.name, tables: laid });
  const before = await readCatalog(tx, tableNames([job]), foundAt(places));
  const using = { use: { job: used.name, tables: laid }, job, places, before, after: whole(job, before) };
  checkFit(own, using, refuse);
  const main = places.get(job.table.name)!;
  checkKey(job, main.seen, refuse);
  notes.notes.push(...notesOfKey(main.seen, storedKey(job.table)));
  await checkWords(tx, using, refuse);
  if (!isSound) return undefined;
  const indexes = await indexesOf(tx, using, settings, refuse);
  if (!isSound) return undefined;
  const stub = {
    ...job,
    table: { name: job.table.name, recognisedBy: [], key: keyOf(job.table), columns: {} },
    rules: {},
  };
  const { name, summary, everyMinutes, order, table, rules } = stub;
  const built = { ...notes, job: { name, summary, everyMinutes, order, table, rules }, table: main.seen };
  return { built, using, indexes, adds: addsOf(job, before, settings.dbTimezone) };
}

const noneOf = (name: string, what: string, valid: string[]) => {
  const meant = nearest(name, valid);
  return `"${name}" is ${what}; ${meant ? `did you mean "${meant}"?` : `valid: ${valid.join(', ')}`}`;
};

export const foundAt = (places: Map<string, Place>): Catalog =>
  Object.fromEntries([...places].map(([name, { seen }]) => [name, seen]));

/** The tables as they will be, with what they lack. */
function whole(job: Job, before: Catalog): Catalog {
  const after: Catalog = {};
  for (const table of tablesOf(job)) {
    const found: Found = before[table.name] ?? {
      ...{ oid: '0', schema: before[job.table.name]!.schema, name: table.name, owner: '', notNull: {} },
      columns: Object.fromEntries(Object.keys(table.columns).map((name) => [name, typeOf(job, table, name, before)])),
    };
    const added = columnsToAdd(table, found, true).map((name) => [
      storedName(table, name),
      typeOf(job, table, name, before),
    ]);
    after[table.name] = { ...found, columns: { ...found.columns, ...Object.fromEntries(added) } };
  }
  return after;
}

function addsOf(job: Job, before: Catalog, dbZone: string): Addition[] {
  return tablesOf(job).flatMap((table) => {
    const found = before[table.name];
    if (!found)
      return [{ words: `the table ${table.name} is made`, sql: `-- "scheduler apply" makes the table ${table.name}` }];
    const place = placeOf(found);
    return columnsToAdd(table, found, true).map((name) => {
      const began = beginOf(table, found, name, dbZone);
      const value = began?.replaceAll(NOW, 'now()').replaceAll(':dbZone::text', quoteText(dbZone));
      // Without it, whoever paid before the job came would get what was bought once more.
      const fill = `;\nupdate ${place} set ${quoteName(storedName(table, name))} = ${value} where (${value}) is not null`;
      return {
        words: `the column ${found.schema}.${found.name}.${storedName(table, name)} (${typeOf(job, table, name, before)}) is added${began ? ', and tells that what is past is done' : ''}`,
        sql: `alter table ${place} add column ${definition(job, table, name, before, false)}${began ? fill : ''}`,
      };
    });
  });
}

/** Adds what the tables lack, and answers them as they are then. */
export async function adoptUse(
  tx: Transaction,
  { job, places }: Using,
  { timezone: zone, dbTimezone: dbZone }: Settings,
  report: Report,
): Promise<Catalog> {
  const laid = foundAt(places);
  await adopt(tx, job, { ...{ create: false, zones: { zone, dbZone }, laid }, report });
  return readCatalog(tx, tableNames([job]), laid);
}

/** What its rules would find now. Columns that are not there yet hold what they will begin with. */
export function asYet({ job, places }: Using, dbZone: string): Installed {
  const tables = Object.fromEntries(
    tablesOf(job).map((table) => {
      const found = places.get(table.name)?.seen;
      const missing = found ? columnsToAdd(table, found, true) : Object.keys(table.columns);
      const columns = missing.map((name) => [name, yet(table, found, name, dbZone)]);
      return [table.name, { ...laidAs(table), columns: { ...laidAs(table).columns, ...Object.fromEntries(columns) } }];
    }),
  );
  const found = { ...foundAt(places) };
  for (const table of tablesOf(job)) found[table.name] ??= found[job.table.name]!;
  return install(lay(job, job, { job: job.name, tables }), found, dbZone);
}

const laidAs = ({ columns, where, insert, set }: Table): Laid => ({
  columns,
  ...(where !== undefined && { where }),
  ...(insert && { insert }),
  ...(set && { set }),
});

function yet(
  table: Table,
  found: Found | undefined,
  name: string,
  dbZone: string,
): { reads: string } | { absent: string } {
  const began = found && beginOf(table, found, name, dbZone);
  return began ? { reads: began } : { absent: table.columns[name]!.type };
}

async function checkWords(tx: Transaction, { job, places, after }: Using, refuse: Fault): Promise<void> {
  for (const table of tablesOf(job)) {
    const { seen, path } = places.get(table.name) ?? {};
    for (const lacking of seen ? await lackingWords(tx, table, seen) : [])
      refuse(
        [...path!, 'columns'],
        `the enum type of "${lacking.column}" lacks a word that the job writes or looks for. Add it: ${addWord(lacking)}`,
      );
  }
  for (const { sentence, remedy } of await refusedWords(tx, job, after))
    refuse(['table'], `${sentence}. Let the check allow that, for instance: ${remedy}`);
}

async function indexesOf(tx: Transaction, using: Using, settings: Settings, refuse: Fault): Promise<IndexPlan[]> {
  const { job, places, after } = using;
  const all: IndexPlan[] = [];
  for (const [name, { seen, path }] of places) {
    const table = tablesOf(job).find((each) => each.name === name)!;
    const columns = Object.fromEntries(
      Object.entries(after[name]!.columns).filter(([column]) => !Object.hasOwn(seen.columns, column)),
    );
    const refused = (what: string, why: string) =>
      refuse([...path, 'columns'], `no index can find the rows of "${what}": ${why}`);
    await asOwner(tx, seen, async () => {
      all.push(
        ...(await planIndexes(tx, { job, described: table, catalog: after, table: seen, columns }, settings, refused)),
      );
    });
  }
  return all;
}
