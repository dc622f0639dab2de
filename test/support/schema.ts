import pg from 'pg';

/**
 * The schema in which the tables of a test's application lie. With TEST_SCHEMA it is another one than "public": the only one in the path
 * of each database, as after "alter database … set search_path". The program then takes it for the tenant.
 */
export const SCHEMA = process.env.TEST_SCHEMA || 'public';
const isPublic = SCHEMA === 'public';

/** Where the tables lie that have other names, with TEST_LAID. */
export const LAID_SCHEMA = 'Other "App"';

/** An event names its tenant so. */
const tenant = process.env.TEST_LAID ? LAID_SCHEMA : SCHEMA;
export const TENANT = tenant === 'public' ? {} : { tenant };

/** Words about the schema "public", as they are of the one in use. */
export const here = <T extends string | RegExp>(words: T): T =>
  (typeof words === 'string' ? named(words) : new RegExp(named(words.source), words.flags)) as T;
const named = (words: string) => words.replaceAll('public', SCHEMA);

/** For a test whose subject is the schema "public", with the reason. */
export const ofPublic = (reason: string): { skip: string | false } => ({
  skip: isPublic ? false : `of the schema "public": ${reason}`,
});

async function asOwner(url: string, ...statements: string[]): Promise<void> {
  if (isPublic) return;
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const sql of statements) await client.query(sql);
  } finally {
    await client.end();
  }
}

/** No clone inherits the path. It inherits the schema, which everybody may use, as is so of "public". */
export const setPath = (url: string, name: string, { isNew }: { isNew: boolean }): Promise<void> =>
  asOwner(
    url,
    ...(isNew ? [`create schema ${SCHEMA}; grant usage on schema ${SCHEMA} to public`] : []),
    `alter database ${name} set search_path = ${SCHEMA}`,
  );

/** Rows that a test itself writes into tables of ours are of that tenant, if it names none. The program has to name it. */
export const ITS_ROWS = `set test.tenant = '${SCHEMA}'`;
export const takeItsRows = (url: string): Promise<void> =>
  asOwner(
    url,
    ...['runs', 'events', 'failures'].map(
      (table) =>
        `alter table scheduler.${table} alter tenant set default coalesce(nullif(current_setting('test.tenant', true), ''), 'public')`,
    ),
  );
