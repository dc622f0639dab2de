import { EXIT, type ExitCode, OperatorError } from '../base/errors.ts';
import type { Context } from '../context.ts';
import type { RunResult } from '../engine/run.ts';
import type { TickReport } from './metrics.ts';

/** Those who are to hear how a tick went. */
interface Watchers {
  ofTenants?: boolean;
  metricsFile?: string | undefined;
  pingUrl?: string | undefined;
}

/**
 * Does the tick and tells its watchers, however it ends. Their code is only loaded when there are any. A tick that lingers
 * reports each of its passes, and the figures follow at once.
 */
export async function watched(
  context: Context,
  { metricsFile, pingUrl, ofTenants }: Watchers,
  lingers: boolean,
  tick: (report: (pass: RunResult & { tenant?: string | null }) => Promise<void>) => Promise<ExitCode>,
): Promise<ExitCode> {
  if (!metricsFile && !pingUrl) return tick(async () => {});
  const tellEnd = pingUrl ? (await import('./ping.ts')).startPing(pingUrl, context.log) : undefined;
  const passes: (RunResult & { tenant?: string | null })[] = [];
  const write = async (report: TickReport) => {
    if (metricsFile) await (await import('./metrics.ts')).writeMetrics(metricsFile, context, report);
  };
  let exitCode: ExitCode = EXIT.defect;
  try {
    exitCode = await tick(async (pass) => {
      passes.push(pass);
      if (lingers) await write({ passes: [pass] });
    });
    return exitCode;
  } catch (error) {
    if (error instanceof OperatorError) exitCode = error.exitCode;
    throw error;
  } finally {
    const last = passes.at(-1);
    await write({
      exitCode,
      locked: last?.locked === true,
      ...(!lingers && { passes }),
      ...(ofTenants && { tenants: passes.flatMap(({ tenant }) => tenant ?? []) }),
    });
    if (tellEnd) {
      // No connection is kept for a monitor that takes its time.
      await context.db.close();
      await tellEnd(exitCode, passes);
    }
  }
}
