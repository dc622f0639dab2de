import { isElsewhere, readElsewhere } from '../../store/adopted.ts';
import { LEVEL } from '../../store/migrate.ts';
import { FORMER_EDITION, LEVEL_FOUND } from '../../store/standing.ts';
import { type Exam, failed, migrate, ok, type Result, warning } from './finding.ts';

/** The schema "scheduler" itself. */

export async function checkSchema(exam: Exam): Promise<Result> {
  const { db, server } = exam;
  const [found] = await db.query<{ present: boolean; readable: boolean }>(
    `select present, present and has_schema_privilege(oid, 'usage') and has_table_privilege(migrations, 'select') as readable
     from (select to_regnamespace('scheduler') as oid) as schema
     left join lateral (
       select c.oid as migrations, true as present from pg_class c where relnamespace = schema.oid and relname = 'migrations'
     ) as found on true`,
  );
  if (!found?.present) return failed('the schema "scheduler" is not in this database', migrate(exam));
  if (!found.readable) return failed('the level of the schema cannot be read: see "rights"');
  const [{ level } = { level: 0 }] = await db.query<{ level: number }>(`select ${LEVEL_FOUND} as level`);
  if (level === FORMER_EDITION)
    return failed('the schema was made by an earlier edition, which this version cannot go on with', [
      `-- As ${server.owner}. Its history is lost; the rows of your own tables stay as they are.`,
      'drop schema scheduler cascade;',
      ...migrate(exam),
    ]);
  if (level < LEVEL) return failed(`the schema is at level ${level}, and this version needs ${LEVEL}`, migrate(exam));
  const elsewhere = await readElsewhere(db);
  if (elsewhere) return failed(isElsewhere(elsewhere), [`# Add "?schema=${elsewhere.schema}" to the connection URL.`]);
  if (level > LEVEL)
    return warning(
      `the schema is at level ${level}, and this version knows ${LEVEL}: a newer version has migrated it`,
      ['# Install that version here as well, before a tick meets what it does not know.'],
    );
  return ok(`level ${level}, as this version needs`);
}
