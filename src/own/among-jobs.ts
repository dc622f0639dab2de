import type { Job } from '../job/define.ts';
import type { Fault, Files } from './definition.ts';

/** Faults that no job has alone. */
export const faultsAmong = (files: Files, builtIn: Job[]): Fault[] => [
  ...usedNames(files, builtIn),
  ...sharedColumns(files),
  ...usedTwice(files, builtIn),
];

const usedTwice = ({ jobs, at }: Files, builtIn: Job[]): Fault[] =>
  builtIn
    .filter(({ single }) => single)
    .flatMap(({ name: used }) => {
      const [first, ...others] = jobs.filter(({ uses }) => uses?.job === used);
      const message = `"${first?.name}" uses ${used} already: how far it has counted is kept once, so it can be used once`;
      return others.map(({ name }) => ({ ...at(name, ['uses']), message }));
    });

const usedNames = ({ jobs, at }: Files, builtIn: Job[]): Fault[] =>
  jobs.flatMap(({ name, was }) =>
    was !== undefined && [...jobs, ...builtIn].some((job) => job.name === was)
      ? [{ ...at(name, ['was']), message: `"was" is a former name, and a job is called "${was}" now` }]
      : [],
  );

/**
 * Rules that keep their times in one column would each undo what the other one keeps. Two jobs may share it where their
 * conditions part the rows between them: nobody can tell from outside whether they do.
 */
function sharedColumns({ jobs, at }: Files): Fault[] {
  const keepers: { job: string; rule: string; column: string; condition: string }[] = [];
  const faults: Fault[] = [];
  for (const { name, table, where, rules } of jobs)
    for (const [rule, { once, where: more }] of Object.entries(rules)) {
      if (once === undefined) continue;
      const column = `${table} ${once}`;
      const condition = [...Object.values(where), ...Object.values(more)].join(' and ');
      const isPart = (other: string) => condition !== '' && other !== '' && condition !== other;
      const other = keepers.find((each) => each.column === column && (each.job === name || !isPart(each.condition)));
      if (other) {
        const message = `"${once}" keeps the times of the rule "${other.rule}" of "${other.job}": each rule needs a column of its own`;
        faults.push({ ...at(name, ['rules', rule, 'once']), message });
      } else keepers.push({ job: name, rule, column, condition });
    }
  return faults;
}
