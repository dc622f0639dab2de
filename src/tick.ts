import { report } from './base/report.ts';
import { TIMEOUT_SECONDS, tick } from './commands/pass.ts';
import { withContext } from './context.ts';

/**
 * What cron and systemd start every minute, "scheduler tick" with no more than "--env-file FILE": there is no command line to
 * understand. In the built program this is a file of its own, with nothing in it that such a run does not need.
 */
async function main(): Promise<void> {
  const [envFile] = process.argv.slice(4);
  const options = envFile === undefined ? {} : { envFile };
  try {
    process.exitCode = await withContext(options, (context) => tick(context, { timeout: TIMEOUT_SECONDS }));
  } catch (error) {
    process.exitCode = report(error);
  }
}

void main();
