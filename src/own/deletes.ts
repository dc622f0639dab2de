import type { Transaction } from '../db/client.ts';

/** What else goes with a deleted row. */

interface Reference {
  name: string;
  table: string;
  /** The table that it refers to. */
  to: string;
  action: 'a' | 'r' | 'c' | 'n' | 'd';
  /** Its rows may be deleted, too. */
  isReached: boolean;
}

// A constraint of a partition follows that of its table.
const REFERENCES = `
  with recursive reached (oid) as (
    select :oid::oid
    union
    select c.conrelid from reached join pg_constraint c on c.confrelid = reached.oid where c.contype = 'f' and c.confdeltype = 'c'
  )
  select c.conname::text as name, format('%s.%s', n.nspname, t.relname) as table, c.confdeltype as action,
    format('%s.%s', tn.nspname, o.relname) as to, t.oid <> :oid::oid and t.oid in (select oid from reached) as "isReached"
  from reached join pg_constraint c on c.confrelid = reached.oid and c.contype = 'f'
  join pg_class t on t.oid = c.conrelid join pg_namespace n on n.oid = t.relnamespace
  join pg_class o on o.oid = c.confrelid join pg_namespace tn on tn.oid = o.relnamespace
  where not exists (select from pg_constraint above where above.oid = c.conparentid and above.confrelid = c.confrelid)
  order by 2, 1`;

const WORDS = { c: 'deletes rows of', n: 'sets columns to null in', d: 'sets columns to their default in' };

/** What cascades, a sentence each, and the foreign keys that would stop it. */
export async function cascades(tx: Transaction, oid: string): Promise<{ notes: string[]; faults: string[] }> {
  const references = await tx.query<Reference>(REFERENCES, { oid });
  const found = { notes: [] as string[], faults: [] as string[] };
  for (const { name, table, to, action, isReached } of references) {
    if (action === 'c' || action === 'n' || action === 'd') found.notes.push(`${WORDS[action]} ${table} (${name})`);
    // A check at the end of the transaction finds such a row gone itself.
    else if (action === 'r' || !isReached)
      found.faults.push(
        `the foreign key "${name}" of ${table} would stop it where a row refers to one of ${to}. Give it "on delete cascade" or "on delete set null", or delete those rows first by a job of theirs`,
      );
  }
  return found;
}
