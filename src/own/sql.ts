/** What can be told of a piece of SQL without a server: whether it is one expression, and its parts. */

// As the server takes it apart: what is in a text for it must be in a text here, or a statement could hide in one.
const TOKEN =
  /e'(?:[^'\\]|\\[\s\S]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")+"|\$((?:[a-z_\u0080-\uffff][\w\u0080-\uffff]*)?)\$[\s\S]*?\$\1\$|--|\/\*|[a-z_\u0080-\uffff][\w$\u0080-\uffff]*|\s+|[\s\S]/gi;

interface Token {
  text: string;
  offset: number;
}

const tokensOf = (sql: string): Token[] =>
  [...sql.matchAll(TOKEN)].map(({ 0: text, index }) => ({ text, offset: index }));

const PAIRS: Record<string, string> = { '(': ')', '[': ']' };

/** Why it is not one expression, and from which character on. */
export function whatIsWrong(sql: string): { message: string; offset: number } | undefined {
  const open: Token[] = [];
  for (const token of tokensOf(sql)) {
    const { text, offset } = token;
    if (text === ';') return { message: '";" does not belong here: it is one expression', offset };
    if (text === '--' || text === '/*')
      return { message: 'a comment does not belong here: write it as a comment of YAML', offset };
    if (text === "'" || text === '"') return { message: `the ${text} that begins here has no end`, offset };
    if (Object.hasOwn(PAIRS, text)) open.push(token);
    if (text === ')' || text === ']') {
      const last = open.pop();
      if (!last || PAIRS[last.text] !== text) return { message: `the "${text}" has no beginning`, offset };
    }
  }
  const [last] = open.reverse();
  return last && { message: `the "${last.text}" has no end`, offset: last.offset };
}

export interface Assignment {
  /** Undefined where there is none. */
  name: string | undefined;
  sql: string;
  offset: number;
  /** Where its value begins. */
  from: number;
}

/** The assignments of a SET list. */
export function pairsOf(sql: string): Assignment[] {
  const parts: Assignment[] = [];
  let depth = 0;
  let begin = 0;
  const add = (end: number) => {
    const part = sql.slice(begin, end);
    const [all, name] = /^\s*("(?:[^"]|"")+"|[A-Za-z_]\w*)\s*=(?!=)/.exec(part) ?? [''];
    parts.push({
      name: name === undefined ? undefined : columnName(name),
      sql: part.slice(all.length).trim(),
      offset: begin + part.search(/\S|$/),
      from: begin + all.length + part.slice(all.length).search(/\S|$/),
    });
    begin = end + 1;
  };
  for (const { text, offset } of tokensOf(sql)) {
    if (text === '(' || text === '[') depth++;
    if (text === ')' || text === ']') depth--;
    if (text === ',' && depth === 0) add(offset);
  }
  add(sql.length);
  return parts;
}

/** As PostgreSQL reads a name: small letters, unless it is in quotes. */
export const columnName = (text: string): string =>
  text.startsWith('"') ? text.slice(1, -1).replaceAll('""', '"') : text.toLowerCase();

/** A column as it is called, or in quotes as in SQL. */
export const unquoted = (name: string | undefined): string | undefined =>
  name?.startsWith('"') ? columnName(name) : name;
