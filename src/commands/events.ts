import type { Command } from 'commander';
import { readable } from '../base/calendar.ts';
import { print, printByTenant, printJson } from '../base/output.ts';
import type { Job } from '../job/define.ts';
import { findEvents } from '../store/events.ts';
import { command, jobName, resolveSpan, type SpanOptions, span, spanOptions, withSchema } from './command.ts';

type Options = SpanOptions & { entity?: string; type?: string };

export function eventsCommand(jobs: Job[]): Command {
  return spanOptions(
    command('events', 'past events of a row, a job, a span of time; the newest last', {
      examples: [
        'scheduler events',
        'scheduler events --job packages --entity 17',
        'scheduler events --type package.schedule.missed --since 7d --json',
      ],
    })
      .option('--job <job>', 'only of this job', jobName(jobs))
      .option('--entity <id>', 'only of the row with this id')
      .option('--type <type>', 'only of this type, such as package.status.changed'),
    50,
  )
    .option('--json', 'print them as JSON, one object a line')
    .action(
      withSchema<Options>(async ({ db }, options) => {
        const { job = null, entity = null, type = null } = options;
        const events = await findEvents(db, { tenant: db.tenant, job, entity, type, ...span(options) });
        if (options.json) for (const event of events) printJson(event);
        else if (events.length === 0) print('No such event.');
        else
          printByTenant(['id', 'at', 'job', 'row', 'event', 'due', 'message'], events, (event) => {
            const { id, occurred_at, job, entity_id, type, due_at, data } = event;
            const message = typeof data.message === 'string' ? data.message : '';
            return [id, readable(occurred_at), job, entity_id, type, readable(due_at), message];
          });
      }, resolveSpan),
    );
}
