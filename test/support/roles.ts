import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../src/base/version.ts';
import type { TestDatabase } from './harness.ts';

/** What psql would make of deploy/roles.sql. */
export async function grantRole(db: TestDatabase, role: string): Promise<void> {
  const text = readFileSync(join(ROOT, 'deploy/roles.sql'), 'utf8')
    .replace(/^--.*$|^\\.*$|^ +\\set.*$/gm, '')
    .replaceAll(`:'role'`, `'${role}'`)
    .replaceAll(':"role"', `"${role}"`);
  let last: Record<string, unknown>[] = [];
  for (const statement of text.split(/;|(?=\\gexec)/)) {
    const [generated, rest] = statement.startsWith('\\gexec') ? [true, statement.slice(6)] : [false, statement];
    if (generated) for (const row of last) await db.query(Object.values(row)[0] as string).catch(unlessThere);
    last = rest.trim() ? await db.query(rest) : [];
  }
}

/** All tests share the role scheduler_admin: another one may have made it a moment ago. */
function unlessThere(error: { code?: string }): void {
  if (!['42710', '23505'].includes(error.code ?? '')) throw error;
}
