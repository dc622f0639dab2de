import { Command, CommanderError, Option } from 'commander';
import { isZone, LOG_FORMAT } from './base/config.ts';
import { EXIT, usageError } from './base/errors.ts';
import { meantOrValid } from './base/nearest.ts';
import { printAsIs } from './base/output.ts';
import { complain, report } from './base/report.ts';
import { VERSION } from './base/version.ts';
import { checked } from './commands/command.ts';
import type { Job } from './job/define.ts';
import { loadJobs } from './jobs/index.ts';

type Make = () => Promise<Command>;

/** In the order in which --help shows them. Each loads its own code: a tick needs none of the others'. */
function commands(jobs: Job[]): Record<string, Record<string, Make>> {
  return {
    'Every minute:': { tick: async () => (await import('./commands/tick.ts')).tickCommand() },
    'One job, now:': Object.fromEntries([
      ...jobs.map((job): [string, Make] => [
        job.name,
        async () => (await import('./commands/tick.ts')).jobCommand(job),
      ]),
      ['run', async () => (await import('./commands/jobs.ts')).runCommand(jobs)] satisfies [string, Make],
    ]),
    'Jobs of your own:': {
      apply: async () => (await import('./commands/apply.ts')).applyCommand(),
      jobs: async () => (await import('./commands/jobs.ts')).jobsCommand(),
    },
    'Looking:': {
      status: async () => (await import('./commands/status.ts')).statusCommand(jobs),
      next: async () => (await import('./commands/next.ts')).nextCommand(jobs),
      rehearse: async () => (await import('./commands/rehearse.ts')).rehearseCommand(jobs),
      explain: async () => (await import('./commands/explain.ts')).explainCommand(jobs),
      doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
      history: async () => (await import('./commands/history.ts')).historyCommand(jobs),
      events: async () => (await import('./commands/events.ts')).eventsCommand(jobs),
      failures: async () => (await import('./commands/failures.ts')).failuresCommand(jobs),
      listen: async () => (await import('./commands/listen.ts')).listenCommand(),
    },
    'Control:': {
      start: async () => (await import('./commands/control.ts')).startCommand(jobs),
      stop: async () => (await import('./commands/control.ts')).stopCommand(jobs),
      'activate-now': async () => (await import('./commands/activate-now.ts')).activateNowCommand(),
    },
    'Setting up and trying out:': {
      migrate: async () => (await import('./commands/migrate.ts')).migrateCommand(jobs),
      uninstall: async () => (await import('./commands/uninstall.ts')).uninstallCommand(),
      prune: async () => (await import('./commands/prune.ts')).pruneCommand(),
      embedded: async () => (await import('./commands/embedded.ts')).embeddedCommand(),
      demo: async () => (await import('./commands/demo.ts')).demoCommand(),
      install: async () => (await import('./commands/install.ts')).installCommand(),
      completion: async () => (await import('./commands/completion.ts')).completionCommand(() => buildProgram()),
      man: async () => (await import('./commands/man.ts')).manCommand(() => buildProgram(), jobs),
    },
  };
}

function zoneToShow(text: string): string {
  const zone = text === 'local' ? Intl.DateTimeFormat().resolvedOptions().timeZone : text;
  if (isZone(zone)) return zone;
  throw usageError(`--tz is "${text}"; valid: local, UTC, or a zone of the IANA database, such as Africa/Nairobi.`);
}

/** A wrong command line, in a sentence that names the command. */
class UsageFault extends Error {}

/** With the name of a command only that one is made. */
async function buildProgram(only?: string): Promise<Command> {
  const program = new Command('scheduler')
    .description(
      'Does on time what your PostgreSQL tables say is due. Cron or a systemd timer starts "scheduler tick" every minute.',
    )
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'explain the command, with examples and exit codes; "scheduler help tick" does, too')
    .option('--database-url <url>', 'the database; else DATABASE_URL, else PGHOST, PGDATABASE, PGUSER … and .pgpass')
    .option(
      '--tenant <schema>',
      "one tenant: the schema in which its tables lie; else the search path, or the URL's ?schema=",
    )
    .option('--env-file <file>', 'read more environment variables from a file')
    .addOption(new Option('--embedded', 'use the server of "scheduler embedded start"').conflicts('databaseUrl'))
    .option('--no-color', 'print without colors')
    .addOption(
      new Option(
        '--tz <zone>',
        'show times in this zone: local, UTC, or a name such as Africa/Nairobi (default: UTC); JSON stays in UTC',
      ).argParser(zoneToShow),
    )
    .option(
      '--log-format <format>',
      `log in "text" or in "json"; else ${LOG_FORMAT.env}, else text on a terminal and json elsewhere`,
      checked('--log-format', LOG_FORMAT),
    )
    .addOption(new Option('-q, --quiet', 'print no result; the log says warnings and errors only').conflicts('debug'))
    .option('--debug', 'log every row looked at, and the stack of an error')
    .configureHelp({
      showGlobalOptions: true,
      subcommandTerm: (each) => `${each.name()} ${each.usage().replace('[options]', '').trim()}`.trim(),
    })
    .showSuggestionAfterError(false)
    .helpCommand(false)
    .configureOutput({ writeOut: (text) => printAsIs(text.trimEnd()), writeErr: () => {} });
  const groups = commands(await loadJobs());
  // A run that names its command first needs no other one.
  const wanted = Object.values(groups).some((group) => only! in group) ? only : undefined;
  for (const [group, members] of Object.entries(groups)) {
    for (const [name, make] of Object.entries(members)) {
      if (wanted !== undefined && wanted !== name) continue;
      program.addCommand((await make()).copyInheritedSettings(program).helpGroup(group));
    }
  }
  for (const each of [program, ...program.commands]) {
    each.exitOverride((fault) => {
      throw fault.exitCode === 0 ? fault : new UsageFault(usageSentence(fault, each));
    });
  }
  return program;
}

function usageSentence(fault: CommanderError, command: Command): string {
  const root = command.parent ?? command;
  const place = command.parent ? `scheduler ${command.name()}` : 'scheduler';
  const message = fault.message.replace(/^error: /, '').replace(/\.?$/, '');
  switch (fault.code) {
    case 'commander.help': // no command was given
      return command.helpInformation();
    case 'commander.unknownCommand':
      return `${place}: ${message}; ${meantOrValid(
        wordIn(message),
        root.commands.map((each) => each.name()),
      )}`;
    case 'commander.unknownOption':
      return `${place}: ${message}; ${meantOrValid(wordIn(message), longOptions([...command.options, ...root.options]))}`;
    default:
      return `${place}: ${message}. See "${place} --help".`;
  }
}

const longOptions = (options: readonly Option[]) => [...new Set(options.flatMap(({ long }) => long ?? [])), '--help'];

const wordIn = (message: string) => /'(.*)'/s.exec(message)?.[1] ?? '';

async function main(): Promise<void> {
  const [first, ...others] = process.argv.slice(2);
  const args = first === 'help' ? [...others, '--help'] : process.argv.slice(2);
  try {
    const program = await buildProgram(args[0]);
    const isUnknown = /^\w/.test(args[0] ?? '') && !program.commands.some((each) => each.name() === args[0]);
    // "--help" would answer for a command that is not there.
    await program.parseAsync(isUnknown ? args.slice(0, 1) : args, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return; // --help and --version
    if (error instanceof UsageFault) complain(error.message);
    process.exitCode = error instanceof UsageFault ? EXIT.usage : report(error);
  }
}

void main();
