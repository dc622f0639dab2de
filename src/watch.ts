import type { Context } from './context.ts';
import type { RunResult } from './engine.ts';
import { EXIT, type ExitCode, OperatorError } from './errors.ts';

/** Who wants to know how a tick went. */
export interface Watchers {
  metricsFile?: string | undefined;
  pingUrl?: string | undefined;
}

/** Does the tick and tells its watchers, how ever it ends. Their code is only loaded when there are any. */
export async function watched(
  context: Context,
  { metricsFile, pingUrl }: Watchers,
  tick: () => Promise<RunResult>,
): Promise<ExitCode> {
  if (!metricsFile && !pingUrl) return (await tick()).exitCode;
  const ping = pingUrl ? (await import('./ping.ts')).startPing(pingUrl, context.log) : undefined;
  let result: RunResult | undefined;
  let exitCode: ExitCode = EXIT.defect;
  try {
    result = await tick();
    exitCode = result.exitCode;
    return exitCode;
  } catch (error) {
    if (error instanceof OperatorError) exitCode = error.exitCode;
    throw error;
  } finally {
    const seconds = performance.now() / 1000;
    if (metricsFile) {
      const { writeMetrics } = await import('./metrics.ts');
      await writeMetrics(metricsFile, context, { exitCode, result, seconds });
    }
    if (ping) {
      // No connection is kept for a monitor that takes its time.
      await context.db.close();
      await ping.end(exitCode, (await import('./ping.ts')).summarize(exitCode, seconds, result));
    }
  }
}
