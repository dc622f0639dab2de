import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../src/base/version.ts';
import { sentencesOf } from './plain-english.ts';

/** The documentation as its readers see it: sections, and the blocks to copy. */

export interface Block {
  language: string;
  /** What stands behind the language: the file that the block is meant to become. */
  file: string | undefined;
  text: string;
  line: number;
}

export interface Section {
  heading: string;
  blocks: Block[];
}

export interface Page {
  name: string;
  text: string;
  sections: Section[];
  blocks: Block[];
  /** Code within sentences. */
  inline: string[];
  /** Without code blocks and tables. */
  sentences: string[];
  links: string[];
  anchors: string[];
}

export const PAGES = [
  ...['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md'],
  ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`),
].filter((name) => name.endsWith('.md'));

export function readPage(name: string): Page {
  const text = readFileSync(join(ROOT, name), 'utf8');
  const sections: Section[] = [{ heading: '', blocks: [] }];
  const prose: string[] = [];
  let block: Block | undefined;
  text.split('\n').forEach((line, index) => {
    const fence = /^```(\w*) ?(.*)$/.exec(line);
    if (block) {
      if (fence) block = undefined;
      else block.text += `${line}\n`;
    } else if (fence) {
      block = { language: fence[1]!, file: fence[2] || undefined, text: '', line: index + 1 };
      sections.at(-1)!.blocks.push(block);
    } else {
      const heading = /^##+ (.*)$/.exec(line)?.[1];
      if (heading) sections.push({ heading, blocks: [] });
      prose.push(line);
    }
  });
  if (block) throw new Error(`${name}: the block of line ${block.line} does not end`);
  const sentences = prose.join('\n');
  return {
    ...{ name, text, sections, blocks: sections.flatMap(({ blocks }) => blocks) },
    sentences: sentencesOfProse(sentences),
    inline: [...sentences.matchAll(/`([^`]+)`/g)].map(([, code]) => code!.replace(/\s+/g, ' ')),
    links: [...sentences.matchAll(/\]\(([^)]+)\)/g)].map(([, target]) => target!),
    anchors: [...sentences.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchor(heading!)),
  };
}

/** A paragraph, an item of a list and a heading end a sentence, too. */
const sentencesOfProse = (prose: string): string[] =>
  prose
    .replace(/^\|.*$/gm, '')
    .replace(/\]\([^)]*\)/g, ']')
    .split(/\n\s*\n|\n(?=- |\d+\. |#)/)
    .flatMap((part) => sentencesOf(part.replace(/^- |^\d+\. |^#+ /, '')))
    .filter(Boolean);

/** As GitHub makes them. */
const anchor = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');

/** The commands of a block: one a line, unless a backslash says that it goes on. */
export const commandsOf = ({ text }: Block): string[] =>
  text
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith('#'));
