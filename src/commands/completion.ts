import type { Command } from 'commander';
import { usageError } from '../base/errors.ts';
import { printAsIs } from '../base/output.ts';
import { COMPLETIONS, type Shell } from '../setup/completion.ts';
import { command, oneOf } from './command.ts';
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
    .action(async (shell?: Shell) => {
      if (!shell) throw usageError(`completion needs a shell; valid: ${shells.join(', ')}.`);
      printAsIs(COMPLETIONS[shell](describe(await program())).trimEnd());
    });
}
