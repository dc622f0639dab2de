import { readable } from '../../base/calendar.ts';
import { OperatorError } from '../../base/errors.ts';
import { LOCK_TIMEOUT } from '../../db/client.ts';
import { parameters } from '../../engine/run.ts';
import type { Rule } from '../../job/define.ts';
import { type HeldRow, type Holder, heldRow, heldTable, type Rows } from './locks.ts';
import { type Look, noneIfUnanswerable, type Verdict, values } from './seen.ts';

/** What is in the way of a row though all its conditions are met, and what a tick makes of that; undefined: nothing. */
export async function obstacleTo(
  view: Look,
  rule: Rule,
  idType: string,
  expected: Verdict,
): Promise<Verdict | undefined> {
  const isNow = expected.at === view.now && expected.kind !== 'later';
  const obstacle =
    whoForbids(view, rule) ??
    (isNow ? ((await lockOnTables(view, rule, idType)) ?? (await lockPassedOver(view, rule, idType))) : undefined);
  if (obstacle) {
    return {
      kind: 'held',
      at: expected.at,
      sentence: `cannot happen because ${obstacle}; else it ${expected.sentence}`,
    };
  }
  if (!isNow || expected.kind === 'fails') return undefined;
  const awaited = await lockWaitedFor(view, rule, idType);
  return awaited ? { kind: 'fails', at: expected.at, sentence: `would fail now: ${awaited}` } : undefined;
}

function whoForbids({ job, id, settings, now, state, failure, surroundings }: Look, rule: Rule): string | undefined {
  if (failure?.quarantined_at) {
    return `it is in quarantine since ${readable(failure.quarantined_at)}, after ${failure.attempts} attempts (${failure.error}), until somebody runs "scheduler failures retry --job ${job.name} --id ${id}"`;
  }
  if (state.state === 'paused' || state.state === 'switched off') return `${job.name} is ${state.state}: ${state.why}`;
  try {
    rule.act?.prepare?.(parameters(settings, now));
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return error.message.replace(/\.$/, '');
  }
  return surroundings.readOnly ? `the database takes no changes: ${surroundings.readOnly}` : undefined;
}

/** A table that somebody keeps from being changed, or from being read at all. */
export async function lockOnTables({ db, job }: Look, rule: Rule, idType: string): Promise<string | undefined> {
  const held = await heldTable(db, Object.keys(job.tables), rule, idType);
  if (!held) return undefined;
  const { table, mode, granted } = held;
  const what = granted
    ? `the table ${table} is locked (${mode}) by ${describeHolder(held)}`
    : `the table ${table} is about to be locked (${mode}) by ${describeHolder(held)}, and whatever comes after that waits too`;
  return `${what}: a tick waits ${LOCK_TIMEOUT} for it, and leaves the job to the next`;
}

/** A row of which a tick takes the lock if it can, and which it leaves alone if not. */
async function lockPassedOver(view: Look, rule: Rule, idType: string): Promise<string | undefined> {
  const held = await holding(view, rule, idType, rule.each ? 'free' : 'its own');
  if (!held) return undefined;
  const end = held.prepared ? 'it is committed or rolled back' : 'that transaction ends';
  const unless = held.mayOnlyRefer ? ', unless that only refers to it' : '';
  return held.own
    ? `its row is locked by ${describeHolder(held)}: a tick leaves it alone until ${end}${unless}`
    : `the row ${held.id} of ${held.table}, which it needs as well, is locked by ${describeHolder(held)}: a tick leaves both alone until ${end}${unless}`;
}

/** A row that the change waits for. */
async function lockWaitedFor(view: Look, rule: Rule, idType: string): Promise<string | undefined> {
  const held =
    (rule.each && (await holding(view, rule, idType, 'its own'))) ?? (await holding(view, rule, idType, 'awaited'));
  if (!held || held.mayOnlyRefer) return undefined;
  const row = held.own ? 'its row' : `the row ${held.id} of ${held.table}, which it needs as well,`;
  return `${row} is locked by ${describeHolder(held)}, and a tick waits for that no longer than ${LOCK_TIMEOUT}`;
}

async function holding(view: Look, rule: Rule, idType: string, which: Rows): Promise<HeldRow | undefined> {
  const found = await heldRow(view.db, rule, idType, which, values(view, view.now)).catch(noneIfUnanswerable);
  return Array.isArray(found) ? undefined : found;
}

export function describeHolder({ pids, prepared, user, program, state, since }: Holder): string {
  // What another role does, not everybody may know.
  const known = [program && `"${program}"`, user, state, since && `since ${readable(since)}`]
    .filter(Boolean)
    .join(', ');
  const who = prepared
    ? `the prepared transaction "${prepared}"`
    : pids.length > 1
      ? `one of the processes ${pids.join(', ')}`
      : pids.length === 1
        ? `process ${pids[0]}`
        : 'a transaction whose process cannot be told';
  return `${who}${known && ` (${known})`}`;
}
