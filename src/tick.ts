import { report } from './base/report.ts';
import { TIMEOUT_SECONDS, tick } from './commands/pass.ts';
import { withContext } from './context.ts';

/**
 * Cron and systemd start this every minute: "scheduler tick" with no more than "--env-file FILE", so there is no command line
 * to understand. In the built program it is a file of its own, with nothing in it that such a run does not need.
 */
async function main(): Promise<void> {
  try {
    const options = { envFile: process.argv[4] };
    process.exitCode = await withContext(options, (context) => tick(context, { timeout: TIMEOUT_SECONDS }));
  } catch (error) {
    process.exitCode = report(error);
  }
}

void main();
