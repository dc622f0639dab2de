import type { Command } from 'commander';
import { readable, readableIn, relative } from '../base/calendar.ts';
import { print, printHeading, printJson, printTable } from '../base/output.ts';
import { plain } from '../base/plain.ts';
import type { Context } from '../context.ts';
import { type Explanation, explain } from '../inspect/explain/explain.ts';
import { describe } from '../inspect/explain/seen.ts';
import type { TransitionExplained } from '../inspect/explain/transitions.ts';
import type { Job } from '../job/define.ts';
import type { Failure } from '../store/failures.ts';
import { command, instantOf, jobName, type Options, WIDE, withSchema } from './command.ts';
import { COLUMNS as EVENT_COLUMNS, eventRow, messageOf } from './events.ts';

type Asked = Options & { at?: string; all?: boolean };

export function explainCommand(jobs: Job[]): Command {
  return command('explain', 'why a row did or did not change, and what comes next', {
    examples: [
      'scheduler explain packages 17',
      'scheduler explain packages 17 --all',
      'scheduler explain subscriptions cs_456 --json',
      'scheduler explain packages 17 --at 2026-12-24T18:00',
    ],
  })
    .argument('<job>', 'the job that should change the row', jobName(jobs))
    .argument('<id>', 'the id of the row')
    .option('--at <time>', 'as if it were this time, with the row as it is now')
    .option('--all', 'also each transition, its conditions, and what happened before')
    .option(...WIDE)
    .option('-j, --json', 'print the result as JSON')
    .action(
      withSchema<Asked>(async ({ db, settings, jobs }, options, [name, id]) => {
        const { job, explanation } = await explain(db, { settings, jobs, name: name!, id: id!, at: options.at });
        if (options.json) printJson(explanation);
        else tell(job, explanation, options);
      }, resolveAt),
    );
}

async function resolveAt(context: Context, options: Asked): Promise<void> {
  if (options.at !== undefined) options.at = await instantOf(context, options.at, '--at');
}

function tell(job: Job, explanation: Explanation, { at, all, wide }: Asked): void {
  const { id, now, failures, remarks, transitions, events } = explanation;
  print(`${job.name} ${id}${at === undefined ? '' : `, at ${readable(now)}`}: ${outlookOf(explanation)}.`);
  const why = whyOf(job, explanation);
  if (why) print(`${why}.`);
  for (const remark of remarks) print(readableIn(remark));
  if (!all) {
    const last = events.at(-1);
    if (last)
      print(`Before: ${[`${last.type} at ${readable(last.occurredAt)}`, messageOf(last)].filter(Boolean).join(': ')}.`);
    if (transitions.length > 0) print(`With --all: each transition, its conditions, and what happened before.`);
    return;
  }
  for (const failure of failures) if (!why?.startsWith(failedSoFar(failure))) print(`${inProse(failure)}.`);
  const isOut = ({ verdict }: TransitionExplained) => Number(verdict.kind === 'not');
  for (const each of transitions.toSorted((a, b) => isOut(a) - isOut(b))) tellTransition(job, each, now);
  if (events.length === 0) return;
  printHeading('What happened to it before');
  printTable(EVENT_COLUMNS, events.map(eventRow), wide);
}

/** What happens next, and when. */
function outlookOf({ unreadable, transitions, next }: Explanation): string {
  if (unreadable) return `nobody can read it, as ${unreadable}`;
  if (transitions.length === 0) return 'nobody can tell what comes next';
  if (!next) return 'as it is, nothing comes next';
  return sentenceOf(nextOf({ transitions, next })!);
}

/** Why it did not happen before. */
function whyOf(job: Job, { state, why, failures, transitions, next }: Explanation): string | undefined {
  const coming = nextOf({ transitions, next });
  if (transitions.length === 0) return why === null ? undefined : `${job.name} is ${state}: ${why}`;
  if (!coming) return sentenceOf(...nearest(transitions));
  if (state === 'no tick') return `No tick does ${job.name}: ${why}`;
  const { due, dueValues, verdict } = coming;
  const [failure] = failures;
  if (failure) return verdict.sentence.includes(failure.error) ? failedSoFar(failure) : inProse(failure);
  const values = describe(job, dueValues);
  const since = due === null || due === '-infinity' ? 'It is due at once' : `It is due at ${readable(due)}`;
  return `${since}${values && `: ${values}`}${verdict.kind === 'now' ? '. The next tick does it' : ''}`;
}

const nextOf = ({ transitions, next }: Pick<Explanation, 'transitions' | 'next'>): TransitionExplained | undefined =>
  transitions.find(({ transition }) => transition === next?.transition);

const sentenceOf = (...same: TransitionExplained[]) =>
  `${new Intl.ListFormat('en').format(same.map(({ transition }) => `"${transition}"`))} ${same[0]!.verdict.sentence}`;

/** Those that have the least against them, all for the same reason. */
function nearest(transitions: TransitionExplained[]): TransitionExplained[] {
  const against = ({ verdict, conditions, due }: TransitionExplained) => {
    if (verdict.kind === 'held') return 0;
    const unmet = conditions.filter(({ met }) => !met).length + Number(due === null || due === 'infinity');
    return conditions.length === 0 ? Number.POSITIVE_INFINITY : unmet;
  };
  const at = ({ verdict }: TransitionExplained) => Date.parse(verdict.at ?? '') || 0;
  const [first] = transitions.toSorted((a, b) => against(a) - against(b) || at(a) - at(b));
  return transitions.filter(({ verdict }) => verdict.sentence === first!.verdict.sentence);
}

function failedSoFar({ rule, attempts, lastFailedAt }: Failure): string {
  // To release a row forgets its attempts.
  if (attempts === 0) return `"${rule}" was released after it failed at ${readable(lastFailedAt)}`;
  return `"${rule}" failed ${attempts === 1 ? 'once' : `${attempts} times`}, the last time at ${readable(lastFailedAt)}`;
}

function inProse(failure: Failure): string {
  const { error, quarantinedAt, nextAttemptAt } = failure;
  const prospect = quarantinedAt
    ? `In quarantine since ${readable(quarantinedAt)}`
    : `Next attempt: ${nextAttemptAt === null ? 'with the next tick' : readable(nextAttemptAt)}`;
  return `${failedSoFar(failure)}: ${plain(error)}. ${prospect}`;
}

function tellTransition(job: Job, explained: TransitionExplained, now: string): void {
  const { transition, verdict, due, dueValues, asOf, conditions, beside } = explained;
  printHeading(`${transition} ${verdict.sentence}.`);
  if (conditions.length === 0) return;
  const rows = conditions.map(({ condition, met, values, error }) =>
    error === null ? [met ? 'yes' : 'no', condition, describe(job, values)] : ['error', condition, error],
  );
  if (due !== null || Object.keys(dueValues).length > 0) rows.push([...dueTime(due, now), describe(job, dueValues)]);
  printTable([asOf === now ? 'met' : 'met then', 'condition', 'as seen'], rows);
  if (beside.length > 0 && verdict.kind !== 'along') print(`Rows of the same key are due too: ${beside.join(', ')}.`);
}

function dueTime(due: string | null, now: string): [string, string] {
  if (due === null) return ['no', 'it has a due time'];
  if (due === '-infinity') return ['yes', 'due at once'];
  const isDue = Date.parse(due) <= Date.parse(now);
  return [isDue ? 'yes' : 'not yet', due === 'infinity' ? 'due never' : `due ${readable(due)}, ${relative(due, now)}`];
}
