import { type Command, Option } from 'commander';
import { usageError } from '../base/errors.ts';
import { printAsIs } from '../base/output.ts';
import type { CommonOptions, Context } from '../context.ts';
import { KINDS, type Kind, readNames } from '../inspect/names.ts';
import { COMPLETIONS, type Shell } from '../setup/completion.ts';
import { command, oneOf, withDatabase } from './command.ts';
import { describe } from './describe.ts';

export function completionCommand(program: () => Promise<Command>): Command {
  const shells = Object.keys(COMPLETIONS);
  return command('completion', 'print what makes the Tab key complete commands, options and names in a shell', {
    examples: [
      'eval "$(scheduler completion bash)"            # in ~/.bashrc',
      'source <(scheduler completion zsh)             # in ~/.zshrc, after compinit',
      'scheduler completion fish > ~/.config/fish/completions/scheduler.fish',
    ],
  })
    .argument('[shell]', 'the shell that shall complete', oneOf('a shell', shells))
    .addOption(new Option('--names <kind>').argParser(oneOf('a kind of names', KINDS)).hideHelp())
    .addOption(new Option('--of <job>').hideHelp())
    .action(async (shell: Shell | undefined, options: { names?: Kind }, made: Command) => {
      if (options.names) {
        setTimeout(() => process.exit(), PATIENCE_MS).unref();
        return withDatabase<Asked>(offer)(shell, options, made);
      }
      if (!shell) throw usageError(`completion needs a shell; valid: ${shells.join(', ')}.`);
      return printAsIs(COMPLETIONS[shell](describe(await program())).trimEnd());
    });
}

type Asked = CommonOptions & { names: Kind; of?: string };

/** Nobody waits longer at the Tab key. */
const PATIENCE_MS = 1000;

/** The scripts ask this. They show no error. */
async function offer({ db }: Context, { names, of }: Asked): Promise<undefined> {
  for (const name of await readNames(db, names, of ?? null)) printAsIs(name);
}
