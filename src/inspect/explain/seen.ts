import { readable } from '../../base/calendar.ts';
import type { Settings } from '../../base/config.ts';
import { type Database, sqlState, type Values } from '../../db/client.ts';
import { parameters } from '../../engine/run.ts';
import { aliasOf, type Job, type Rule } from '../../job/define.ts';
import { maskPhone } from '../../jobs/hotspot/secrets.ts';
import type { Failure } from '../../store/failures.ts';
import { look } from '../outlook.ts';
import type { JobStatus } from '../status.ts';
import type { Surroundings } from './locks.ts';

/** One row as the rules of a job see it, with the values that their expressions read, as far as those may be shown. */

export interface Look {
  db: Database;
  settings: Settings;
  job: Job;
  id: string;
  now: string;
  /** When a tick looks at the job's rows again: now, unless it has done so in this slot already. */
  earliest: string;
  state: JobStatus;
  surroundings: Surroundings;
  failure: Failure | null;
}

/** What a tick would make of a row, and when. */
export interface Verdict {
  /**
   * now: the next tick does it; later: at `at`; fails, fails later: would be a failure, with the sentence that says why;
   * after: another transition comes first and may leave nothing to do; along: not due, but changes with a row of
   * the same key that is; held: all is so, and something outside the row is in the way; not: the row is not one for it.
   */
  kind: 'now' | 'later' | 'fails' | 'fails later' | 'after' | 'along' | 'held' | 'not';
  at: string | null;
  sentence: string;
}

/** Columns and settings that an expression mentions, as it saw them. */
export type Seen = Record<string, string | null>;

export interface ConditionExplained {
  condition: string;
  met: boolean;
  values: Seen;
  error: string | null;
}

export const describe = (values: Seen): string =>
  Object.entries(values)
    .map(([name, value]) => `${name} = ${value === null ? 'null' : value === '' ? "''" : readable(value)}`)
    .join(', ');

/** Each condition by its name, as of a moment; with them what else is asked. */
export async function answerAll(
  view: Look,
  rule: Rule,
  idType: string,
  asOf: string,
  when: Record<string, string>,
  also: Record<string, string> = {},
): Promise<{ answers: ConditionExplained[]; also: Record<string, Answer> } | undefined> {
  const conditions = Object.entries(when);
  const asked = await ask(view, rule, idType, asOf, {
    ...Object.fromEntries(conditions.map(([, sql], n) => [`c${n}`, sql])),
    ...Object.assign({}, ...conditions.map(([, sql], n) => seen(rule, sql, `c${n}_`))),
    ...also,
  });
  return (
    asked && {
      answers: conditions.map(([condition, sql], n) => ({
        condition,
        met: asked[`c${n}`]!.value === true,
        values: shown(view, rule, sql, asked, `c${n}_`, asOf),
        error: asked[`c${n}`]!.error ?? null,
      })),
      also: asked,
    }
  );
}

export const values = ({ settings, job, id, failure, earliest }: Look, now: string): Values => ({
  ...parameters(settings, now),
  earliest,
  job: job.name,
  id,
  next: failure?.next_attempt_at ?? null,
});

export interface Answer {
  value?: unknown;
  error?: string;
}

export const text = (answer: Answer | undefined): string | null =>
  typeof answer?.value === 'string' ? answer.value : null;

/** The pieces' values on the row; one that raises an error is told apart, so that the others are still answered. */
export async function ask(
  view: Look,
  rule: Rule,
  idType: string,
  now: string,
  pieces: Record<string, string>,
): Promise<Record<string, Answer> | undefined> {
  const read = async (some: Record<string, string>) => {
    const rows = await view.db.transaction(async (tx) => {
      await tx.query('set transaction read only');
      return tx.query(look(rule, idType, some), values(view, now));
    });
    return rows[0] && Object.fromEntries(Object.keys(some).map((name) => [name, { value: rows[0]![name] }]));
  };
  try {
    return await read(pieces);
  } catch (error) {
    if (!isOfTheData(error)) throw error;
  }
  const answers: Record<string, Answer> = {};
  for (const [name, sql] of Object.entries(pieces)) {
    try {
      const answer = await read({ [name]: sql });
      if (!answer) return undefined;
      Object.assign(answers, answer);
    } catch (error) {
      if (!isOfTheData(error)) throw error;
      answers[name] = { error: withoutNumbers((error as Error).message) };
    }
  }
  return answers;
}

/** What cannot be asked of other rows is told with the condition that says why. */
export function noneIfUnanswerable(error: unknown): never[] {
  if (isOfTheData(error)) return [];
  throw error;
}

/** Not a lost connection, a time-out or a missing right. */
export const isOfTheData = (error: unknown) =>
  /^(2[1-7]|3[89B]|4[24]|P0|XX|[6-9G-OQ-W])/.test(sqlState(error) ?? '') && sqlState(error) !== '42501';

// An error may quote what it stumbled over.
const withoutNumbers = (message: string) => message.replace(/\+?\d{9,15}/g, maskPhone);

const PHONE = /phone|msisdn|mobile|whatsapp/i;
const SECRET = /password|passwd|secret|token|(^|_)(code|pin|otp|key|value)$/i;
const LONGEST = 80;

/** Columns that an expression mentions, by their name, and how it reads each: an instant as the instant it stands for. */
export function columnsIn(rule: Rule, sql: string): Record<string, string> {
  const alias = aliasOf(rule);
  const columns: Record<string, string> = {};
  for (const [reference, quoted, plain] of sql.matchAll(
    new RegExp(`(?<![\\w."])${alias}\\.(?:"([^"]+)"|([a-z_]\\w*))`, 'g'),
  )) {
    const instant = `scheduler.at(${reference}, :dbZone::text)`;
    columns[(quoted ?? plain)!] = sql.includes(instant)
      ? `scheduler.iso(${instant})`
      : `to_jsonb(${reference}) #>> '{}'`;
  }
  return columns;
}

/** What to ask for, so that `shown` can tell; secrets are never even read. */
export function seen(rule: Rule, sql: string, prefix: string): Record<string, string> {
  const asked = Object.entries(columnsIn(rule, sql)).map(([name, column], n) => [
    `${prefix}${n}`,
    SECRET.test(name) ? `case when ${column} is not null then '(not shown)' end` : column,
  ]);
  return Object.fromEntries(asked);
}

export function shown(
  { settings, job, now }: Look,
  rule: Rule,
  sql: string,
  answers: Record<string, Answer> | undefined,
  prefix: string,
  asOf: string,
): Seen {
  const found: Seen = {};
  for (const [n, name] of Object.keys(columnsIn(rule, sql)).entries()) {
    const answer = answers?.[`${prefix}${n}`];
    found[name] = answer?.error === undefined ? presentable(name, text(answer)) : '(cannot be read)';
  }
  for (const [, name] of sql.matchAll(/(?<![:\w]):([a-z][A-Za-z]*)/g)) {
    if (name === 'now') found[asOf === now ? 'now' : 'then'] = asOf;
    else if (name === 'zone') found.SCHEDULER_TIMEZONE = settings.timezone;
    else {
      const variable = job.settings?.[name!];
      if (variable && !variable.secret) found[variable.env] = String(settings.job[name!]);
    }
  }
  return found;
}

function presentable(name: string, value: string | null): string | null {
  if (value === null) return null;
  if (PHONE.test(name) || (/name$/i.test(name) && /^\s*\+?[\d\s-]{9,18}$/.test(value))) return maskPhone(value);
  const plain = value.replace(/^(\d+-\d\d-\d\dT[\d:.]+)\+00:00$/, '$1Z');
  return plain.length > LONGEST ? `${plain.slice(0, LONGEST)}…` : plain;
}
