import { isMap, isScalar, isSeq, type Node, type Pair, type Scalar } from 'yaml';
import type { Path } from './definition.ts';
import { pairsOf } from './sql.ts';

/** Where in a file a value stands, and a character of it. */

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

/** The place in the text of a value, or of a character of it. Of "set", a key is the column of an assignment. */
export function offsetOf(text: string, root: Node, path: Path, offset = 0): number {
  const { node, rest } = reach(root, path);
  const value = isScalar(node) && typeof node.value === 'string' ? node.value.trim() : '';
  const pair = rest.length === 1 && pairsOf(value).find(({ name }) => name === rest[0]);
  return offsetIn(text, node, offset + (pair ? pair.from : 0));
}

/**
 * Writing a text in YAML changes its white space, and doubles or escapes a quote. So the characters are counted that are no
 * white space.
 */
export function offsetIn(text: string, node: Node, offset: number): number {
  const begin = node.range?.[0] ?? 0;
  if (offset === 0 || !isScalar(node) || typeof node.value !== 'string') return begin;
  let left = node.value.trim().slice(0, offset).replace(/\s/g, '').length;
  const isBlock = node.type?.startsWith('BLOCK') ?? false;
  const quote = /^QUOTE/.test(node.type ?? '') ? text[begin] : undefined;
  let at = isBlock ? text.indexOf('\n', begin) : begin + Number(quote !== undefined);
  for (const isSpace = () => /\s/.test(text[at] ?? ''); ; at++) {
    while (isSpace()) at++;
    if (left === 0 || at >= text.length) return at;
    left--;
    if ((quote === '"' && text[at] === '\\') || (quote === "'" && text[at] === "'")) at++;
  }
}
