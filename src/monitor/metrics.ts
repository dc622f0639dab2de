import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { EXIT } from '../base/errors.ts';
import { VERSION } from '../base/version.ts';
import type { Context } from '../context.ts';
import type { RunResult } from '../engine/run.ts';
import { type JobStatus, readStatus } from '../inspect/status.ts';
import { all } from '../store/standing.ts';

/**
 * A file for the textfile collector of Prometheus's node_exporter. Counters go on from the file before this one: history in
 * the database would do for them too, until its retention made them fall. They count what the ticks of this file did; ticks
 * of another machine write their own, and Prometheus adds them up.
 */

// The label is called job_name, as "job" is what Prometheus itself calls the thing that it scrapes.
export const METRICS = {
  scheduler_build_info: 'The version of the program that ticked last.',
  scheduler_last_tick_timestamp_seconds: 'When the last tick ended, however it did.',
  scheduler_last_success_timestamp_seconds: 'When the last tick ended that did its own work with exit code 0.',
  scheduler_tick_duration_seconds: 'How long the last tick took, from the start of the process.',
  scheduler_tick_exit_code:
    'The exit code of the last tick: 0 done, 1 rows failed, 69 database unreachable, 70 defect, 75 work left, 78 configuration.',
  scheduler_tick_locked: '1 when the last tick left the work to another run, which held the lock.',
  scheduler_ticks_total: 'Ticks by their exit code.',
  scheduler_transitions_total: 'Rows changed, by job and transition.',
  scheduler_failed_rows_total: 'Attempts on a row that failed, by job.',
  scheduler_unsent_notifications_total:
    'Changes whose notification was given up because the notification queue was full.',
  scheduler_notification_queue_ratio: 'How full the notification queue of PostgreSQL is, up to 1.',
  scheduler_job_installed: '1 when the tables of the job are there.',
  scheduler_job_paused: '1 when somebody has stopped the job.',
  scheduler_job_error: '1 when the last run of the job was stopped by an error.',
  scheduler_job_last_run_timestamp_seconds: 'When the last run of the job started, wherever it ran.',
  scheduler_job_late_seconds: 'How long after its due time the last run of the job changed a row, at most.',
  scheduler_job_failing_rows: 'Rows that failed and are tried again by themselves.',
  scheduler_job_quarantined_rows: 'Rows that failed too often and wait for an operator.',
  scheduler_job_backlog_rows: 'Rows that are due after the tick; of each rule at most 1000 are counted.',
  scheduler_job_backlog_seconds: 'How long the oldest of them has been due; 0 when none is.',
};
type Metric = keyof typeof METRICS;

const isCounter = (name: string) => name.endsWith('_total');

export interface TickReport {
  /** None yet: it lingers, and this is one of its passes. */
  exitCode?: number;
  /** Another run did the work. */
  locked?: boolean;
  /** Those that were not reported yet: one, or one for each tenant that had something to do. */
  passes?: (RunResult & { tenant?: string | null })[];
  /** Those that had something to do, of many. */
  tenants?: (string | undefined)[];
}

/** Whatever happens here, the tick is done: what goes wrong is a warning. */
export async function writeMetrics(path: string, context: Context, report: TickReport): Promise<void> {
  try {
    const database = report.exitCode === EXIT.unreachable ? undefined : await look(context, report);
    replaceFile(path, render(collect(readBefore(path), report, database)));
  } catch (error) {
    context.log.warn(
      `The metrics file "${path}" could not be written: ${(error as Error).message}. The tick itself is not affected.`,
    );
  }
}

interface Looked {
  jobs: (JobStatus & { tenant?: string | null })[];
  /** Includes tenants that were not looked at: there may be thousands. */
  failing: { tenant: string; job: string; failing: number; quarantined: number }[];
  queue: number;
}

const FAILING = `select tenant, job, (count(*) filter (where quarantined_at is null))::integer as failing,
  (count(*) filter (where quarantined_at is not null))::integer as quarantined from scheduler.failures group by tenant, job`;

/** The jobs after the tick. They are left out if the database does not answer any more, or has no schema. */
async function look(
  { db, settings, jobs, log }: Context,
  { tenants = [db.tenant] }: TickReport,
): Promise<Looked | undefined> {
  try {
    const looked: Looked['jobs'] = [];
    for (const tenant of tenants) {
      const status = await db.as(tenant, () => readStatus(db, settings, all(jobs)));
      looked.push(...status.jobs.map((job) => ({ ...job, ...(tenant !== undefined && { tenant }) })));
    }
    const failing = await db.query<Looked['failing'][number]>(FAILING);
    const [row] = await db.query<{ queue: number }>('select pg_notification_queue_usage() as queue');
    return { jobs: looked, failing, queue: row!.queue };
  } catch (error) {
    log.debug('The metrics lack what the database would tell', { error: (error as Error).message });
    return undefined;
  }
}

/** By name and labels, as they are written. */
type Samples = Map<string, number>;

/** Those that the last tick alone decides, and that stay as they are while one lingers. */
const OF_THE_TICK = ['scheduler_tick_duration_seconds', 'scheduler_tick_exit_code', 'scheduler_tick_locked'];

export function collect(before: Samples, report: TickReport, database: Looked | undefined): Samples {
  const { exitCode, passes = [], locked = passes.at(-1)?.locked === true } = report;
  const kept = (name: string) => isCounter(name) || (exitCode === undefined && OF_THE_TICK.includes(name));
  const samples: Samples = new Map([...before].filter(([sample]) => kept(nameOf(sample))));
  const set = (name: Metric, value: number, labels = {}) => samples.set(`${name}${written(labels)}`, value);
  const add = (name: Metric, value: number, labels: Record<string, string>) =>
    set(name, value + (samples.get(`${name}${written(labels)}`) ?? 0), labels);

  const now = Date.now() / 1000;
  set('scheduler_build_info', 1, { version: VERSION });
  set('scheduler_last_tick_timestamp_seconds', now);
  const isSuccess = (exitCode ?? passes.at(-1)?.exitCode) === EXIT.done && !locked;
  const success = isSuccess ? now : before.get('scheduler_last_success_timestamp_seconds');
  if (success !== undefined) set('scheduler_last_success_timestamp_seconds', success);
  if (exitCode !== undefined) {
    set('scheduler_tick_duration_seconds', performance.now() / 1000);
    set('scheduler_tick_exit_code', exitCode);
    set('scheduler_tick_locked', Number(locked));
    add('scheduler_ticks_total', 1, { exit_code: String(exitCode) });
  }
  for (const { tenant, jobs } of passes) {
    for (const { job, changed, failed, unsent } of jobs) {
      const labels = { ...ofTenant(tenant), job_name: job };
      for (const [transition, count] of Object.entries(changed))
        add('scheduler_transitions_total', count, { ...labels, transition });
      add('scheduler_failed_rows_total', failed, labels);
      add('scheduler_unsent_notifications_total', unsent, labels);
    }
  }
  if (database) set('scheduler_notification_queue_ratio', database.queue);
  for (const { tenant, job, failing, quarantined } of database?.failing ?? []) {
    const labels = { ...ofTenant(tenant), job_name: job };
    set('scheduler_job_failing_rows', failing, labels);
    set('scheduler_job_quarantined_rows', quarantined, labels);
  }
  for (const { tenant, job, state, paused, lastRun, failing, quarantined, backlog } of database?.jobs ?? []) {
    const labels = { ...ofTenant(tenant), job_name: job };
    set('scheduler_job_installed', Number(state !== 'not installed'), labels);
    set('scheduler_job_paused', Number(paused !== null), labels);
    set('scheduler_job_error', Number(Boolean(lastRun?.error)), labels);
    if (lastRun) set('scheduler_job_last_run_timestamp_seconds', Date.parse(lastRun.at) / 1000, labels);
    set('scheduler_job_late_seconds', lastRun?.lateSeconds ?? 0, labels);
    set('scheduler_job_failing_rows', failing, labels);
    set('scheduler_job_quarantined_rows', quarantined, labels);
    if (!backlog) continue;
    set('scheduler_job_backlog_rows', backlog.rows, labels);
    set('scheduler_job_backlog_seconds', backlog.seconds ?? 0, labels);
  }
  return samples;
}

const ofTenant = (tenant: string | null | undefined) => (!tenant || tenant === 'public' ? {} : { tenant });

const nameOf = (sample: string) => sample.replace(/\{.*/s, '');

const ESCAPES: Record<string, string> = { '\\': '\\\\', '"': '\\"', '\n': '\\n' };

function written(labels: Record<string, string>): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replace(/[\\"\n]/g, (character) => ESCAPES[character]!)}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

export function render(samples: Samples): string {
  const groups = Object.entries(METRICS).map(([name, help]) => {
    const lines = [...samples].filter(([sample]) => nameOf(sample) === name).map((sample) => `${sample.join(' ')}\n`);
    if (lines.length === 0) return '';
    return `# HELP ${name} ${help}\n# TYPE ${name} ${isCounter(name) ? 'counter' : 'gauge'}\n${lines.join('')}`;
  });
  return groups.join('');
}

/** A hundred times what it holds. */
const LARGEST = 4_000_000;

const SAMPLE = /^(scheduler_\w+(?:\{.*\})?) (\S+)$/gm;

/** The samples of the file that this one replaces. Lines that are not ours, or that nobody can read, are ignored. */
function readBefore(path: string): Samples {
  const found = [...textOf(path).matchAll(SAMPLE)];
  return new Map(
    found.map(([, sample, value]) => [sample!, Number(value)] as const).filter(([, value]) => Number.isFinite(value)),
  );
}

/** Somebody else may write to the folder, and have put anything there: a link, a pipe, a file without end. */
function textOf(path: string): string {
  let file: number | undefined;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    const { size } = fstatSync(file);
    if (!fstatSync(file).isFile() || size > LARGEST) return '';
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** The collector reads at any moment: it finds the old file or the new one, whole. It does so as another user. */
function replaceFile(path: string, text: string): void {
  const fresh = `${path}.${process.pid}.tmp`;
  try {
    const file = openSync(fresh, 'wx');
    try {
      writeFileSync(file, text);
      fchmodSync(file, 0o644); // whatever the umask; by the open file, as the name may be another's by now
    } finally {
      closeSync(file);
    }
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
}
