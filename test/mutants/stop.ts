// Loaded before each test file: what follows the first failing test is not run, and its name is left in a file.
import { existsSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, type TestContext } from 'node:test';

const marker = process.env.TEST_FIRST_FAILURE!;

beforeEach(() => {
  if (existsSync(marker)) throw new Error('a test before this one failed');
});
afterEach((context) => {
  // The types say that it might be a suite.
  const { passed, name } = context as TestContext & { passed: boolean };
  if (!passed && !existsSync(marker)) writeFileSync(marker, name);
});
