import { isDeepStrictEqual } from 'node:util';
import type { Settings } from '../base/config.ts';
import type { Log } from '../base/log.ts';
import { Stop } from '../base/stop.ts';
import type { Database, Transaction } from '../db/client.ts';
import { run } from '../engine/run.ts';
import { asOwner } from '../job/adopt.ts';
import { STILL_DUE, TWICE } from '../job/change.ts';
import type { Conditions, Job } from '../job/define.ts';
import { quoteName, quoteText } from '../job/expressions.ts';
import { qualified } from '../job/tables.ts';
import { type Kept, keepJob, latestJobs, type Version } from '../store/own-jobs.ts';
import { type Building, type Built, build } from './build.ts';
import type { Fault, Files, OwnJob } from './definition.ts';
import { type Due, dueNow, type IndexPlan, planIndexes } from './indexes.ts';
import { dropFunctions, makeFunctions } from './raising.ts';
import { readExpression, readStatement, seeTable } from './server.ts';

/** From files to jobs that a tick knows: check all, play each on real rows, plan, build the indexes, switch. */

export interface Applying {
  db: Database;
  settings: Settings;
  log: Log;
  builtIn: Job[];
}

export interface Change {
  name: string;
  /** "kept": not in the files. */
  what: 'new' | 'changed' | 'same' | 'kept' | 'removed';
  table: string;
  definition: OwnJob | null;
  built: Built | undefined;
  kept: Kept | null;
  /** Which keys of the job, and which of its rules, are not as they were. */
  differs: string[];
  indexes: IndexPlan[];
  /** What its new rules would find. */
  due: Due[];
  /** Rows on which it fails, of those that it was played on. */
  failing: string[];
}

export interface Plan {
  changes: Change[];
  faults: Fault[];
}

/** Checks everything, and says what would change. It changes nothing. */
export async function planOf(applying: Applying, files: Files, prune: boolean): Promise<Plan> {
  const { db, settings } = applying;
  const faults = [...files.faults];
  const changes: Change[] = [];
  const latest = await latestJobs<OwnJob>(db);
  for (const definition of files.jobs) {
    const built = await db.transaction((tx) => check(tx, settings, files, definition, faults));
    if (!built) continue;
    const before = latest.find(({ name }) => name === (definition.was ?? definition.name) || name === definition.name);
    changes.push(await db.transaction((tx) => compare(tx, settings, definition, built, before)));
  }
  for (const { name, definition, compiled } of latest) {
    const isNamed = files.jobs.some((job) => job.name === name || job.was === name);
    if (compiled === null || isNamed || files.faults.length > 0) continue;
    const what = prune ? 'removed' : 'kept';
    changes.push({
      ...{ name, what, table: definition!.table, definition, built: undefined, kept: compiled },
      ...{ differs: [], indexes: [], due: [], failing: [] },
    });
  }
  return {
    changes,
    faults: faults.sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column),
  };
}

/** The server judges each expression as the owner of the table. Nothing is executed. */
async function check(
  tx: Transaction,
  settings: Settings,
  files: Files,
  own: OwnJob,
  faults: Fault[],
): Promise<Built | undefined> {
  const before = faults.length;
  const fault = (path: (string | number)[], message: string, offset?: number) =>
    void faults.push({ ...files.at(own.name, path, offset), message });
  const table = await seeTable(tx, own.table).catch(() => undefined);
  if (!table) {
    fault(['table'], `there is no table ${own.table}, or it is a view`);
    return undefined;
  }
  let built: Built | undefined;
  await asOwner(tx, table, async () => {
    const read: Building['read'] = (sql, type, words) => readExpression(tx, table, sql, type, words);
    const statement = (sql: string) => readStatement(tx, table, sql);
    built = await build(own, table, { read, readStatement: statement, fault, dbZone: settings.dbTimezone });
  });
  return faults.length > before ? undefined : built;
}

async function compare(
  tx: Transaction,
  settings: Settings,
  definition: OwnJob,
  built: Built,
  before: Version<OwnJob> | undefined,
): Promise<Change> {
  const { job, table } = built;
  const rulesBefore = before?.compiled?.job.rules ?? {};
  const stays = ([name]: [string, string]) => job.rules[name]?.due === rulesBefore[name]?.due;
  const found = { ...table, columns: { ...table.columns, ...built.columns } };
  const kept = leavingAlone(
    { job, found, dbZone: settings.dbTimezone, since: {} },
    Object.fromEntries(Object.entries(before?.compiled?.since ?? {}).filter(stays)),
  );
  const was = before?.compiled ? before.definition : null;
  const differs = was ? differences(was, definition) : [];
  const isSame = was && differs.length === 0 && isDeepStrictEqual(before!.compiled, JSON.parse(JSON.stringify(kept)));
  const newRules = Object.keys(job.rules).filter((name) => !(name in rulesBefore));
  const indexes = await planIndexes(tx, built, settings);
  await tx.query('savepoint looking');
  await makeFunctions(tx, built.makes);
  const due = await dueNow(tx, kept, table, settings, newRules);
  await tx.query('rollback to savepoint looking');
  return {
    ...{ name: job.name, table: `${table.schema}.${table.name}`, definition, built, kept, differs, failing: [] },
    what: isSame ? 'same' : was ? 'changed' : 'new',
    ...{ indexes, due },
  };
}

/** Rules that leave alone what was due before an instant. To name "now" keeps this out of the index. */
export function leavingAlone(kept: Kept, since: Record<string, string>): Kept {
  const rules = { ...kept.job.rules };
  for (const [name, instant] of Object.entries(since)) {
    const rule = rules[name]!;
    const condition = `least(${rule.due}, now) >= ${quoteText(instant)}::timestamptz`;
    rules[name] = { ...rule, where: { ...(rule.where as Conditions), [`it is due since ${instant}`]: condition } };
  }
  return { ...kept, job: { ...kept.job, rules }, since: { ...kept.since, ...since } };
}

function differences(was: OwnJob, is: OwnJob): string[] {
  const keys = ['name', 'table', 'id', 'zone', 'where', 'everyMinutes', 'summary'] as const;
  const ofJob = keys.filter((key) => !isDeepStrictEqual(was[key], is[key])).map((key) => `"${key}"`);
  const rules = [...new Set([...Object.keys(was.rules), ...Object.keys(is.rules)])];
  const ofRules = rules
    .filter((name) => !isDeepStrictEqual(was.rules[name], is.rules[name]))
    .map((name) => {
      if (!(name in was.rules)) return `the rule "${name}" is new`;
      return name in is.rules ? `the rule "${name}" is another` : `the rule "${name}" is gone`;
    });
  return [...ofJob.map((key) => `${key} is another`), ...ofRules];
}

const PLAYED = 100;

export interface Played {
  /** What is wrong with the job. */
  faults: string[];
  /** Rows that it would fail on. */
  rows: string[];
}

/** What its rules make of some real rows, rolled back: a trial that sees triggers, and rules that feed one another. */
export async function play({ db, settings, log }: Applying, change: Change): Promise<Played> {
  const { name, definition, kept, built } = change;
  const result = await run(db, settings, log, {
    ...{ jobs: { builtIn: [], own: [name] }, stop: new Stop(), timeoutSeconds: 30, batchSize: PLAYED, most: PLAYED },
    ...{ dryRun: true, debug: false, by: 'apply', evenIfPaused: true },
    before: async (tx) => {
      await makeFunctions(tx, built!.makes);
      await keepJob(tx, name, definition, kept, 'apply');
    },
  });
  const [job] = result.jobs;
  const rows = job!.failures.map(({ id, rule, error: why }) => ({
    why,
    sentence: `row ${id} fails by the rule "${rule}": ${why}`,
  }));
  return {
    faults: [...(job!.error ? [job!.error] : []), ...rows.filter(isOfRule).map(({ sentence }) => sentence)],
    rows: rows.filter((each) => !isOfRule(each)).map(({ sentence }) => sentence),
  };
}

/** Not the row, but the rule is wrong. */
const isOfRule = ({ why }: { why: string }) => [STILL_DUE, TWICE].includes(why);

/** Adds the columns, builds the indexes, and then switches all definitions at once. */
export async function carryOut(
  { db }: Applying,
  changes: Change[],
  by: string,
  say: (step: string) => void,
): Promise<void> {
  await db.transaction((tx) =>
    makeFunctions(
      tx,
      changes.flatMap(({ built }) => built?.makes ?? []),
    ),
  );
  for (const { indexes } of changes)
    for (const index of indexes) {
      if (index.isThere) continue;
      await buildIndex(db, index);
      say(`built the index ${index.place}`);
    }
  await db.transaction(async (tx) => {
    await tx.query(`select set_config('lock_timeout', '10s', true)`);
    for (const { name, what, definition, kept } of changes) {
      if (what === 'removed') await keepJob(tx, name, null, null, by);
      if (what !== 'new' && what !== 'changed') continue;
      await keepJob(tx, name, definition, kept, by);
      if (definition!.was !== undefined) await rename(tx, definition!.was, name, by);
    }
    await dropFunctions(tx);
  });
}

export async function addColumns(
  { db }: Applying,
  { table, columns }: Built,
  say: (step: string) => void,
): Promise<void> {
  const missing = Object.entries(columns);
  if (missing.length === 0) return;
  const added = missing.map(([column, type]) => `add column if not exists ${quoteName(column)} ${type}`);
  await db.transaction((tx) =>
    asOwner(tx, table, async () => {
      await tx.query(`alter table ${qualified(table.name, table)} ${added.join(', ')}`);
    }),
  );
  for (const [column] of missing) say(`added the column ${table.schema}.${table.name}.${column}`);
}

/** One that was broken off leaves an index that nobody uses: it is made anew. */
async function buildIndex(db: Database, { place, statement }: IndexPlan): Promise<void> {
  const client = await db.client();
  await client.query('set search_path = pg_catalog, pg_temp');
  try {
    await client.query(`drop index concurrently if exists ${place}`);
    await client.query(statement);
  } finally {
    // A pooler hands the connection on as it is.
    await client.query('reset search_path').catch(() => {});
  }
}

/** Pauses, failures and history move along to the new name. */
async function rename(tx: Transaction, was: string, name: string, by: string): Promise<void> {
  for (const table of ['runs', 'events', 'failures', 'controls'])
    await tx.query(`update scheduler.${table} set job = :name::text where job = :was::text`, { was, name });
  const [row] = await tx.query<{ is: boolean }>(
    `select exists (select from scheduler.jobs where name = :was::text) as is`,
    { was },
  );
  if (row!.is) await keepJob(tx, was, null, null, by);
}
