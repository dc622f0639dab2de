import type { Database } from '../db/client.ts';
import { LATEST_JOBS } from '../store/own-jobs.ts';

/** Names that only the database knows, for the Tab key. */

const OF_JOB = '(:job::text is null or job = :job::text)';
/** The log may be long, and somebody waits. */
const NEWEST = '(select type, channels from scheduler.events order by id desc limit 5000) as newest';

const QUERIES = {
  jobs: `select name from (${LATEST_JOBS}) as latest where compiled is not null`,
  ids: `select distinct entity_id as name from scheduler.failures where ${OF_JOB}`,
  types: `select distinct type as name from ${NEWEST}`,
  channels: `select distinct unnest(channels) as name from ${NEWEST}`,
  tenants: 'select tenant as name from scheduler.known_jobs',
};

export type Kind = keyof typeof QUERIES;
export const KINDS = Object.keys(QUERIES);

const MOST = 200;

/** bash expands what it is offered, so a name that it would read as more than a word is left out. */
const HARMLESS = '^[A-Za-z0-9_][A-Za-z0-9_.@+/-]*$';

export async function readNames(db: Database, kind: Kind, job: string | null): Promise<string[]> {
  const found = await db.query<{ name: string }>(
    `select name from (${QUERIES[kind]}) as found where name ~ '${HARMLESS}'
     order by length(name), name limit ${MOST}`,
    kind === 'ids' ? { job } : {},
  );
  return found.map(({ name }) => name);
}
