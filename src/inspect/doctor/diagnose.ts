import type { Settings } from '../../base/config.ts';
import { EXIT, OperatorError } from '../../base/errors.ts';
import type { Database } from '../../db/client.ts';
import { sqlState } from '../../db/states.ts';
import type { Job } from '../../job/define.ts';
import { all } from '../../store/runs.ts';
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
export async function diagnose(db: Database, settings: Settings, jobs: Job[], program: Program): Promise<Diagnosis> {
  const checks: Finding[] = [];
  const note: Note = (check, result) => void checks.push({ check, ...result });
  const unreachable = await examine({ db, settings, jobs, program }, note);
  return { ok: checks.every(({ outcome }) => outcome !== 'failed'), unreachable, checks };
}

type Note = (check: string, result: Result) => undefined;

/** Notes one check after the other, and answers whether the server could not be reached. */
async function examine(asked: Omit<Exam, 'server'>, note: Note): Promise<boolean> {
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
  await check('rights', () => checkRights(exam, installed));
  if (schema === 'ok' || schema === 'warning') {
    const status = await readStatus(db, settings, all(jobs)).catch((error) => note('status', cannotLook(error)));
    for (const each of seen.jobs) {
      const ofJob = status?.jobs.find(({ job }) => job === each.job.name);
      await check(each.job.name, () => checkJob(exam, each, ofJob, seen.catalog));
    }
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
  const state = sqlState(error);
  if (state === undefined) throw error;
  const message = `cannot be looked at: ${(error as Error).message}`;
  return state === '42501' ? skipped(`${message}; see "rights"`) : failed(message);
}
