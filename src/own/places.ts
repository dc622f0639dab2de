import { isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument, type Scalar } from 'yaml';
import type { Path } from './definition.ts';
import { pairsOf } from './sql.ts';

/** Where in a file a value stands, and a character of it. */

export interface Parsed {
  /** Null in a file that holds nothing, undefined in one that is no YAML. */
  root: Node | null | undefined;
  problems: { at: number; message: string }[];
  lines: LineCounter;
}

export function parsed(text: string): Parsed {
  const lines = new LineCounter();
  const { contents, errors, warnings } = parseDocument(text, {
    ...{ lineCounter: lines, prettyErrors: false, uniqueKeys: false },
  });
  const problems = [...errors, ...warnings].map(({ code, message, pos }) => ({
    at: pos[0],
    message: code === 'MULTIPLE_DOCS' ? 'a second document begins here: make it a file of its own' : notYaml(message),
  }));
  return { root: errors.length > 0 ? undefined : contents, problems, lines };
}

const notYaml = (message: string) => {
  const [first] = message.split('\n');
  const said = first!.replace(/\.$/, '').replace(/^Missing closing (.)quote$/, 'a text that began with $1 has no end');
  return `this is not YAML: ${said}`;
};

export const nameOf = (key: unknown): string => (isScalar(key) ? String(key.value) : String(key));

interface Reached {
  node: Node;
  /** The keys that no node has. */
  rest: Path;
}

/** The value at the end of a path, or the last one on the way to it. */
function reach(node: Node, path: Path): Reached {
  const [key, ...rest] = path;
  if (key === undefined) return { node, rest: [] };
  const next = isMap(node)
    ? (node.items as Pair<Scalar, Node>[]).find((pair) => nameOf(pair.key) === String(key))?.value
    : isSeq(node) && (node.items as Node[])[Number(key)];
  return next ? reach(next, rest) : { node, rest: path };
}

/** The place in the text of a value, or of a character of it. In "set", a key is the column of an assignment. */
export function offsetOf(text: string, root: Node, path: Path, offset?: number): number {
  const { node, rest } = reach(root, path);
  const value = isScalar(node) && typeof node.value === 'string' ? node.value.trim() : '';
  const pair = rest.length === 1 && pairsOf(value).find(({ name }) => name === rest[0]);
  const before = pair ? (offset === undefined ? pair.offset : pair.from) : 0;
  return offsetIn(text, node, before + (offset ?? 0));
}

/**
 * Writing a text in YAML changes its white space, and doubles or escapes a quote. So the characters are counted that are no
 * white space.
 */
export function offsetIn(text: string, node: Node, offset: number): number {
  const begin = node.range?.[0] ?? 0;
  if (offset === 0 || !isScalar(node) || typeof node.value !== 'string') return begin;
  const before = node.value.trim().slice(0, offset);
  const isAtEnd = before.length === node.value.trim().length;
  const quote = /^QUOTE/.test(node.type ?? '') ? text[begin] : undefined;
  const space = quote === '"' ? /\s+|\\[ntr \n]/y : /\s+/y;
  let at = node.type?.startsWith('BLOCK') ? text.indexOf('\n', begin) : begin + Number(quote !== undefined);
  const skip = () => {
    for (space.lastIndex = at; space.test(text); ) at = space.lastIndex;
  };
  for (let left = before.replace(/\s/g, '').length; left > 0 && at < text.length; left--) {
    skip();
    if ((quote === '"' && text[at] === '\\') || (quote === "'" && text[at] === "'")) at++;
    at++;
  }
  if (!isAtEnd) skip();
  return at;
}
