import pg from 'pg';
import type { TestDatabase } from './harness.ts';
import { here } from './schema.ts';

export interface Stranger extends AsyncDisposable {
  role: string;
  url: string;
  query(sql: string): Promise<pg.QueryResult>;
}

/** A role of its own, with these rights. */
export async function stranger(db: TestDatabase, ...rights: string[]): Promise<Stranger> {
  const role = `r_${db.name}`;
  await db.query(`create role ${role} login`);
  for (const right of rights) await db.query(`grant ${here(right)} to ${role}`);
  const url = db.url.replace('postgres@', `${role}@`);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return {
    role,
    url,
    query: (sql) => client.query(sql),
    async [Symbol.asyncDispose]() {
      await client.end();
      await db.query(`drop owned by ${role} cascade; drop role ${role}`);
    },
  };
}
