import type { Transaction } from '../db/client.ts';
import { quoteText } from './expressions.ts';
import { ADDED, ADDED_BY_APPLY } from './steps.ts';
import type { Found } from './tables.ts';

/**
 * An added column or index is in the partitions of its table, too, and stays in one that is detached. So the part bears the mark of the whole.
 * Call it as the owner of the table. A part of another owner is left alone, and so is what a part had before: a column of its own, an
 * older index.
 */
export async function markParts(tx: Transaction, { oid }: Pick<Found, 'oid'>): Promise<void> {
  const isMarked = [ADDED, ADDED_BY_APPLY].map((mark) => `strpos(d.description, ${quoteText(mark)}) > 0`).join(' or ');
  await tx.query(`do $do$
    declare
      statement text;
    begin
      for statement in
        with recursive wholes as (
          select ${oid}::oid as oid union all select indexrelid from pg_index where indrelid = ${oid}::oid
        ),
        parts as (
          select oid as whole, oid from wholes
          union
          select p.whole, i.inhrelid from parts p join pg_inherits i on i.inhparent = p.oid
        )
        select format('comment on %s is %L', case d.objsubid when 0 then format('index %s', part.oid::regclass) else format('column %s.%I', part.oid::regclass, a.attname) end, d.description)
        from parts join pg_class part on part.oid = parts.oid and parts.oid <> parts.whole and pg_has_role(part.relowner, 'usage')
        join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = parts.whole and (${isMarked})
        left join pg_attribute a on a.attrelid = parts.whole and a.attnum = d.objsubid and d.objsubid > 0
        left join pg_attribute own on own.attrelid = part.oid and own.attname = a.attname and d.objsubid > 0
        where case when d.objsubid > 0 then not own.attislocal else part.relkind in ('i', 'I') and part.oid > parts.whole end
          and not exists (select from pg_description same where same.classoid = d.classoid and same.objoid = part.oid
            and same.objsubid = coalesce(own.attnum, 0) and same.description = d.description)
      loop
        execute statement;
      end loop;
    end
  $do$`);
}
