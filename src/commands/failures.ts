import type { Command } from 'commander';
import { readable } from '../base/calendar.ts';
import { usageError } from '../base/errors.ts';
import { isTerminal, print, printByTenant, printJson } from '../base/output.ts';
import { someOf } from '../base/plain.ts';
import type { Column } from '../base/table.ts';
import type { Context } from '../context.ts';
import type { Job } from '../job/define.ts';
import {
  type Alike,
  dropFailures,
  type Failure,
  listAlike,
  listFailures,
  MOST,
  retryFailures,
} from '../store/failures.ts';
import { command, jobName, knownJob, type Options, onlyNewest, WIDE, wholeNumber, withSchema } from './command.ts';

type Choice = Options & { job?: string; id?: string; all?: boolean; limit: number };

const ACTIONS = ['list', 'retry', 'drop'];

export function failuresCommand(jobs: Job[]): Command {
  return (
    command('failures', 'rows that could not be changed: why, and when they are tried again', {
      examples: [
        'scheduler failures',
        'scheduler failures packages --json',
        'scheduler failures retry packages 17',
        'scheduler failures drop --all',
      ],
    })
      .argument(
        '[action-or-job]',
        'list them, which may be left out; retry: release them for the next tick; drop: forget them',
        jobName(jobs, ACTIONS),
      )
      // Without an action, the id stands here.
      .argument(
        '[job]',
        'only of this job',
        Object.assign((text: string) => text, { choices: jobs.map(({ name }) => name), after: ACTIONS }),
      )
      .argument('[id]', 'only this row')
      .option('--all', 'all jobs; retry and drop need a job or this')
      .option('-n, --limit <count>', 'show at most this many, the newest', wholeNumber(1, 1_000_000), MOST)
      .option(...WIDE)
      .option('-j, --json', 'print the result as JSON')
      .action(
        withSchema<Choice>(async (context, options, args) => {
          const [action, job, id] = meant(args);
          await knownJob(context, job, true);
          const choice = { ...options, ...(job !== undefined && { job }), ...(id !== undefined && { id }) };
          return action === 'retry' || action === 'drop' ? change(context, choice, action) : list(context, choice);
        }, refuseVagueness),
      )
  );
}

/** Without an action, the job comes first. */
const meant = (args: string[]) => (ACTIONS.includes(args[0] ?? 'list') ? args : ['list', ...args]);

/** The operator says which rows to release or forget: all of them at once must be meant. */
async function refuseVagueness(_: Context, { all }: Choice, args: string[]): Promise<void> {
  const [action = 'list', job, , more] = meant(args);
  if (more !== undefined) throw usageError(`failures takes an action, a job and an id; "${more}" is one too many.`);
  if (action !== 'list' && !job && !all) throw usageError(`failures ${action} needs a job, or --all for every job.`);
}

async function list({ db, log }: Context, options: Choice): Promise<undefined> {
  const { limit, wide, json } = options;
  const filter = { ...options, tenant: db.tenant };
  if (!json && !wide && isTerminal()) {
    const { groups, more } = await listAlike(db, filter);
    if (groups.length === 0) print(noneOf(options));
    else tellAlike(groups);
    if (more) log.warn(onlyNewest(limit, ['group', 'groups']));
    return;
  }
  const found = await listFailures(db, { ...filter, limit: limit + 1 });
  const failures = found.slice(0, limit);
  if (json) printJson({ failures });
  else if (failures.length === 0) print(noneOf(options));
  else printByTenant(COLUMNS, failures, row, true);
  if (found.length > limit) log.warn(onlyNewest(limit, ['row', 'rows']));
}

const noneOf = ({ job, id }: Choice) =>
  id === undefined ? 'No row has failed.' : `The row ${id} of ${job} has not failed.`;

const LATER = [['attempts', 1], ['last tried', 2], 'next attempt', ['why', 'below']] satisfies Column[];
const COLUMNS: Column[] = ['job', 'id', 'rule', ...LATER];

/** On a terminal, rows that failed alike are one line. */
function tellAlike(groups: Alike[]): void {
  const columns = ['job', 'rule', 'rows', 'ids', ...LATER];
  const isLess = printByTenant(columns, groups, (group) => [
    ...[group.job, group.rule, group.rows, someOf(group.ids), ...later(group)],
  ]);
  if (groups.some(({ rows }) => rows > 1) && !isLess) print('Each row: --wide.');
}

const row = (failure: Failure) => [failure.job, failure.entityId, failure.rule, ...later(failure)];

function later({ attempts, lastFailedAt, nextAttemptAt, quarantinedAt, error }: Omit<Alike, 'rows' | 'ids'>) {
  const attempt = nextAttemptAt === null ? 'next tick' : readable(nextAttemptAt);
  return [attempts, readable(lastFailedAt), quarantinedAt ? 'quarantined' : attempt, error];
}

async function change({ db }: Context, options: Choice, action: 'retry' | 'drop'): Promise<undefined> {
  const filter = { ...options, tenant: db.tenant };
  if (options.id !== undefined) {
    const tenants = new Set((await listFailures(db, filter)).map(({ tenant = 'public' }) => tenant));
    if (tenants.size > 1)
      throw usageError(
        `Several tenants have a row ${options.id} that failed (${[...tenants].join(', ')}): say which with --tenant.`,
      );
  }
  const rows = await (action === 'retry' ? retryFailures : dropFailures)(db, filter);
  const count = rows.length === 1 ? '1 row' : `${rows.length} rows`;
  if (options.json) printJson({ action, rows });
  else if (rows.length === 0) print('No row has failed like that.');
  else if (action === 'retry') print(`Released ${count}: the next tick tries again.`);
  else print(`Forgot ${count}: what is still due counts as never tried.`);
}
