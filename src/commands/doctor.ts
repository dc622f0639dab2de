import type { Command } from 'commander';
import { withoutPassword } from '../base/connection.ts';
import { EXIT } from '../base/errors.ts';
import { print, printAsIs, printJson, printVerdict } from '../base/output.ts';
import { ofTenant, quoted } from '../base/paste.ts';
import { diagnose } from '../inspect/doctor/diagnose.ts';
import type { Finding, Program } from '../inspect/doctor/finding.ts';
import { command, type Options, withDatabase } from './command.ts';

export function doctorCommand(): Command {
  return command('doctor', 'check everything that a tick relies on, and say what mends it', {
    examples: ['scheduler doctor', 'scheduler doctor --env-file /etc/scheduler.env', 'scheduler doctor --json'],
    exits: {
      [EXIT.done]: 'nothing failed; there may be warnings',
      [EXIT.rowsFailed]: 'a check failed; below it stands what mends it',
    },
  })
    .option('-j, --json', 'print the result as JSON')
    .action(
      withDatabase<Options>(async ({ db, settings, jobs }, options) => {
        const diagnosis = await diagnose(db, settings, jobs, program(options), await import('../own/doctor.ts'));
        if (options.json) printJson(diagnosis);
        else tell(diagnosis.checks);
        if (diagnosis.unreachable) return EXIT.unreachable;
        return diagnosis.ok ? EXIT.done : EXIT.rowsFailed;
      }),
    );
}

function tell(checks: Finding[]): void {
  const width = Math.max(...checks.map(({ check }) => check.length));
  for (const { check, outcome, message, remedy } of checks) {
    printVerdict(outcome, check.padEnd(width), message);
    // Without anything before them, so that a line is copied as it stands.
    for (const line of remedy ?? []) printAsIs(line);
    if (remedy) print('');
  }
  const count = (outcome: Finding['outcome']) => checks.filter((each) => each.outcome === outcome).length;
  const [warnings, failed] = [count('warning'), count('failed')];
  const troubles = [warnings && `${warnings} warning${warnings === 1 ? '' : 's'}`, failed && `${failed} failed`];
  print(`\n${[`${count('ok')} ok`, ...troubles.filter(Boolean)].join(', ')}.`);
}

function program({ envFile, databaseUrl, embedded, tenant }: Options): Program {
  const file = envFile ? [`--env-file ${quoted(envFile)}`] : [];
  const at = (url: string) => `--database-url ${quoted(url)}`;
  const database = embedded ? ['--embedded'] : databaseUrl ? [at(withoutPassword(databaseUrl))] : [];
  const way = [...file, ...database];
  const cron = way.length > 0 ? way : ['--env-file /etc/scheduler.env'];
  const of = ofTenant(tenant);
  return {
    command: (name, url) => ['scheduler', name, ...(url ? [...file, at(url)] : way), ...of].join(' '),
    // Cron reads a percent sign as the end of the line.
    crontab: ['* * * * *', quoted(process.argv[1]!), 'tick', ...cron, ...of].join(' ').replaceAll('%', '\\%'),
  };
}
