import { print, printJson } from '../base/output.ts';
import { type Report, type Step, sentenceOf } from '../job/steps.ts';
import type { Options } from './command.ts';

export interface StepOptions extends Options {
  dryRun?: boolean;
}

/** What a command has done, said when it is done: also where it is stopped half-way. */
export async function telling<T extends object>(
  { json, dryRun = false, answer }: StepOptions,
  work: (report: Report) => Promise<T>,
): Promise<{ steps: Step[]; result: T }> {
  const steps: Step[] = [];
  const report: Report = (step) => {
    steps.push(step);
    if (!json) print(sentenceOf(step, dryRun));
  };
  answer?.({ dryRun, steps });
  const result = await work(report);
  if (json) (answer ?? printJson)({ dryRun, steps, ...result });
  return { steps, result };
}
