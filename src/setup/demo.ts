import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSettings } from '../base/config.ts';
import { configurationError, EXIT, OperatorError } from '../base/errors.ts';
import { Log } from '../base/log.ts';
import { whenNobodyReads } from '../base/output.ts';
import { askEmbedded, type Context, jobVariables } from '../context.ts';
import { Database } from '../db/client.ts';
import { loadJobs } from '../jobs/index.ts';

/**
 * A database on a server of its own, gone with all that is in it when the work is over, however that ends. With `keep` it is
 * the one of "scheduler embedded", and stays.
 */
export async function withTrialDatabase(
  { keep, debug }: { keep: boolean; debug: boolean },
  work: (context: Context) => Promise<void>,
): Promise<void> {
  const interruption = heedInterruption();
  const dir = keep
    ? await askEmbedded(({ defaultDir }) => defaultDir())
    : await mkdtemp(join(tmpdir(), 'scheduler-demo-'));
  const settings = keep ? {} : { fsync: 'off' };
  const starting = askEmbedded(({ startServer }) => startServer({ dir, settings }));
  const trial = async () => {
    const jobs = await loadJobs();
    // Nothing that the environment says about a real database holds here.
    const settings = readSettings({}, jobVariables(jobs), { databaseUrl: (await starting).url });
    const log = new Log(debug ? 'debug' : 'silent');
    const db = new Database(settings, log);
    try {
      if (keep) await clearLastTrial(db);
      await work({ settings, log, db, jobs });
    } finally {
      await db.close();
      await log.flush();
    }
  };
  try {
    await Promise.race([trial(), interruption.happens]);
  } finally {
    await starting.catch(() => {});
    if (!keep) await askEmbedded(({ removeServer }) => removeServer(dir));
    interruption.forget();
  }
}

/** A signal must not leave a server behind, nor must `| head`, which is no fault. */
function heedInterruption() {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  let fail = () => {};
  const happens = new Promise<void>((resolve, reject) => {
    fail = () => reject(new OperatorError(EXIT.stopped, 'The demo was interrupted.'));
    whenNobodyReads(resolve);
  });
  happens.catch(() => {}); // it may come before anybody waits for it
  for (const signal of signals) process.on(signal, fail);
  return {
    happens,
    forget: () => {
      for (const signal of signals) process.off(signal, fail);
    },
  };
}

const MARK = 'Filled in by "scheduler demo --keep", which begins by emptying it.';

async function clearLastTrial(db: Database): Promise<void> {
  await db.transaction(async (tx) => {
    const [found] = await tx.query<{ used: boolean; ours: boolean }>(
      `select coalesce(obj_description('public'::regnamespace, 'pg_namespace') = :mark::text, false) as ours,
         to_regnamespace('scheduler') is not null or exists (select from pg_class where relnamespace = 'public'::regnamespace) as used`,
      { mark: MARK },
    );
    if (found!.used && !found!.ours) {
      throw configurationError(
        'The embedded server holds data that no demo put there, so it is left alone. Leave out --keep: that demo has a server of its own.',
      );
    }
    await tx.query('drop schema if exists scheduler cascade');
    await tx.query('drop schema public cascade');
    await tx.query('create schema public');
    await tx.query(`comment on schema public is '${MARK}'`);
  });
}
