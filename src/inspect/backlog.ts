import type { Settings } from '../base/config.ts';
import type { Database } from '../db/client.ts';
import { blamesRow } from '../db/states.ts';
import { parameters } from '../engine/run.ts';
import { asInBatch, isDue } from '../engine/statements.ts';
import type { CompiledRule, Installed } from '../job/compile.ts';
import { quoteText } from '../job/expressions.ts';
import { withoutRisk } from './outlook.ts';

/** What is due and not done. Rows that wait for another attempt, or for an operator, are failures and not counted here. */
export interface Backlog {
  job: string;
  /** No more than MOST of each rule are counted. */
  rows: number;
  /** There are more than were counted. */
  more: boolean;
  /** When the oldest became due; null where nothing is due, or where rows are due at once and carry no time. */
  since: string | null;
  seconds: number | null;
}

// To tell "a few" from "a thousand or more" is enough, and costs the same with ten million rows.
const MOST = 1000;

/** A job whose tables do not answer is left out: what is wrong with it is another question's answer. */
export async function readBacklog(
  db: Database,
  settings: Settings,
  jobs: Installed[],
  now: string,
): Promise<Backlog[]> {
  const values = { ...parameters(settings, now), most: MOST };
  const read = (some: Installed[]): Promise<Backlog[] | undefined> =>
    db
      .transaction((tx) => tx.query<Backlog>(backlogOf(some), values), { inIndexOrder: true })
      .catch((error) => {
        if (!blamesRow(error)) throw error;
        return undefined;
      });
  if (jobs.length === 0) return [];
  const together = await read(jobs);
  if (together) return together;
  const all: Backlog[] = [];
  for (const job of jobs) all.push(...((await read([job])) ?? (await read([unconditional(job)])) ?? []));
  return all;
}

// More rows take long to count, and nobody waits for the end of so many.
const MOST_COUNTED = 1_000_000;

export async function countDue(db: Database, settings: Settings, rule: CompiledRule, now: string): Promise<number> {
  const values = { ...parameters(settings, now), most: MOST_COUNTED };
  const due = `select from ${rule.row} where ${asInBatch(rule, [isDue(rule)])} limit :most::integer`;
  const count = `select count(*)::integer as rows from (${due}) as due`;
  const options = { inIndexOrder: true, attempts: 1 };
  const [row] = await db.transaction((tx) => tx.query<{ rows: number }>(count, values), options);
  return row!.rows;
}

/** A condition may raise on a row that no tick has met yet. */
const unconditional = (job: Installed): Installed => ({ ...job, rules: job.rules.map(withoutRisk) });

function backlogOf(jobs: Installed[]): string {
  const parts = jobs.flatMap(({ rules }) =>
    rules.map(
      (rule) => `
      select ${quoteText(rule.job)} as job, count(*) as rows, count(*) > :most::integer as more, min(due_at) filter (where isfinite(due_at)) as oldest
      from (
        select ${rule.at} as due_at from ${rule.row} where ${asInBatch(rule, [isDue(rule)])}
        order by ${rule.at}, r.id limit :most::integer + 1
      ) as due`,
    ),
  );
  return `
    select job, sum(least(rows, :most::integer))::integer as rows, bool_or(more) as more, scheduler.iso(min(oldest)) as since,
      extract(epoch from :now::timestamptz - min(oldest))::double precision as seconds
    from (${parts.join('\n      union all')}) as parts group by job`;
}
