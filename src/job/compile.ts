import { once } from '../base/once.ts';
import { type Changing, change } from './change.ts';
import type { Conditions, Job, Outside, Rule, Tables, Together } from './define.ts';
import { isOfTheRow, quoteName, quoteText, reading, readsOf, template } from './expressions.ts';
import { conditionsOf } from './lay.ts';
import { type Catalog, columnsOf, storedKey } from './tables.ts';
import { LOCK, namesOf, type Rights } from './writing.ts';

/** A job as it is in this database: its rules as SQL on the tables that were found. */
export interface Installed {
  job: Job;
  /** The schema of its table: what the program keeps of the job is kept for it. */
  tenant: string;
  rules: CompiledRule[];
  /** A query for all that the job watches. */
  survey: string | undefined;
  /** By the names that its rights have. */
  tables: Catalog;
  rights: Rights;
  /** The columns that it writes, by table. */
  writes: Map<string, Set<string>>;
}

/** A rule as SQL. Its row is called r. */
export interface CompiledRule extends Changing {
  job: string;
  tenant: string;
  name: string;
  /** What stands in "from". */
  row: string;
  /** Where that is only the part of a table that is worth looking at: all of it, and what the part stands for. */
  whole: { row: string; part: string } | undefined;
  idType: string;
  at: string;
  when: Record<string, string>;
  /** Conditions that are asked of the rows of a batch only. */
  apart: Record<string, string>;
  /** A sentence on why the row cannot be acted on, or null. */
  wrong: string | undefined;
  together: ReturnType<typeof togetherOf> | undefined;
  outside: (Outside & { recording: string }) | undefined;
  outcomes: Record<string, Conditions> | undefined;
  /** The columns of the row that it reads. */
  reads: string[];
  /** The columns of the row that it writes; undefined where that cannot be told. */
  writes: string[] | undefined;
  make: Rule['make'];
  mustEnd: boolean;
}

const SHOWN = 80;

/**
 * Compiles the rules of a job whose tables are all there. An idle tick asks no more of a rule than when its rows are due: the
 * rest of it is made when first asked for, as making all of it takes a third of such a tick.
 */
export function install(job: Job, catalog: Catalog, dbZone: string): Installed {
  const rights: Rights = new Map();
  const writes = new Map<string, Set<string>>();
  const tables = namesOf(job, catalog, { dbZone, rights, writes });
  const locked = namesOf(job, catalog, { dbZone, rights, writes, toRead: LOCK });
  const found = catalog[job.table.name]!;
  const columns = columnsOf(job.table, found);
  const { schema: tenant } = found;
  // One question asks of the rules of several tenants.
  const ofTenant = (sql: string) => sql.replaceAll(':tenant::text', quoteText(tenant));
  const { quoted } = job.table;
  const [ofRow, ofOther] = [reading('r', { columns, quoted }), reading('r', { columns: [] })];
  const rules = Object.entries(job.rules).map(([name, rule]): CompiledRule => {
    const { row: other, fails, together, outside, outcomes, set } = rule;
    const isSimple = set !== undefined && !rule.change && !together && !outside && !other;
    const { mustEnd = isSimple } = rule;
    const plain = other ? ofOther : ofRow;
    const at = ofTenant(plain(rule.due));
    const withDue = once(() => reading('r', { columns: other ? [] : columns, quoted }, { due_at: `(${at})` }));
    const of = (sql: string) => (sql.includes('due_at') ? withDue() : plain)(sql);
    const where = mapped(conditionsOf(rule, tables, job.name), (sql) => ofTenant(of(sql)));
    const isApart = ([condition]: [string, string]) => rule.apart?.includes(condition) ?? false;
    const wrong = once(() => fails && (typeof fails === 'function' ? of(fails(tables)) : sentences(fails, of, quoted)));
    const changing = once(() => change(name, { ...rule, mustEnd }, { job, tables, found, columns, dbZone, of }));
    return withLater(
      {
        ...{ job: job.name, tenant, name, at, make: rule.make, mustEnd },
        writes: set && !rule.change && !together && !outside ? Object.keys(set) : undefined,
        row: ofTenant(`${other ? other.from(locked) : locked[job.table.name]} r`),
        idType: other?.idType ?? found.columns[storedKey(job.table)]!,
        when: Object.fromEntries(Object.entries(where).filter((each) => !isApart(each))),
        apart: Object.fromEntries(Object.entries(where).filter(isApart)),
      },
      {
        whole: () => other?.whole && { row: `${other.whole(tables)} r`, part: other.part! },
        wrong,
        together: () => together && togetherOf(together, locked, of),
        outside: () => outside && { ...outside, recording: outside.record(tables) },
        outcomes: () =>
          outcomes &&
          Object.fromEntries(Object.entries(outcomes(tables)).map(([name, all]) => [name, mapped(all, of)])),
        carry: () => changing().carry,
        reads: () => readsOf([at, ...Object.values(where), wrong() ?? '', ...changing().carry].join(' , ')).columns,
        change: () => changing().change,
      },
    );
  });
  const survey = () => job.survey && ofTenant(job.survey.query(tables));
  // Each piece of SQL notes the rights that it needs when it is made.
  const making =
    <T>(noted: T) =>
    () => {
      survey();
      for (const rule of rules) Object.values(rule);
      return noted;
    };
  return withLater({ job, tenant, rules, tables: catalog }, { survey, rights: making(rights), writes: making(writes) });
}

/** An object with more properties, each of which is made when it is first read. */
function withLater<T extends object, L extends object>(known: T, later: { [K in keyof L]: () => L[K] }): T & L {
  for (const [name, make] of Object.entries<() => unknown>(later))
    Object.defineProperty(known, name, { get: once(make), enumerable: true });
  return known as T & L;
}

const mapped = (all: Record<string, string>, how: (sql: string) => string) =>
  Object.fromEntries(Object.entries(all).map(([name, sql]) => [name, how(sql)]));

function sentences(fails: Conditions, of: (sql: string) => string, quoted = false): string {
  const shown = (column: string) => of(`left(${quoted ? quoteName(column) : column}::text, ${SHOWN})`);
  const cases = Object.entries(fails).map(
    ([sentence, condition]) => `when ${of(condition)} then ${template(sentence, shown, true)}`,
  );
  return `case ${cases.join(' ')} end`;
}

const togetherOf = ({ key, lock, family, others }: Together, tables: Tables, of: (sql: string) => string) => ({
  ...{ key: of(key), lock: lock(tables), family: family && of(family) },
  others: others && { transition: others.transition, when: mapped(others.where, of) },
});

/** The conditions that an index over the rows that wait for a rule can hold: those that depend on the row alone. */
export const indexable = (rule: Rule, tables: Tables, job: string): string[] =>
  Object.entries(conditionsOf(rule, tables, job)).flatMap(([name, sql]) =>
    isOfTheRow(sql) && !rule.apart?.includes(name) ? [sql] : [],
  );
