import type { Settings } from '../../base/config.ts';
import { EXIT, OperatorError } from '../../base/errors.ts';
import type { Database } from '../../db/client.ts';
import { sqlState } from '../../db/states.ts';
import type { Job } from '../../job/define.ts';
import type { Needed } from '../../job/rights.ts';
import { all } from '../../store/standing.ts';
import { readStatus } from '../status.ts';
import { type Exam, type Finding, failed, ok, type Program, type Result, skipped } from './finding.ts';
import { checkIndexes } from './indexes.ts';
import { checkJob, seeJobs } from './jobs.ts';
import { checkRights } from './rights.ts';
import { checkSchema } from './schema.ts';
import { checkClock, checkConnection, checkPooler, checkVersion, checkWritable, meetServer } from './server.ts';
import { checkBacklog, checkFailures, checkLastTick, checkLock, checkNotifications } from './work.ts';

export interface Diagnosis {
  /** Nothing failed. */
  ok: boolean;
  unreachable: boolean;
  checks: Finding[];
}

/** Looks at everything that a tick relies on, from the settings to the last row that is late; it changes nothing. */
export async function diagnose(
  db: Database,
  settings: Settings,
  jobs: Job[],
  program: Program,
  own: OfOwn,
): Promise<Diagnosis> {
  const checks: Finding[] = [];
  const note: Note = (check, result) => void checks.push({ check, ...result });
  const unreachable = await examine({ db, settings, jobs, program }, own, note);
  return { ok: checks.every(({ outcome }) => outcome !== 'failed'), unreachable, checks };
}

/** What is looked at of jobs of your own: that is known on a floor above. */
export interface OfOwn {
  needs(exam: Exam): Promise<{ needs: Needed[]; functions: string[] }>;
  examine(exam: Exam): Promise<[name: string, Result][]>;
}

type Note = (check: string, result: Result) => undefined;

/** Notes one check after the other, and answers whether the server could not be reached. */
async function examine(asked: Omit<Exam, 'server'>, own: OfOwn, note: Note): Promise<boolean> {
  const { db, settings, jobs } = asked;
  const { timezone, dbTimezone, retentionDays } = settings;
  const schedules = `wall-clock schedules in ${timezone}, columns without a zone in ${dbTimezone}`;
  note('settings', ok(`${schedules}, history kept for ${retentionDays} days`));
  const server = await meetServer(db).catch((error) => {
    if (!(error instanceof OperatorError)) throw error;
    return error;
  });
  if (server instanceof OperatorError) {
    note('connection', failed(server.message));
    return server.exitCode === EXIT.unreachable;
  }
  const exam: Exam = { ...asked, server };
  const check = async (name: string, work: (exam: Exam) => Promise<Result> | Result) => {
    const result = await Promise.resolve(exam).then(work).catch(cannotLook);
    note(name, result);
    return result.outcome;
  };
  await check('connection', checkConnection);
  if ((await check('version', checkVersion)) === 'failed') return false;
  await check('writable', checkWritable);
  await check('pooler', checkPooler);
  await check('clock', checkClock);
  const schema = await check('schema', checkSchema);
  const seen = await seeJobs(exam);
  const installed = seen.jobs.flatMap((each) => each.installed ?? []);
  await check('rights', async () => checkRights(exam, installed, await own.needs(exam)));
  if (schema === 'ok' || schema === 'warning') {
    const status = await readStatus(db, settings, all(jobs)).catch((error) => note('status', cannotLook(error)));
    for (const each of seen.jobs) {
      const ofJob = status?.jobs.find(({ job }) => job === each.job.name);
      await check(each.job.name, () => checkJob(exam, each, ofJob, seen.catalog));
    }
    const ofOwn = await own.examine(exam).catch((error): [string, Result][] => [['own jobs', cannotLook(error)]]);
    for (const [name, result] of ofOwn) note(name, result);
    await check('indexes', () => checkIndexes(exam, installed, seen.catalog));
    await check('lock', checkLock);
    if (status) {
      note('last tick', checkLastTick(exam, status));
      note('backlog', checkBacklog(exam, status));
      note('failures', checkFailures(exam, status));
    }
  } else {
    note('jobs', skipped('each job, its indexes, the last tick and the backlog wait for the schema'));
  }
  await check('notifications', checkNotifications);
  return false;
}

function cannotLook(error: unknown): Result {
  if (error instanceof OperatorError) return failed(error.message);
  const state = sqlState(error);
  if (state === undefined) throw error;
  const message = `cannot be looked at: ${(error as Error).message}`;
  return state === '42501' ? skipped(`${message}; see "rights"`) : failed(message);
}
