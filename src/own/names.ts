import type { Conditions, Event, Job, Rule } from '../job/define.ts';
import { quoteName, substitute } from '../job/expressions.ts';

/**
 * The statements of the engine have columns of their own. A table may have columns of the same names: inside, such a column goes
 * by another name, as in "due_at (column)".
 */

const TAKEN = ['due_at', 'now', 'place', 'wrong', 'applies', 'ended'];

/** The inner name of each column that needs one. */
export function innerNames(columns: string[], key: string): Map<string, string> {
  const taken = key === 'id' ? TAKEN : [...TAKEN, 'id'];
  const free = (name: string): string => (columns.includes(name) ? free(`${name}'`) : name);
  return new Map(
    columns.filter((name) => taken.includes(name)).map((name) => [name, free(`${name} (column)`)] as const),
  );
}

/** The rules of a job, with the inner names of columns in place of their real ones. */
export function withInnerNames(rules: Job['rules'], inner: Map<string, string>): Job['rules'] {
  if (inner.size === 0) return rules;
  const sql = (text: string) =>
    substitute(text, (name, isQuoted) => {
      const other = isQuoted ? inner.get(name) : undefined;
      return other && quoteName(other);
    });
  const braces = (text: string) =>
    text.replace(/\{([^{}]+)\}/g, (all, name) => (inner.has(name) ? `{${inner.get(name)}}` : all));
  const same = (text: string) => text;
  const mapped = (all: Conditions | undefined, key: (name: string) => string) =>
    all && Object.fromEntries(Object.entries(all).map(([name, text]) => [key(name), sql(text)]));
  const told = ({ data, channels = [], message, ...event }: Event): Event => ({
    ...{ ...event, data: mapped(data, same)!, channels: channels.map(braces) },
    ...(message !== undefined && { message: braces(message) }),
  });
  const renamed = ({ where, fails, set, event, also, ...rule }: Rule): Rule => ({
    ...{ ...rule, due: sql(rule.due), where: mapped(where as Conditions, same)! },
    ...(fails && { fails: mapped(fails as Conditions, braces)! }),
    ...(set && { set: mapped(set, (name) => inner.get(name) ?? name)! }),
    ...(event && { event: told(event as Event) }),
    ...(also && { also: also.map(({ reads, sql }) => ({ reads: reads.map((name) => inner.get(name) ?? name), sql })) }),
  });
  return Object.fromEntries(Object.entries(rules).map(([name, rule]) => [name, renamed(rule)]));
}
