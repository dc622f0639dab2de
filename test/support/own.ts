import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Finished, TestDatabase } from './harness.ts';

/** Applies a file of jobs with the real command. */
export async function apply(db: TestDatabase, yaml: string, ...args: string[]): Promise<Finished & { file: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'jobs-'));
  const file = join(folder, 'jobs.yaml');
  writeFileSync(file, yaml);
  try {
    return { ...(await db.cli(['apply', file, ...args])), file };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The same, and it must succeed. */
export async function applied(db: TestDatabase, yaml: string, ...args: string[]): Promise<string> {
  const { code, out, err } = await apply(db, yaml, ...args);
  if (code !== 0) throw new Error(`apply ended with ${code}: ${out}${err}`);
  return out;
}
