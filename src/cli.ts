import { Command, CommanderError } from 'commander';
import { activateNowCommand } from './commands/activate-now.ts';
import { migrateCommand } from './commands/migrate.ts';
import { jobCommand, tickCommand } from './commands/tick.ts';
import { withoutPassword } from './config.ts';
import { EXIT, OperatorError } from './errors.ts';
import { loadJobs } from './jobs.ts';
import { VERSION } from './version.ts';

export async function buildProgram(): Promise<Command> {
  const jobs = await loadJobs();
  const program = new Command('scheduler')
    .description(
      'Does on time what your PostgreSQL tables say is due. Cron or a systemd timer starts "scheduler tick" every minute.',
    )
    .version(VERSION)
    .option('--database-url <url>', 'the database; else DATABASE_URL, else PGHOST, PGDATABASE, PGUSER … and .pgpass')
    .option('--env-file <file>', 'read more environment variables from a file')
    .option('--embedded', 'use the server of "scheduler embedded start"')
    .option('--no-color', 'print without colors')
    .option('--debug', 'log every row looked at, and the stack of an error')
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError(false)
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  const commands = [tickCommand(), ...jobs.map(jobCommand), activateNowCommand(), migrateCommand()];
  for (const each of commands) program.addCommand(each.copyInheritedSettings(program));
  return program;
}

/** The one place where errors become sentences and exit codes. */
async function main(): Promise<void> {
  const program = await buildProgram();
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = report(error, program);
  }
}

function report(error: unknown, program: Command): number {
  const say = (text: string) => process.stderr.write(`${text}\n`);
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT.done;
    say(usageSentence(error, program));
    return EXIT.usage;
  }
  const debug = process.argv.includes('--debug');
  if (error instanceof OperatorError) {
    say(`scheduler: ${error.message}`);
    if (debug && error.stack) say(withoutPassword(error.stack));
    return error.exitCode;
  }
  say(
    `scheduler: an unexpected error, which is a defect: ${(error as Error)?.message ?? error}. Please report it with what --debug prints.`,
  );
  if (debug && error instanceof Error) say(error.stack ?? '');
  return EXIT.defect;
}

function usageSentence(error: CommanderError, program: Command): string {
  const named = process.argv.slice(2).find((word) => program.commands.some((each) => each.name() === word));
  const command = program.commands.find((each) => each.name() === named) ?? program;
  const prefix = `scheduler${named ? ` ${named}` : ''}: `;
  switch (error.code) {
    case 'commander.help': // no command was given
      return program.helpInformation();
    case 'commander.unknownCommand':
      return `${prefix}${error.message.replace(/^error: /, '')}; valid: ${program.commands.map((each) => each.name()).join(', ')}.`;
    case 'commander.unknownOption':
      return `${prefix}${error.message.replace(/^error: /, '')}; valid: ${[...command.options, ...program.options].map((option) => option.long).join(', ')}, --help.`;
    default:
      return `${prefix}${error.message.replace(/^error: /, '')} See "scheduler ${named ? `${named} ` : ''}--help".`;
  }
}

void main();
