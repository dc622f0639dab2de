import type { Settings } from '../base/config.ts';
import type { Installed } from '../job/compile.ts';
import type { Job } from '../job/define.ts';
import { isPaused, whyPaused } from '../store/controls.ts';
import { isEveryTick, type Standing } from '../store/runs.ts';

/** A job that a run may do now. */
export interface Planned {
  job: Job;
  installed: Installed;
}

export interface Skipped {
  job: string;
  why: string;
}

/** How a job was asked for. */
export interface Asked {
  by?: string;
  evenIfPaused?: boolean;
  dryRun: boolean;
}

export function plan(settings: Settings, asked: Asked, jobs: Standing[]): { planned: Planned[]; skipped: Skipped[] } {
  const planned: Planned[] = [];
  const skipped: Skipped[] = [];
  for (const standing of jobs) {
    const why = whyNot(settings, asked, standing);
    if (why === undefined) planned.push({ job: standing.job, installed: standing.installed! });
    else skipped.push({ job: standing.job.name, why });
  }
  return { planned, skipped };
}

function whyNot(settings: Settings, asked: Asked, { job, missing, control, slotTaken }: Standing): string | undefined {
  const byHand = asked.by !== undefined;
  if (missing.length > 0) return `not installed: ${missing.join(', ')} missing`;
  if (!byHand && job.switch && settings.job[job.switch] === false)
    return `switched off by ${job.settings![job.switch]!.env}`;
  if (isPaused(control) && !asked.evenIfPaused) return whyPaused(control!);
  if (!byHand && !asked.dryRun && slotTaken && !isEveryTick(job))
    return `already done in this slot of ${job.everyMinutes} minutes`;
  return undefined;
}
