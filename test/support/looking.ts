import { readSettings } from '../../src/base/config.ts';
import { Log } from '../../src/base/log.ts';
import { jobVariables } from '../../src/context.ts';
import { Database } from '../../src/db/client.ts';
import { type Explanation, explain } from '../../src/inspect/explain/explain.ts';
import { type Outlook, readNext } from '../../src/inspect/next.ts';
import type { Job } from '../../src/job/define.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import { all, only } from '../../src/store/standing.ts';
import type { TestDatabase } from './harness.ts';

/** "explain" and "next" inside this process. */

interface Asked {
  at?: string;
  env?: Record<string, string>;
  /** Instead of those there are. */
  jobs?: Job[];
}

async function looking<T>(
  { url }: TestDatabase,
  { env = {}, jobs }: Asked,
  work: (db: Database, settings: ReturnType<typeof readSettings>, jobs: Job[]) => Promise<T>,
): Promise<T> {
  const all = jobs ?? (await loadJobs());
  const settings = readSettings(env, jobVariables(all), { databaseUrl: url });
  const db = new Database(settings, new Log('silent'));
  try {
    return await work(db, settings, all);
  } finally {
    await db.close();
  }
}

/** One after another, over one connection. */
export const allExplained = (
  db: TestDatabase,
  name: string,
  ids: string[],
  asked: Asked = {},
): Promise<Map<string, Explanation>> =>
  looking(db, asked, async (database, settings, jobs) => {
    const said = new Map<string, Explanation>();
    for (const id of ids)
      said.set(id, (await explain(database, { settings, jobs, name, id, at: asked.at })).explanation);
    return said;
  });

export async function explained(db: TestDatabase, job: string, id: unknown, asked: Asked = {}): Promise<Explanation> {
  return [...(await allExplained(db, job, [String(id)], asked)).values()][0]!;
}

export const outlook = (
  db: TestDatabase,
  { within = 86_400, limit = 50, job, ...asked }: Asked & { within?: number; limit?: number; job?: string } = {},
): Promise<Outlook> =>
  looking(db, asked, (database, settings, jobs) =>
    readNext(database, settings, job === undefined ? all(jobs) : only(jobs, [job]), { within, limit }),
  );

export function transitionOf(explanation: Explanation, name: string) {
  const found = explanation.transitions.find(({ transition }) => transition === name);
  if (!found) throw new Error(`${explanation.job} has no transition ${name}`);
  return found;
}
