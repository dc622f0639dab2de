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

// Texts, types and parameters, what stands behind a dot or "as"; then bare names but those of functions, tables and arguments.
const PIECE =
  /'(?:[^']|'')*'|::?\s*[a-z_]\w*|\.\s*(?:"(?:[^"]|"")+"|[a-z_]\w*)|\bas\s+(?:"(?:[^"]|"")+"|[a-z_]\w*)|("(?:[^"]|"")+"(?!")|(?<!\w)[a-z_]\w*)(?!\w|\s*(?:\(|\.|=>))|"(?:[^"]|"")+"/gi;

/** Puts something else in place of each bare name for which there is a replacement. */
export const substitute = (sql: string, replacement: (name: string, isQuoted: boolean) => string | undefined): string =>
  sql.replace(PIECE, (piece, name?: string) => (name && replacement(nameOf(name)!, name.startsWith('"'))) ?? piece);

export const NOW = ':now::timestamptz';

/** The columns that expressions may name. Where all are written in quotes, a bare word is none of them. */
export interface Names {
  columns: string[];
  quoted?: boolean | undefined;
  /** SQL for columns that are more than a name behind the alias. */
  meanings?: Record<string, string>;
}

/** Makes SQL on the columns of an alias from SQL on bare names. Rules share many expressions: each is read once. */
export function reading(alias: string, names: Names, more: Record<string, string> = {}): (sql: string) => string {
  const { columns, quoted } = names;
  const meanings = new Map(columns.map((name) => [name, `${alias}.${quoteName(name)}`]));
  for (const [name, sql] of Object.entries(names.meanings ?? {})) meanings.set(name, sql);
  const words = new Map(Object.entries({ now: NOW, ...more }));
  const known = new Map<string, string>();
  const meaning = (name: string, isQuoted: boolean) => {
    if (quoted) return (isQuoted ? meanings : words).get(name);
    return words.get(name) ?? meanings.get(name);
  };
  return (sql) => {
    const made = known.get(sql) ?? substitute(sql, meaning);
    known.set(sql, made);
    return made;
  };
}

/** Those of some names that a piece of SQL mentions, in their order. */
export function namesIn(sql: string, names: string[]): string[] {
  const found = new Set<string>();
  substitute(sql, (name) => void found.add(name));
  return names.filter((name) => found.has(name));
}

/** The columns of the row r and the parameters in a compiled expression. */
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

/** Whether any part of a job whose names are quoted names the column. It knows no other columns: the application may drop them. */
export function isNamedIn(part: unknown, column: string): boolean {
  if (typeof part === 'string')
    return part === column || part.includes(quoteName(column)) || part.includes(`{${column}}`);
  if (typeof part !== 'object' || part === null) return false;
  return Object.entries(part).some((pair) => pair.some((each) => isNamedIn(each, column)));
}

const BRACES = /\{([^{}]+)\}|[^{]+|\{/g;

/** The columns that a text with {column} in it names. */
export const columnsIn = (text: string): string[] =>
  [...text.matchAll(BRACES)].flatMap(([, column]) => (column === undefined ? [] : [column]));

/** A text with {column} in it, as SQL. A null makes it null, unless each value is to be shown. */
export function template(text: string, asSql: (column: string) => string, shown: boolean): string {
  const pieces = [...text.matchAll(BRACES)].map(([piece, column]) => (column ? asSql(column) : quoteText(piece)));
  return shown ? `concat(${pieces.join(', ')})` : pieces.join(' || ');
}
