import type { Command } from 'commander';
import { readable, readableIn } from '../base/calendar.ts';
import { print, printByTenant, printJson } from '../base/output.ts';
import type { Column } from '../base/table.ts';
import type { Job } from '../job/define.ts';
import { type Event, findEvents } from '../store/events.ts';
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

type Options = SpanOptions & { type?: string };

export function eventsCommand(jobs: Job[]): Command {
  return spanOptions(
    command('events', 'past events of a row, a job, a span of time; the newest last', {
      examples: [
        'scheduler events',
        'scheduler events packages 17',
        'scheduler events --type package.schedule.missed --since 7d --json',
      ],
    })
      .argument('[job]', 'only of this job', jobName(jobs))
      .argument('[id]', 'only of the row with this id')
      .option('--type <type>', 'only of this type, such as package.status.changed'),
    50,
  )
    .option(...WIDE)
    .option('-j, --json', 'print the result as JSON')
    .action(
      withSchema<Options>(async (context, options, [job, entity]) => {
        const { db, log } = context;
        const { limit } = options;
        await knownJob(context, job, true);
        const filter = { tenant: db.tenant, job: job ?? null, entity: entity ?? null, type: options.type ?? null };
        const found = await findEvents(db, { ...filter, ...spanAndMore(options) });
        const events = found.slice(-limit);
        if (options.json) printJson({ events });
        else if (events.length === 0) print('No such event.');
        else printByTenant(COLUMNS, events, eventRow, options.wide);
        if (found.length > limit) log.warn(onlyNewest(limit, ['event', 'events']));
      }, resolveSpan),
    );
}

export const COLUMNS: Column[] = [
  'id',
  ['at', 'whole'],
  'job',
  'row',
  ['event', 'cut'],
  ['due', 1],
  ['message', 'below'],
];

export const eventRow = (event: Event) => {
  const { id, occurredAt, job, entityId, type, dueAt } = event;
  return [id, readable(occurredAt), job, entityId, type, readable(dueAt), messageOf(event)];
};

const FIELDS = 4;

/** Its own, or a few of its fields. */
export function messageOf({ data, entityId }: Event): string {
  if (typeof data.message === 'string') return readableIn(data.message);
  const fields = Object.entries(data).filter(([, value]) => value !== null && String(value) !== entityId);
  const shown = fields.slice(0, FIELDS).map(([name, value]) => `${name} = ${asText(value)}`);
  return readableIn([...shown, ...(fields.length > FIELDS ? ['…'] : [])].join(', '));
}

const asText = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
