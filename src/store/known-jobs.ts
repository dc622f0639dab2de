import type { Settings } from '../base/config.ts';
import { OperatorError } from '../base/errors.ts';
import type { Database, Transaction } from '../db/client.ts';
import type { Job } from '../job/define.ts';
import { all, type Found, NO_TENANT, readStanding, type Standing, whyMissing, whyPowerless } from './standing.ts';

/**
 * Tells scheduler.report() how the program knows the jobs. The functions for an admin page find it in a table, which is written only
 * where it differs.
 */
export const knownJobs = (settings: Settings, { jobs, tenant }: Pick<Found, 'jobs' | 'tenant'>): string =>
  JSON.stringify(
    jobs.map((standing) => ({
      ...(standing.installed && standing.installed.tenant !== tenant && { tenant: standing.installed.tenant }),
      ...{ job: standing.job.name, every: standing.job.everyMinutes },
      ...obstacleOf(settings, standing),
    })),
  );

function obstacleOf(settings: Settings, standing: Standing) {
  const { job, missing, powerless } = standing;
  if (missing.length > 0) return { obstacle: 'not installed', why: whyMissing(standing) };
  if (powerless) return { obstacle: 'not installed', why: whyPowerless(powerless), powerless: true };
  if (job.switch && settings.job[job.switch] === false)
    return { obstacle: 'switched off', why: `by ${job.settings![job.switch]!.env}` };
  return {};
}

/** Expects to have found all jobs. Those that belong to no tenant are kept once. */
export async function keepKnown(db: Pick<Transaction, 'query'>, settings: Settings, found: Found): Promise<void> {
  for (const tenant of found.homes) {
    const jobs = found.jobs.filter(({ ofNoTenant }) => ofNoTenant === (tenant === NO_TENANT));
    const now = knownJobs(settings, { jobs, tenant });
    if (now === (found.known[tenant] ?? (tenant === NO_TENANT && '[]'))) continue;
    await db.query(
      `insert into scheduler.known_jobs (tenant, jobs) values (:tenant::text, :now::json)
       on conflict (tenant) do update set jobs = excluded.jobs`,
      { tenant, now },
    );
  }
}

/** After something else than a tick has changed them. Where a tick could not work with them, the next one says so. */
export async function refreshKnown(db: Database, settings: Settings, builtIn: Job[]): Promise<void> {
  await db
    .transaction(async (tx) => {
      const found = await readStanding(tx, all(builtIn), { lock: false, dbZone: settings.dbTimezone });
      await keepKnown(tx, settings, found);
    })
    .catch((error) => {
      if (!(error instanceof OperatorError)) throw error;
    });
}
