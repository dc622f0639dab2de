import type { Installed } from './compile.ts';

/** Rights on a table, in the words of GRANT. */
export type Right = 'select' | 'insert' | 'update' | 'delete';

export interface Needed {
  table: string;
  rights: Right[];
}

const needed = (table: string, ...rights: Right[]): Needed => ({ table: `scheduler.${table}`, rights });

/** The rights on the program's own tables of a role that only ticks. */
export const OWN_RIGHTS: Needed[] = [
  needed('migrations', 'select'),
  needed('runs', 'select', 'insert', 'update', 'delete'),
  needed('events', 'select', 'insert', 'update', 'delete'),
  needed('failures', 'select', 'insert', 'update', 'delete'),
  needed('controls', 'select', 'insert'),
  needed('accounted', 'select', 'insert', 'update', 'delete'),
  needed('accounted_up_to', 'select', 'update'),
  needed('holds', 'select', 'update'),
];

const ORDER: Right[] = ['select', 'insert', 'update', 'delete'];

/** The rights on the application's tables that follow from the SQL of some jobs. */
export function rightsOf(installed: Installed[]): Needed[] {
  const all = installed.flatMap(({ rights }) => [...rights]);
  const tables = [...new Set(all.map(([table]) => table))].sort();
  return tables.map((table) => ({
    table,
    rights: ORDER.filter((right) => all.some(([name, rights]) => name === table && rights.has(right))),
  }));
}
