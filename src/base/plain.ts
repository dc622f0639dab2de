/**
 * A text from a row, a server or an answer, fit for a terminal: control characters, which move the cursor, and marks that turn the
 * direction of writing are shown by their numbers. In a text of several lines, these stay.
 */
export const plain = (text: string, lines = false): string =>
  text.replace(/[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu, (character) =>
    lines && (character === '\n' || character === '\t')
      ? character
      : (SHORT[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`),
  );

const SHORT: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

const SHOWN = 3;

/** A few names of many. */
export const someOf = (names: string[]): string =>
  [...names.slice(0, SHOWN), ...(names.length > SHOWN ? ['…'] : [])].join(', ');
