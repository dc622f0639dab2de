import { EXIT, type ExitCode, OperatorError } from '../base/errors.ts';
import type { StopReason } from '../base/stop.ts';
import { Patience } from '../db/bounds.ts';
import type { Database } from '../db/client.ts';
import { IDENTITY, recordIdle } from '../store/runs.ts';
import { isForAllJobs } from './faults.ts';
import { idleAmong } from './glance.ts';
import { type Context, type RunResult, run } from './run.ts';

/** A tick of many tenants: one process, two connections, one tenant after the other. */

export interface OfTenant extends RunResult {
  /** Null: the jobs that belong to none. */
  tenant: string | null;
  /** An error that kept all its jobs from their turn. */
  error?: string;
}

export interface TenantsResult {
  exitCode: ExitCode;
  /** The number of tenants that had nothing to do. */
  idle: number;
  /** The others. */
  tenants: OfTenant[];
  /** The time was over before their turn came. */
  left: string[];
  stopped?: StopReason;
}

// A backend keeps what it has learnt of every table.
const PER_CONNECTION = 200;

/** A tick waits no longer than this for the locks of others, in all. */
const PATIENCE_MS = 2000;

export async function tickTenants(context: Context, names: string[]): Promise<TenantsResult> {
  const { db, log, request } = context;
  const began = performance.now();
  const leftSeconds = () => request.timeoutSeconds - (performance.now() - began) / 1000;
  const isOver = () => request.stop.reason !== undefined || leftSeconds() <= 0;
  const wanted = (of: 'a tenant' | 'no tenant') => ({
    ...context,
    request: { ...request, jobs: { ...request.jobs, of } },
  });
  const ofTenants = wanted('a tenant');
  db.patience = new Patience(PATIENCE_MS);
  const guard = db.another('scheduler lock');
  const done: OfTenant[] = [];
  const left: string[] = [];
  const inTurn = fromSomewhere(names);
  try {
    for (let n = 0; n < inTurn.length; n += PER_CONNECTION) {
      if (n > 0) await Promise.all([db.close(), guard.close()]);
      const some = inTurn.slice(n, n + PER_CONNECTION);
      const idle = request.debug ? undefined : await idleAmong(ofTenants, some, [db, guard], isOver);
      for (const tenant of some) {
        const found = idle?.get(tenant);
        if (found) done.push({ tenant, ...found });
        else if (isOver()) left.push(tenant);
        else done.push(await tickOne(ofTenants, tenant, guard, leftSeconds()));
      }
    }
    if (left.length === 0) done.push(await tickOne(wanted('no tenant'), null, guard, leftSeconds()));
    const busy = done.filter(({ idle }) => !idle);
    const idle = done.filter((each) => each.idle && each.tenant !== null);
    if (idle.length > 0 && !request.dryRun)
      await recordIdleTenants(context, idle, [...busy.map(({ tenant }) => tenant), ...left]);
    return {
      exitCode: worst(done, left),
      idle: idle.length,
      tenants: busy,
      left,
      ...(left.length > 0 && { stopped: request.stop.reason ?? 'deadline' }),
    };
  } finally {
    log.about = {};
    db.tenant = db.patience = undefined;
    await guard.close();
  }
}

/** An error of one tenant must not keep the others from their turn. */
async function tickOne(
  { db, settings, log, request }: Context,
  tenant: string | null,
  guard: Database,
  leftSeconds: number,
): Promise<OfTenant> {
  log.about = tenant === null ? {} : { tenant };
  db.tenant = guard.tenant = tenant ?? undefined;
  try {
    const result = await run(db, settings, log, {
      ...{ ...request, guard, connections: 1, timeoutSeconds: Math.max(1, leftSeconds) },
      recordsIdle: tenant === null ? 'always' : 'beside work',
    });
    return { tenant, ...result };
  } catch (error) {
    if (isForAllJobs(error)) throw error;
    const { message } = error as Error;
    log.error(message);
    const exitCode = error instanceof OperatorError ? error.exitCode : EXIT.defect;
    return { tenant, ...{ locked: false, idle: false, now: '', jobs: [], skipped: [] }, error: message, exitCode };
  }
}

/** Where the time does not suffice for all, it must not be the same ones that wait. */
function fromSomewhere(names: string[]): string[] {
  const first = Math.floor(Math.random() * names.length);
  return [...names.slice(first), ...names.slice(0, first)];
}

/** One row for all of them. */
async function recordIdleTenants({ db, request }: Context, idle: OfTenant[], apart: (string | null)[]): Promise<void> {
  const names = [...new Set(idle.flatMap(({ jobs }) => jobs.map(({ job }) => job)))];
  const found = 'select null::text, :apart::text[], :names::text[] where cardinality(:names::text[]) > 0';
  const slot = 'floor(extract(epoch from :now::timestamptz) / 60)::bigint';
  await db.query(recordIdle(found).replace(':slot::bigint', slot), {
    ...{ ...IDENTITY, names, apart: apart.filter((each) => each !== null) },
    ...{ now: idle[0]!.now, by: request.by ?? null },
  });
}

const FROM_BAD_TO_GOOD = [EXIT.defect, EXIT.configuration, EXIT.unreachable, EXIT.stopped, EXIT.rowsFailed];

function worst(done: OfTenant[], left: string[]): ExitCode {
  const codes = [...done.map(({ exitCode }) => exitCode), ...(left.length > 0 ? [EXIT.stopped] : [])];
  return FROM_BAD_TO_GOOD.find((code) => codes.includes(code)) ?? EXIT.done;
}
