import { inWords, readable } from '../../base/calendar.ts';
import { lockHolder } from '../../store/lock.ts';
import { graceSeconds, isOn, lastTickOf, rows, type Status } from '../status.ts';
import { type Exam, failed, ok, type Result, skipped, warning } from './finding.ts';

/** Whether the jobs do their work. */

// Cron may skip a minute or two around a restart; after this nobody calls.
const SILENT_SECONDS = 600;

export function checkLastTick({ program, server }: Exam, { jobs, scheduler }: Status): Result {
  if (!jobs.some(isOn))
    return warning('cannot be told: every job is paused, switched off or not installed, and leaves no trace');
  const cron = [
    '# With "crontab -e" add (the settings are in that file, which only its owner may read):',
    program.crontab,
  ];
  const last = lastTickOf(jobs);
  if (!last) return warning('none has ever come', cron);
  const seconds = (Date.now() - Date.parse(last)) / 1000 - server.clockAhead;
  const message = `${inWords(Math.max(0, seconds))} ago, at ${readable(last)}`;
  if (scheduler.isRunning) return ok(message);
  if (seconds <= SILENT_SECONDS) return warning(`${message}: a minute or two were missed`);
  return failed(`${message}: nobody calls "scheduler tick"`, [
    '# Does cron run, and what did it say?',
    'systemctl status cron; journalctl -u cron --since -1h | grep scheduler',
    ...cron,
  ]);
}

// Twice as long as a tick works by default, and longer than its lock outlives a machine that vanished.
const HELD_SECONDS = 300;

/** The lock goes with its holder. One that hangs keeps every other run from the work, and none of them leaves a trace. */
export async function checkLock({ db }: Exam): Promise<Result> {
  const holder = await lockHolder(db);
  if (!holder) return ok('free');
  const { pid, role, who, seconds, stranger } = holder;
  if (stranger) return failed(stranger, [`-- As ${role} or a superuser:`, `select pg_terminate_backend(${pid});`]);
  const message = `held by process ${pid} (${who})${seconds === null ? '' : `, for ${inWords(seconds)}`}`;
  return (seconds ?? 0) > HELD_SECONDS
    ? warning(`${message}: if no run works that long, that one hangs`, [
        `-- As ${role} or a superuser. Its uncommitted work is rolled back, and the next tick does it:`,
        `select pg_terminate_backend(${pid});`,
      ])
    : ok(message);
}

export function checkBacklog({ program }: Exam, { jobs }: Status): Result {
  const on = jobs.filter(isOn);
  const unknown = on.filter(({ backlog }) => !backlog).map(({ job }) => job);
  const due = on.flatMap(({ backlog, ...job }) => (backlog && backlog.rows > 0 ? [{ ...job, backlog }] : []));
  const late = due.filter((job) => (job.backlog.seconds ?? 0) > graceSeconds(job));
  if (late.length > 0)
    return warning(
      late
        .map(
          ({ job, backlog }) =>
            `${job}: ${rows(backlog.rows, backlog.more)} due, the oldest for ${inWords(backlog.seconds!)}`,
        )
        .join('; '),
      ['# Why they are left:', ...late.map(({ job }) => program.command(`run ${job} --debug`))],
    );
  if (unknown.length > 0) return skipped(`cannot be told of ${unknown.join(', ')}, whose tables do not answer`);
  const all = due.reduce((sum, { backlog }) => sum + backlog.rows, 0);
  return ok(
    all === 0
      ? 'nothing is due'
      : `${rows(
          all,
          due.some(({ backlog }) => backlog.more),
        )} due, none late`,
  );
}

export function checkFailures({ program }: Exam, { jobs }: Status): Result {
  const quarantined = jobs.filter((job) => job.quarantined > 0);
  const failing = jobs.filter((job) => job.failing > 0);
  if (quarantined.length + failing.length === 0) return ok('no row fails');
  return warning(
    [
      ...quarantined.map((job) => `${job.job}: ${rows(job.quarantined)} in quarantine`),
      ...failing.map(
        (job) => `${job.job}: ${rows(job.failing)}, tried again by ${job.failing === 1 ? 'itself' : 'themselves'}`,
      ),
    ].join('; '),
    [
      '# To see why; then mend the rows, and retry them:',
      program.command('failures'),
      ...quarantined.map(({ job }) => program.command(`failures retry ${job}`)),
    ],
  );
}

// From here it is half the time that it took to get here until no job can notify any more.
const FULL_QUEUE = 0.5;
const SLEEPERS_SHOWN = 5;

/** One listener that sleeps in a transaction keeps every message since for everybody. */
export async function checkNotifications({ db }: Exam): Promise<Result> {
  const [{ usage } = { usage: 0 }] = await db.query<{ usage: number }>('select pg_notification_queue_usage() as usage');
  const full = `${(usage * 100).toFixed(usage < 0.01 && usage > 0 ? 2 : 0)} %`;
  if (usage < FULL_QUEUE) return ok(`the queue is ${full} full`);
  const sleepers = await db.query<{ pid: number; who: string; seconds: number }>(
    `select pid, concat_ws(', ', nullif(application_name, ''), 'user ' || usename, 'database ' || datname,
         'from ' || host(client_addr), state) as who,
       extract(epoch from clock_timestamp() - xact_start)::double precision as seconds
     from pg_stat_activity
     where xact_start is not null and pid <> pg_backend_pid() and backend_type = 'client backend' and state like 'idle in transaction%'
     order by xact_start limit ${SLEEPERS_SHOWN}`,
  );
  if (sleepers.length === 0)
    return failed(`the queue is ${full} full, and this role sees nobody asleep in a transaction`, [
      '-- As a superuser, who sees all of them: which listens, and how long has its transaction been open?',
      'select pid, usename, application_name, state, xact_start, query from pg_stat_activity where xact_start is not null order by xact_start;',
    ]);
  const named = sleepers.map(({ pid, who, seconds }) => `process ${pid} (${who}, for ${inWords(seconds)})`);
  return failed(
    `the queue is ${full} full; asleep in a transaction, and so perhaps a listener that keeps it: ${named.join('; ')}`,
    [
      '-- As a superuser. It rolls back what they have not committed. The oldest first; then look again.',
      ...sleepers.map(({ pid }) => `select pg_terminate_backend(${pid});`),
    ],
  );
}
