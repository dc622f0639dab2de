import { isDeepStrictEqual } from 'node:util';
import { entryOf } from '../base/entry.ts';
import type { Job } from '../job/define.ts';
import { type Catalog, type Found, storedName } from '../job/tables.ts';
import { catalogOf, type Kept } from '../store/own-jobs.ts';
import type { OwnJob, OwnUse, UsedTable } from './definition.ts';
import type { IndexPlan } from './indexes.ts';

/** What is not as it was, in sentences. */

export function differences(was: OwnJob, is: OwnJob): string[] {
  const keys = ['name', 'table', 'id', 'zone', 'where', 'everyMinutes', 'summary'] as const;
  const ofJob = keys
    .filter((key) => !isDeepStrictEqual(was[key], is[key]))
    .map((key) => `"${key === 'everyMinutes' ? 'every' : key}"`);
  const rules = [...new Set([...Object.keys(was.rules), ...Object.keys(is.rules)])];
  const ofRules = rules
    .filter((name) => !isDeepStrictEqual(entryOf(was.rules, name), entryOf(is.rules, name)))
    .map((name) => {
      if (!Object.hasOwn(was.rules, name)) return `the rule "${name}" is new`;
      return Object.hasOwn(is.rules, name) ? `the rule "${name}" is another` : `the rule "${name}" is gone`;
    });
  return [...ofJob.map((key) => `${key} is another`), ...ofUse(was.uses, is.uses), ...ofRules];
}

/** Compares the built-in job that it uses, and what the file says of that job's tables. */
function ofUse(was: OwnUse | undefined, is: OwnUse | undefined): string[] {
  const name = (use: OwnUse | undefined) => (use ? `"${use.job}"` : 'rules of its own');
  if (was?.job !== is?.job) return [`"uses" is another: it was ${name(was)}, and is ${name(is)} now`];
  const saidOf = ({ main, tables }: OwnUse) => new Map<string, UsedTable>([['', main], ...Object.entries(tables)]);
  const [before, now] = [was, is].map((use) => (use ? saidOf(use) : new Map<string, UsedTable>()));
  return [...new Set([...before!.keys(), ...now!.keys()])].flatMap((table) =>
    (['table', 'id', 'columns', 'where', 'insert', 'set'] as const)
      .filter((key) => !isDeepStrictEqual(before!.get(table)?.[key], now!.get(table)?.[key]))
      // The other keys of its own table are keys of the job.
      .filter((key) => table !== '' || ['columns', 'insert', 'set'].includes(key))
      .map((key) => `"${table === '' ? key : `tables.${table}.${key}`}" is another`),
  );
}

/** What has changed around a job since it was applied, though its file says the same. */
export function drift(was: Kept, is: Kept, tables: Catalog, indexes: IndexPlan[]): string[] {
  const names = [...new Set([...Object.keys(was.functions), ...Object.keys(is.functions)])];
  const functions = names.filter((name) => was.functions[name] !== is.functions[name]);
  const others = Object.keys(was.job.rules).filter((name) => {
    const now = entryOf(is.job.rules, name);
    return now && !isDeepStrictEqual(was.job.rules[name], plain(now));
  });
  // A column that no rule names may be part of "changed.*", and is no difference else.
  const isNamed = namedIn(was.job);
  const columns = columnsThatDiffer(catalogOf(was), tables, was.uses || others.length > 0 ? () => true : isNamed);
  const rules = columns.length + functions.length > 0 ? [] : others;
  const places = (kept: Kept) => Object.keys(kept.indexes).sort();
  const lost = indexes.filter(({ isThere, place }) => !isThere && Object.hasOwn(was.indexes, place));
  const isElse = lost.length === 0 && !isDeepStrictEqual(places(was), places(is));
  return [
    ...columns,
    ...functions.map((name) => `the function ${name} is another than when the job was applied`),
    ...rules.map((name) => `the rule "${name}" means something else to this server or version`),
    ...lost.map(({ place }) => `the index ${place} is missing or invalid`),
    ...(isElse ? ['other indexes find its rows now'] : []),
  ];
}

function namedIn({ table }: Job): (column: string) => boolean {
  const names = Object.keys(table.columns).map((name) => storedName(table, name));
  return (column) => names.includes(column);
}

const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

function columnsThatDiffer(was: Catalog, is: Catalog, matters: (column: string) => boolean): string[] {
  return Object.entries(was).flatMap(([name, found]) => {
    const now = entryOf(is, name);
    return now ? columnsOfTable(found!, now, matters) : [`the table "${name}" is gone`];
  });
}

function columnsOfTable(was: Found, is: Found, matters: (column: string) => boolean): string[] {
  const names = [...new Set([...Object.keys(was.columns), ...Object.keys(is.columns)])];
  return names.filter(matters).flatMap((name) => {
    if (!Object.hasOwn(is.columns, name)) return [`the column "${name}" is gone`];
    if (!Object.hasOwn(was.columns, name)) return [`the column "${name}" is new`];
    if (is.columns[name] !== was.columns[name])
      return [`the column "${name}" is of type ${is.columns[name]} now, and was of type ${was.columns[name]}`];
    return [];
  });
}
