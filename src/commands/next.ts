import { type Command, Option } from 'commander';
import { parseSpan, readable, readableIn, relative } from '../base/calendar.ts';
import { print, printJson, printTable } from '../base/output.ts';
import { commandFor } from '../base/paste.ts';
import type { Column } from '../base/table.ts';
import { type Coming, type Outlook, readNext } from '../inspect/next.ts';
import type { Job } from '../job/define.ts';
import { all, only } from '../store/standing.ts';
import { command, jobName, knownJob, type Options, WIDE, wholeNumber, withSchema } from './command.ts';

type Asked = Options & { within: number; limit: number };

const DAY = 86_400;

export function nextCommand(jobs: Job[]): Command {
  return command('next', 'what will happen and when, soonest first; what is overdue is done by the next tick', {
    examples: ['scheduler next', 'scheduler next --within 7d', 'scheduler next packages --within "2 hours" --json'],
  })
    .argument('[job]', 'only of this job', jobName(jobs))
    .addOption(
      new Option('--within <span>', 'how far to look ahead: 90m, 24h, 7d')
        .argParser((text) => parseSpan(text, '--within'))
        .default(DAY, '24h'),
    )
    .option('-n, --limit <count>', 'show at most this many lines, the soonest', wholeNumber(1, 10_000), 50)
    .option(...WIDE)
    .option('-j, --json', 'print the result as JSON')
    .action(
      withSchema<Asked>(async (context, options, [name]) => {
        const { db, settings, jobs } = context;
        await knownJob(context, name);
        const outlook = await readNext(db, settings, name === undefined ? all(jobs) : only(jobs, [name]), options);
        if (options.json) printJson(outlook);
        else tell(outlook, options, { name, tenant: db.tenant });
      }),
    );
}

function tell(
  outlook: Outlook,
  { limit, wide }: Asked,
  { name, tenant }: Record<'name' | 'tenant', string | undefined>,
): void {
  const { now, until, transitions, more, held, quarantined, notRunning } = outlook;
  if (transitions.length === 0) print(`Nothing will happen until ${readable(until)}.`);
  else
    printTable(
      COLUMNS,
      transitions.map((each) => row(each, now, tenant)),
      wide,
    );
  const notes = [
    ...(more ? [`There is more in that time: these are the first ${limit}; see --limit.`] : []),
    ...standingStill(name === undefined ? held.filter(({ unused }) => !unused) : held),
    ...(quarantined > 0
      ? [`In quarantine, and so left out: ${quarantined}; see ${commandFor(tenant, 'failures')}.`]
      : []),
    ...(notRunning ? [`${notRunning}.`] : []),
  ];
  if (notes.length > 0) print('');
  for (const note of notes) print(readableIn(note));
}

/** Jobs that stand still for the same reason, in one sentence. */
function standingStill(held: Outlook['held']): string[] {
  const jobsBy = new Map<string, string[]>();
  const parts: string[] = [];
  for (const { job, transition, why } of held) {
    if (transition === null) jobsBy.set(why, [...(jobsBy.get(why) ?? []), job]);
    else parts.push(`${job} cannot do "${transition}": ${why}`);
  }
  const whole = [...jobsBy].map(([why, jobs]) => {
    const names = new Intl.ListFormat('en').format(jobs);
    return `${names} ${jobs.length === 1 ? 'is' : 'are'} ${why}.`;
  });
  return [...whole, ...parts];
}

const COLUMNS: Column[] = [['when', 1], '', 'job', 'transition', 'rows', ['row', 2], ['remark', 'below']];

function row(coming: Coming, now: string, tenant: string | undefined) {
  const { job, transition, at, overdue, rows, orMore, id, wouldFail, retry, otherReasons } = coming;
  const remarks = [
    ...(retry === null ? [] : [`tried again after: ${retry}${otherReasons > 0 ? ', and others' : ''}`]),
    ...(wouldFail === 0
      ? []
      : [rows === 1 ? `would fail: see ${commandFor(tenant, `explain ${job}`, id)}` : `${wouldFail} would fail`]),
  ];
  return [
    at === '-infinity' ? '' : readable(at),
    overdue ? `overdue, ${at === '-infinity' ? 'at once' : relative(at, now)}` : relative(at, now),
    job,
    transition,
    orMore ? `${rows}+` : rows,
    rows === 1 ? id : `${id} …`,
    remarks.join('; '),
  ];
}
