import type { Installed } from '../../job/compile.ts';
import { lackingRights, type Needed, OWN_RIGHTS, rightsOf } from '../../job/rights.ts';
import { type Exam, failed, ok, quoteName, type Result } from './finding.ts';

/** The rights follow from what the rules do: deploy/roles.sql, which is made from the same, grants them. */
export async function checkRights(
  { db, server }: Exam,
  installed: Installed[],
  more: { needs: Needed[]; functions: string[] } = { needs: [], functions: [] },
): Promise<Result> {
  const lacking = await db.transaction((tx) =>
    lackingRights(tx, server.role, [...OWN_RIGHTS, ...rightsOf(installed), ...more.needs], more.functions),
  );
  if (lacking.length === 0) return ok(`${server.role} may do all that the jobs need`);
  const role = quoteName(server.role);
  const owners = [...new Set(lacking.map(({ owner }) => owner))];
  // So many at once are one mistake, and the SQL names each.
  const named =
    lacking.length < 4
      ? lacking.map(({ rights, object }) => `${rights} on ${object}`).join('; ')
      : `rights on ${lacking.length} objects`;
  return failed(
    `${server.role} lacks ${named}`,
    owners.flatMap((each) => [
      `-- As ${each} or a superuser:`,
      ...lacking
        .filter(({ owner }) => owner === each)
        .map(({ rights, object }) => `grant ${rights} on ${object} to ${role};`),
    ]),
  );
}
