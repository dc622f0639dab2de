import type { Fault, Files } from './definition.ts';

/** Rules that keep their times in one column would each undo what the other one keeps. */
export function sharedColumns({ jobs, at }: Files): Fault[] {
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
