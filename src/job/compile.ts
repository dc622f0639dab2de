import { type Changing, change } from './change.ts';
import type { Conditions, Job, Outside, Rule, Tables } from './define.ts';
import { isOfTheRow, substitute, template } from './expressions.ts';
import { type Catalog, columnsOf, LOCK, namesOf, type Rights } from './tables.ts';

/** A job as it is in this database: its rules as SQL on the tables that were found. */
export interface Installed {
  job: Job;
  rules: CompiledRule[];
  /** A query for all that the job watches. */
  survey: string | undefined;
  rights: Rights;
}

/** A rule as SQL. Its row is called r. */
export interface CompiledRule extends Changing {
  job: string;
  name: string;
  /** What stands in "from". */
  row: string;
  /** Where that is only the part of a table that is worth looking at: all of it, and what the part stands for. */
  whole: { row: string; part: string } | undefined;
  idType: string;
  at: string;
  when: Record<string, string>;
  /** A sentence on why the row cannot be acted on, or null. */
  wrong: string | undefined;
  together: Together | undefined;
  outside: (Outside & { recording: string }) | undefined;
  make: Rule['make'];
}

interface Together {
  key: string;
  lock: string;
  family?: string;
  others?: { transition: string; when: Record<string, string> };
}

const NOW = ':now::timestamptz';
const SHOWN = 80;

/**
 * Compiles the rules of a job whose tables are all there. An idle tick asks no more of a rule than when its rows are due: the
 * rest of it is made when first asked for, as making all of it takes a third of such a tick.
 */
export function install(job: Job, catalog: Catalog, dbZone: string): Installed {
  const rights: Rights = new Map();
  const tables = namesOf(job, catalog, dbZone, rights);
  const locked = namesOf(job, catalog, dbZone, rights, LOCK);
  const found = catalog[job.table.name]!;
  const columns = columnsOf(job.table, found);
  const rules = Object.entries(job.rules).map(([name, rule]): CompiledRule => {
    const other = rule.row;
    const due = once(() => (other ? rule.due : ofRow(rule.due, columns)));
    const of = (sql: string) =>
      substitute(sql, (word) =>
        word === 'now'
          ? NOW
          : word === 'due_at'
            ? `(${due()})`
            : !other && columns.includes(word)
              ? `r.${quoted(word)}`
              : undefined,
      );
    const { fails, outside } = rule;
    const changing = once(() => change(name, rule, { job, tables, found, columns, dbZone, of }));
    return withLater(
      {
        job: job.name,
        name,
        row: `${other ? other.from(locked) : locked[job.table.name]} r`,
        idType: other?.idType ?? found.columns[job.table.key ?? 'id']!,
        at: of(rule.due),
        when: mapped(conditionsOf(rule, tables), of),
        make: rule.make,
      },
      {
        whole: () => other?.whole && { row: `${other.whole(tables)} r`, part: other.part! },
        wrong: () => fails && (typeof fails === 'function' ? of(fails(tables)) : sentences(fails, of)),
        together: () => rule.together && togetherOf(rule.together, locked, of),
        outside: () => outside && { ...outside, recording: outside.record(tables) },
        carry: () => changing().carry,
        change: () => changing().change,
      },
    );
  });
  const survey = once(() => job.survey?.query(tables));
  return withLater(
    { job, rules },
    {
      survey,
      rights: () => {
        // Each piece of SQL notes the rights that it needs when it is made.
        survey();
        for (const rule of rules) Object.values(rule);
        return rights;
      },
    },
  );
}

/** The value of a function that is called once at most. */
function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** An object with more properties, each of which is made when it is first read. */
function withLater<T extends object, L extends object>(known: T, later: { [K in keyof L]: () => L[K] }): T & L {
  const getters = Object.entries<() => unknown>(later).map(([name, make]) => [
    name,
    { get: once(make), enumerable: true },
  ]);
  return Object.defineProperties(known, Object.fromEntries(getters)) as T & L;
}

const quoted = (name: string) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);
const ofRow = (sql: string, columns: string[]) =>
  substitute(sql, (word) => (columns.includes(word) ? `r.${quoted(word)}` : undefined));

const mapped = (all: Record<string, string>, how: (sql: string) => string) =>
  Object.fromEntries(Object.entries(all).map(([name, sql]) => [name, how(sql)]));

/** The conditions of a rule, each by a name. */
const conditionsOf = ({ where = {} }: Rule, tables: Tables): Conditions =>
  typeof where === 'function' ? where(tables) : typeof where === 'string' ? { [where]: where } : where;

function sentences(fails: Conditions, of: (sql: string) => string): string {
  const shown = (column: string) => of(`left(${column}::text, ${SHOWN})`);
  const cases = Object.entries(fails).map(
    ([sentence, condition]) => `when ${of(condition)} then ${template(sentence, shown, true)}`,
  );
  return `case ${cases.join(' ')} end`;
}

function togetherOf(
  { key, lock, family, others }: NonNullable<Rule['together']>,
  tables: ReturnType<typeof namesOf>,
  of: (sql: string) => string,
): Together {
  return {
    key: of(key),
    lock: lock(tables),
    ...(family && { family: of(family) }),
    ...(others && { others: { transition: others.transition, when: mapped(others.where, of) } }),
  };
}

/** The conditions that an index over the rows that wait for a rule can hold: those that depend on the row alone. */
export const indexable = (rule: Rule, tables: Tables): string[] =>
  Object.values(conditionsOf(rule, tables)).filter(isOfTheRow);
