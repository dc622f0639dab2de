import { type Command, Option } from 'commander';
import { usageError } from '../base/errors.ts';
import { print, printAsIs } from '../base/output.ts';
import type { CommonOptions } from '../context.ts';
import { draft, install, uninstall } from '../setup/install/install.ts';
import { planInstallation } from '../setup/install/plan.ts';
import { command } from './command.ts';

type Options = CommonOptions &
  Partial<Record<'cron' | 'systemd' | 'write' | 'remove' | 'force', boolean>> & { user?: string; name?: string };

export function installCommand(): Command {
  return command(
    'install',
    'have cron or systemd start a tick every minute: print what that takes, or put it in place',
    {
      examples: [
        'scheduler install --cron',
        'scheduler install --cron --write --env-file ~/scheduler.env',
        'sudo scheduler install --cron --write --user scheduler',
        'sudo scheduler install --systemd --write',
        'sudo scheduler install --systemd --write --name shop',
        'sudo scheduler install --systemd --remove',
      ],
    },
  )
    .addOption(
      new Option('--cron', 'a line in /etc/cron.d/scheduler for root, else in your own crontab').conflicts('systemd'),
    )
    .option('--systemd', 'a service and its timer in /etc/systemd/system')
    .addOption(new Option('--write', 'put it in place; without it, only print').conflicts('remove'))
    .option('--remove', 'take away what --write put in place')
    .option('--name <name>', 'one of several on this machine: its files are called "scheduler-NAME"')
    .option('--user <user>', 'the user that the ticks run as; the settings are read from --env-file')
    .option('--force', 'also go over a file that somebody else made')
    .action((_, self: Command) => {
      const options = self.optsWithGlobals<Options>();
      if (!options.cron && !options.systemd) throw usageError('install needs --cron or --systemd.');
      if (options.databaseUrl !== undefined || options.embedded) {
        throw usageError('install takes no database: DATABASE_URL belongs into the file of --env-file.');
      }
      const plan = planInstallation(options.cron ? 'cron' : 'systemd', options);
      if (options.remove) return uninstall(plan).forEach(print);
      if (options.write) return install(plan).forEach(print);
      printAsIs(draft(plan));
    });
}
