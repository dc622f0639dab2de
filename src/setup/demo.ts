import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSettings } from '../base/config.ts';
import { configurationError, EXIT, OperatorError } from '../base/errors.ts';
import { Log } from '../base/log.ts';
import { whenNobodyReads } from '../base/output.ts';
import { askEmbedded, type Context, connected, jobVariables } from '../context.ts';
import type { Database } from '../db/client.ts';
import { loadJobs } from '../jobs/index.ts';

/**
 * A database on a server of its own, gone with all that is in it when the work is over, however that ends. With `keep` it is
 * the one of "scheduler embedded", and stays.
 */
export async function withTrialDatabase(
  { keep, debug }: { keep: boolean; debug: boolean },
  work: (context: Context) => Promise<void>,
): Promise<void> {
  const interrupted = interruption();
  const dir = keep
    ? await askEmbedded(({ defaultDir }) => defaultDir())
    : await mkdtemp(join(tmpdir(), 'scheduler-demo-'));
  const starting = askEmbedded(({ startServer }) => startServer({ dir, settings: keep ? {} : { fsync: 'off' } }));
  const trial = async () => {
    const jobs = await loadJobs();
    // Nothing that the environment says about a real database holds here.
    const settings = readSettings({}, jobVariables(jobs), { databaseUrl: (await starting).url });
    await connected({ settings, log: new Log(debug ? 'debug' : 'silent'), jobs }, async (context) => {
      if (keep) await clearLastTrial(context.db);
      await work(context);
    });
  };
  try {
    await Promise.race([trial(), interrupted]);
  } finally {
    await starting.catch(() => {});
    if (!keep) await askEmbedded(({ removeServer }) => removeServer(dir));
  }
}

/** A signal must not leave a server behind, nor must `| head`, which is no fault. */
function interruption(): Promise<void> {
  const happens = new Promise<void>((resolve, reject) => {
    whenNobodyReads(resolve);
    const fail = () => reject(new OperatorError(EXIT.stopped, 'The demo was interrupted.'));
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, fail);
  });
  happens.catch(() => {}); // it may come before anybody waits for it
  return happens;
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
