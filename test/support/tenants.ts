import type { TestDatabase } from './harness.ts';
import { SCHEMA } from './schema.ts';

/** Schemas with the tables of some jobs, as an application makes them. */
export async function withTenants(
  db: TestDatabase,
  names = ['ts_a', 'ts_b', 'ts_c'],
  tables = ['packages', 'vouchers'],
): Promise<void> {
  for (const name of names) {
    const made = tables.map((table) => `create table ${name}.${table} (like ${SCHEMA}.${table} including all)`);
    await db.query([`create schema ${name}`, ...made].join('; '));
  }
}

export const onSale = (db: TestDatabase, tenant: string, id = 77) =>
  db.query(
    `insert into ${tenant}.packages (id, name, enable_schedule, scheduled_activation_time, validity)
     values ($1, $2, true, now() - interval '1 minute', '30 days')`,
    [id, `of ${tenant}`],
  );

export async function tickTenants(db: TestDatabase, args: string[] = [], env: Record<string, string> = {}) {
  const { code, out, err } = await db.cli(['tick', '--tenants', 'ts_*', '--json', ...args], { env });
  const result = JSON.parse(out);
  const busy: string[] = result.tenants.map((each: { tenant: string }) => each.tenant).sort();
  return { code, err, result, busy };
}
