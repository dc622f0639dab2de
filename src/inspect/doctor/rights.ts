import type { Installed } from '../../job/compile.ts';
import { hiddenFrom, lackingRights, type Needed, OWN_RIGHTS, rightsOf } from '../../job/rights.ts';
import { type Exam, failed, ok, quoteName, type Result } from './finding.ts';

/** The rights follow from what the rules do: deploy/roles.sql, which is made from the same, grants them. */
export async function checkRights(
  { db, server }: Exam,
  installed: Installed[],
  more: { needs: Needed[]; functions: string[] } = { needs: [], functions: [] },
): Promise<Result> {
  const wanted = [...OWN_RIGHTS, ...rightsOf(installed), ...more.needs];
  const { lacking, hidden } = await db.transaction(async (tx) => ({
    lacking: await lackingRights(tx, server.role, wanted, more.functions),
    hidden: await hiddenFrom(tx, server.role, wanted),
  }));
  const remedyOfHidden = hidden ? ['-- As a superuser:', hidden.remedy] : [];
  if (lacking.length === 0 && hidden) return failed(hidden.sentence, remedyOfHidden);
  if (lacking.length === 0) return ok(`${server.role} may do all that the jobs need`);
  const role = quoteName(server.role);
  const owners = [...new Set(lacking.map(({ owner }) => owner))];
  // Many at once are one mistake, and the SQL names each.
  const named =
    lacking.length < 4
      ? lacking.map(({ rights, object }) => `${rights} on ${object}`).join('; ')
      : `rights on ${lacking.length} objects`;
  const grants = owners.flatMap((each) => [
    `-- As ${each} or a superuser:`,
    ...lacking
      .filter(({ owner }) => owner === each)
      .map(({ rights, object }) => `grant ${rights} on ${object} to ${role};`),
  ]);
  const also = hidden ? `; ${hidden.sentence}` : '';
  return failed(`${server.role} lacks ${named}${also}`, [...grants, ...remedyOfHidden]);
}
