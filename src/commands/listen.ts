import type { Command } from 'commander';
import { readable } from '../base/calendar.ts';
import { usageError } from '../base/errors.ts';
import { isTerminal, print, printJson, whenNobodyReads } from '../base/output.ts';
import type { Event } from '../store/events.ts';
import { command, type Options, wholeNumber, withSchema } from './command.ts';
import { messageOf } from './events.ts';

export function listenCommand(): Command {
  return command('listen', 'print events as they come', {
    examples: [
      'scheduler listen',
      'scheduler listen private-packages',
      'scheduler listen --since 0 | head -3',
      `scheduler listen private-packages --exec 'curl -sf --json @- https://example.com/hook'`,
    ],
  })
    .argument('[channel...]', 'only events on one of these channels; without any, all that the log gets')
    .option('--since <id>', 'first what the log holds after the event with this id; 0 for all', wholeNumber(0, 2 ** 52))
    .option('--exec <command>', 'run this for each event, one after the other, with the JSON on its standard input')
    .option('-j, --json', 'print each as a line of JSON, as in a pipe')
    .action(
      withSchema<Options & { since?: number; exec?: string }>(async ({ db, log }, { since, exec, json }, channels) => {
        const { listen, runFor } = await import('../inspect/listener.ts');
        const stop = new AbortController();
        // The second signal does what a signal does.
        for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
        whenNobodyReads(() => stop.abort());

        const options = { channels, stop: stop.signal, ...(since !== undefined && { since }) };
        for await (const event of listen(db, log, options)) {
          if (stop.signal.aborted) break;
          if (exec === undefined) {
            if (json || !isTerminal()) printJson(event);
            else tell(event);
            continue;
          }
          const failure = await runFor(event, exec);
          if (failure) log.error(`The command failed for event ${event.id} with ${failure}; the next one follows.`);
        }
      }, refuseEmptyChannels),
    );
}

function tell(event: Event): void {
  const { occurredAt, type, tenant, job, entityId, channels } = event;
  print([readable(occurredAt), type, ...(tenant ? [tenant] : []), `${job} ${entityId}`, channels.join(' ')].join('  '));
  const message = messageOf(event);
  if (message) print(`  ${message}`);
}

async function refuseEmptyChannels(_: unknown, __: unknown, channels: string[]): Promise<void> {
  if (channels.includes('')) throw usageError('A channel is empty; valid: a name such as private-packages.');
}
