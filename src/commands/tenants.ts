import { Option } from 'commander';
import { TENANTS } from '../base/config.ts';
import { EXIT, type ExitCode, OperatorError, usageError } from '../base/errors.ts';
import { printJson } from '../base/output.ts';
import type { Context } from '../context.ts';
import { explainFaultOfCommand } from '../engine/faults.ts';
import type { Job } from '../job/define.ts';
import { findTenants, stranger, unapplied } from '../store/tenants.ts';
import { checked, type Options } from './command.ts';

export const tenantsOption = (more = '') =>
  new Option(
    '--tenants <schemas>',
    `one schema after the other: names, patterns such as 'ts_*', or a query that answers them${more}`,
  ).argParser((text: string) => {
    if (text.trim() === '') throw usageError(`--tenants is empty; valid: ${TENANTS.valid}.`);
    return checked('--tenants', TENANTS)(text);
  });

/** The option is explicit; a schema in the URL, as Prisma writes it, is not. */
export const meantTenants = (
  { tenant, tenants }: { tenant?: string; tenants?: string },
  setting: string,
): string | undefined => tenants ?? ((tenant === undefined && setting) || undefined);

/** The schemas that are meant. With jobs, only those that have a table of one. */
export async function tenantsFor({ db, settings, log }: Context, text: string, jobs?: Job[]): Promise<string[]> {
  const meant = { text, owners: settings.tenantOwners, ...(jobs && { jobs }) };
  const found = await db
    .as(undefined, () => findTenants(db, meant))
    .catch((error) => {
      throw explainFaultOfCommand(error);
    });
  const { names } = found;
  for (const each of found.strangers) log.warn(stranger(each));
  // It may be meant so, for some of them.
  if (found.unapplied.length > 0) log.info(unapplied(found.unapplied));
  for (const name of found.unknown) log.warn(`There is no schema "${name}", which --tenants names.`);
  if (names.length === 0)
    log.warn(`No schema ${jobs ? 'with a table of a job ' : ''}matches "${text}": there is no tenant.`);
  return names;
}

/**
 * Work for each tenant, one after the other. An error of one is told, and the others go on. In JSON, each is named in one list.
 */
export async function forEachTenant<O extends Options>(
  { db, log }: Context,
  options: O,
  names: string[],
  work: (options: O, tenant: string) => Promise<ExitCode>,
  common: object = {},
): Promise<ExitCode> {
  const codes: ExitCode[] = [];
  const answers: object[] = [];
  for (const tenant of names) {
    const ofTenant: object = { tenant };
    const answer = (part: object) => void Object.assign(ofTenant, part);
    const code = await db
      .as(tenant, () => work({ ...options, answer }, tenant))
      .catch((raw) => {
        const error = explainFaultOfCommand(raw);
        if (!(error instanceof OperatorError) || error.exitCode === EXIT.unreachable) throw error;
        log.error(error.message, { tenant });
        answer({ error: error.message });
        return error.exitCode;
      });
    answers.push(ofTenant);
    codes.push(code);
  }
  if (options.json) printJson({ ...common, tenants: answers });
  return codes.sort((a, b) => b - a)[0] ?? EXIT.done;
}
