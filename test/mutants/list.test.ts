import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MUTANTS } from './list.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const text = (file: string) => readFileSync(join(ROOT, file), 'utf8');

/** In the fast suite, with those words in it. */
function isThere(test: string): boolean {
  const [file, words = ''] = test.split('#') as [string, string?];
  return existsSync(join(ROOT, file)) && !file.includes('.slow.') && text(file).includes(words);
}

test('each text of the list of mutants is in its file exactly once, and its tests are there', () => {
  const wrong = MUTANTS.flatMap((mutant) => {
    const times = text(mutant.file).split(mutant.text).length - 1;
    const missing = mutant.tests.filter((test) => !isThere(test));
    const faults = [
      ...(times === 1 ? [] : [`is there ${times} times`]),
      ...(mutant.text === mutant.replacement ? ['is replaced by itself'] : []),
      ...missing.map((file) => `${file} is not in the fast suite`),
    ];
    return faults.map((fault) => `${mutant.file}: ${mutant.text} ${fault}`);
  });
  assert.deepEqual(wrong, []);
});

test('there are mutants of every folder', () => {
  const folders = readdirSync(join(ROOT, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const touched = new Set(MUTANTS.map(({ file }) => file.split('/')[1]));
  assert.deepEqual(
    folders.map(({ name }) => name).filter((name) => !touched.has(name)),
    [],
  );
  assert.ok(MUTANTS.filter(({ reason }) => reason === undefined).length >= 200);
});
