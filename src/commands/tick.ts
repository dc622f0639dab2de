import { type Command, Option } from 'commander';
import { METRICS_FILE, PING_URL, TENANTS } from '../base/config.ts';
import type { Job } from '../job/define.ts';
import { checked, command, PASS_EXITS, seconds, wholeNumber, withDatabase } from './command.ts';
import { type PassOptions, pass, TIMEOUT_SECONDS, type TickOptions, tick } from './pass.ts';
import { tenantsOption } from './tenants.ts';

export function tickCommand(): Command {
  return passOptions(
    command('tick', 'do everything whose time has come; this is what cron calls', {
      examples: [
        'scheduler tick',
        'scheduler tick --dry-run',
        'scheduler tick --dry-run --at 2026-12-24T18:00',
        'scheduler tick --debug',
        'scheduler tick --linger 55',
        "scheduler tick --tenants 'ts_*'",
        'scheduler tick --metrics-file /var/lib/prometheus/node-exporter/scheduler.prom',
      ],
      exits: PASS_EXITS,
    }),
  )
    .addOption(
      new Option('--linger <seconds>', 'stay for so long, and do what comes due meanwhile when it does, to the second')
        .argParser(seconds(1, 3600))
        .conflicts(['dryRun', 'at']),
    )
    .addOption(tenantsOption(`; else ${TENANTS.env}`).conflicts('linger'))
    .option(
      '--metrics-file <path>',
      `write figures for the textfile collector of Prometheus's node_exporter; else ${METRICS_FILE.env}`,
      checked('--metrics-file', METRICS_FILE),
    )
    .option(
      '--ping-url <url>',
      `tell a monitor such as Healthchecks of the start and of the exit code; else ${PING_URL.env}`,
      checked('--ping-url', PING_URL),
    )
    .action(withDatabase<TickOptions>(tick));
}

export function jobCommand(job: Job): Command {
  return passOptions(
    command(job.name, job.summary, {
      examples: [`scheduler ${job.name}`, `scheduler ${job.name} --dry-run --debug`],
      exits: PASS_EXITS,
    }),
  ).action(withDatabase<PassOptions>((context, options) => pass(context, options, job.name)));
}

export function passOptions(command: Command): Command {
  return command
    .option('--dry-run', 'do the same in a transaction that is rolled back: what it prints is what would happen')
    .option('--at <time>', 'take this for now: 2026-11-20T10:00, +2h, or an age; in the future only with --dry-run')
    .option('--batch-size <rows>', 'rows per transaction (default: 1000)', wholeNumber(1, 100_000))
    .option('--connections <count>', 'connections that share a backlog (default: 2)', wholeNumber(1, 16))
    .option(
      '--timeout <seconds>',
      'finish the batch at hand after this long and leave the rest to the next run',
      seconds(1, 86_400),
      TIMEOUT_SECONDS,
    )
    .option('-j, --json', 'print the result as JSON');
}
