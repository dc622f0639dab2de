import { readSettings } from '../../src/base/config.ts';
import { Log } from '../../src/base/log.ts';
import { Database } from '../../src/db/client.ts';
import { type Installed, install } from '../../src/job/compile.ts';
import type { Job } from '../../src/job/define.ts';
import { lay } from '../../src/job/lay.ts';
import { readCatalog, tableNames } from '../../src/job/tables.ts';
import { catalogOf, latestJobs } from '../../src/store/own-jobs.ts';
import type { TestDatabase } from './harness.ts';

/** The rules of a job as they are compiled for the tables of a database. */
export async function compiled(test: TestDatabase, job: Job, dbZone = 'UTC'): Promise<Installed> {
  const db = new Database(readSettings({}, {}, { databaseUrl: test.url }), new Log('silent'));
  try {
    const laid = (await latestJobs(db)).find(({ compiled: kept }) => kept?.uses?.job === job.name)?.compiled;
    if (laid) return install(lay(job, job, laid.uses!), catalogOf(laid), dbZone);
    const catalog = await db.transaction((tx) => readCatalog(tx, tableNames([job])));
    return install(job, catalog, dbZone);
  } finally {
    await db.close();
  }
}
