import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../src/base/version.ts';
import { PAGES, readPage } from './support/markdown.ts';
import { faultOf, sentencesOf, type Where } from './support/plain-english.ts';
import { commentsOfShell, commentsOfSql, wordsOfScript } from './support/sources.ts';

/** Documents, comments, messages, help and names of tests are in plain English, as far as a program can tell. */

const MOST_WORDS = 25;

const filesOf = (folder: string, ending: RegExp) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => ending.test(name))
    .map((name) => join(folder, name));
const read = (name: string) => readFileSync(join(ROOT, name), 'utf8');

const SCRIPTS = ['src', 'test', 'bin', 'deploy'].flatMap((folder) => filesOf(folder, /\.(ts|js)$/));

/** The first sentence of a comment may be a name for the code below it. */
const faultsOf = (texts: string[], where: (sentence: string, n: number) => Where) =>
  texts.flatMap((text) =>
    sentencesOf(text).flatMap((sentence, n) => {
      const fault = faultOf(sentence, where(sentence, n));
      return fault === undefined ? [] : [`${sentence} (${fault})`];
    }),
  );

test('hard sentences are found', () => {
  for (const sentence of [
    'What a question about all jobs met may be the fault of one of them, such as a locked table; not what would meet any statement',
    'Who finds the lock taken asks again four times a second',
    'The job is at rest, and that is well',
    'It cannot happen because it is not true that it is off sale',
    'The bad ones are found by trial',
    '0 failed, 1 to be known, 25 fine',
    'Whoever asks, the clock of the server decides.',
    'Of two payments the first one counts.',
    'So many rows from the first one on have failed together.',
    'What is due gets done.',
    'What it remembers is kept once for all: a file can use it once.',
    'What they can do beforehand gains them nothing.',
  ])
    assert.ok(faultOf(sentence, { isHead: true }), sentence);
  assert.ok(faultOf('What follows is reference.', {}));
  assert.ok(faultOf('One two three four.', { most: 3 }));
});

test('plain sentences are not', () => {
  for (const sentence of [
    "One job's locked table must not hide the others",
    'If the lock is taken, the run retries every 250 ms',
    'The job is idle; nothing is wrong',
    'It is on sale',
    'A failing batch is bisected to isolate the bad rows',
    '25 ok, 1 warning',
    'Who stopped it?',
    'Of course a trigger may refuse.',
    'What is due and not done.',
    'What would make a row fail, found before a tick meets it.',
    'What the rule makes of a row when another one of its key is due.',
    'What a user must meet to be let in.',
  ])
    assert.equal(faultOf(sentence, { isHead: true }), undefined, sentence);
  assert.equal(faultOf('One two three - four.', { most: 4 }), undefined);
});

test('comments and texts are found in a script', () => {
  const script = [
    "const a = 'one'; // first",
    '// second',
    '/** A head.',
    ' * Its rest. */',
    'const b = `two ${f(`three`, { c: "four" })} five`;',
    'const d = /[\'"/`]/.test(a) ? 6 / 2 : 7 / 2;',
    "const e = 'http://nowhere'; // last",
  ].join('\n');
  const { comments, texts } = wordsOfScript(script);
  assert.deepEqual(
    comments.map((comment) => comment.trim().replace(/\s+/g, ' ')),
    ['first', 'second', 'A head. Its rest.', 'last'],
  );
  assert.deepEqual(texts, ['one', 'three', 'four', 'two … five', 'http://nowhere']);
  assert.deepEqual(commentsOfShell('a: 1 # one\n# Two\n# three.'), ['  one', '  Two\n  three.']);
  assert.deepEqual(commentsOfSql('-- One\n-- two.\nselect 1; -- three'), ['  One\n  two.', '  three']);
});

/** A heading and a part of a message have no full stop. */
const inProse = (sentence: string) => ({ most: MOST_WORDS, isHead: !/[.:]\**$/.test(sentence) });

test('documents', () => {
  const pages = [...PAGES, ...filesOf('deploy/examples', /\.md$/)].map((name) => ({ name, page: readPage(name) }));
  // A cell of a table may be a name for something, and as long as it must be.
  const cells = (text: string) => [...text.matchAll(/(?<=^\|.*) ([^|]+) (?=\|)/gm)].map(([, cell]) => cell!);
  assert.deepEqual(
    pages.flatMap(({ name, page }) =>
      [...faultsOf(page.sentences, inProse), ...faultsOf(cells(page.text), () => ({ isHead: true }))].map(
        (fault) => `${name}: ${fault}`,
      ),
    ),
    [],
  );
});

test('comments', () => {
  const comments = [
    ...SCRIPTS.map((name) => ({ name, texts: wordsOfScript(read(name)).comments })),
    ...[...filesOf('migrations', /\.sql$/), ...filesOf('deploy', /\.sql$/)].map((name) => ({
      name,
      texts: commentsOfSql(read(name)),
    })),
    ...['.ci/run', ...filesOf('deploy', /(\.(yaml|yml|env|service|timer)|crontab|logrotate|Containerfile)$/)].map(
      (name) => ({
        name,
        texts: commentsOfShell(read(name)),
      }),
    ),
  ];
  assert.ok(comments.length > 300 && comments.flatMap(({ texts }) => texts).length > 2000);
  const isHead = (_: string, n: number) => ({ isHead: n === 0 });
  assert.deepEqual(
    comments.flatMap(({ name, texts }) => faultsOf(texts, isHead).map((fault) => `${name}: ${fault}`)),
    [],
  );
});

const SQL =
  /^\s*(with|delete|alter|drop|from|join|where|exists|case|array|and|or|grant|revoke|create|set|order|group|on|comment|do|returns?|values|begin|as)\b|\b(select|coalesce|returning|update|insert into|cross join|_\w+|\w+_\w+)\b|::|\w=>|\$\$/;

test('messages and help', () => {
  const words = filesOf('src', /\.ts$/).map((name) => {
    const texts = wordsOfScript(read(name)).texts.filter((text) => !SQL.test(text) && /^\S+ \S+ \S+/.test(text.trim()));
    return { name, texts };
  });
  assert.ok(words.flatMap(({ texts }) => texts).length > 1000);
  assert.deepEqual(
    words.flatMap(({ name, texts }) => faultsOf(texts, inProse).map((fault) => `${name}: ${fault}`)),
    [],
  );
});

test('names of tests', () => {
  const names = SCRIPTS.filter((name) => name.endsWith('.test.ts')).map((name) => {
    const texts = [...read(name).matchAll(/\btest\(\s*(['"`])(.*?)\1,/g)].map(([, , text]) => text!);
    return { name, texts };
  });
  assert.ok(names.flatMap(({ texts }) => texts).length > 500);
  assert.deepEqual(
    names.flatMap(({ name, texts }) => faultsOf(texts, () => ({})).map((fault) => `${name}: ${fault}`)),
    [],
  );
});
