import { Option } from 'commander';
import { TENANTS } from '../base/config.ts';
import { EXIT, type ExitCode, OperatorError } from '../base/errors.ts';
import { printJson } from '../base/output.ts';
import type { Context } from '../context.ts';
import { explainFaultOfCommand } from '../engine/faults.ts';
import type { Job } from '../job/define.ts';
import { findTenants, stranger } from '../store/tenants.ts';
import { checked, type Options } from './command.ts';

export const tenantsOption = (more = '') =>
  new Option(
    '--tenants <schemas>',
    `one schema after the other: names, patterns such as 'ts_*', or a query that answers them${more}`,
  )
    .argParser(checked('--tenants', TENANTS))
    .conflicts('tenant');

/** The schemas that are meant. With jobs, only those that have a table of one. */
export async function tenantsFor({ db, settings, log }: Context, text: string, jobs?: Job[]): Promise<string[]> {
  const meant = { text, owners: settings.tenantOwners, ...(jobs && { jobs }) };
  const { names, strangers } = await findTenants(db, meant).catch((error) => {
    throw explainFaultOfCommand(error);
  });
  for (const each of strangers) log.warn(stranger(each));
  if (names.length === 0)
    log.warn(`No schema ${jobs ? 'with a table of a job ' : ''}matches "${text}": there is no tenant.`);
  return names;
}

/**
 * Work for each tenant, one after the other. What goes wrong with one is told, and the others go on. In JSON, each has one line with its
 * name.
 */
export async function forEachTenant<O extends Options>(
  { db, log }: Context,
  options: O,
  names: string[],
  work: (options: O, tenant: string) => Promise<ExitCode>,
): Promise<ExitCode> {
  const codes: ExitCode[] = [];
  for (const tenant of names) {
    const line: object = { tenant };
    const answer = (part: object) => void Object.assign(line, part);
    const code = await db
      .as(tenant, () => work({ ...options, answer }, tenant))
      .catch((raw) => {
        const error = explainFaultOfCommand(raw);
        if (!(error instanceof OperatorError) || error.exitCode === EXIT.unreachable) throw error;
        log.error(error.message, { tenant });
        answer({ error: error.message });
        return error.exitCode;
      });
    if (options.json) printJson(line);
    codes.push(code);
  }
  return codes.sort((a, b) => b - a)[0] ?? EXIT.done;
}
