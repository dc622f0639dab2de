import type { Command } from 'commander';
import { usageError } from '../base/errors.ts';
import { print, printAsIs } from '../base/output.ts';
import { askEmbedded, runningEmbeddedUrl } from '../context.ts';
import { command, oneOf } from './command.ts';

export function embeddedCommand(): Command {
  const names = Object.keys(ACTIONS);
  return command('embedded', 'a PostgreSQL server of your own, to try things out', {
    examples: [
      'scheduler embedded start',
      'scheduler migrate --embedded --create all',
      'psql "$(scheduler embedded url)"',
      'scheduler embedded stop',
    ],
  })
    .argument(
      '[action]',
      'start it; stop it (its data stays); url: print its connection string',
      oneOf('an action', names),
    )
    .action((action?: keyof typeof ACTIONS) => {
      if (!action) throw usageError(`embedded needs an action; valid: ${names.join(', ')}.`);
      return ACTIONS[action]();
    });
}

const ACTIONS = {
  async start(): Promise<void> {
    const { url, dir } = await askEmbedded(({ startServer, defaultDir }) => startServer({ dir: defaultDir() }));
    print(`The embedded server runs in ${dir}.`);
    printAsIs(url);
    print('Give --embedded to any command to use it, "scheduler migrate --embedded --create all" first.');
  },

  async stop(): Promise<void> {
    const stopped = await askEmbedded(({ stopServer, defaultDir }) => stopServer(defaultDir()));
    print(
      stopped
        ? 'The embedded server is stopped; its data stays for the next start.'
        : 'No embedded server was running.',
    );
  },

  async url(): Promise<void> {
    printAsIs(await runningEmbeddedUrl());
  },
};
