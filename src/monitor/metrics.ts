import { chmodSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Settings } from '../base/config.ts';
import { EXIT } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { VERSION } from '../base/version.ts';
import type { Database } from '../db/client.ts';
import type { RunResult } from '../engine/run.ts';
import { type JobStatus, readStatus } from '../inspect/status.ts';
import type { Job } from '../job/define.ts';

/**
 * A file for the textfile collector of Prometheus's node_exporter. Counters go on from the file before this one: history in
 * the database would do for them too, until its retention made them fall. They count what the ticks of this file did; ticks
 * of another machine write their own, and Prometheus adds them up.
 */

// The label is called job_name, as "job" is what Prometheus itself calls the thing that it scrapes.
export const METRICS: Record<string, { type: 'gauge' | 'counter'; help: string }> = {
  scheduler_build_info: { type: 'gauge', help: 'The version of the program that ticked last.' },
  scheduler_last_tick_timestamp_seconds: { type: 'gauge', help: 'When the last tick ended, however it did.' },
  scheduler_last_success_timestamp_seconds: {
    type: 'gauge',
    help: 'When the last tick ended that did its own work with exit code 0.',
  },
  scheduler_tick_duration_seconds: {
    type: 'gauge',
    help: 'How long the last tick took, from the start of the process.',
  },
  scheduler_tick_exit_code: {
    type: 'gauge',
    help: 'The exit code of the last tick: 0 done, 1 rows failed, 69 database unreachable, 70 defect, 75 work left, 78 configuration.',
  },
  scheduler_tick_locked: {
    type: 'gauge',
    help: '1 when the last tick left the work to another run, which held the lock.',
  },
  scheduler_ticks_total: { type: 'counter', help: 'Ticks by their exit code.' },
  scheduler_transitions_total: { type: 'counter', help: 'Rows changed, by job and transition.' },
  scheduler_failed_rows_total: { type: 'counter', help: 'Attempts on a row that failed, by job.' },
  scheduler_unsent_notifications_total: {
    type: 'counter',
    help: 'Changes whose notification was given up because the notification queue was full.',
  },
  scheduler_notification_queue_ratio: {
    type: 'gauge',
    help: 'How full the notification queue of PostgreSQL is, up to 1.',
  },
  scheduler_job_installed: { type: 'gauge', help: '1 when the tables of the job are there.' },
  scheduler_job_paused: { type: 'gauge', help: '1 when somebody has stopped the job.' },
  scheduler_job_error: { type: 'gauge', help: '1 when the last run of the job was stopped by an error.' },
  scheduler_job_last_run_timestamp_seconds: {
    type: 'gauge',
    help: 'When the last run of the job started, wherever it ran.',
  },
  scheduler_job_late_seconds: {
    type: 'gauge',
    help: 'How long after its due time the last run of the job changed a row, at most.',
  },
  scheduler_job_failing_rows: { type: 'gauge', help: 'Rows that failed and are tried again by themselves.' },
  scheduler_job_quarantined_rows: { type: 'gauge', help: 'Rows that failed too often and wait for an operator.' },
  scheduler_job_backlog_rows: {
    type: 'gauge',
    help: 'Rows that are due after the tick; of each rule at most 1000 are counted.',
  },
  scheduler_job_backlog_seconds: { type: 'gauge', help: 'How long the oldest of them has been due; 0 when none is.' },
};

export interface TickReport {
  /** None yet: it lingers, and this is one of its passes. */
  exitCode?: number;
  /** Another run did the work. */
  locked?: boolean;
  /** A pass that was not reported yet. */
  pass?: RunResult;
  seconds: number;
}

interface Context {
  db: Database;
  settings: Settings;
  log: Log;
  jobs: Job[];
}

/** Whatever happens here, the tick is done: what goes wrong is a warning. */
export async function writeMetrics(path: string, context: Context, report: TickReport): Promise<void> {
  try {
    const database = report.exitCode === EXIT.unreachable ? undefined : await look(context);
    replaceFile(path, render(collect(readBefore(path), report, database, Date.now() / 1000)));
  } catch (error) {
    context.log.warn(
      `The metrics file "${path}" could not be written: ${(error as Error).message}. The tick itself is not affected.`,
    );
  }
}

interface Looked {
  jobs: JobStatus[];
  queue: number;
}

/** What is known of the jobs after the tick. A database that answers no longer, or has no schema, leaves these out. */
async function look({ db, settings, jobs, log }: Context): Promise<Looked | undefined> {
  try {
    const status = await readStatus(db, settings, jobs);
    const [row] = await db.query<{ queue: number }>('select pg_notification_queue_usage() as queue');
    return { jobs: status.jobs, queue: row!.queue };
  } catch (error) {
    log.debug('The metrics lack what the database would tell', { error: (error as Error).message });
    return undefined;
  }
}

// ── The samples: by metric, by their labels as they are written

export type Samples = Map<string, Map<string, number>>;

export function collect(before: Samples, report: TickReport, database: Looked | undefined, now: number): Samples {
  const samples: Samples = new Map(Object.keys(METRICS).map((name) => [name, new Map()]));
  const set = (name: string, value: number, labels: Record<string, string> = {}) =>
    samples.get(name)!.set(written(labels), value);
  const add = (name: string, value: number, labels: Record<string, string> = {}) => {
    const all = samples.get(name)!;
    all.set(written(labels), (all.get(written(labels)) ?? 0) + value);
  };
  for (const [name, { type }] of Object.entries(METRICS)) {
    if (type === 'counter') samples.set(name, new Map(before.get(name)));
  }
  const { exitCode, pass, seconds, locked = pass?.locked === true } = report;
  const outcome = exitCode ?? pass?.exitCode;

  set('scheduler_build_info', 1, { version: VERSION });
  set('scheduler_last_tick_timestamp_seconds', now);
  const success =
    outcome === EXIT.done && !locked ? now : before.get('scheduler_last_success_timestamp_seconds')?.get('');
  if (success !== undefined) set('scheduler_last_success_timestamp_seconds', success);
  if (exitCode === undefined) {
    for (const name of ['scheduler_tick_duration_seconds', 'scheduler_tick_exit_code', 'scheduler_tick_locked'])
      samples.set(name, new Map(before.get(name)));
  } else {
    set('scheduler_tick_duration_seconds', seconds);
    set('scheduler_tick_exit_code', exitCode);
    set('scheduler_tick_locked', Number(locked));
    add('scheduler_ticks_total', 1, { exit_code: String(exitCode) });
  }
  for (const { job, changed, failed, unsent } of pass?.jobs ?? []) {
    for (const [transition, count] of Object.entries(changed))
      add('scheduler_transitions_total', count, { job_name: job, transition });
    add('scheduler_failed_rows_total', failed, { job_name: job });
    add('scheduler_unsent_notifications_total', unsent, { job_name: job });
  }
  if (database) set('scheduler_notification_queue_ratio', database.queue);
  for (const { job, state, paused, lastRun, failing, quarantined, backlog } of database?.jobs ?? []) {
    const labels = { job_name: job };
    set('scheduler_job_installed', Number(state !== 'not installed'), labels);
    set('scheduler_job_paused', Number(paused !== null), labels);
    set('scheduler_job_error', Number(Boolean(lastRun?.error)), labels);
    if (lastRun) set('scheduler_job_last_run_timestamp_seconds', Date.parse(lastRun.at) / 1000, labels);
    set('scheduler_job_late_seconds', lastRun?.lateSeconds ?? 0, labels);
    set('scheduler_job_failing_rows', failing, labels);
    set('scheduler_job_quarantined_rows', quarantined, labels);
    set('scheduler_job_backlog_rows', backlog.rows, labels);
    set('scheduler_job_backlog_seconds', backlog.seconds ?? 0, labels);
  }
  return samples;
}

// ── The format

const ESCAPES: Record<string, string> = { '\\': '\\\\', '"': '\\"', '\n': '\\n' };

function written(labels: Record<string, string>): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replace(/[\\"\n]/g, (character) => ESCAPES[character]!)}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

export function render(samples: Samples): string {
  const lines: string[] = [];
  for (const [name, { type, help }] of Object.entries(METRICS)) {
    const all = samples.get(name);
    if (!all?.size) continue;
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const [labels, value] of all) lines.push(`${name}${labels} ${value}`);
  }
  return `${lines.join('\n')}\n`;
}

const SAMPLE = /^(scheduler_\w+)((?:\{.*\})?) (\S+)$/gm;

/** The samples of the file that this one replaces. Lines that are not ours, or that nobody can read, are ignored. */
function readBefore(path: string): Samples {
  const samples: Samples = new Map();
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return samples;
    throw error;
  }
  for (const [, name, labels, value] of text.matchAll(SAMPLE)) {
    if (!Number.isFinite(Number(value))) continue;
    if (!samples.has(name!)) samples.set(name!, new Map());
    samples.get(name!)!.set(labels!, Number(value));
  }
  return samples;
}

/** The collector reads at any moment: it finds the old file or the new one, whole. It does so as another user. */
function replaceFile(path: string, text: string): void {
  const fresh = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(fresh, text, { flag: 'wx' });
    chmodSync(fresh, 0o644); // whatever the umask
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
}
