export type Values = Record<string, unknown>;

/**
 * Writes :name parameters as the $n that PostgreSQL understands; a name that has no value is a defect. Those given by
 * `others` come first, and somebody else has their values.
 */
export function bind(sql: string, values: Values = {}, others: string[] = []): { text: string; values: unknown[] } {
  const used = [...others];
  const text = sql.replace(/(?<![:\w]):([a-z][A-Za-z]*)/g, (_, name: string) => {
    if (!used.includes(name)) {
      if (!(name in values)) throw new Error(`SQL parameter :${name} has no value`);
      used.push(name);
    }
    return `$${used.indexOf(name) + 1}`;
  });
  return { text, values: used.slice(others.length).map((name) => values[name]) };
}
