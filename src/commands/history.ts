import type { Command } from 'commander';
import { inWords, readable } from '../base/calendar.ts';
import { print, printByTenant, printJson } from '../base/output.ts';
import type { Column } from '../base/table.ts';
import type { Job } from '../job/define.ts';
import { type Entry, type Run, readHistory } from '../store/history.ts';
import {
  command,
  jobName,
  knownJob,
  onlyNewest,
  resolveSpan,
  type SpanOptions,
  spanAndMore,
  spanOptions,
  WIDE,
  withSchema,
} from './command.ts';

type Options = SpanOptions & { all?: boolean };

export function historyCommand(jobs: Job[]): Command {
  return spanOptions(
    command('history', 'past runs, and who started or stopped what; the newest last', {
      examples: ['scheduler history', 'scheduler history packages --since 24h', 'scheduler history --all -n 200'],
    }).argument('[job]', 'only of this job', jobName(jobs)),
    50,
  )
    .option('--all', 'also the runs that found nothing to do')
    .option(...WIDE)
    .option('-j, --json', 'print the result as JSON')
    .action(
      withSchema<Options>(async (context, options, [job = null]) => {
        const { db, log } = context;
        await knownJob(context, job ?? undefined, true);
        const { all = false, limit } = options;
        const found = await readHistory(db, { tenant: db.tenant, job, all, ...spanAndMore(options) });
        const entries = found.slice(-limit);
        if (options.json) printJson({ history: entries });
        else if (entries.length === 0) print('Nothing happened in that time; with --all, idle runs are shown too.');
        else printByTenant(COLUMNS, entries, row, options.wide);
        if (found.length > limit) log.warn(onlyNewest(limit, ['entry', 'entries']));
      }, resolveSpan),
    );
}

const COLUMNS: Column[] = [['number', 1], 'at', 'job', ['what', 'cut'], ['late by', 4], ['took', 2], ['by', 3]];

function row(entry: Entry) {
  const at = readable(entry.at);
  if (entry.kind === 'control') {
    const what = `${entry.action === 'stop' ? 'stopped' : 'started'} by ${entry.by}`;
    return ['', at, entry.job ?? '(all)', `${what}${entry.reason ? `: ${entry.reason}` : ''}`, '', '', ''];
  }
  const { number, job, error, changed, lateSeconds, finishedAt, by, host } = entry;
  const late = Object.keys(changed).length > 0 ? inWords(lateSeconds) : '';
  const took = finishedAt ? `${((Date.parse(finishedAt) - Date.parse(entry.at)) / 1000).toFixed(1)} s` : '';
  return [number, at, job ?? '(idle)', error ?? whatItDid(entry), late, took, by ?? `tick on ${host}`];
}

/** A run in a few words. A narrow terminal cuts the last ones, so what went wrong comes first. */
function whatItDid({ changed, failed, workLeft, finishedAt }: Run): string {
  const words = [
    ...(failed > 0 ? [`failed ${failed}`] : []),
    ...(workLeft ? ['work left'] : []),
    ...(finishedAt ? [] : ['not finished']),
    ...Object.entries(changed).map(([transition, count]) => `${transition} ${count}`),
  ];
  return words.join(', ') || 'nothing due';
}
