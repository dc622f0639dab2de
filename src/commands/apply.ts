import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { readable } from '../base/calendar.ts';
import { configurationError, EXIT, type ExitCode, usageError } from '../base/errors.ts';
import { print, printAsIs, printHeading, printJson } from '../base/output.ts';
import { complain } from '../base/report.ts';
import type { Context } from '../context.ts';
import { sqlState } from '../db/states.ts';
import { quoteName } from '../job/expressions.ts';
import { type Found, placeOf, qualified } from '../job/tables.ts';
import type { Fault, Files } from '../own/definition.ts';
import type { Applying, Change, Plan } from '../own/plan.ts';
import { whoami } from '../store/controls.ts';
import { exclusively } from '../store/own-jobs.ts';
import { command, type Options, withSchema } from './command.ts';
import { forEachTenant, tenantsFor, tenantsOption } from './tenants.ts';

interface ApplyOptions extends Options {
  dryRun?: boolean;
  check?: boolean;
  sql?: boolean;
  backlog?: 'run' | 'skip';
  prune?: boolean;
  role?: string;
  tenants?: string;
}

export function applyCommand(): Command {
  return command('apply', 'check files of jobs of your own, and let ticks do what they say', {
    examples: [
      'scheduler apply scheduler.yaml --dry-run',
      'scheduler apply scheduler.yaml --backlog skip',
      'scheduler apply jobs/ --check',
      'scheduler apply jobs/ --sql > migration.sql',
    ],
    exits: {
      [EXIT.rowsFailed]: 'the files have faults, a rule fails in play, or --check finds a change',
    },
  })
    .argument('<file...>', 'YAML files, or folders of them: the whole set of your jobs')
    .option('--dry-run', 'check, play and show the plan; change nothing')
    .option('--check', 'the same; and end with 1 if something would change')
    .option('--sql', 'print the columns and indexes as SQL; change nothing')
    .addOption(
      new Option('--backlog <what>', 'what becomes of rows that new rules find overdue').choices(['run', 'skip']),
    )
    .option('--prune', 'remove the jobs that are not in the files')
    .addOption(tenantsOption())
    .option('--role <role>', 'grant to the role that ticks what the jobs need')
    .option('-j, --json', 'print the result as JSON')
    .action(withSchema<ApplyOptions>(apply));
}

async function apply(context: Context, options: ApplyOptions, paths: string[]): Promise<ExitCode> {
  const { readFiles } = await import('../own/read.ts');
  const own = {
    ...(await import('../own/plan.ts')),
    ...(await import('../own/apply.ts')),
    ...(await import('../own/roles.ts')),
  };
  const once = (each: ApplyOptions, tenants: string[]) => {
    const files = () =>
      readFiles(
        paths.flatMap(sourcesIn),
        context.jobs.map(({ name }) => name),
      );
    const work = () => carryOut({ ...context, tenants }, each, own, files());
    return options.dryRun || options.check || options.sql ? work() : exclusively(context.db, work);
  };
  if (!options.tenants) return once(options, []);
  const tenants = await tenantsFor(context, options.tenants);
  return forEachTenant(context, options, tenants, (each, tenant) => {
    if (!options.json) printHeading(`Tenant ${tenant}`);
    return once(each, tenants);
  });
}

type ContextOfAll = Context & Pick<Applying, 'tenants'>;

async function carryOut(context: ContextOfAll, options: ApplyOptions, own: Own, files: Files): Promise<ExitCode> {
  const { role = null, answer = printJson } = options;
  const [ticking] = await context.db.query<{ name: string }>(
    `select rolname::text as name from pg_roles where rolname = coalesce(:role::text, current_user)`,
    { role },
  );
  if (!ticking) throw usageError(`Nothing is applied: there is no role "${role}".`);
  const applying = { ...context, builtIn: context.jobs };
  const refused = async (error: unknown) => {
    const obstacle = sqlState(error) === LACKS_A_RIGHT && (await own.whyNotOwner(context.db, files));
    throw obstacle ? configurationError(`No job is applied: ${(error as Error).message}. ${obstacle}`) : error;
  };
  const plan = await own.planOf(applying, files, options.prune ?? false).catch(refused);
  if (plan.faults.length > 0) return tellFaults(plan.faults, options);
  const changing = plan.changes.filter(({ what }) => what === 'new' || what === 'changed' || what === 'removed');
  if (options.sql) return tellSql(changing);
  const hidden = await rowsHidden(context, ticking.name, plan.changes.flatMap(own.tablesOfChange));
  if (changing.some(({ built }) => built)) await own.checkRole(context.db);
  const needsColumns = ({ built, adds }: Change) => Object.keys(built?.columns ?? {}).length + adds.length > 0;
  const faulty = await playAll(
    own,
    applying,
    changing.filter((change) => !needsColumns(change)),
  );
  if (options.json) answer({ faults: faulty, hidden: hidden ?? null, changes: plan.changes.map(inJson) });
  else tellPlan(plan, hidden);
  if (faulty.length > 0)
    return tellFaulty(faulty, options, 'Nothing is applied', await own.whyNotOwner(context.db, files));
  if (options.check) return changing.length > 0 ? EXIT.rowsFailed : EXIT.done;
  if (options.dryRun) return EXIT.done;
  const overdue = changing.filter(({ due }) => due.some(isOverdue));
  if (overdue.length > 0 && !options.backlog)
    throw usageError(
      `Nothing is applied: new rules would find rows overdue (${overdue.map(({ name }) => name).join(', ')}). Say --backlog run to have the next tick do them, or --backlog skip to leave them alone.`,
    );
  if (options.backlog === 'skip') for (const change of overdue) change.kept = skipping(own, change);
  const say = (step: string) => (options.json ? undefined : print(step));
  for (const change of changing) if (change.built) await own.addColumns(applying, change, say).catch(refused);
  const late = await playAll(own, applying, changing.filter(needsColumns));
  if (late.length > 0) {
    if (options.json) answer({ faults: late });
    const outcome = 'No job is applied; the new columns stay';
    return tellFaulty(late, options, outcome, await own.whyNotOwner(context.db, files));
  }
  await own.carryOut(applying, changing, { by: whoami(), role: options.role }, say).catch(refused);
  if (!options.json) print(changing.length > 0 ? 'The next tick knows them.' : 'Nothing has changed.');
  return EXIT.done;
}

const LACKS_A_RIGHT = '42501';

type Own = typeof import('../own/plan.ts') & typeof import('../own/apply.ts') & typeof import('../own/roles.ts');

/** Answers what is wrong with the jobs; what would fail of the rows is only said. */
async function playAll(own: Own, applying: Applying, changes: Change[]): Promise<string[]> {
  const faults: string[] = [];
  for (const change of changes.filter(({ built }) => built)) {
    const played = await own.play(applying, change);
    faults.push(...played.faults.map((each) => `${change.name}: ${each}`));
    change.failing = played.rows;
  }
  return faults;
}

function tellFaulty(faults: string[], { json }: ApplyOptions, outcome: string, obstacle?: string): ExitCode {
  const tell = json ? complain : print;
  for (const fault of faults) tell(fault);
  tell(`${outcome}: this is what came of playing the jobs on rows that are there.`);
  if (obstacle) tell(`Most likely the reason: ${obstacle}`);
  return EXIT.rowsFailed;
}

/** A tick has done what an older rule found: only a new one counts. */
const isOverdue = ({ rows, isNew }: Change['due'][number]) => rows > 0 && isNew;

function skipping({ skipped }: Own, { kept, due }: Change) {
  const now = new Date().toISOString();
  return skipped(kept!, Object.fromEntries(due.filter(isOverdue).map(({ rule }) => [rule, now])));
}

function sourcesIn(path: string): { file: string; text: string }[] {
  let isFolder: boolean;
  try {
    isFolder = statSync(path).isDirectory();
  } catch (error) {
    throw usageError(`${path} cannot be read: ${(error as Error).message}.`);
  }
  if (!isFolder) return [{ file: path, text: readFileSync(path, 'utf8') }];
  const files = readdirSync(path).filter((name) => /\.ya?ml$/.test(name));
  if (files.length === 0) throw usageError(`${path} has no file that ends in .yaml or .yml.`);
  return files.sort().map((name) => ({ file: join(path, name), text: readFileSync(join(path, name), 'utf8') }));
}

function tellFaults(faults: Fault[], { json, answer = printJson }: ApplyOptions): ExitCode {
  if (json) answer({ faults });
  else {
    for (const { file, line, column, message } of faults) print(`${file}:${line}:${column}: ${message}`);
    print(`\nNothing is applied: ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}.`);
  }
  return EXIT.rowsFailed;
}

const FAILING_SHOWN = 5;
const SIGNS = { new: '+', changed: '~', same: '=', kept: '!', removed: '-' };

function tellPlan({ changes, drops }: Plan, hidden: string | undefined): void {
  const width = Math.max(...changes.map(({ name }) => name.length));
  const tell = onlyOnce(print);
  for (const { name, what, table, differs, built, adds, due, indexes, failing, kept } of changes) {
    const uses = kept?.uses?.job;
    const usual = what === 'removed' && uses ? `; ${uses} looks for a table of its usual name again` : '';
    const remark = what === 'kept' ? 'not in these files: kept (--prune removes it)' : `on ${table}${usual}`;
    print(`${SIGNS[what]} ${name.padEnd(width)}  ${remark}`);
    if (what === 'same' || what === 'kept') continue;
    for (const each of differs) print(`    ${each}`);
    for (const { rule, rows, oldest } of due)
      if (rows > 0)
        print(
          `    ${rule}: due now: ${rows.toLocaleString('en')} ${rows === 1 ? 'row' : 'rows'}, the oldest since ${readable(oldest)}`,
        );
    for (const [column, type] of Object.entries(built?.columns ?? {}))
      print(`    the column ${column} (${type}) is added`);
    for (const { words } of adds) tell(`    ${words}`);
    for (const { place, definition, isThere } of indexes)
      if (!isThere) tell(`    index ${place} on ${cut(definition)}`);
    for (const row of failing.slice(0, FAILING_SHOWN)) print(`    ${row}`);
    for (const note of built?.notes ?? []) print(`    ${note}`);
  }
  for (const place of drops) print(`- index ${place}: no job needs it any more`);
  if (hidden) print(hidden);
}

/** Jobs that share a table lack the same columns and indexes. */
function onlyOnce(tell: (line: string) => void): (line: string) => void {
  const told = new Set<string>();
  return (line) => {
    if (!told.has(line)) tell(line);
    told.add(line);
  };
}

const SHOWN = 100;
const cut = (text: string) => (text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text);

const inJson = ({ name, what, table, differs, due, indexes, built, failing }: Change) => ({
  ...{ name, what, table, differs, due, failing, notes: built?.notes ?? [], columns: built?.columns ?? {} },
  indexes: indexes.map(({ place, definition, isThere }) => ({ index: place, definition, isThere })),
});

function tellSql(changes: Change[]): ExitCode {
  const tell = onlyOnce(printAsIs);
  for (const { built, adds, indexes } of changes) {
    for (const { sql } of adds) tell(`${sql};`);
    for (const [column, type] of Object.entries(built?.columns ?? {}))
      tell(
        `alter table ${qualified(built!.table.name, built!.table)} add column if not exists ${quoteName(column)} ${type};`,
      );
    for (const statement of built?.makes ?? []) tell(`${statement};`);
    for (const { statements, isThere } of indexes)
      if (!isThere) for (const statement of statements) tell(`${statement};`);
  }
  return EXIT.done;
}

/** A policy of a table is there whether or not the file changes anything. */
async function rowsHidden({ db }: Context, role: string, tables: Found[]): Promise<string | undefined> {
  const { hiddenFrom } = await import('../job/rights.ts');
  const wanted = tables.map((table) => ({ table: placeOf(table), rights: ['select'] }));
  const hidden = await db.transaction((tx) => hiddenFrom(tx, role, wanted));
  return (
    hidden && `${hidden.sentence}, and a tick as ${role} would end with an error. As a superuser: ${hidden.remedy}`
  );
}
