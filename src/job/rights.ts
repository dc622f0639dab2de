import type { Installed } from './compile.ts';

interface Needed {
  table: string;
  /** In the words of GRANT. */
  rights: string[];
}

const ALL = ['select', 'insert', 'update', 'delete'];

/** The rights on the program's own tables of a role that only ticks. */
export const OWN_RIGHTS: Needed[] = [
  { table: 'scheduler.migrations', rights: ['select'] },
  { table: 'scheduler.adopted', rights: ['select'] },
  {
    table: 'scheduler.runs',
    // The first columns of a run are written once. These tell how it ended, and a trigger keeps them when it has.
    rights: ['select', 'insert', 'update (finished_at, changed, failed, late_by, unsent, work_left, error)'],
  },
  { table: 'scheduler.events', rights: ['select', 'insert'] },
  { table: 'scheduler.failures', rights: ALL },
  { table: 'scheduler.controls', rights: ['select', 'insert'] },
  { table: 'scheduler.accounted', rights: ALL },
  { table: 'scheduler.accounted_up_to', rights: ['select', 'update'] },
  { table: 'scheduler.holds', rights: ['select', 'update'] },
  // Of all functions, this one alone does more than its caller may.
  { table: 'function scheduler.forget(integer)', rights: ['execute'] },
];

/** The rights on the application's tables that follow from the SQL of some jobs. */
export function rightsOf(installed: Installed[]): Needed[] {
  const all = installed.flatMap(({ rights }) => [...rights]);
  const tables = [...new Set(all.map(([table]) => table))].sort();
  return tables.map((table) => ({
    table,
    rights: ALL.filter((right) => all.some(([name, rights]) => name === table && rights.has(right))),
  }));
}
