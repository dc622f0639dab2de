import type { Settings } from '../../base/config.ts';
import type { Database } from '../../db/client.ts';
import { sqlState } from '../../db/states.ts';
import type { Job } from '../../job/define.ts';
import { readStatus } from '../status.ts';
import { type Exam, type Finding, failed, ok, type Program, skipped } from './finding.ts';
import { checkIndexes } from './indexes.ts';
import { checkJob, seeJobs } from './jobs.ts';
import { checkRights } from './rights.ts';
import { checkSchema } from './schema.ts';
import {
  checkClock,
  checkConnection,
  checkPooler,
  checkVersion,
  checkWritable,
  isUnreachable,
  meetServer,
  noServer,
} from './server.ts';
import { checkBacklog, checkFailures, checkLastTick, checkLock, checkNotifications } from './work.ts';

export type { Finding, Program };

export interface Diagnosis {
  /** Nothing failed. */
  ok: boolean;
  unreachable: boolean;
  checks: Finding[];
}

/** Looks at everything that a tick relies on, from the settings to the last row that is late; it changes nothing. */
export async function diagnose(db: Database, settings: Settings, jobs: Job[], program: Program): Promise<Diagnosis> {
  const checks: Finding[] = [checkSettings(settings)];
  const conclude = (unreachable: boolean): Diagnosis => ({
    ok: checks.every(({ outcome }) => outcome !== 'failed'),
    unreachable,
    checks,
  });
  let exam: Exam;
  try {
    exam = { db, settings, jobs, program, server: await meetServer(db) };
  } catch (error) {
    checks.push(noServer(error));
    return conclude(isUnreachable(error));
  }
  checks.push(checkConnection(exam), checkVersion(exam));
  if (checks.at(-1)!.outcome === 'failed') return conclude(false);

  const one = (check: string, work: () => Promise<Finding> | Finding) =>
    look(checks, check, work, (finding) => [finding]);
  await one('writable', () => checkWritable(exam));
  await one('pooler', () => checkPooler(exam));
  await one('clock', () => checkClock(exam));
  const schema = await one('schema', () => checkSchema(exam));
  const seen = await seeJobs(exam);
  const installed = seen.jobs.flatMap((each) => each.installed ?? []);
  await one('rights', () => checkRights(exam, installed));

  const isFit = schema?.outcome === 'ok' || schema?.outcome === 'warning';
  if (isFit) {
    const readingStatus = () => readStatus(db, settings, jobs);
    const status = await look(checks, 'status', readingStatus, () => []);
    for (const each of seen.jobs) {
      const ofJob = status?.jobs.find(({ job }) => job === each.job.name);
      await one(each.job.name, () => checkJob(exam, each, ofJob));
    }
    await one('indexes', () => checkIndexes(exam, installed, seen.catalog));
    await one('lock', () => checkLock(exam));
    if (status) {
      checks.push(checkLastTick(exam, status), checkBacklog(exam, status), checkFailures(exam, status));
    }
  } else {
    checks.push(skipped('jobs', 'each job, its indexes, the last tick and the backlog wait for the schema'));
  }
  await one('notifications', () => checkNotifications(exam));
  return conclude(false);
}

/** Answers what was found, if anything can be, and adds to the findings what is to be said of it. */
async function look<T>(checks: Finding[], check: string, work: () => Promise<T> | T, keep: (found: T) => Finding[]) {
  try {
    const found = await work();
    checks.push(...keep(found));
    return found;
  } catch (error) {
    checks.push(cannotLook(check, error));
    return undefined;
  }
}

function checkSettings({ timezone, dbTimezone, retentionDays }: Settings): Finding {
  return ok(
    'settings',
    `wall-clock schedules in ${timezone}, columns without a zone in ${dbTimezone}, history kept for ${retentionDays} days`,
  );
}

function cannotLook(check: string, error: unknown): Finding {
  const state = sqlState(error);
  if (state === '42501') return skipped(check, `cannot be looked at: ${(error as Error).message}; see "rights"`);
  if (state) return failed(check, `cannot be looked at: ${(error as Error).message}`);
  throw error;
}
