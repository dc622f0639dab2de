import type { Job } from '../job/define.ts';
import type { Fault, Files } from './definition.ts';

/** Faults that no job has alone. */
export const faultsAmong = (files: Files, builtIn: Job[]): Fault[] => [
  ...usedNames(files, builtIn),
  ...sharedColumns(files),
];

const usedNames = ({ jobs, at }: Files, builtIn: Job[]): Fault[] =>
  jobs.flatMap(({ name, was }) =>
    was !== undefined && [...jobs, ...builtIn].some((job) => job.name === was)
      ? [{ ...at(name, ['was']), message: `"was" is a former name, and a job is called "${was}" now` }]
      : [],
  );

/** Rules that keep their times in one column would each undo what the other one keeps. */
function sharedColumns({ jobs, at }: Files): Fault[] {
  const keepers = new Map<string, string>();
  const faults: Fault[] = [];
  for (const { name, table, rules } of jobs)
    for (const [rule, { once }] of Object.entries(rules)) {
      if (once === undefined) continue;
      const column = `${table} ${once}`;
      const other = keepers.get(column);
      if (other === undefined) keepers.set(column, `the rule "${rule}" of "${name}"`);
      else {
        const message = `"${once}" keeps the times of ${other}: each rule needs a column of its own`;
        faults.push({ ...at(name, ['rules', rule, 'once']), message });
      }
    }
  return faults;
}
