import { isDeepStrictEqual } from 'node:util';
import type { Settings } from '../base/config.ts';
import { entryOf } from '../base/entry.ts';
import { commandFor } from '../base/paste.ts';
import { someOf } from '../base/plain.ts';
import type { Database, Transaction } from '../db/client.ts';
import { asOwner } from '../job/adopt.ts';
import type { Job, Rule } from '../job/define.ts';
import { leavingAlone } from '../job/lay.ts';
import { isUsable, type Kept, latestJobs, namesakes, type Version } from '../store/own-jobs.ts';
import { faultsAmong } from './among-jobs.ts';
import { build } from './build.ts';
import type { Using } from './build-use.ts';
import type { Fault, Files, OwnJob, Path } from './definition.ts';
import { cascades } from './deletes.ts';
import { differences, drift } from './differences.ts';
import { asYetOf, type Due, dueNow, type IndexPlan, type Made, madeIndexes, planIndexes } from './indexes.ts';
import type { Built } from './making.ts';
import { makeFunctions } from './raising.ts';
import { knowsZone, readExpression, readStatement, requireReading, seeTable, whyNoTable } from './server.ts';
import { type Addition, asYet, planUse, type UsePlan } from './use.ts';

/** What would change if these files were applied: everything is checked, and nothing is changed. */

export interface Applying {
  db: Database;
  settings: Settings;
  builtIn: Job[];
  /** It may not make anything, not even to undo it: the role that ticks has no right to. */
  onlyLooks?: boolean;
  /** Those to which the same files are applied, one after the other. */
  tenants?: string[];
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
  /** For a built-in job: its tables, and what they lack. */
  using?: Using;
  adds: Addition[];
  /** What rules that are new, or ask for other rows, would find. */
  due: (Due & { isNew: boolean })[];
  /** Rows on which it fails, of those that it was played on. */
  failing: string[];
}

export interface Plan {
  changes: Change[];
  /** Indexes that apply built, and that no job will need. */
  drops: string[];
  faults: Fault[];
}

/** Checks everything, and says what would change. It changes nothing. */
export async function planOf(applying: Applying, files: Files, prune: boolean): Promise<Plan> {
  const { db } = applying;
  const faults = [...files.faults, ...faultsAmong(files, applying.builtIn)];
  const changes: Change[] = [];
  const latest = await latestJobs<OwnJob>(db);
  const made = await madeIndexes(db);
  const planned = new Map<string, IndexPlan>();
  for (const definition of files.jobs) {
    const checked = await db.transaction((tx) => check(tx, applying, files, definition, faults));
    if (!checked) continue;
    // Two jobs may need the same one.
    for (const index of checked.indexes) {
      const same = planned.get(index.meaning);
      if (same) Object.assign(index, same);
      else planned.set(index.meaning, index);
    }
    const { ofNone, own, others } = await namesakes<OwnJob>(db, definition);
    const hiding = others.filter((tenant) => !applying.tenants?.includes(tenant));
    if (hiding.length > 0)
      faults.push({ ...files.at(definition.name, ['table']), message: hidden(definition, hiding) });
    const names = [definition.name, definition.was];
    const versions = [ofNone, ...names.map((name) => latest.find((each) => each.name === name))].filter(
      (each) => !!each,
    );
    const before = versions.find(isUsable) ?? versions[0];
    const change = await db.transaction((tx) => compare(tx, applying, { definition, before, made, ...checked }));
    changes.push(change);
    // A version that is written takes the place of this tenant's own.
    if (change.what === 'same' && own.length > 0)
      changes.push(asItWas(latest.find(({ name }) => name === definition.name)!, 'removed'));
  }
  for (const version of latest) {
    const isNamed = files.jobs.some(({ name, was }) => [name, was].includes(version.name));
    if (version.compiled === null || isNamed || files.faults.length > 0) continue;
    changes.push(asItWas(version, prune ? 'removed' : 'kept'));
  }
  const used = changes.flatMap(({ what, kept }) => (what === 'removed' ? [] : Object.keys(kept?.indexes ?? {})));
  return {
    changes,
    drops: made.flatMap(({ place, isUsedElsewhere }) => (isUsedElsewhere || used.includes(place) ? [] : [place])),
    faults: faults.sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column),
  };
}

const asItWas = ({ name, tenant, definition, compiled }: Version<OwnJob>, what: 'kept' | 'removed'): Change => ({
  ...{ name, what, definition, built: undefined, kept: compiled },
  table: `${tenant === null ? '' : `${tenant}.`}${definition?.table ?? '?'}`,
  ...{ differs: [], indexes: [], adds: [], due: [], failing: [] },
});

const hidden = ({ name }: OwnJob, tenants: string[]): string =>
  `it belongs to no tenant, and a job "${name}" of ${tenants.length === 1 ? 'the tenant' : 'the tenants'} ${someOf(tenants)} would hide it in their runs: remove theirs (${commandFor(tenants[0], `jobs remove ${name}`)}), or give this one another name`;

type Checked = Pick<UsePlan, 'built' | 'indexes'> & Partial<UsePlan>;

/** The server judges each expression as the owner of the table. Nothing is executed. */
async function check(
  tx: Transaction,
  { settings, onlyLooks, builtIn }: Applying,
  files: Files,
  own: OwnJob,
  faults: Fault[],
): Promise<Checked | undefined> {
  const before = faults.length;
  const fault = (path: Path, message: string, offset?: number) =>
    void faults.push({ ...files.at(own.name, path, offset), message });
  if (own.uses) return planUse(tx, { settings, builtIn }, own, fault);
  const table = await seeTable(tx, own.table);
  if (!table) {
    fault(['table'], await whyNoTable(tx, own.table));
    return undefined;
  }
  let built: Built | undefined;
  await asOwner(tx, table, async () => {
    await requireReading(tx);
    built = await build(own, table, {
      read: (...asked) => readExpression(tx, table, ...asked),
      readStatement: (...asked) => readStatement(tx, table, ...asked),
      knowsZone: (zone) => knowsZone(tx, zone),
      ...{ fault, dbZone: settings.dbTimezone },
    });
  });
  await checkDeletes(tx, own, built!, fault);
  if (faults.length > before) return undefined;
  let indexes: IndexPlan[] = [];
  const refused = (rule: string, why: string) =>
    fault(['rules', rule.replace(/ \(missed\)$/, ''), 'due'], `no index can find its rows: ${why}`);
  await tx.query('savepoint trying');
  if (!onlyLooks) await makeFunctions(tx, built!.makes);
  await asOwner(tx, table, async () => {
    indexes = await planIndexes(tx, built!, settings, refused);
  });
  await tx.query('rollback to savepoint trying');
  return faults.length > before ? undefined : { built: built!, indexes };
}

async function checkDeletes(
  tx: Transaction,
  { rules }: OwnJob,
  { table, notes }: Built,
  fault: (path: Path, message: string) => void,
): Promise<void> {
  const deleting = Object.keys(rules).filter((name) => rules[name]!.delete);
  if (deleting.length === 0) return;
  const found = await cascades(tx, table.oid);
  for (const name of deleting) {
    for (const each of found.faults) fault(['rules', name, 'delete'], each);
    notes.push(...found.notes.map((each) => `${name}: ${each}`));
  }
}

interface Comparing extends Checked {
  definition: OwnJob;
  before: Version<OwnJob> | undefined;
  made: Made[];
}

async function compare(tx: Transaction, applying: Applying, comparing: Comparing): Promise<Change> {
  const { settings, onlyLooks } = applying;
  const { definition, built, indexes, before, made, using, adds = [] } = comparing;
  const { job, table } = built;
  const compiled = isUsable(before) ? before.compiled : null;
  const rules = using?.job.rules ?? job.rules;
  const rulesBefore = compiled?.uses && using ? rules : (compiled?.job.rules ?? {});
  // A skipped backlog is skipped for ever: also if the rule has another due time since.
  const stays = ([name]: [string, string]) => Object.hasOwn(rules, name);
  const found = { ...table, columns: { ...table.columns, ...built.columns } };
  const { [job.table.name]: main, ...others } = using?.after ?? {};
  const byApply = ({ place, isThere }: IndexPlan) => !isThere || made.some((each) => each.place === place);
  const kept = skipped(
    {
      ...{
        job,
        found: main ?? found,
        dbZone: settings.dbTimezone,
        since: {},
        functions: built.functions,
        needs: built.needs,
      },
      ...(using && { uses: using.use, others }),
      indexes: Object.fromEntries(indexes.map((index) => [index.place, byApply(index)])),
    },
    Object.fromEntries(Object.entries(compiled?.since ?? {}).filter(stays)),
  );
  const was = compiled ? before!.definition : null;
  const ofFile = was ? differences(was, definition) : [];
  const asIs = using?.before ?? { [job.table.name]: table };
  const differs = was && ofFile.length === 0 ? drift(compiled!, kept, asIs, indexes) : ofFile;
  const isAnother = (name: string) =>
    using
      ? !isDeepStrictEqual(compiled?.uses, using.use)
      : ['due', 'where', 'apart'].some(
          (key) =>
            !isDeepStrictEqual(plainOf(entryOf(kept.job.rules, name))[key], plainOf(entryOf(rulesBefore, name))[key]),
        );
  const changed = Object.keys(rules).filter((name) => isAnother(name));
  await tx.query('savepoint looking');
  if (!onlyLooks) await makeFunctions(tx, built.makes);
  let due: Due[] = [];
  // If a condition cannot be asked, playing the rule tells why.
  await tx.attempt(async () => {
    const installed = using ? asYet(using, kept.dbZone) : asYetOf(kept, table);
    due = await dueNow(tx, installed, settings, changed);
  });
  await tx.query('rollback to savepoint looking');
  const isSame = was && differs.length === 0;
  return {
    ...{ name: job.name, table: `${table.schema}.${table.name}`, definition, built, kept, differs, failing: [] },
    what: isSame ? 'same' : was ? 'changed' : 'new',
    ...{
      indexes,
      adds,
      ...(using && { using }),
      due: due.map((each) => ({ ...each, isNew: !(each.rule in rulesBefore) })),
    },
  };
}

const plainOf = (rule: Rule | undefined): Record<string, unknown> => JSON.parse(JSON.stringify(rule ?? {}));

/** Leaves rows alone that were due before these instants. */
export function skipped(kept: Kept, since: Record<string, string>): Kept {
  // Those of a built-in job are code: they are changed when it is laid over its tables.
  const rules = leavingAlone(kept.job.rules, since);
  return { ...kept, job: { ...kept.job, rules }, since: { ...kept.since, ...since } };
}
