import { EXIT, type ExitCode, OperatorError } from '../base/errors.ts';
import type { Context } from '../context.ts';
import type { RunResult } from '../engine/run.ts';

/** Who wants to know how a tick went. */
export interface Watchers {
  metricsFile?: string | undefined;
  pingUrl?: string | undefined;
}

/**
 * Does the tick and tells its watchers, how ever it ends. Their code is only loaded when there are any. One that lingers
 * tells of its passes as they are done.
 */
export async function watched(
  context: Context,
  { metricsFile, pingUrl }: Watchers,
  tick: (told: (pass: RunResult) => Promise<void>) => Promise<RunResult>,
): Promise<ExitCode> {
  if (!metricsFile && !pingUrl) return (await tick(async () => {})).exitCode;
  const ping = pingUrl ? (await import('./ping.ts')).startPing(pingUrl, context.log) : undefined;
  let result: RunResult | undefined;
  let exitCode: ExitCode = EXIT.defect;
  let counted = false;
  const count = async (pass: RunResult) => {
    if (!metricsFile) return;
    counted = true;
    await (await import('./metrics.ts')).writeMetrics(metricsFile, context, {
      result: pass,
      seconds: performance.now() / 1000,
    });
  };
  try {
    result = await tick(count);
    exitCode = result.exitCode;
    return exitCode;
  } catch (error) {
    if (error instanceof OperatorError) exitCode = error.exitCode;
    throw error;
  } finally {
    const seconds = performance.now() / 1000;
    if (metricsFile) {
      const { writeMetrics } = await import('./metrics.ts');
      await writeMetrics(metricsFile, context, { exitCode, result, seconds, counted });
    }
    if (ping) {
      // No connection is kept for a monitor that takes its time.
      await context.db.close();
      await ping.end(exitCode, (await import('./ping.ts')).summarize(exitCode, seconds, result));
    }
  }
}
