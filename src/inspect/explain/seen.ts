import { readable } from '../../base/calendar.ts';
import type { Settings } from '../../base/config.ts';
import { maskPhone } from '../../base/mask.ts';
import type { Values } from '../../db/bind.ts';
import type { Transaction } from '../../db/client.ts';
import { blamesRow, SPARING_OF_TWO, sqlState } from '../../db/states.ts';
import { parameters } from '../../engine/run.ts';
import type { CompiledRule } from '../../job/compile.ts';
import type { Job } from '../../job/define.ts';
import { quoteName, quoteText, readsOf } from '../../job/expressions.ts';
import type { Failure } from '../../store/failures.ts';
import { look } from '../outlook.ts';

/** One row as the rules of a job see it, with the values that their expressions read, as far as those may be shown. */

export interface Look {
  tx: Transaction;
  settings: Settings;
  job: Job;
  id: string;
  now: string;
  /** When a tick looks at the job's rows again: now, unless it has done so in this slot already. */
  earliest: string;
  failures: Failure[];
}

/** The values that SQL on the row may refer to. */
export const values = ({ settings, job, id, earliest, failures }: Look, rule: CompiledRule, now: string): Values => ({
  ...{ ...parameters(settings, now), tenant: rule.tenant },
  ...{ earliest, job: job.name, id, next: failures.find((each) => each.rule === rule.name)?.nextAttemptAt ?? null },
});

export interface Answer<T = unknown> {
  value?: T;
  error?: string;
}

export const text = (answer: Answer | undefined): string | null =>
  typeof answer?.value === 'string' ? answer.value : null;

/** The pieces' values on the row, if the rule finds it. A piece that raises an error is told apart from the others. */
export async function ask<K extends string>(
  view: Look,
  rule: CompiledRule,
  asOf: string,
  pieces: Record<K, string>,
): Promise<Record<K, Answer> | undefined> {
  const read = (some: Record<string, string>) =>
    attempt(view.tx, () => view.tx.query(look(rule, some), values(view, rule, asOf)));
  const all = await read(pieces);
  const rows = all.value ?? (await read({})).value;
  if (rows?.length === 0) return undefined;
  const answers: Record<string, Answer> = {};
  for (const [name, sql] of Object.entries<string>(pieces)) {
    const { value, error } = all.value ? all : await read({ [name]: sql });
    answers[name] = error === undefined ? { value: value?.[0]?.[name] } : { error };
  }
  return answers as Record<K, Answer>;
}

/** Not a lost connection, a time-out or a missing right. */
export const isOfTheData = (error: unknown) => blamesRow(error, SPARING_OF_TWO) && sqlState(error) !== '42501';

/** Reads in a part of the transaction: an error that is expected ends only that part. */
export async function attempt<T>(
  tx: Transaction,
  work: () => Promise<T>,
  isExpected = isOfTheData,
): Promise<Answer<T>> {
  await tx.query('savepoint question');
  try {
    const value = await work();
    await tx.query('release savepoint question');
    return { value };
  } catch (error) {
    if (!isExpected(error)) throw error;
    await tx.query('rollback to savepoint question');
    // An error may quote what it stumbled over.
    return { error: (error as Error).message.replace(/\+?\d{9,15}/g, maskPhone) };
  }
}

/** Columns and settings that an expression mentions, as it saw them. */
export type Seen = Record<string, string | null>;

const PHONE = /phone|msisdn|mobile|whatsapp/i;
const SECRET = /password|passwd|secret|token|(^|_)(code|pin|otp|key|value)$/i;
const LONGEST = 80;

const isInstant = ({ table }: Job, name: string) =>
  name === 'now' || name === 'then' || table.columns[name]?.kind === 'instant';

/** SQL for the columns that some expressions read, as an object of texts. Secrets are never even read. */
export function columnsRead(job: Job, expressions: string[]): string {
  const read = (name: string) => {
    const column = `r.${quoteName(name)}`;
    if (SECRET.test(name)) return `case when ${column} is not null then '(not shown)' end`;
    return isInstant(job, name) ? `scheduler.iso(${column})` : `to_jsonb(${column}) #>> '{}'`;
  };
  const { columns } = readsOf(expressions.join(' , '));
  return `json_build_object(${columns.map((name) => `${quoteText(name)}, ${read(name)}`).join(', ')})`;
}

export function seen({ settings, job, now }: Look, sql: string, row: Answer | undefined, asOf: string): Seen {
  const { columns, parameters } = readsOf(sql);
  const read = (row?.value ?? {}) as Seen;
  const found: Seen = Object.fromEntries(columns.map((name) => [name, presentable(name, read[name] ?? null)]));
  for (const name of parameters) {
    const variable = job.settings?.[name];
    if (name === 'now') found[asOf === now ? 'now' : 'then'] = asOf;
    else if (name === 'zone') found.SCHEDULER_TIMEZONE = settings.timezone;
    else if (variable && !variable.secret) found[variable.env] = String(settings.job[name]);
  }
  return found;
}

function presentable(name: string, value: string | null): string | null {
  if (value === null) return null;
  if (PHONE.test(name) || (/name$/i.test(name) && /^\s*\+?[\d\s-]{9,18}$/.test(value))) return maskPhone(value);
  return value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value;
}

/** The values as a list to read. */
export function describe(job: Job, values: Seen): string {
  const shown = ([name, value]: [string, string | null]) => {
    const legible = isInstant(job, name) ? readable(value) : value;
    return `${name} = ${value === null ? 'null' : legible || "''"}`;
  };
  return Object.entries(values).map(shown).join(', ');
}
