import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import type { Command } from 'commander';
import { readable, spanInSeconds } from '../base/calendar.ts';
import { EXIT, type ExitCode, usageError } from '../base/errors.ts';
import { Log } from '../base/log.ts';
import { print, printJson, printTable } from '../base/output.ts';
import { Stop } from '../base/stop.ts';
import type { Column } from '../base/table.ts';
import type { Context } from '../context.ts';
import type { Happening, Rehearsed } from '../engine/rehearse.ts';
import type { Job } from '../job/define.ts';
import { all, only } from '../store/standing.ts';
import {
  command,
  instantOf,
  jobName,
  knownJob,
  type Options,
  seconds,
  WIDE,
  wholeNumber,
  withSchema,
} from './command.ts';

interface RehearseOptions extends Options {
  until: string;
  from?: string;
  timeout: number;
  limit: number;
  expect?: string;
}

export function rehearseCommand(jobs: Job[]): Command {
  return command('rehearse', 'play the ticks of the time to come, in a transaction that is rolled back', {
    examples: [
      'scheduler rehearse --until 30d',
      'scheduler rehearse trials 17 --until 7d',
      'scheduler rehearse --from 2027-03-28T00:00 --until 2027-03-29T00:00 --json > expected.json',
      'scheduler rehearse --from 2027-03-28T00:00 --until 2027-03-29T00:00 --expect expected.json',
    ],
    exits: { [EXIT.rowsFailed]: 'with --expect, the timeline is another' },
  })
    .requiredOption('--until <time>', 'the end: 30d after the beginning, or 2027-01-01T00:00')
    .option('--from <time>', 'the beginning (default: now)')
    .argument('[job]', 'only this job', jobName(jobs))
    .argument('[id]', 'show only what happens to this row')
    .option(
      '--timeout <span>',
      'stop after so long; rows that it has touched are locked meanwhile',
      seconds(1, 3600),
      5,
    )
    .option('-n, --limit <count>', 'stop after this many transitions', wholeNumber(1, 100_000), 1000)
    .option('--expect <file>', 'compare with what --json printed before')
    .option(...WIDE)
    .option('-j, --json', 'print the result as JSON')
    .action(withSchema<RehearseOptions>(act, resolve));
}

async function resolve(context: Context, options: RehearseOptions): Promise<void> {
  const { from, until } = options;
  options.from = from === undefined ? new Date().toISOString() : await instantOf(context, from, '--from');
  const seconds = spanInSeconds(until.replace(/^\+/, ''));
  options.until =
    seconds === undefined
      ? await instantOf(context, until, '--until')
      : new Date(Date.parse(options.from) + seconds * 1000).toISOString();
  if (Date.parse(options.until) < Date.parse(options.from)) throw usageError('--until lies before --from.');
}

async function act(context: Context, options: RehearseOptions, [job, row]: string[]): Promise<ExitCode> {
  const { rehearse } = await import('../engine/rehearse.ts');
  const { from, until, limit, timeout } = options;
  await knownJob(context, job);
  const jobs = job === undefined ? all(context.jobs) : only(context.jobs, [job]);
  const request = {
    ...{ jobs, dryRun: true, debug: false, between: true, timeoutSeconds: timeout, stop: new Stop() },
    ...(job !== undefined && { by: 'rehearse' }),
  };
  // The timeline tells of all that a tick would have logged.
  const log = new Log('silent');
  const played = await rehearse({ ...context, log, request }, { from: from!, until, limit, row });
  if (options.expect !== undefined) return compare(played, options.expect);
  if (options.json) printJson(played);
  else tell(played, options, { job, row });
  return EXIT.done;
}

function tell(
  { timeline, from, until, stopped, assumed, skipped }: Rehearsed,
  { wide }: RehearseOptions,
  { job: only, row }: Record<'job' | 'row', string | undefined>,
): void {
  const what = row === undefined ? 'Nothing happens' : `Nothing happens to the row ${row}`;
  if (timeline.length === 0) print(`${what} from ${readable(from)} to ${readable(stopped?.at ?? until)}.`);
  else printTable(COLUMNS, timeline.map(line), wide);
  if (assumed.length > 0) print(`\nTaken for done: ${assumed.join(', ')}.`);
  // Most applications have tables for a few of the built-in jobs.
  const out = skipped.filter(({ job, why }) => job === only || !why.startsWith('not installed'));
  for (const { job, why } of out) print(`\nLeft out: ${job}, ${why}.`);
  if (stopped) print(`\nStopped at ${readable(stopped.at)}: ${stopped.why}.`);
}

const COLUMNS: Column[] = [['at', 'whole'], 'job', 'transition', 'row', ['event', 'cut']];

const line = ({ at, job, transition, id, event, error }: Happening) => [
  ...[readable(at), job, transition, id, event?.type ?? error ?? ''],
];

function compare({ timeline, stopped }: Rehearsed, file: string): ExitCode {
  let expected: Happening[];
  try {
    expected = (JSON.parse(readFileSync(file, 'utf8')) as Rehearsed).timeline;
    if (!Array.isArray(expected)) throw new Error('it has no timeline');
  } catch (error) {
    throw usageError(`${file} cannot be read as what "scheduler rehearse --json" prints: ${(error as Error).message}.`);
  }
  const lost = without(expected, timeline);
  const gained = without(timeline, expected);
  if (stopped) print(`Stopped at ${readable(stopped.at)}: ${stopped.why}. The comparison ends there.\n`);
  if (lost.length + gained.length === 0) return EXIT.done;
  printTable(
    ['', ...COLUMNS],
    [...lost.map((each) => ['-', ...line(each)]), ...gained.map((each) => ['+', ...line(each)])],
  );
  return EXIT.rowsFailed;
}

/** Those of the first list for which there is none alike in the second. */
function without(all: Happening[], others: Happening[]): Happening[] {
  const alike = (each: Happening) =>
    inspect(each, { sorted: true, depth: null, maxArrayLength: null, maxStringLength: null });
  const counts = new Map<string, number>();
  for (const each of others.map(alike)) counts.set(each, (counts.get(each) ?? 0) + 1);
  return all.filter((each) => {
    const count = counts.get(alike(each)) ?? 0;
    counts.set(alike(each), count - 1);
    return count <= 0;
  });
}
