import { withContext } from './context.ts';
import { TIMEOUT_SECONDS, tick } from './pass.ts';
import { report } from './report.ts';

/**
 * What cron starts every minute, "scheduler tick" and no more: there is no command line to understand. In the built program
 * this is a file of its own, with nothing in it that such a run does not need.
 */
async function main(): Promise<void> {
  try {
    process.exitCode = await withContext({}, (context) => tick(context, { timeout: TIMEOUT_SECONDS }));
  } catch (error) {
    process.exitCode = report(error);
  }
}

void main();
