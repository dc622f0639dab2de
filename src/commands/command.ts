import { Command, InvalidArgumentError } from 'commander';
import { inWords, parseInstant, spanInSeconds } from '../base/calendar.ts';
import { refusal, type Variable } from '../base/config.ts';
import { EXIT, type ExitCode, MEANINGS, usageError } from '../base/errors.ts';
import { meantOrValid } from '../base/nearest.ts';
import { type CommonOptions, type Context, withContext } from '../context.ts';
import { explainFaultOfCommand } from '../engine/faults.ts';
import type { Job } from '../job/define.ts';
import { requireLevel } from '../store/migrate.ts';
import { latestJobs, tenantsWith, unknownJob } from '../store/own-jobs.ts';

export interface Help {
  examples: string[];
  /** More exit codes than 0, 2, 69, 70, 75 and 78, with which every command may end; or other words for one of these. */
  exits?: Record<number, string>;
}

const helps = new WeakMap<Command, Required<Help>>();

/** What its --help says at the end. */
export const helpOf = (command: Command): Required<Help> => helps.get(command)!;

/** A command with its examples and exit codes in --help. */
export function command(name: string, summary: string, help: Help): Command {
  const usual = [EXIT.done, EXIT.usage, EXIT.unreachable, EXIT.defect, EXIT.stopped, EXIT.configuration];
  const exits = { ...Object.fromEntries(usual.map((code) => [code, MEANINGS[code]!])), ...help.exits };
  const examples = help.examples.map((example) => `  $ ${example}`);
  const codes = Object.entries(exits).map(([code, meaning]) => `  ${code.padStart(2)}  ${meaning}`);
  const made = new Command(name)
    .description(summary)
    .addHelpText('after', ['', 'Examples:', ...examples, '', 'Exit codes:', ...codes].join('\n'));
  helps.set(made, { examples: help.examples, exits });
  return made;
}

export const PASS_EXITS = { [EXIT.rowsFailed]: MEANINGS[EXIT.rowsFailed]! };

/** What a command accepts that answers something. */
export interface Options extends CommonOptions {
  json?: boolean;
  /** Tables with all their columns. */
  wide?: boolean;
  /** Takes its JSON, and prints it with more in one line. */
  answer?: (part: object) => void;
}

type Work<O, T> = (context: Context, options: O, args: string[]) => Promise<T>;

/** Makes an action of work that needs the database. The work may answer another exit code than 0. */
export function withDatabase<O extends CommonOptions>(work: Work<O, ExitCode | undefined>) {
  return async (...given: unknown[]) => {
    const command = given.at(-1) as Command;
    const args = command.processedArgs.flat().filter((arg) => arg !== undefined) as string[];
    const options = command.optsWithGlobals<O>();
    if (options.tenant !== undefined && 'tenants' in options)
      throw usageError('--tenant names one schema, and --tenants many: give one of them.');
    const checkedWork = async (context: Context) => {
      if (options.tenant !== undefined) await requireSchema(context, options.tenant);
      return work(context, options, args);
    };
    process.exitCode = (await withContext(options, checkedWork)) ?? EXIT.done;
  };
}

/** A name with a slip of the pen would have nothing due, and nothing that fails. */
async function requireSchema({ db }: Context, name: string): Promise<void> {
  const found = await db.query('select from pg_namespace where nspname = :name::text', { name });
  if (found.length === 0) throw usageError(`There is no schema "${name}" in this database, which --tenant names.`);
}

/**
 * The same for work in the schema "scheduler": if that is missing or too old, the operator reads a sentence, not an SQL error.
 * `check` says what is wrong with the options themselves, before a database is needed.
 */
export function withSchema<O extends CommonOptions>(
  work: Work<O, ExitCode | undefined>,
  check: Work<O, void> = async () => {},
) {
  return withDatabase<O>(async (context, options, args) => {
    await check(context, options, args);
    try {
      await requireLevel(context.db);
      return await work(context, options, args);
    } catch (error) {
      throw explainFaultOfCommand(error);
    }
  });
}

/** The parser of an option that may also be given as a setting. */
export const checked =
  <T>(option: string, variable: Variable<T>) =>
  (text: string): T => {
    const value = variable.parse(text);
    if (value !== undefined) return value;
    throw usageError(refusal(variable, option, text));
  };

export function wholeNumber(least: number, most: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`Valid: a whole number from ${least} to ${most}.`);
    }
    return value;
  };
}

export function seconds(least: number, most: number) {
  return (text: string): number => {
    const value = spanInSeconds(text, 's');
    if (value !== undefined && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Valid: from ${inWords(least)} to ${inWords(most)}, such as 55, 90s or 15m.`);
  };
}

/** The parser of an argument or option that must be one of some names; they are kept with it, for completion. */
export function oneOf(noun: string, choices: string[]) {
  const parse = (text: string): string => {
    if (choices.includes(text)) return text;
    throw usageError(`"${text}" is not ${noun}; ${meantOrValid(text, choices)}`);
  };
  return Object.assign(parse, { choices });
}

/** A job of your own is known to the database alone: see knownJob. */
export const jobName = (jobs: Job[], before: string[] = []) => {
  const choices = [...before, ...jobs.map((job) => job.name)];
  const parse = (text: string) => (/^[a-z][a-z0-9-]*$/.test(text) ? text : oneOf('a job', choices)(text));
  return Object.assign(parse, { choices });
};

/** Ends the command if there is no such job. The past also has jobs that were removed, and those of all tenants. */
export async function knownJob({ db, jobs }: Context, name: string | undefined, ofPast = false): Promise<void> {
  if (name === undefined || jobs.some((job) => job.name === name)) return;
  if (ofPast && db.tenant === undefined && (await tenantsWith(db, name, true)).length > 0) return;
  const own = await latestJobs(db);
  if (!own.some((job) => job.name === name && (ofPast || job.compiled !== null)))
    throw await unknownJob(db, jobs, name);
}

export interface SpanOptions extends Options {
  since?: string;
  until?: string;
  limit: number;
}

/** For a command whose tables leave something out on a narrow terminal. */
export const WIDE = ['-w, --wide', 'show every column, and whole texts'] as const;

/** Which part of the past to look at. */
export function spanOptions(command: Command, limit: number): Command {
  return command
    .option('--since <time>', 'from this time on: 2026-11-20T10:00, or an age such as 2h or 7d')
    .option('--until <time>', 'before this time')
    .option('-n, --limit <count>', 'show at most this many, the newest', wholeNumber(1, 1_000_000), limit);
}

/** What is said where a list ends at its limit. */
export const onlyNewest = (limit: number, [one, many]: [string, string]): string =>
  `Only the newest ${limit === 1 ? `${one} is` : `${limit} ${many} are`} listed, and there are more: --limit lists them.`;

/** The instant of an option, which says in which zone it was read. */
export const instantOf = ({ settings, log }: Context, text: string, option: string): Promise<string> =>
  parseInstant(text, option, settings.timezone, log.info);

/** Puts instants in place of the times as they were typed. */
export async function resolveSpan(context: Context, options: SpanOptions): Promise<void> {
  for (const end of ['since', 'until'] as const) {
    const text = options[end];
    if (text !== undefined) options[end] = await instantOf(context, text, `--${end}`);
  }
}

/** With one more than is shown, to know whether there is more. */
export const spanAndMore = ({ since, until, limit }: SpanOptions) => ({
  ...{ since: since ?? null, until: until ?? null, limit: limit + 1 },
});
