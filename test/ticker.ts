import { readSettings } from '../src/config.ts';
import { jobVariables } from '../src/context.ts';
import { Database } from '../src/db.ts';
import { type RunResult, run } from '../src/engine.ts';
import { loadJobs } from '../src/jobs.ts';
import { Log } from '../src/log.ts';
import { Stop } from '../src/stop.ts';
import type { TestDatabase } from './harness.ts';

/** Thousands of passes of one job, over the same two connections. */
export interface Ticker extends AsyncDisposable {
  at(time: number): Promise<RunResult>;
}

export async function ticker(db: TestDatabase, job: string, env: Record<string, string>): Promise<Ticker> {
  const all = await loadJobs();
  const settings = readSettings(env, jobVariables(all), { databaseUrl: db.url });
  const log = new Log('silent');
  const [work, guard] = [new Database(settings, log), new Database(settings, log)];
  const jobs = all.filter(({ name }) => name === job);
  return {
    at: (time) =>
      run(work, settings, log, {
        ...{ jobs, guard, stop: new Stop(), dryRun: false, debug: false, timeoutSeconds: 60 },
        // Asked for by a person: a cadence lets nobody tick twice in a minute.
        ...{ by: 'the test', at: new Date(time).toISOString() },
      }),
    async [Symbol.asyncDispose]() {
      await work.close();
      await guard.close();
    },
  };
}
