import type { TableName } from '../../job/define.ts';

/**
 * Joins each answer of `read` to the row it is about, as `sent`, one by one: the planner takes the index of rows under way for
 * empty, and would go through a whole backlog that was under way before. So an update's own guard comes last, in a case.
 */
export const answeredRow = (table: TableName, status: string): string => `cross join lateral (
        select s.id from ${table} s where s.id::text = read.id and s.${status} = 'sending' offset 0
      ) as sent`;
