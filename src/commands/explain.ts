import type { Command } from 'commander';
import { readable, relative } from '../base/calendar.ts';
import { print, printHeading, printJson, printTable } from '../base/output.ts';
import { plain } from '../base/plain.ts';
import type { Context } from '../context.ts';
import { type Explanation, explain } from '../inspect/explain/explain.ts';
import { describe } from '../inspect/explain/seen.ts';
import type { TransitionExplained } from '../inspect/explain/transitions.ts';
import type { Job } from '../job/define.ts';
import type { Failure } from '../store/failures.ts';
import { command, instantOf, jobName, type Options, withSchema } from './command.ts';

type Asked = Options & { at?: string };

export function explainCommand(jobs: Job[]): Command {
  return command('explain', 'why a row did or did not change, and what comes next', {
    examples: [
      'scheduler explain packages 17',
      'scheduler explain subscriptions cs_456 --json',
      'scheduler explain packages 17 --at 2026-12-24T18:00',
    ],
  })
    .argument('<job>', 'the job that should change the row', jobName(jobs))
    .argument('<id>', 'the id of the row')
    .option('--at <time>', 'as if it were this time, with the row as it is now')
    .option('--json', 'print the result as JSON')
    .action(
      withSchema<Asked>(async ({ db, settings, jobs }, options, [name, id]) => {
        const { job, explanation } = await explain(db, { settings, jobs, name: name!, id: id!, at: options.at });
        if (options.json) printJson(explanation);
        else tell(job, explanation);
      }, resolveAt),
    );
}

async function resolveAt(context: Context, options: Asked): Promise<void> {
  if (options.at !== undefined) options.at = await instantOf(context, options.at, '--at');
}

function tell(job: Job, explanation: Explanation): void {
  const { id, now, state, why, failures, remarks, unreadable, transitions, next, events } = explanation;
  const { name } = job;
  let outlook = 'as it is, nothing comes next';
  if (state === 'not installed' && transitions.length === 0) outlook = 'nobody can tell what comes next';
  if (next) outlook = `"${next.transition}" comes next, ${when(next.at, now)}`;
  if (transitions.some(({ transition, verdict }) => transition === next?.transition && verdict.kind === 'held'))
    outlook = `"${next!.transition}" is due, and held up by a lock`;
  if (unreadable) outlook = `nobody can read it, as ${unreadable}`;
  print(`${name} ${id}, at ${readable(now)}: ${outlook}.`);
  if (state !== 'running')
    print(state === 'no tick' ? `No tick does ${name}: ${why}.` : `${name} is ${state}: ${why}.`);
  for (const remark of remarks) print(remark);
  for (const failure of failures) print(inProse(failure));
  const isOut = ({ verdict }: TransitionExplained) => Number(verdict.kind === 'not');
  for (const each of transitions.toSorted((a, b) => isOut(a) - isOut(b))) tellTransition(job, each, now);
  if (events.length === 0) return;
  printHeading('What happened to it before');
  printTable(
    ['at', 'job', 'event', 'due', 'message'],
    events.map(({ occurred_at, job, type, due_at, data }) => [
      ...[readable(occurred_at), job, type, readable(due_at)],
      typeof data.message === 'string' ? data.message : '',
    ]),
  );
}

const when = (at: string, now: string) => (at === now ? 'now' : `at ${readable(at)} (${relative(at, now)})`);

function inProse({ rule, attempts, last_failed_at, error, quarantined_at, next_attempt_at }: Failure): string {
  const times = attempts === 1 ? 'once' : `${attempts} times`;
  const prospect = quarantined_at
    ? `In quarantine since ${readable(quarantined_at)}`
    : `Next attempt: ${next_attempt_at === '-infinity' ? 'with the next tick' : readable(next_attempt_at)}`;
  return `"${rule}" failed ${times}, the last time at ${readable(last_failed_at)}: ${plain(error)}. ${prospect}.`;
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
