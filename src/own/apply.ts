import { Log } from '../base/log.ts';
import { Stop } from '../base/stop.ts';
import { run } from '../engine/run.ts';
import { asOwner } from '../job/adopt.ts';
import { STILL_DUE, TWICE } from '../job/change.ts';
import { quoteName, quoteText } from '../job/expressions.ts';
import { markParts } from '../job/parts.ts';
import { ADDED_BY_APPLY, marked, sentenceOf } from '../job/steps.ts';
import { qualified } from '../job/tables.ts';
import { refreshKnown } from '../store/known-jobs.ts';
import { keepJob } from '../store/own-jobs.ts';
import { only } from '../store/standing.ts';
import { buildIndex, dropUnused } from './make-indexes.ts';
import type { Applying, Change } from './plan.ts';
import { makeFunctions } from './raising.ts';
import { rename } from './rename.ts';
import { grantNeeded, tablesOfChange } from './roles.ts';
import { adoptUse } from './use.ts';

/** Plays a plan on real rows, and carries it out: builds the indexes, switches the definitions, drops what nothing uses. */

const PLAYED = 100;

export interface Played {
  /** What is wrong with the job. */
  faults: string[];
  /** Rows that it would fail on. */
  rows: string[];
}

/** What its rules make of some real rows, rolled back: a trial that sees triggers, and rules that feed one another. */
export async function play({ db, settings, builtIn }: Applying, change: Change): Promise<Played> {
  const { name, definition, kept, built } = change;
  // The plan tells what came of it.
  const result = await run(db, settings, new Log('silent'), {
    ...{ jobs: only(builtIn, [name]), stop: new Stop(), timeoutSeconds: 30, batchSize: PLAYED, most: PLAYED },
    ...{ dryRun: true, debug: false, by: 'apply', evenIfPaused: true },
    before: async (tx) => {
      await makeFunctions(tx, built!.makes);
      await keepJob(tx, name, definition, kept, 'apply');
    },
  });
  const [job] = result.jobs;
  if (!job) return { faults: result.skipped.map(({ why }) => why), rows: [] };
  const told = job.failures.map(({ id, rule, error }) => ({
    // Not the row, but the rule is wrong.
    isFault: [STILL_DUE, TWICE].includes(error),
    sentence: `row ${id} fails by the rule "${rule}": ${error}`,
  }));
  // A rule that ends by itself may need more runs than one: that is worth knowing, and no fault.
  if (job.error) told.unshift({ isFault: !job.workLeft, sentence: job.error });
  const sentences = (isFault: boolean) => told.flatMap((each) => (each.isFault === isFault ? each.sentence : []));
  return { faults: sentences(true), rows: sentences(false) };
}

/**
 * Builds the indexes, switches all definitions at once, and drops the indexes that nothing uses any more. A role that is to tick gets
 * its rights together with the definitions: no tick meets one without the other.
 */
export async function carryOut(
  applying: Applying,
  changes: Change[],
  { by, role }: { by: string; role: string | undefined },
  say: (step: string) => void,
): Promise<void> {
  const { db, settings, builtIn } = applying;
  const makes = changes.flatMap(({ built }) => built?.makes ?? []);
  await db.transaction((tx) => makeFunctions(tx, makes));
  const indexes = new Map(changes.flatMap((change) => change.indexes.map((index) => [index.place, index])));
  for (const index of indexes.values()) {
    if (index.isThere) continue;
    await buildIndex(db, index);
    say(`built the index ${index.place}`);
  }
  for (const table of changes.flatMap(tablesOfChange))
    await db.transaction((tx) => asOwner(tx, table, () => markParts(tx, table)));
  const granted = await db.transaction(async (tx) => {
    await tx.query(`select set_config('lock_timeout', '10s', true)`);
    const renamed = changes.flatMap(({ name, definition, what, kept }) =>
      definition?.was !== undefined && what !== 'removed'
        ? [{ was: definition.was, name, tenant: kept!.found.schema }]
        : [],
    );
    await rename(tx, renamed);
    for (const { name, what, definition, kept } of changes) {
      if (what === 'removed') await keepJob(tx, name, null, null, by);
      if (what === 'new' || what === 'changed') await keepJob(tx, name, definition, kept, by);
    }
    return role === undefined ? [] : grantNeeded(tx, applying, role);
  });
  for (const { rights, object } of granted) say(`granted ${rights} on ${object} to ${role}`);
  await dropUnused(db, say);
  await refreshKnown(db, settings, builtIn);
}

/** What the tables of a job lack, before its rules can be played. */
export async function addColumns(
  { db, settings }: Applying,
  change: Change,
  say: (step: string) => void,
): Promise<void> {
  const { built, using, kept } = change;
  if (using) {
    const catalog = await db.transaction(
      (tx) => adoptUse(tx, using, settings, (step) => say(sentenceOf(step, false))),
      {
        unbounded: true,
      },
    );
    const { [using.job.table.name]: found, ...others } = catalog;
    change.kept = { ...kept!, found: found!, others };
    return;
  }
  const { table, columns } = built!;
  const missing = Object.entries(columns);
  if (missing.length === 0) return;
  const added = missing.map(([column, type]) => `add column if not exists ${quoteName(column)} ${type}`);
  await db.transaction((tx) =>
    asOwner(tx, table, async () => {
      const on = qualified(table.name, table);
      await tx.query(`alter table ${on} ${added.join(', ')}`);
      const words = quoteText(marked(undefined, ADDED_BY_APPLY));
      for (const [column] of missing) await tx.query(`comment on column ${on}.${quoteName(column)} is ${words}`);
    }),
  );
  for (const [column] of missing) say(`added the column ${table.schema}.${table.name}.${column}`);
}
