import { isAlias, isMap, isScalar, isSeq, type Node, type Pair, type YAMLMap } from 'yaml';
import { nearest } from '../base/nearest.ts';
import type { Fault, Path } from './definition.ts';
import { nameOf, offsetIn, offsetOf, type Parsed, parsed } from './places.ts';
import { whatIsWrong } from './sql.ts';

/** Reads the values of a YAML file. Every fault is kept with its place, and reading goes on. */

export interface Source {
  file: string;
  text: string;
}

/** An object of JavaScript keeps no value of this name. */
export const LOST = '__proto__';
export const CANNOT_BE_NAME = `"${LOST}" cannot be a name here: give it another`;

export class Nodes {
  readonly #source: Source;
  readonly #faults: Fault[];
  readonly parsed: Parsed;

  constructor(source: Source, faults: Fault[]) {
    this.#source = source;
    this.#faults = faults;
    this.parsed = parsed(source.text);
  }

  fault(node: Node, message: string, offset = 0): void {
    const isOne = isAlias(node);
    const said = isOne ? `an alias such as *${node.source} is not read: write the value out` : message;
    this.add(offsetIn(this.#source.text, node, isOne ? 0 : offset), said);
  }

  place(node: Node, path: Path, offset?: number): Omit<Fault, 'message'> {
    return this.#placeOf(offsetOf(this.#source.text, node, path, offset));
  }

  #placeOf(offset: number): Omit<Fault, 'message'> {
    const { line, col } = this.parsed.lines.linePos(offset);
    return { file: this.#source.file, line, column: col };
  }

  add(offset: number, message: string): void {
    this.#faults.push({ ...this.#placeOf(offset), message });
  }

  isMap(node: Node, otherwise: string): node is YAMLMap {
    if (isMap(node)) return true;
    this.fault(node, otherwise);
    return false;
  }

  /** What a map holds, by name. If a name is there twice, the first one counts. */
  pairs(map: YAMLMap): { name: string; key: Node; value: Node | undefined }[] {
    const names = new Set<string>();
    return (map.items as Pair<Node, Node | null>[]).flatMap(({ key, value }) => {
      const name = nameOf(key);
      if (!isScalar(key)) this.fault(key, 'a key is a word');
      else if (name === LOST) this.fault(key, CANNOT_BE_NAME);
      else if (names.has(name)) this.fault(key, `"${name}" is there twice`);
      else {
        names.add(name);
        return { name, key, value: value && !(isScalar(value) && value.value === null) ? value : undefined };
      }
      return [];
    });
  }

  /** The values of a map by their keys. A key that is none of those is a fault. */
  keys(map: YAMLMap, valid: string[], what: string): Record<string, Node | undefined> {
    const found: Record<string, Node> = {};
    for (const { name, key, value } of this.pairs(map)) {
      if (valid.includes(name) && value) found[name] = value;
      else if (valid.includes(name)) this.fault(key, `"${name}" has no value`);
      else {
        const meant = nearest(name, valid);
        const hint = meant ? `did you mean "${meant}"?` : `valid: ${valid.join(', ')}`;
        this.fault(key, `"${name}" is not a key of ${what}; ${hint}`);
      }
    }
    return found;
  }

  text(node: Node | undefined, what: string): string | undefined {
    if (!node) return undefined;
    if (isScalar(node) && ['string', 'number', 'boolean'].includes(typeof node.value)) {
      const text = String(node.source ?? node.value);
      const value = typeof node.value === 'string' ? node.value.trim() : text;
      if (value !== '') return value;
    }
    this.fault(node, `${what} is a text, and not ${isMap(node) ? 'a map' : isSeq(node) ? 'a list' : 'empty'}`);
    return undefined;
  }

  /** SQL that is one expression. */
  sql(node: Node | undefined, what: string): string | undefined {
    const sql = this.text(node, what);
    const wrong = sql === undefined ? undefined : whatIsWrong(sql);
    if (!wrong) return sql;
    this.fault(node!, `${what}: ${wrong.message}`, wrong.offset);
    return undefined;
  }

  map<T>(node: Node | undefined, what: string, read: (node: Node, key: string) => T | undefined): Record<string, T> {
    if (!node || !this.isMap(node, `${what} is a map`)) return {};
    const all: Record<string, T> = {};
    for (const { name, key, value } of this.pairs(node)) {
      if (!value) this.fault(key, `"${name}" has no value`);
      else {
        const made = read(value, name);
        if (made !== undefined) all[name] = made;
      }
    }
    return all;
  }

  list<T>(node: Node | undefined, read: (node: Node) => T | undefined): T[] {
    if (!node) return [];
    const items = isSeq(node) ? (node.items as Node[]) : [node];
    return items.flatMap((item) => read(item) ?? []);
  }

  conditions(node: Node | undefined): Record<string, string> {
    if (!node) return {};
    if (isMap(node)) return this.map(node, '"where"', (value) => this.sql(value, 'a condition'));
    const sql = this.sql(node, '"where"');
    return sql === undefined ? {} : { [sql]: sql };
  }
}
