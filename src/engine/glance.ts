import { EXIT } from '../base/errors.ts';
import type { Database, Transaction } from '../db/client.ts';
import { type CompiledRule, type Installed, install } from '../job/compile.ts';
import { linesOf } from '../job/define.ts';
import { quoteName, quoteText } from '../job/expressions.ts';
import { tablesOf } from '../job/tables.ts';
import { knownJobs } from '../store/known-jobs.ts';
import { checkLevel } from '../store/migrate.ts';
import { emptyResult } from '../store/runs.ts';
import { type Compiling, type Found, readStandings } from '../store/standing.ts';
import { placesOf } from './ask.ts';
import { isForAllJobs } from './faults.ts';
import { type Plan, plan } from './plan.ts';
import { type Context, parameters, type RunResult } from './run.ts';
import { hasDue, mayHaveDue } from './statements.ts';

/**
 * Most tenants have nothing to do, and a run of each costs several times what it takes to find that out for many of them together,
 * without the lock.
 */

/** One statement reads what stands for this many tenants. */
const READ_AT_ONCE = 25;
/** One transaction asks this many tenants. It holds a lock on each of their tables and indexes. */
const ASKED_AT_ONCE = 10;
/** In one statement. Planning more of them takes longer for each: the server gives so much memory back, and gets it anew each time. */
const RULES_AT_ONCE = 40;

/** A tenant that is idle if none of these rules has a due row. */
interface Candidate extends Plan {
  tenant: string;
  now: string;
  rules: CompiledRule[];
  anyFailures: boolean;
}

type Compile = (compiling: Compiling) => Installed;

/** Those that have nothing to do, as a run of each would have found them. The others need that run, be it to meet their own errors. */
export async function idleAmong(
  context: Context,
  tenants: string[],
  lanes: Database[],
  isOver: () => boolean,
): Promise<Map<string, RunResult>> {
  const idle = new Map<string, RunResult>();
  const waiting = inPieces(tenants, READ_AT_ONCE);
  const compile = compilingOnce();
  const look = async (lane: Database) => {
    for (let some = waiting.pop(); some && !isOver(); some = waiting.pop()) {
      const [first] = some;
      const ask = <T>(work: (tx: Transaction) => Promise<T[]>) =>
        lane
          .as(first, () => lane.transaction(work, { inIndexOrder: true }))
          .catch((error) => {
            if (isForAllJobs(error)) throw error;
            return [];
          });
      const candidates = await ask((tx) => candidatesOf(context, tx, some!, compile));
      for (const few of inPieces(candidates, ASKED_AT_ONCE))
        for (const one of await ask((tx) => idleOf(context, tx, few))) idle.set(one.tenant, resultOf(context, one));
    }
  };
  const ends = await Promise.allSettled(lanes.map(look));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return idle;
}

const inPieces = <T>(all: T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, n) => all.slice(n * size, (n + 1) * size));

async function candidatesOf(
  { settings, request }: Context,
  tx: Transaction,
  tenants: string[],
  compile: Compile,
): Promise<Candidate[]> {
  const { jobs, at, dryRun } = request;
  const all = await readStandings(tx, jobs, tenants, { at, dbZone: settings.dbTimezone, compile });
  const isWaitedFor = ({ requests, known, tenant, jobs }: Found) =>
    requests.length > 0 || (!dryRun && known[tenant] !== knownJobs(settings, { jobs, tenant: ANY }));
  return all.flatMap((found) => {
    checkLevel(found.level);
    if (found.anyToCompare || isWaitedFor(found)) return [];
    const { tenant, now, anyFailures } = found;
    const { planned, skipped } = plan(settings, request, found.jobs, []);
    return [{ tenant, now, planned, skipped, anyFailures, rules: planned.flatMap(({ rules }) => rules) }];
  });
}

/** Asked in full are only those that may have a due row. */
async function idleOf({ settings }: Context, tx: Transaction, asked: Candidate[]): Promise<Candidate[]> {
  const dueAmong = async (all: Candidate[], isDue: typeof hasDue): Promise<Candidate[]> => {
    const due: Candidate[] = [];
    const most = Math.max(1, ...all.map(({ rules }) => rules.length));
    for (const some of inPieces(all, Math.ceil(RULES_AT_ONCE / most))) {
      const checks = some.map(({ tenant, rules, anyFailures }) =>
        ofTenant(tenant, ['false', ...rules.map((rule) => isDue(rule, anyFailures))].join('\nor ')),
      );
      const values = parameters(settings, some[0]!.now);
      const [answer] = await tx.query<{ due: number[] }>(`select ${placesOf(checks)} as due`, values);
      due.push(...answer!.due.map((n) => some[n]!));
    }
    return due;
  };
  const due = await dueAmong(await dueAmong(asked, mayHaveDue), hasDue);
  return asked.filter((each) => !due.includes(each));
}

function resultOf({ log }: Context, { tenant, now, planned, skipped }: Candidate): RunResult {
  log.about = { tenant };
  for (const { job } of planned) {
    const { started, finished } = linesOf(job);
    for (const line of [started, ...finished({}, [], 0)]) log.write(line);
  }
  log.about = {};
  const jobs = planned.map(({ job }) => emptyResult(job.name));
  return { locked: false, idle: true, now, jobs, skipped, exitCode: EXIT.done };
}

// Stands for the schema of a tenant in SQL that several share: no schema has this name.
const ANY = '\0';
const ofTenant = (tenant: string, sql: string) =>
  sql.replace(/(["'])\0\1/g, (_, quote) => (quote === '"' ? quoteName(tenant) : quoteText(tenant)));

/** Compiles what tenants with the same tables have in common once for all of them. */
function compilingOnce(): Compile {
  const made = new Map<string, Installed>();
  return ({ job, catalog, kept, tenant, dbZone }) => {
    const tables = tablesOf(job).map(({ name }) => {
      const found = catalog[name]!;
      return [name, { ...found, oid: '0', owner: '', schema: found.schema === tenant ? ANY : found.schema }] as const;
    });
    const key = JSON.stringify([kept ? [kept.job, kept.uses, kept.since] : job.name, dbZone, tables]);
    const installed = made.get(key) ?? install(job, Object.fromEntries(tables), dbZone);
    made.set(key, installed);
    return installed;
  };
}
