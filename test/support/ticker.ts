import { readSettings } from '../../src/base/config.ts';
import { Log } from '../../src/base/log.ts';
import { Stop } from '../../src/base/stop.ts';
import { jobVariables } from '../../src/context.ts';
import { Database } from '../../src/db/client.ts';
import { type Request, type RunResult, run } from '../../src/engine/run.ts';
import { loadJobs } from '../../src/jobs/index.ts';
import { only } from '../../src/store/standing.ts';
import type { TestDatabase } from './harness.ts';

/** Thousands of passes, over the same two connections. */
export interface Ticker extends AsyncDisposable {
  at(time: number, request?: Partial<Request>): Promise<RunResult>;
}

/** Asked for by a person, several may be in one minute: a cadence lets nobody tick twice in it. */
export async function ticker(
  db: TestDatabase,
  names: string[],
  { env = {}, by }: { env?: Record<string, string>; by?: string },
): Promise<Ticker> {
  const all = await loadJobs();
  const settings = readSettings(env, jobVariables(all), { databaseUrl: db.url });
  const log = new Log('silent');
  const [work, guard] = [new Database(settings, log), new Database(settings, log)];
  const jobs = only(all, names);
  return {
    at: (time, request) =>
      run(work, settings, log, {
        ...{ jobs, guard, stop: new Stop(), dryRun: false, debug: false, timeoutSeconds: 60 },
        ...{ at: new Date(time).toISOString(), ...(by && { by }), ...request },
      }),
    async [Symbol.asyncDispose]() {
      await work.close();
      await guard.close();
    },
  };
}
