import type { Settings } from '../base/config.ts';
import type { Installed } from '../job/compile.ts';
import { isPaused } from '../store/controls.ts';
import type { Requested } from '../store/requests.ts';
import { isEveryTick, type Standing, whyPowerless } from '../store/standing.ts';
import type { Rehearsal } from './records.ts';

export interface Plan {
  /** The jobs that a run may do now. */
  planned: Installed[];
  skipped: Skipped[];
}

export interface Skipped {
  job: string;
  why: string;
  /** It will be skipped in every tick until somebody does something: whoever reads the log should know. */
  powerless?: true;
}

/** How jobs were asked for. */
export interface Asked {
  /** Set when a person asks for these jobs: then neither cadence nor the switch in the environment holds them back. */
  by?: string;
  /** An admin's explicit command outranks a pause. */
  evenIfPaused?: boolean;
  /** Ticks of a span of time: they are played at instants of its own. */
  rehearsal?: Rehearsal;
}

/** A requested job is done as if a person had asked. */
export function plan(settings: Settings, asked: Asked, jobs: Standing[], requests: Requested[]): Plan {
  const result: Plan = { planned: [], skipped: [] };
  for (const standing of jobs) {
    const requested = requests.find(({ job }) => job === standing.job.name);
    const why = whyNot(settings, requested ? { ...asked, by: requested.by, evenIfPaused: true } : asked, standing);
    if (why === undefined) result.planned.push(standing.installed!);
    else result.skipped.push({ job: standing.job.name, why, ...(standing.powerless && { powerless: true }) });
  }
  return result;
}

function whyNot(settings: Settings, asked: Asked, standing: Standing): string | undefined {
  const { job, missing, control, slotTaken, powerless } = standing;
  const byHand = asked.by !== undefined;
  if (missing.length > 0) return `not installed: ${missing.join(', ')} missing`;
  if (powerless) return whyPowerless(powerless);
  if (!byHand && job.switch && settings.job[job.switch] === false)
    return `switched off by ${job.settings![job.switch]!.env}`;
  if (isPaused(control) && !asked.evenIfPaused) return control!.why;
  if (!byHand && !asked.rehearsal && slotTaken && !isEveryTick(job))
    return `already done in this slot of ${job.everyMinutes} minutes`;
  return undefined;
}
