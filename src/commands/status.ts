import type { Command } from 'commander';
import { inWords, readable } from '../base/calendar.ts';
import { TENANTS } from '../base/config.ts';
import { EXIT, type ExitCode } from '../base/errors.ts';
import { print, printHeading, printJson, printTable, say } from '../base/output.ts';
import { commandFor } from '../base/paste.ts';
import type { Context } from '../context.ts';
import { isUnused, type JobStatus, readStatus, type Status } from '../inspect/status.ts';
import { all } from '../store/standing.ts';
import { command, type Options, withSchema } from './command.ts';
import { forEachTenant, meantTenants, tenantsFor, tenantsOption } from './tenants.ts';

interface StatusOptions extends Options {
  check?: boolean;
  tenants?: string;
}

export function statusCommand(): Command {
  return command('status', 'whether the scheduler runs, and how each job is', {
    examples: [
      'scheduler status',
      'scheduler status --json',
      'scheduler status --check || alert',
      "scheduler status --tenants 'ts_*'",
    ],
    exits: { [EXIT.rowsFailed]: 'with --check: something needs a person, which it names' },
  })
    .option(
      '--check',
      'end with 1 when you have to look: no tick comes; a job is gone, failed, or paused for more than a day; ' +
        'rows are in quarantine, more than 100 fail, or some have been due for more than ten minutes',
    )
    .option('--json', 'print the result as JSON')
    .addOption(tenantsOption(`; else ${TENANTS.env}`))
    .action(
      withSchema<StatusOptions>(async (context, options) => {
        const { db, settings, jobs } = context;
        const tenants = meantTenants(options, settings.tenants);
        if (tenants !== undefined) return ofTenants(context, options, await tenantsFor(context, tenants, jobs));
        const status = await readStatus(db, settings, all(jobs));
        const attention = options.check ? status.attention : [];
        if (options.json) printJson(status);
        else tell(status, attention, db.tenant);
        return attention.length > 0 ? EXIT.rowsFailed : EXIT.done;
      }),
    );
}

/** A line for each tenant, and what a person has to look at. */
async function ofTenants(context: Context, options: StatusOptions, names: string[]): Promise<ExitCode> {
  const rows: (string | number)[][] = [];
  const attention: string[] = [];
  const code = await forEachTenant(context, options, names, async ({ check, answer }, tenant) => {
    const status = await readStatus(context.db, context.settings, all(context.jobs));
    const sum = (of: 'failing' | 'quarantined') => status.jobs.reduce((total, job) => total + job[of], 0);
    rows.push([tenant, status.message, sum('failing'), sum('quarantined')]);
    if (check) attention.push(...status.attention.map((sentence) => `${tenant}: ${sentence}`));
    answer?.(status);
    return check && status.attention.length > 0 ? EXIT.rowsFailed : EXIT.done;
  });
  if (options.json) return code;
  printTable(['tenant', 'state', 'failing', 'quarantined'], rows);
  tellAttention(attention);
  return code;
}

function tellAttention(attention: string[]): void {
  if (attention.length > 0) printHeading('A person has to look:');
  for (const sentence of attention) say(sentence);
}

function tell({ message, scheduler: { nextCheck }, jobs }: Status, attention: string[], tenant?: string): void {
  say(`${message}${nextCheck ? `; the next tick is due at ${readable(nextCheck)}` : ''}.\n`);
  const used = jobs.filter((job) => !isUnused(job));
  if (used.length > 0)
    printTable(['job', 'state', 'last run', 'did', 'late by', 'due', 'failing', 'quarantined'], used.map(row));
  printWhys(used, tenant);
  printUnused(
    jobs.filter(isUnused).map(({ job }) => job),
    tenant,
  );
  tellAttention(attention);
}

function row({ job, state, lastRun, backlog, failing, quarantined }: JobStatus) {
  const did = lastRun ? whatItDid(lastRun) : '';
  const late = lastRun && Object.keys(lastRun.changed).length > 0 ? inWords(lastRun.lateSeconds) : '';
  const due = backlog?.more ? `${backlog.rows} or more` : (backlog?.rows ?? '?');
  return [job, state, readable(lastRun?.at ?? null), did, late, due, failing, quarantined];
}

/** A run in a few words. */
export function whatItDid(run: NonNullable<JobStatus['lastRun']>): string {
  const words = Object.entries(run.changed).map(([transition, count]) => `${transition} ${count}`);
  if (run.failed > 0) words.push(`failed ${run.failed}`);
  if (run.workLeft) words.push('work left');
  if (run.error) words.push('stopped by an error');
  if (!run.finishedAt) words.push('not finished');
  return words.join(', ') || 'nothing due';
}

function printUnused(jobs: string[], tenant: string | undefined): void {
  if (jobs.length > 0)
    say(
      `\n${jobs.length} built-in ${jobs.length === 1 ? 'job is' : 'jobs are'} not installed: ${jobs.join(', ')}. ${commandFor(tenant, 'doctor')} says what is missing.`,
    );
}

function printWhys(jobs: JobStatus[], tenant: string | undefined): void {
  const stopped = jobs.filter((job) => job.why !== null && job.state !== 'no tick');
  const broken = jobs.filter((job) => job.lastRun?.error);
  if (stopped.length + broken.length > 0) print('');
  for (const { job, state, why } of stopped) say(`${job} is ${state}: ${why}.`);
  for (const { job, lastRun } of broken) say(`${job}: ${lastRun!.error}`);
  if (jobs.some(({ failing, quarantined }) => failing + quarantined > 0))
    print(`\nWhat failed and why: ${commandFor(tenant, 'failures')}.`);
}
