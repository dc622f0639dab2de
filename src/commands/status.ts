import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import { inWords, readable, readableIn } from '../base/calendar.ts';
import { TENANTS } from '../base/config.ts';
import { EXIT, type ExitCode, usageError } from '../base/errors.ts';
import { print, printHeading, printJson, printTable, startScreen } from '../base/output.ts';
import { commandFor } from '../base/paste.ts';
import type { Column } from '../base/table.ts';
import type { Context } from '../context.ts';
import {
  isLate,
  isUnused,
  type JobStatus,
  type LastChange,
  readScreen,
  readStatus,
  rows,
  type Status,
} from '../inspect/status.ts';
import type { Job } from '../job/define.ts';
import { all, only } from '../store/standing.ts';
import { command, jobName, knownJob, type Options, WIDE, withSchema } from './command.ts';
import { forEachTenant, meantTenants, tenantsFor, tenantsOption } from './tenants.ts';

const WATCH_MS = 2000;

interface StatusOptions extends Options {
  check?: boolean;
  watch?: boolean;
  tenants?: string;
}

interface Screen {
  status: Status;
  lastChanges: LastChange[];
}

interface Telling {
  attention: string[];
  wide: boolean;
  tenant: string | undefined;
}

export function statusCommand(jobs: Job[]): Command {
  return command('status', 'whether the scheduler runs, and how each job is', {
    examples: [
      'scheduler status',
      'scheduler status packages',
      'scheduler status --json',
      'scheduler status --check || alert',
      'scheduler status --watch',
      "scheduler status --tenants 'ts_*'",
    ],
    exits: { [EXIT.rowsFailed]: 'with --check: something needs a person, which it names' },
  })
    .argument('[job]', 'only of this job', jobName(jobs))
    .option(
      '--check',
      'end with 1 when you have to look: no tick comes; a job is gone, failed, or paused for more than a day; ' +
        'rows are in quarantine, more than 100 fail, or some have been due for more than ten minutes',
    )
    .addOption(
      new Option('--watch', 'look again every two seconds, until you press Ctrl-C').conflicts(['check', 'tenants']),
    )
    .option(...WIDE)
    .option('-j, --json', 'print the result as JSON')
    .addOption(tenantsOption(`; else ${TENANTS.env}`))
    .action(
      withSchema<StatusOptions>(async (context, options, [name]) => {
        const { db, settings, jobs } = context;
        await knownJob(context, name);
        const tenants = meantTenants(options, settings.tenants);
        if (tenants !== undefined && name !== undefined)
          throw usageError('--tenants gives a line for each tenant: leave out the job.');
        if (tenants !== undefined) return ofTenants(context, options, await tenantsFor(context, tenants, jobs));
        const wide = options.wide || name !== undefined;
        for (;;) {
          const screen = await readScreen(db, settings, name === undefined ? all(jobs) : only(jobs, [name]));
          const attention = options.check ? screen.status.attention : [];
          if (options.watch) {
            startScreen();
            print(`${readable(new Date().toISOString())}, and again every 2 s until you press Ctrl-C.`);
          }
          if (options.json) printJson(screen.status);
          else tell(screen, { attention, wide, tenant: db.tenant });
          if (!options.watch) return attention.length > 0 ? EXIT.rowsFailed : EXIT.done;
          await sleep(WATCH_MS);
        }
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
  printTable(['tenant', ['state', 'cut'], 'failing', 'quarantined'], rows, options.wide);
  tellAttention(attention);
  return code;
}

function tellAttention(attention: string[]): void {
  if (attention.length > 0) printHeading('You have to look:');
  for (const sentence of attention) print(readableIn(sentence));
}

function tell({ status, lastChanges }: Screen, { attention, wide, tenant }: Telling): void {
  const { scheduler, message, atWork, jobs } = status;
  const { nextCheck } = scheduler;
  print(`${readableIn(message)}${nextCheck ? `; the next tick is due at ${readable(nextCheck)}` : ''}.`);
  const left = jobs.find(({ job }) => job === atWork?.job)?.backlog;
  if (atWork)
    print(
      `A run is at work on ${atWork.job} since ${readable(atWork.since)}: ${rows(atWork.done)} done${left ? `, ${rows(left.rows, left.more)} due` : ''}.`,
    );
  const used = jobs.filter((job) => !isUnused(job));
  if (used.length > 1) print(`${used.length} jobs: ${counted(used.map(stateOf))}.`);
  if (used.length > 0) {
    print('');
    printTable(
      COLUMNS,
      used.map((job) => row(job, lastChanges)),
      wide,
    );
  }
  if (jobs.some(({ failing, quarantined }) => failing + quarantined > 0))
    print(`See the failing rows and why: ${commandFor(tenant, 'failures')}.`);
  printUnused(
    jobs.filter(isUnused).map(({ job }) => job),
    tenant,
  );
  tellAttention(attention);
}

const COLUMNS: Column[] = [
  'job',
  'state',
  'last change',
  ['did', 3],
  ['late by', 2],
  ['last run', 1],
  ['remark', 'cut'],
];

function row(status: JobStatus, lastChanges: LastChange[]) {
  const { job, lastRun } = status;
  const change = lastChanges.find((each) => each.job === job);
  return [
    ...[job, stateOf(status), change ? `${inWords(change.secondsAgo)} ago` : ''],
    ...[change ? inCounts(change.changed).join(', ') : '', change ? inWords(change.lateSeconds) : ''],
    ...[readable(lastRun?.at ?? null), remarkOn(status)],
  ];
}

/** The worst there is to say of a job, in a word. */
function stateOf(status: JobStatus): string {
  const { state, lastRun, quarantined, failing } = status;
  if (state !== 'running') return state;
  if (lastRun?.error) return 'broken';
  if (quarantined > 0) return 'quarantine';
  if (isLate(status)) return 'late';
  return failing > 0 ? 'failing' : 'ok';
}

function remarkOn({ state, why, paused, lastRun, backlog, failing, quarantined }: JobStatus): string {
  const isPaused = state === 'paused' && paused;
  return [
    ...(isPaused ? [`by ${paused.by}${paused.reason ? `: ${paused.reason}` : ''}`] : []),
    ...(why !== null && !isPaused && state !== 'no tick' ? [why] : []),
    ...(lastRun?.error ? [lastRun.error] : []),
    ...(quarantined > 0 ? [`${rows(quarantined)} in quarantine`] : []),
    ...(failing > 0 ? [`${rows(failing)} failing`] : []),
    ...(backlog && backlog.rows > 0
      ? [`${rows(backlog.rows, backlog.more)} due for ${inWords(backlog.seconds ?? 0)}`]
      : []),
    ...(lastRun?.workLeft && !lastRun.error ? ['work left'] : []),
  ].join('; ');
}

/** ok, paused, ok → "2 ok, 1 paused" */
function counted(states: string[]): string {
  const counts: Record<string, number> = {};
  for (const state of states) counts[state] = (counts[state] ?? 0) + 1;
  return Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([state, count]) => `${count} ${state}`)
    .join(', ');
}

const inCounts = (changed: Record<string, number>): string[] =>
  Object.entries(changed).map(([transition, count]) => `${transition} ${count}`);

function printUnused(jobs: string[], tenant: string | undefined): void {
  if (jobs.length > 0)
    print(
      `${jobs.length} built-in ${jobs.length === 1 ? 'job is' : 'jobs are'} not installed: ${jobs.join(', ')}. ${commandFor(tenant, 'doctor')} says what is missing.`,
    );
}
