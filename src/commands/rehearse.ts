import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { Command } from 'commander';
import { readable, spanInSeconds } from '../base/calendar.ts';
import { EXIT, type ExitCode, usageError } from '../base/errors.ts';
import { print, printJson, printTable } from '../base/output.ts';
import { Stop } from '../base/stop.ts';
import type { Context } from '../context.ts';
import type { Happening, Rehearsed } from '../engine/rehearse.ts';
import { all, only } from '../store/runs.ts';
import { command, instantOf, type Options, seconds, wholeNumber, withSchema } from './command.ts';

interface RehearseOptions extends Options {
  until: string;
  from?: string;
  job?: string;
  row?: string;
  timeout: number;
  limit: number;
  expect?: string;
}

export function rehearseCommand(): Command {
  return command('rehearse', 'play the ticks of the time to come, in a transaction that is rolled back', {
    examples: [
      'scheduler rehearse --until 30d',
      'scheduler rehearse --until 7d --job trials --row 17',
      'scheduler rehearse --from 2027-03-28T00:00 --until 2027-03-29T00:00 --json > expected.json',
      'scheduler rehearse --from 2027-03-28T00:00 --until 2027-03-29T00:00 --expect expected.json',
    ],
    exits: { [EXIT.rowsFailed]: 'with --expect, the timeline is another' },
  })
    .requiredOption('--until <time>', 'the end: 30d ahead, or 2027-01-01T00:00')
    .option('--from <time>', 'the beginning (default: now)')
    .option('--job <job>', 'only this job')
    .option('--row <id>', 'show only what happens to this row')
    .option(
      '--timeout <span>',
      'stop after so long; rows that it has touched are locked meanwhile',
      seconds(1, 3600),
      5,
    )
    .option('--limit <count>', 'stop after so many transitions', wholeNumber(1, 100_000), 1000)
    .option('--expect <file>', 'compare with what --json printed before')
    .option('--json', 'print the result as JSON')
    .action(withSchema<RehearseOptions>(act, resolve));
}

async function resolve(context: Context, options: RehearseOptions): Promise<void> {
  const until = spanInSeconds(options.until) === undefined ? options.until : `+${options.until}`;
  options.until = await instantOf(context, until, '--until');
  options.from =
    options.from === undefined ? new Date().toISOString() : await instantOf(context, options.from, '--from');
  if (Date.parse(options.until) < Date.parse(options.from)) throw usageError('--until lies before --from.');
}

async function act(context: Context, options: RehearseOptions): Promise<ExitCode> {
  const { rehearse } = await import('../engine/rehearse.ts');
  const { from, until, limit, timeout, job, row } = options;
  const jobs = job === undefined ? all(context.jobs) : only(context.jobs, [job]);
  const request = {
    ...{ jobs, by: 'rehearse', dryRun: true, debug: false, timeoutSeconds: timeout, stop: new Stop() },
  };
  const played = await rehearse(
    { ...context, request },
    { from: from!, until, limit, deadline: performance.now() + timeout * 1000 },
  );
  if (row !== undefined) played.timeline = played.timeline.filter(({ id }) => id === row);
  if (options.expect !== undefined) return compare(played, options.expect);
  if (options.json) printJson(played);
  else tell(played);
  return EXIT.done;
}

function tell({ timeline, from, until, stopped, assumed }: Rehearsed): void {
  if (timeline.length === 0) print(`Nothing happens from ${readable(from)} to ${readable(until)}.`);
  else printTable(['at', 'job', 'transition', 'row', 'event'], timeline.map(line));
  if (assumed.length > 0) print(`\nTaken for done: ${assumed.join(', ')}.`);
  if (stopped) print(`\nStopped at ${readable(stopped.at)}: ${stopped.why}.`);
}

const line = ({ at, job, transition, id, event, error }: Happening) => [
  ...[readable(at), job, transition, id, event?.type ?? error ?? ''],
];

function compare({ timeline }: Rehearsed, file: string): ExitCode {
  let expected: Happening[];
  try {
    expected = (JSON.parse(readFileSync(file, 'utf8')) as Rehearsed).timeline;
  } catch (error) {
    throw usageError(`${file} cannot be read as what "scheduler rehearse --json" prints: ${(error as Error).message}.`);
  }
  const isIn = (all: Happening[]) => (each: Happening) => all.some((other) => isDeepStrictEqual(each, other));
  const is: Happening[] = JSON.parse(JSON.stringify(timeline));
  const [lost, gained] = [expected.filter((each) => !isIn(is)(each)), is.filter((each) => !isIn(expected)(each))];
  if (lost.length + gained.length === 0) return EXIT.done;
  printTable(
    ['', 'at', 'job', 'transition', 'row', 'event'],
    [...lost.map((each) => ['-', ...line(each)]), ...gained.map((each) => ['+', ...line(each)])],
  );
  return EXIT.rowsFailed;
}
