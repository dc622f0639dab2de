/**
 * The expressions of a job name columns by their bare names. Here they are told apart from everything else in a piece of
 * SQL: texts, functions, aliases, types, parameters.
 */
const TOKEN = /'(?:[^']|'')*'|"(?:[^"]|"")+"|::?\s*[A-Za-z_]\w*|[A-Za-z_]\w*|=>|\s+|[\s\S]/g;

const tokensOf = (sql: string): string[] => sql.match(TOKEN) ?? [];

function nameOf(token: string): string | undefined {
  if (token.startsWith('"')) return token.slice(1, -1).replaceAll('""', '"');
  return /^[A-Za-z_]/.test(token) ? token : undefined;
}

/** Puts something else in place of each bare name for which there is a replacement. */
export function substitute(sql: string, replacement: (name: string) => string | undefined): string {
  let before = '';
  return tokensOf(sql)
    .map((token, n, tokens) => {
      const last = before;
      if (token.trim()) before = token;
      const name = nameOf(token);
      if (name === undefined || last === '.' || last.toLowerCase() === 'as') return token;
      const next = tokens[n + 1]?.trim() === '' ? tokens[n + 2] : tokens[n + 1];
      if (next === '(' || next === '.' || next === '=>') return token;
      return replacement(name) ?? token;
    })
    .join('');
}

export const NOW = ':now::timestamptz';

/** Makes SQL on the columns of an alias from SQL on bare names. */
export function reading(alias: string, columns: string[], more: Record<string, string> = {}): (sql: string) => string {
  const meanings = new Map(Object.entries({ now: NOW, ...more }));
  const column = (name: string) => (columns.includes(name) ? `${alias}.${quoteName(name)}` : undefined);
  return (sql) => substitute(sql, (name) => meanings.get(name) ?? column(name));
}

/** Those of some names that a piece of SQL mentions, in their order. */
export function namesIn(sql: string, names: string[]): string[] {
  const found = new Set<string>();
  substitute(sql, (name) => void found.add(name));
  return names.filter((name) => found.has(name));
}

/** What a compiled expression reads: columns of the row r, and parameters. */
export function readsOf(sql: string): { columns: string[]; parameters: string[] } {
  const tokens = tokensOf(sql).filter((token) => token.trim());
  const columns = tokens.filter((token, n) => nameOf(token) && tokens[n - 1] === '.' && tokens[n - 2] === 'r');
  const parameters = tokens.filter((token) => /^:\w/.test(token));
  return {
    columns: [...new Set(columns.map((token) => nameOf(token)!))],
    parameters: [...new Set(parameters.map((token) => token.slice(1)))],
  };
}

/** Whether an expression depends on the columns of the row alone, and may be part of an index. */
export const isOfTheRow = (sql: string): boolean =>
  namesIn(sql, ['now', 'due_at', 'select']).length === 0 && readsOf(sql).parameters.every((name) => name === 'zone');

export const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`;
export const quoteText = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** A text with {column} in it, as SQL. A null makes it null, unless each value is to be shown. */
export function template(text: string, asSql: (column: string) => string, shown: boolean): string {
  const pieces = [...text.matchAll(/\{(\w+)\}|[^{]+/g)].map(([piece, column]) =>
    column ? asSql(column) : quoteText(piece),
  );
  return shown ? `concat(${pieces.join(', ')})` : pieces.join(' || ');
}
