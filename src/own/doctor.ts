import { readable } from '../base/calendar.ts';
import type { Transaction } from '../db/client.ts';
import { type Exam, failed, ok, type Result, skipped, warning } from '../inspect/doctor/finding.ts';
import { install } from '../job/compile.ts';
import type { Job } from '../job/define.ts';
import { hiddenFrom, lackingRights, type Needed, rightsOf } from '../job/rights.ts';
import { catalogOf, isUsable, jobOf, type Kept, latestJobs } from '../store/own-jobs.ts';
import type { Files, OwnJob } from './definition.ts';
import { planOf } from './plan.ts';
import { MayNotRead } from './server.ts';

/** Compiles the kept definitions again: what has changed since is found before a tick meets it. */

const HARMLESS = /^(the column ".*" is new|other indexes find its rows now)$/;

export async function examine(exam: Exam): Promise<[name: string, Result][]> {
  const { db, settings, jobs, program } = exam;
  const latest = (await latestJobs<OwnJob>(db)).filter(({ compiled }) => compiled !== null);
  const writers = await checkWriters(exam, latest.length > 0);
  const found: [string, Result][] = writers ? [['own jobs', writers]] : [];
  if (latest.length === 0) return found;
  const again = [
    '# With the files of all your jobs, by the role that owns the schema "scheduler":',
    program.command('apply FILES'),
  ];
  const lacks = new Map<string, string>();
  for (const { name, compiled } of latest.filter(isUsable)) {
    const lack = await lackingFor(exam, compiled!);
    if (lack) lacks.set(name, lack);
  }
  const looked = latest.filter(isUsable).filter(({ name }) => !lacks.has(name));
  const files: Files = {
    jobs: looked.map(({ definition }) => withoutFormerName(definition!)),
    faults: [],
    at: (job) => ({ file: job, line: 0, column: 0 }),
  };
  const plan = await planOf({ db, settings, builtIn: jobs, onlyLooks: true }, files, false).catch((error) => {
    if (error instanceof MayNotRead) return error;
    throw error;
  });
  // A tick needs no such right.
  if (plan instanceof MayNotRead)
    return [...found, ['own jobs', warning(`not compared with the database: ${plan.why}`, plan.remedies)]];
  for (const version of latest) {
    const { name, at, by } = version;
    const lack = lacks.get(name);
    if (lack !== undefined) {
      found.push([name, skipped(`cannot be looked at: ${lack}; see "rights"`)]);
      continue;
    }
    const change = plan.changes.find((each) => each.name === name);
    const faults = plan.faults.filter(({ file }) => file === name).map(({ message }) => message);
    const differs = [...faults, ...(change?.differs ?? [])];
    if (!isUsable(version))
      differs.push('it is in a form that this version does not know, or somebody changed it by hand');
    if (differs.length === 0) found.push([name, ok(`on ${change!.table}, as ${by} applied it at ${readable(at)}`)]);
    else {
      const isHarmless = differs.every((each) => HARMLESS.test(each));
      found.push([name, (isHarmless ? warning : failed)(`since it was applied: ${differs.join('; ')}`, again)]);
    }
  }
  return found;
}

/** Without these, the server would refuse to read an expression, for a reason that is none of the job's. */
async function lackingFor({ db, jobs, server }: Exam, kept: Kept): Promise<string | undefined> {
  const { needs, functions } = needsOf([kept], jobs);
  return db.transaction(async (tx) => {
    const [lack] = await lackingRights(tx, server.role, needs, functions);
    if (lack) return `${server.role} lacks ${lack.rights} on ${lack.object}`;
    return (await hiddenFrom(tx, server.role, needs))?.sentence;
  });
}

function withoutFormerName({ was: _, ...definition }: OwnJob): OwnJob {
  return definition;
}

/** A definition runs with the rights of the role that ticks: few may write one. */
async function checkWriters({ db, program }: Exam, hasJobs: boolean): Promise<Result | undefined> {
  const [row] = await db.query<{ owner: string; role: string; isSuper: boolean; mayWrite: boolean }>(
    `select o.rolname::text as owner, current_user::text as role, me.rolsuper and not o.rolsuper as "isSuper",
       not me.rolsuper and not pg_has_role(o.oid, 'usage') and has_table_privilege(c.oid, 'insert, update, delete, truncate') as "mayWrite"
     from pg_class c join pg_roles o on o.oid = c.relowner cross join (select rolsuper from pg_roles where rolname = current_user) as me
     where c.oid = to_regclass('scheduler.jobs')`,
  );
  if (row?.isSuper && hasJobs)
    return warning(
      `${row.role} is a superuser, and ${row.owner} may write the definitions of jobs: a tick as ${row.role} does not run them`,
      [
        '# Tick as a role that is no superuser. This grants it what it needs:',
        program.command('apply FILES --role scheduler_tick'),
      ],
    );
  if (row?.mayWrite)
    return warning(`${row.role} may write the definitions of jobs, and so change what every tick does`, [
      `-- As ${row.owner}:`,
      `revoke insert, update, delete, truncate on scheduler.jobs from "${row.role.replaceAll('"', '""')}";`,
    ]);
  return undefined;
}

interface Needs {
  needs: Needed[];
  functions: string[];
}

/** What the jobs need of this database. */
export async function needs({ db, jobs }: { db: Pick<Transaction, 'query'>; jobs: Job[] }): Promise<Needs> {
  const [row] = await db.query<{ may: boolean | null }>(
    `select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as may
     from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'scheduler' and c.relname = 'jobs'`,
  );
  const kept = row?.may ? (await latestJobs(db)).filter(isUsable).map(({ compiled }) => compiled!) : [];
  return needsOf(kept, jobs);
}

function needsOf(kept: Kept[], builtIn: Job[]): Needs {
  const installed = kept.flatMap((each) => {
    const job = jobOf(each, builtIn);
    return job ? [install(job, catalogOf(each), each.dbZone)] : [];
  });
  return {
    needs: [...rightsOf(installed), ...kept.flatMap((each) => each.needs)],
    functions: kept.flatMap(({ functions }) => Object.keys(functions)),
  };
}
