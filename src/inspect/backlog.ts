import type { Settings } from '../base/config.ts';
import type { Database } from '../db/client.ts';
import { blamesRow, sqlState } from '../db/states.ts';
import { parameters } from '../engine/run.ts';
import type { Installed } from '../job/compile.ts';
import { backlog } from './outlook.ts';

/** What is due and not done. Rows that wait for another attempt, or for an operator, are failures and not counted here. */
export interface Backlog {
  job: string;
  /** No more than MOST of each rule are counted. */
  rows: number;
  /** When the oldest became due; null where nothing is due, or where rows are due at once and carry no time. */
  since: string | null;
  seconds: number | null;
}

// To tell "a few" from "a thousand or more" is enough, and costs the same with ten million rows.
export const MOST = 1000;

// A table that has changed, and a row whose value a condition cannot read.
const isOfTheTables = (error: unknown) => sqlState(error)?.startsWith('42') || blamesRow(error);

/** A job whose tables do not answer is left out: what is wrong with it is another question's answer. */
export async function readBacklog(
  db: Database,
  settings: Settings,
  jobs: Installed[],
  found: { now: string; tenant: string },
): Promise<Backlog[]> {
  const read = (some: Installed[]) =>
    some.length === 0
      ? Promise.resolve([])
      : db.transaction((tx) => tx.query<Backlog>(backlog(some), { ...parameters(settings, found), most: MOST }), {
          inIndexOrder: true,
        });
  try {
    return await read(jobs);
  } catch (error) {
    if (!isOfTheTables(error)) throw error;
    if (jobs.length === 1) return [];
  }
  const all: Backlog[] = [];
  for (const job of jobs) {
    try {
      all.push(...(await read([job])));
    } catch (error) {
      if (!isOfTheTables(error)) throw error;
    }
  }
  return all;
}
